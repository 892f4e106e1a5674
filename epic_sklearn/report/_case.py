"""One fit and its rows, as the page shows them; and what the page has besides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..gradients import Gradients
from ..schedule import DropSchedule


def shortened(value: Any, longest: int = 200) -> str:
    """Text of bounded length."""
    text = str(value)
    return text if len(text) <= longest else text[: longest - 1] + "…"


@dataclass(frozen=True)
class Case:
    """A fit, and its rows looked at again."""

    schedule: DropSchedule
    rows: np.ndarray  # numbers of the judged rows, (n,), among those given to fit
    n_given: int
    X: Any  # the rows given to fit, as they are shown
    gradients: Gradients
    probabilities: tuple[np.ndarray, np.ndarray] | None  # (n, C), labels of columns
    settings: dict[str, Any]
    clock: str  # what counts the rounds: "round" or "epoch"
    way_back: str  # what to do with the decisions, code between backticks

    @property
    def flagged(self) -> np.ndarray:
        """Whether a round or a reviewer dropped each row, shape (n,)."""
        return (self.schedule.dropped_at_epoch >= 0) | ~self.schedule.keep

    def counts(self, isolated: np.ndarray) -> list[dict[str, Any]]:
        """Rows, isolated and kept ones of each class, and of all."""
        codes, classes = self.schedule.codes, self.schedule.classes.tolist()
        frame = zip(
            [*classes, "all"],
            [*np.bincount(codes).tolist(), len(codes)],
            [
                *np.bincount(codes[isolated], minlength=len(classes)).tolist(),
                int(isolated.sum()),
            ],
            strict=True,
        )
        return [
            {"label": label, "rows": n, "isolated": m, "kept": n - m, "share": m / n}
            for label, n, m in frame
        ]


@dataclass(frozen=True)
class Page:
    """What the page shows besides the fit; whatever has a row for each given to fit."""

    title: str | None = None
    images: Any = None
    feature_names: Any = None
    warnings: Sequence[str] | None = None  # None: of the model and the classes
    row_kind: str = "Row"
    row_name: Callable[[int], str] | None = None
    asides: Mapping[str, Any] = field(default_factory=dict)  # columns (n,) of no use
    columns: Sequence[tuple[str, str]] = ()  # what was done to each
