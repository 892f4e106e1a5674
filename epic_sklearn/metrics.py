"""How well an attack did, and how well a defence told poisons from clean examples."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from numbers import Number, Real
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import _num_samples

from ._utils import validate_params
from .validation import refuse_masked, refuse_other_order

__all__ = [
    "attack_success_rate",
    "clean_retention",
    "make_attack_success_scorer",
    "poison_recall",
]

# Labels of different kinds are never equal: a silent 0% attack success rate.
_KINDS: dict[str, Any] = {
    "numbers": (Number, np.bool_),
    "text": str,
    "bytes": bytes,
    "None": type(None),
}


def _kinds(labels: npt.NDArray[Any]) -> set[str]:
    """Kinds among labels; those of a kind not in `_KINDS` may equal anything."""
    one_type = labels.dtype.kind != "O"
    values: Iterable[Any] = labels.ravel()[:1] if one_type else labels.ravel()
    return {
        next((k for k, types in _KINDS.items() if isinstance(value, types)), "other")
        for value in values
    }


def equal_labels(
    labels: npt.ArrayLike, wanted: Any, name: str, wanted_name: str
) -> npt.NDArray[np.bool_]:
    """Where labels (n,) are those wanted, one or (n,); errors call them by the names.

    Raises ValueError if shapes do not fit, or no label can ever be equal.
    """
    labels, wanted = np.asarray(labels), np.asarray(wanted)
    if wanted.shape not in ((), labels.shape):
        raise ValueError(
            f"{wanted_name} has shape {wanted.shape}, {name} has shape {labels.shape}; "
            "give one label, or one each."
        )
    ours, theirs = _kinds(labels), _kinds(wanted)
    if not (ours & theirs or "other" in ours | theirs):
        raise ValueError(
            f"{name} holds {' and '.join(sorted(ours))}, {wanted_name} "
            f"{' and '.join(sorted(theirs))}, which can never be equal; give both in "
            "the labels that the model was fitted on."
        )
    # As objects: numpy would compare numbers with text as text.
    return np.asarray(labels.astype(object) == wanted.astype(object), dtype=np.bool_)


def attack_success_rate(y_pred: npt.ArrayLike, adversarial_label: Any) -> float:
    """Fraction of the targets that are predicted as the attack wants.

    Parameters
    ----------
    y_pred : array-like of shape (n_targets,)
        What the model predicts for the targets, or for inputs with the trigger: for a
        backdoor, leave out those whose true label is the adversarial one.
    adversarial_label : label or array-like of shape (n_targets,)
        The label that the attack wants.

    Returns
    -------
    float
        In [0, 1]. Lower is better for the defender.

    Raises
    ------
    ValueError
        If there are no targets, shapes do not fit, or numbers would be compared with
        text.

    Examples
    --------
    >>> from epic_sklearn.metrics import attack_success_rate
    >>> attack_success_rate(["cat", "dog", "cat", "cat"], "cat")
    0.75
    """
    refuse_other_order(y_pred=y_pred, adversarial_label=adversarial_label)
    refuse_masked(y_pred=y_pred, adversarial_label=adversarial_label)
    predicted = np.asarray(y_pred)
    if predicted.ndim != 1:
        raise ValueError(
            f"y_pred has shape {predicted.shape}; give one predicted label a target, "
            "shape (n_targets,)."
        )
    if len(predicted) == 0:
        raise ValueError("y_pred is empty; give at least one target's prediction.")
    success = equal_labels(predicted, adversarial_label, "y_pred", "adversarial_label")
    return float(success.mean())


def wilson_interval(n_success: int, n_trials: int) -> tuple[float, float]:
    """Wilson's 95% confidence interval of a proportion."""
    low, high = binomtest(n_success, n_trials).proportion_ci(method="wilson")
    return float(low), float(high)


def check_column(
    values: npt.ArrayLike,
    name: str,
    n: int | None = None,
    kinds: str = "",
    a: str = "entry",
) -> npt.NDArray[Any]:
    """Return a 1-D array of `n` entries, or of any, of some kinds of numpy types."""
    refuse_masked(**{name: values})
    array = np.asarray(values)
    is_right = array.ndim == 1 and len(array) == (n or max(1, len(array)))
    if not is_right or (kinds and array.dtype.kind not in kinds):
        in_all = "" if n is None else f", {n} in all"
        raise ValueError(
            f"{name} has shape {array.shape} and dtype {array.dtype}; give one {a} a "
            f"training example{in_all}, in their order."
        )
    return array


def as_mask(rows: npt.ArrayLike, n: int, name: str) -> npt.NDArray[np.bool_]:
    """Turn row numbers, or a boolean mask, into a boolean mask of `n` entries."""
    if hasattr(rows, "get_indexer"):
        raise TypeError(
            f"{name} is a pandas Index: labels of rows, which need not be their "
            "numbers. Give a boolean mask, or row numbers as index.get_indexer gives."
        )
    refuse_masked(**{name: rows})
    array = np.asarray(rows)
    if array.dtype == np.bool_:
        return check_column(array, name, n).copy()
    is_rows = array.ndim == 1 and (array.dtype.kind in "iu" or array.size == 0)
    if not is_rows or (array.size and (array.min() < 0 or array.max() >= n)):
        raise ValueError(
            f"{name} is {array!r}; give row numbers from 0 to {n - 1}, shape (k,), or "
            f"a boolean mask of shape ({n},)."
        )
    mask = np.zeros(n, dtype=bool)
    mask[array.astype(np.int64)] = True
    if mask.sum() < len(array):
        raise ValueError(
            f"{name} names rows twice; give each row number once, or, if it is a mask "
            "of zeros and ones, bools."
        )
    return mask


def _masks(
    keep: npt.ArrayLike, poison_indices: npt.ArrayLike
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    refuse_other_order(keep=keep, poison_indices=poison_indices)
    kept = check_column(keep, "keep", kinds="b", a="bool")
    is_poison = as_mask(poison_indices, len(kept), "poison_indices")
    if not is_poison.any():
        raise ValueError("poison_indices is empty; give at least one poison.")
    return kept, is_poison


def poison_recall(keep: npt.ArrayLike, poison_indices: npt.ArrayLike) -> float:
    """Fraction of the poisons that were dropped.

    Parameters
    ----------
    keep : array-like of shape (n,), bool
        True for the training examples that were kept.
    poison_indices : array-like of int, or of bool and shape (n,)
        The poisons' row numbers, or a mask.

    Returns
    -------
    float
        In [0, 1]. Higher is better.

    Raises
    ------
    ValueError
        If `keep` is not a boolean mask, or `poison_indices` holds no poison or
        what is no row of it.

    Examples
    --------
    >>> from epic_sklearn.metrics import poison_recall
    >>> poison_recall([True, False, False, True], [0, 1])
    0.5
    """
    kept, is_poison = _masks(keep, poison_indices)
    return float((~kept[is_poison]).mean())


def clean_retention(keep: npt.ArrayLike, poison_indices: npt.ArrayLike) -> float:
    """Fraction of the clean examples that were kept.

    Parameters
    ----------
    keep, poison_indices
        See :func:`poison_recall`; every row that is no poison is clean.

    Returns
    -------
    float
        In [0, 1]. Higher is better.

    Raises
    ------
    ValueError
        As :func:`poison_recall`, and if every example is a poison.

    Examples
    --------
    >>> from epic_sklearn.metrics import clean_retention
    >>> clean_retention([True, False, False, True, True, True], [0, 1])
    0.75
    """
    kept, is_poison = _masks(keep, poison_indices)
    if is_poison.all():
        raise ValueError(
            f"poison_indices names all {len(kept)} examples; clean_retention needs at "
            "least one clean example."
        )
    return float(kept[~is_poison].mean())


@dataclass(eq=False)
class AttackSuccessScorer:
    """Scorer made by :func:`make_attack_success_scorer`, see there."""

    X_targets: Any = field(repr=False)
    adversarial_label: Any
    accuracy_weight: float = 0.0

    def __call__(self, estimator: Any, X: Any, y: Any = None) -> float:
        """Score a fitted classifier; `X` and `y` are held out and count by weight."""
        predicted = estimator.predict(self.X_targets)
        rate = attack_success_rate(predicted, self.adversarial_label)
        known = np.asarray(getattr(estimator, "classes_", self.adversarial_label))
        wanted = np.atleast_1d(self.adversarial_label).tolist()
        never = [label for label in wanted if label not in known.tolist()]
        if never:
            raise ValueError(
                f"adversarial_label is {never[0]!r}, and the classifier knows only "
                f"{known.tolist()[:20]}: it would never be predicted. Give one of them."
            )
        if self.accuracy_weight == 0:
            return 0.0 - rate
        accuracy = equal_labels(estimator.predict(X), y, "the prediction", "y").mean()
        return self.accuracy_weight * float(accuracy) - rate


@validate_params(
    {"accuracy_weight": [Interval(Real, 0, None, closed="left")]},
    prefer_skip_nested_validation=True,
)
def make_attack_success_scorer(
    X_targets: Any, adversarial_label: Any, *, accuracy_weight: float = 0.0
) -> AttackSuccessScorer:
    """Make a scorer that prefers models on which the attack fails.

    Pass it as ``scoring=`` to `GridSearchCV` or `cross_val_score` to choose a
    defence's parameters on attacks of one's own making.

    Parameters
    ----------
    X_targets : array-like of shape (n_targets, ...)
        The targets, as the estimator's ``predict`` takes them.
    adversarial_label : label or array-like of shape (n_targets,)
        The label that the attack wants for them.
    accuracy_weight : float, default=0.0
        The score is ``accuracy_weight * accuracy - attack success rate``, with the
        accuracy on the held-out data. At 0 the held-out data are ignored and models
        are told apart by the targets alone; a small weight breaks the ties.

    Returns
    -------
    AttackSuccessScorer
        Called as ``scorer(estimator, X, y)``; it can be pickled.

    Raises
    ------
    ValueError
        If there are no targets, `adversarial_label` does not fit them, or
        `accuracy_weight` is negative or not finite.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import cross_val_score
    >>> from epic_sklearn.metrics import make_attack_success_scorer
    >>> X, y = load_iris(return_X_y=True)
    >>> scorer = make_attack_success_scorer(X[:1], adversarial_label=2)
    >>> scorer
    AttackSuccessScorer(adversarial_label=2, accuracy_weight=0.0)
    >>> model = LogisticRegression(max_iter=1000)
    >>> cross_val_score(model, X, y, scoring=scorer, cv=3)
    array([0., 0., 0.])
    """
    n_targets = _num_samples(X_targets)
    if n_targets == 0:
        raise ValueError("X_targets is empty; give at least one target.")
    if np.ndim(X_targets) == 1 and np.asarray(X_targets).dtype.kind in "fiub":
        raise ValueError(
            f"X_targets has shape {np.shape(X_targets)}; of one target give the row as "
            "an array of one row, X[:1] for example."
        )
    if np.shape(adversarial_label) not in ((), (n_targets,)):
        raise ValueError(
            f"adversarial_label has shape {np.shape(adversarial_label)}, there are "
            f"{n_targets} targets; give one label, or one a target."
        )
    return AttackSuccessScorer(X_targets, adversarial_label, accuracy_weight)
