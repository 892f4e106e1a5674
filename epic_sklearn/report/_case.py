"""One fit and its rows, as the page shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..gradients import Gradients, gradient_norm_change
from ..learned import model_probabilities, nothing_learned
from ..schedule import DropSchedule
from ..validation import class_warnings, is_missing

# Shown by their codes: what turns the direction of text, or cannot be seen, by which
# one name may be made to look like another.
HIDDEN = {
    sign: f"\\u{sign:04x}"
    for sign in (
        *(0x061C, 0x115F, 0x1160, 0x200B, *range(0x200E, 0x2010)),
        *(*range(0x202A, 0x202F), *range(0x2060, 0x2070), 0x2800, 0x3164),
        *(0xFEFF, 0xFFA0, *range(9), 0x1B, 0x7F),
    )
}


def shortened(value: Any, longest: int = 200) -> str:
    """Text of bounded length, nothing in it hidden."""
    text = str(value).translate(HIDDEN)
    return text if len(text) <= longest else text[: longest - 1] + "…"


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
