"""One fit and its rows, as the page shows them; and what the page has besides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..gradients import Gradients, gradient_norm_change
from ..schedule import DropSchedule
from ..validation import class_warnings
from ._model import model_warnings


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
    way_back: str  # what to do with the decisions, code between backticks

    @property
    def flagged(self) -> np.ndarray:
        """Whether a round or a reviewer dropped each row, shape (n,)."""
        return (self.schedule.dropped_at_epoch >= 0) | ~self.schedule.keep

    @cached_property
    def rho(self) -> float:
        """Change in the gradients' norm that dropping what is not kept causes."""
        return gradient_norm_change(self.gradients, self.schedule.keep)

    @cached_property
    def warnings(self) -> list[str]:
        """What makes the result worth little: of the model, and of the classes."""
        labels = self.schedule.classes[self.schedule.codes]
        return [
            *model_warnings(self.schedule, self.probabilities),
            *class_warnings(labels),
        ]

    def counts(self, isolated: np.ndarray) -> list[dict[str, Any]]:
        """Rows, isolated and kept ones of each class, and of all."""
        codes, labels = self.schedule.codes, self.schedule.classes.tolist()
        rows, dropped = (
            [*np.bincount(part, minlength=len(labels)).tolist(), len(part)]
            for part in (codes, codes[isolated])
        )
        return [
            {"label": label, "rows": n, "isolated": m, "kept": n - m, "share": m / n}
            for label, n, m in zip([*labels, "all"], rows, dropped, strict=True)
        ]


@dataclass(frozen=True)
class Page:
    """What the page shows besides the fit; whatever has a row for each given to fit."""

    title: str | None = None
    images: Any = None
    feature_names: Any = None
    row_kind: str = "Row"
    row_name: Callable[[int], str] | None = None
    asides: Mapping[str, Any] = field(default_factory=dict)  # columns (n,) of no use
    columns: Sequence[tuple[str, str]] = ()  # what was done to each
