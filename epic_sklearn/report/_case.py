"""One fit and its rows, as the page shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import softmax
from torch import nn

from .._utils import learned_nothing
from ..gradients import GradientExtractor, Gradients, gradient_norm_change
from ..gradients.modules import forward
from ..schedule import DropSchedule
from ..validation import class_warnings, is_missing


def shortened(value: Any, longest: int = 200) -> str:
    """Text of bounded length."""
    text = str(value)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def as_text(value: Any, longest: int = 120) -> str:
    """Text of a cell of a table, of bounded length."""
    if is_missing(value):
        return "missing"
    if isinstance(value, float | np.floating):
        text = f"{value:.5g}"  # but for what that would shorten to 2.5094e+05
        return f"{value:.0f}" if "e+" in text and abs(float(value)) < 1e15 else text
    return shortened(str(value).removesuffix(" 00:00:00"), longest)


def probabilities_of(
    extractor: Any, X: Any, labels: np.ndarray, gradients: Gradients
) -> tuple[np.ndarray, np.ndarray] | None:
    """Class probabilities (n, C) and the labels (C,) of their columns.

    Read from the gradients where these have the errors; X is not looked at then. None
    where an extractor's gradients come from no model that is known.
    """
    model: Any = getattr(extractor, "classifier_", None)
    if isinstance(extractor, GradientExtractor) and "errors" in (extractor.gives or ()):
        probabilities = np.array(getattr(gradients, "errors", gradients))
        columns = extractor._codes(labels, probabilities.shape[1])
        probabilities[np.arange(len(columns)), columns] += 1.0
        probabilities = probabilities.round(12)  # equal ones differ in the last bits
    elif isinstance(model, nn.Module):
        logits = np.asarray(forward(model, X, extractor.batch_size, False)[0])
        probabilities = softmax(logits, axis=1)
    elif hasattr(model, "predict_proba"):
        probabilities = np.asarray(model.predict_proba(X))
    else:
        return None
    n_columns = probabilities.shape[1]
    of_columns = np.asarray(getattr(extractor, "classes_", np.unique(labels)))
    # A net may know more classes than there are here: integers number its columns.
    is_all = len(of_columns) == n_columns
    return probabilities, of_columns if is_all else np.arange(n_columns)


@dataclass(frozen=True)
class Case:
    """A fit, its rows looked at again, and how the page shows them.

    What has an entry a row has one for each row given to fit, gradients and
    probabilities aside, which are of the judged ones.
    """

    schedule: DropSchedule
    rows: np.ndarray  # numbers of the judged rows, (n,), among those given to fit
    n_given: int
    X: Any  # the rows given to fit, as they are shown
    gradients: Gradients
    probabilities: tuple[np.ndarray, np.ndarray] | None  # (n, C), labels of columns
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
    def warnings(self) -> list[str]:
        """What makes the result worth little: of the model, and of the classes."""
        labels = self.schedule.classes[self.schedule.codes]
        found = class_warnings(labels)
        if self.probabilities is not None:
            probabilities, classes = self.probabilities
            column = {label: j for j, label in enumerate(classes.tolist())}
            codes = np.array([column[label] for label in labels.tolist()])
            nothing = learned_nothing(probabilities, codes)
            found = [nothing, *found] if nothing else found
        return found

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
