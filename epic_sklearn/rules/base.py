"""What a rule is: it says from gradients which examples should be dropped."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator

from .._utils import DocLinks
from ..gradients import Gradients, OuterProductGradients
from ..validation import refuse_masked

# The largest that a probability may miss a row's sum, or a sign, by rounding.
ROUNDING = 1e-3


@dataclass(frozen=True)
class Judgement:
    """What a rule says of n examples.

    Parameters
    ----------
    score : ndarray of shape (n,)
        How suspicious each example is, finite; higher is more. Comparable inside
        a class.
    flagged : ndarray of shape (n,), bool
        Which examples should be dropped.
    details : dict of str to ndarray of shape (n,)
        What else there is to say of each example, a cluster's size for example.
        The audit page and tables show a column of each, beside ``label``, ``keep``
        and others, whose names are refused.
    """

    score: np.ndarray
    flagged: np.ndarray
    details: dict[str, np.ndarray] = field(default_factory=dict)


class Memory(UserDict[str, np.ndarray]):
    """What a rule remembers of a training run: arrays, by names of its own.

    Empty before the first round; saved and loaded with the schedule's state. What
    is put into it is copied to an array, and must be of numbers or bools.

    Parameters
    ----------
    keep : ndarray of shape (n,), bool
        What has been kept so far; not to be changed.
    seed : int
        For rules that draw at random.
    n_jobs : int or None
        Classes to be worked on side by side, as joblib counts.
    verbose : int
        Whether to show progress of long work.

    Attributes
    ----------
    keep, seed, n_jobs, verbose : as given

    Examples
    --------
    >>> import numpy as np
    >>> from epic_sklearn.rules import Memory
    >>> memory = Memory(np.ones(3, dtype=bool))
    >>> memory["mean score"] = np.zeros(3)
    >>> memory.keep.all()
    np.True_
    """

    def __init__(
        self,
        keep: np.ndarray,
        seed: int = 0,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        super().__init__()
        self.keep, self.seed, self.n_jobs, self.verbose = keep, seed, n_jobs, verbose

    def __setitem__(self, name: str, value: Any) -> None:
        array = np.array(value)  # a copy: arrays are changed in place
        if array.dtype.kind not in "biuf":
            raise TypeError(
                f"A rule's memory[{name!r}] is {value!r}; it holds arrays of numbers "
                "or bools only, which can be saved and loaded."
            )
        super().__setitem__(name, array)

    def setdefault(self, name: str, default: Any = None) -> np.ndarray:
        """Give what is remembered, at first the copy of `default` that is kept."""
        if name not in self:
            self[name] = default
        return self[name]


class Rule(DocLinks, BaseEstimator):
    """Base of the rules: a subclass implements :meth:`judge`, and that is all.

    A rule is a scikit-learn estimator: its parameters are those of ``__init__``,
    it is cloned before use, and searches reach it as ``rule__...``. It runs in
    every filter and in every training loop of this library.

    Class attributes say the rest, where the defaults do not fit:

    - ``needs``: what `judge` reads. ``("errors",)`` gets softmax minus one-hot,
      (n, C); ``("inputs",)`` the input of the last layer, (n, H); both of them
      OuterProductGradients; ``()``, the default, whatever gradients there are.
      What does not have it is refused before any work. Column j of the errors is that
      of class j; a model that knows more classes has those behind.
    - ``flags``, ``score_is``, ``to_drop_less``: what a flagged example is, what
      the score says, and how to drop less, in words, for warnings and the audit
      page.
    - ``prefers``: which gradients of a model are taken where the user names none,
      ``"logit"`` or ``"last_layer"``. None, the default: the smallest that it can
      use.
    - ``watches``: after which share of the `warmup` rounds come that drop nothing yet:
      below 1 for a rule that remembers what it has seen.
    - ``metric``: ``"euclidean"`` or ``"cosine"``, the distance between gradients
      by which the nearest kept example is found.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from epic_sklearn import EPICFilter
    >>> from epic_sklearn.rules import Judgement, Rule
    >>> class LongGradients(Rule):
    ...     needs = ("errors",)
    ...
    ...     def __init__(self, longest=1.0):
    ...         self.longest = longest
    ...
    ...     def judge(self, gradients, codes, memory):
    ...         length = np.linalg.norm(gradients, axis=1)
    ...         return Judgement(score=length, flagged=length > self.longest)
    >>> X, y = load_iris(return_X_y=True)
    >>> X[0] = X[100]  # a setosa that looks like a virginica
    >>> EPICFilter(rule=LongGradients()).fit(X, y).isolated_indices_
    array([0])
    """

    needs: ClassVar[tuple[str, ...]] = ()
    flags: ClassVar[str] = "examples that the rule flags"
    score_is: ClassVar[str] = "the rule's score; higher is more suspicious"
    to_drop_less: ClassVar[str] = "Change the rule's parameters"
    prefers: ClassVar[str | None] = None
    watches: ClassVar[float] = 1.0
    metric: str = "euclidean"

    def judge(self, gradients: Any, codes: np.ndarray, memory: Memory) -> Judgement:
        """Score and flag all examples, each among those of its class.

        Parameters
        ----------
        gradients : ndarray of shape (n, d) or OuterProductGradients
            What `needs` says, finite, of all examples in their order, dropped ones
            included.
        codes : ndarray of shape (n,), int
            Class of each example: 0, 1, ...
        memory : Memory
            What is kept so far, and what this rule itself put there in earlier
            rounds.

        Returns
        -------
        Judgement
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no judge(gradients, codes, memory)."
        )


def preferred_gradients(rule: Rule) -> str:
    """Name the gradients to take of a model for a rule: logit or last_layer."""
    smallest = "logit" if set(rule.needs) <= {"errors"} else "last_layer"
    return rule.prefers or smallest


def refuse_what_lacks(rule: Rule, gives: Iterable[str] | None, way_out: str) -> None:
    """Refuse a source of gradients that lacks what a rule needs, before any work.

    `gives` is what the gradients will have, None where only they can tell; `way_out`
    says what to give instead.
    """
    if gives is not None and not set(rule.needs) <= set(gives):
        raise ValueError(
            f"{type(rule).__name__} looks at the last layer's "
            f"{' and '.join(rule.needs)}, which these gradients do not hold. {way_out}"
        )


def what_it_needs(rule: Rule, gradients: Gradients, codes: np.ndarray) -> Gradients:
    """Give what a rule reads of finite gradients; see the class attribute `needs`.

    An array is taken for inputs, and for errors where it proves to be that.
    """
    needs = set(rule.needs)
    if needs == {"errors"}:
        errors = _proved_errors(errors_of(gradients), codes, rule)
        return _in_order_of_codes(errors, codes)
    if isinstance(gradients, OuterProductGradients):
        if needs == {"inputs"}:
            return gradients.inputs
        if needs:
            errors = _in_order_of_codes(gradients.errors, codes)
            return OuterProductGradients(errors, gradients.inputs)
    elif needs == {"errors", "inputs"}:
        raise ValueError(
            f"{type(rule).__name__} looks at the last layer's errors and inputs, which "
            f"an array of gradients, here of shape {gradients.shape}, does not hold. "
            "Set gradients='last_layer' when training; give EPICFilter and its kin "
            "LastLayerGradients(classifier), and DropSchedule or EPICSubsetSampler "
            "OuterProductGradients."
        )
    return gradients


def errors_of(gradients: Gradients) -> np.ndarray:
    """Gradients with respect to the logits, if an array is that."""
    outer = isinstance(gradients, OuterProductGradients)
    return gradients.errors if outer else gradients  # type: ignore


def label_columns(errors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Column of each row's label, whether it is softmax minus one-hot, if surely."""
    column = errors.argmin(axis=1)
    lowest = errors[np.arange(len(errors)), column]
    others = np.where(np.arange(errors.shape[1]) == column[:, None], 0.0, errors)
    is_error = (np.abs(errors.sum(axis=1)) < ROUNDING) & (lowest <= 0)
    is_error &= lowest >= -1 - ROUNDING
    is_error &= (others >= -ROUNDING * np.abs(lowest)[:, None]).all(axis=1)
    # Elsewhere rounding may decide the column.
    return column, is_error, lowest < -ROUNDING


def refuse_shuffled(gradients: Gradients, codes: np.ndarray) -> None:
    """Refuse gradients that themselves show that they are in another order.

    Softmax minus one-hot is negative in the column of its label alone: rows of two
    classes that are negative in one column are not in the order of the labels.
    """
    errors = errors_of(gradients)
    column, is_error, surely = label_columns(errors)
    if not is_error.all():
        return
    class_of = np.full(errors.shape[1], -1)
    class_of[column[surely]] = codes[surely]
    n_wrong = int((class_of[column[surely]] != codes[surely]).sum())
    if n_wrong:
        raise ValueError(
            "Gradients are softmax minus one-hot in another order than the labels: "
            f"{n_wrong} of {len(errors)} rows are negative in the column of another "
            "class. Compute them without shuffling, in the order of the labels."
        )


def _proved_errors(errors: np.ndarray, codes: np.ndarray, rule: Rule) -> np.ndarray:
    """Return softmax minus one-hot (n, C), refuse what is not that of these labels."""
    column, is_error, surely = label_columns(errors)
    for code in np.unique(codes[surely]):
        rows = np.flatnonzero(surely & (codes == code))
        is_error[rows[column[rows] != column[rows[0]]]] = False
    wrong = int((~is_error).sum())
    if wrong:
        raise ValueError(
            f"{type(rule).__name__} looks at softmax minus one-hot, the gradient with "
            f"respect to the logits, and {wrong} of {len(errors)} rows are not that of "
            "their label: it sums to 0 and is negative in the label's column alone. "
            "Take LogitGradients or LastLayerGradients, or, of probabilities, "
            "logit_gradients(probabilities, codes)."
        )
    return errors


def _in_order_of_codes(errors: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Let column j be that of class j; of labels that no row bears they come last.

    A net may know more classes than its data have, and a classifier name them in any
    order. Rows are negative in the column of their label; where those of a class do not
    tell, all stays as it is.
    """
    n_classes = int(codes.max()) + 1
    column, is_error, surely = label_columns(errors)
    of_class = np.full(n_classes, -1)
    of_class[codes[surely & is_error]] = column[surely & is_error]
    if of_class.min() < 0 or len(np.unique(of_class)) < n_classes:
        return errors
    others = np.setdiff1d(np.arange(errors.shape[1]), of_class)
    order = np.concatenate([of_class, others])
    return errors if (order == np.arange(len(order))).all() else errors[:, order]


# Kinds of arrays that the parts of an answer may be.
_ANSWERS = {"score": ("biuf", "numbers"), "flagged": ("b", "bools")}
# Columns of `to_frame` and of the command line's mask, which details stand beside.
OF_ROWS = {
    *("label", "keep", "kept", "row", "isolation_score", "predicted", "probability"),
    *("dropped_at_round", "dropped_at_epoch"),
}


def check_judgement(judgement: Any, n: int, rule: Rule) -> Judgement:
    """Refuse what a rule may not answer: anything but one score and bool a row."""
    name = f"{type(rule).__name__}.judge"
    if not isinstance(judgement, Judgement) or not isinstance(judgement.details, dict):
        raise TypeError(
            f"{name} gave a {type(judgement).__name__}; let it return "
            "Judgement(score, flagged), or "
            "Judgement(score, flagged, details) with a dictionary of arrays."
        )
    for key in ("score", "flagged"):
        index: Any = getattr(getattr(judgement, key), "index", None)
        if hasattr(index, "equals") and list(index) != list(range(n)):
            raise ValueError(
                f"{name} gave a {key} with an index that is not 0, 1, ... in this "
                "order, and rows are matched by position: sort it by its index, then "
                "give its values."
            )
    refuse_masked(score=judgement.score, flagged=judgement.flagged)
    refuse_masked(**{str(name): of for name, of in judgement.details.items()})
    # Copies: a rule may go on with its own arrays.
    score, flagged = np.array(judgement.score), np.array(judgement.flagged)
    details = {key: np.array(value) for key, value in judgement.details.items()}
    if taken := sorted(OF_ROWS & set(details)):
        raise ValueError(
            f"{name} gave details named {taken}, as columns of tables are that hold "
            "something else; give them other names."
        )
    for key, column in [("score", score), ("flagged", flagged), *details.items()]:
        kinds, wanted = _ANSWERS.get(key, ("biufU", "numbers or texts"))
        if column.shape != (n,) or column.dtype.kind not in kinds:
            raise ValueError(
                f"{name} gave a Judgement that cannot be used: {key} is an array of "
                f"{column.dtype} of shape {column.shape}; it must be {n} {wanted}, one "
                "an example."
            )
    if not np.isfinite(score).all():
        bad = int((~np.isfinite(score)).sum())
        raise ValueError(
            f"{name} gave a Judgement that cannot be used: {bad} of {n} scores are NaN "
            "or infinite."
        )
    return Judgement(score, flagged, details)
