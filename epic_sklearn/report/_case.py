"""One fit and its rows, as the page shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from .._utils import HIDDEN, shortened
from ..base import is_dataframe, take_rows
from ..gradients import Gradients, OuterProductGradients, gradient_norm_change
from ..learned import model_probabilities, nothing_learned
from ..schedule import DropSchedule
from ..validation import class_warnings, is_missing
from ._notes import is_table, notes_of_gaps, notes_of_rows

OURS = ("Row", "Line", "Index")  # what rows are called where users do not say


def as_text(value: Any, longest: int = 120) -> str:
    """Text of a cell of a table, of bounded length."""
    if is_missing(value):
        return "missing"
    if isinstance(value, float | np.floating):
        text = f"{value:.5g}"  # but for what that would shorten to 2.5094e+05
        return f"{value:.0f}" if "e+" in text and abs(float(value)) < 1e15 else text
    return shortened(str(value).removesuffix(" 00:00:00"), longest)


@dataclass(frozen=True)
class Case:
    """A fit, its rows looked at again, and how the page shows them.

    What has an entry a row has one for each row given to fit, gradients aside, which
    are of the judged ones.
    """

    schedule: DropSchedule
    rows: np.ndarray  # numbers of the judged rows, (n,), among those given to fit
    n_given: int
    X: Any  # the rows given to fit, as they are shown
    gradients: Gradients
    settings: dict[str, Any]
    way_back: str  # what to do with the decisions, code between backticks
    title: str = ""
    images: Any = None
    feature_names: Any = None
    index: Any = None  # by what a person finds rows, if not by their numbers
    asides: Mapping[str, Any] = field(default_factory=dict)  # columns (n,) of no use
    columns: Sequence[tuple[str, str]] = ()  # what was done to each
    remarks: Sequence[str] = ()  # what was noted where the rows were read
    is_gradients: bool = False  # X is what the rule judged, not what a model saw

    @cached_property
    def names(self) -> list[str] | None:
        """Names of the columns of X, one each, or None where X is no table."""
        X, given = self.X, self.feature_names
        is_table = len(getattr(X, "shape", ())) == 2
        is_table = is_table and not isinstance(X, OuterProductGradients)
        n = X.shape[1] if is_table else 0
        if given is None:
            given = X.columns if is_dataframe(X) else [f"x{i}" for i in range(n)]
        names = [str(name).translate(HIDDEN) for name in given]
        if isinstance(given, str) or len(names) != n:
            raise ValueError(
                f"feature_names has {len(names)} names and X has {n} columns; give one "
                "a column."
            )
        return names or None

    @property
    def names_rows(self) -> bool:
        """Whether a person finds rows by an index, not by their numbers."""
        ends = getattr(self.index, "start", None), getattr(self.index, "step", None)
        return self.index is not None and ends != (0, 1)

    @property
    def row_kind(self) -> str:
        """By what a person finds rows: their numbers, or an index of that name."""
        return str(self.index.name or "Index") if self.names_rows else "Row"

    def place(self, row: int) -> str:
        """Where a person finds one of the rows given."""
        if not self.names_rows or not self.index.is_unique:
            return f"row {row}"
        kind = self.row_kind.lower() if self.row_kind in OURS else self.row_kind
        name = shortened(self.index[row])
        # Of long names the beginning may be that of another.
        short = name if len(name) <= 60 else f"{name[:59]}… (row {row})"
        return f"{kind} {short}"

    @property
    def flagged(self) -> np.ndarray:
        """Whether a round or a reviewer dropped each row, shape (n,)."""
        return (self.schedule.dropped_at_epoch >= 0) | ~self.schedule.keep

    @cached_property
    def rho(self) -> float:
        """Change in the gradients' norm that dropping what is not kept causes."""
        return gradient_norm_change(self.gradients, self.schedule.keep)

    @cached_property
    def probabilities(self) -> np.ndarray | None:
        """What the model gives the judged rows (n, C), where the gradients tell."""
        codes, n_classes = self.schedule.codes, len(self.schedule.classes)
        return model_probabilities(self.gradients, codes, n_classes)

    @cached_property
    def warnings(self) -> list[str]:
        """What makes the result worth little: of the model, and of the classes."""
        codes, n_classes = self.schedule.codes, len(self.schedule.classes)
        nothing = nothing_learned(self.gradients, codes, n_classes)
        of_classes = class_warnings(self.schedule.classes[codes])
        return [nothing, *of_classes] if nothing else of_classes

    @cached_property
    def notes(self) -> list[str]:
        """What was noted where the rows were read, and what is odd in themselves."""
        schedule, X, names = self.schedule, self.X, self.names or []
        notes = list(self.remarks)
        if is_table(X) and not self.is_gradients:
            X = take_rows(X, self.rows)
            notes += notes_of_rows(X, schedule.codes, names, self._place_judged)
            by_round = schedule.dropped_at_epoch >= 0
            notes += notes_of_gaps(X, by_round, names)
        return [note.translate(HIDDEN).replace("\n", "\\n") for note in notes]

    def _place_judged(self, row: int) -> str:
        return self.place(int(self.rows[row]))

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
