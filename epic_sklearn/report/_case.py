"""One fit and its rows, as the page shows them; and what the page has besides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..gradients import Gradients
from ..schedule import DropSchedule


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
