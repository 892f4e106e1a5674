"""How well an attack did, and how well a defence told poisons from clean examples."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Number, Real
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest
from sklearn.utils._param_validation import Interval, validate_params

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


def attack_success_rate(
    y_pred: npt.ArrayLike,
    adversarial_label: Any,
    *,
    true_label: Any = None,
) -> float:
    """Fraction of the targets that are predicted as the attack wants.

    Parameters
    ----------
    y_pred : array-like of shape (n_targets,)
        What the model predicts for the targets, or for inputs with the trigger.
    adversarial_label : label or array-like of shape (n_targets,)
        The label that the attack wants.
    true_label : label or array-like of shape (n_targets,), default=None
        If given, targets whose true label is the adversarial one are left out, as
        is usual for backdoors: there is nothing to attack in them.

    Returns
    -------
    float
        In [0, 1]. Lower is better for the defender.

    Raises
    ------
    ValueError
        If there are no targets (left), shapes do not fit, or numbers would be
        compared with text.

    Examples
    --------
    >>> from epic_sklearn.metrics import attack_success_rate
    >>> attack_success_rate(["cat", "dog", "cat", "cat"], "cat")
    0.75
    >>> attack_success_rate([0, 0, 1], 0, true_label=[0, 1, 1])
    0.5
    """
    predicted = np.asarray(y_pred)
    if predicted.ndim != 1:
        raise ValueError(
            f"y_pred has shape {predicted.shape}; give one predicted label a target, "
            "shape (n_targets,)."
        )
    if len(predicted) == 0:
        raise ValueError("y_pred is empty; give at least one target's prediction.")
    success = equal_labels(predicted, adversarial_label, "y_pred", "adversarial_label")
    if true_label is not None:
        wanted = np.broadcast_to(np.asarray(adversarial_label), predicted.shape)
        attacked = ~equal_labels(wanted, true_label, "adversarial_label", "true_label")
        if not attacked.any():
            raise ValueError(
                "every target's true label is the adversarial label, so none is "
                "attacked; give targets of other classes."
            )
        success = success[attacked]
    return float(success.mean())


def wilson_interval(n_success: int, n_trials: int) -> tuple[float, float]:
    """Wilson's 95% confidence interval of a proportion.

    Examples
    --------
    >>> from epic_sklearn.metrics import wilson_interval
    >>> [round(end, 2) for end in wilson_interval(9, 10)]
    [0.6, 0.98]
    """
    low, high = binomtest(n_success, n_trials).proportion_ci(method="wilson")
    return float(low), float(high)


def _poison_mask(
    keep: npt.ArrayLike, poison_indices: npt.ArrayLike
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    mask = np.asarray(keep)
    if mask.ndim != 1 or mask.dtype != np.bool_ or len(mask) == 0:
        raise ValueError(
            f"keep has dtype {mask.dtype} and shape {mask.shape}; give a boolean mask "
            "with one entry a training example, such as keep_ of a fitted estimator."
        )
    indices = np.asarray(poison_indices)
    if indices.ndim != 1 or len(indices) == 0:
        raise ValueError(
            f"poison_indices has shape {indices.shape}; give the row numbers of at "
            "least one poison, shape (n_poisons,)."
        )
    if not np.issubdtype(indices.dtype, np.integer):
        raise ValueError(
            f"poison_indices has dtype {indices.dtype}; give row numbers as integers "
            "(np.flatnonzero turns a mask into them)."
        )
    if indices.min() < 0 or indices.max() >= len(mask):
        raise ValueError(
            f"poison_indices runs from {indices.min()} to {indices.max()}, keep has "
            f"{len(mask)} entries; give row numbers from 0 to {len(mask) - 1}."
        )
    poisoned = np.zeros(len(mask), dtype=np.bool_)
    poisoned[indices] = True
    return mask, poisoned


def poison_recall(keep: npt.ArrayLike, poison_indices: npt.ArrayLike) -> float:
    """Fraction of the poisons that were dropped.

    Parameters
    ----------
    keep : array-like of shape (n,), bool
        True for the training examples that were kept.
    poison_indices : array-like of shape (n_poisons,), int
        The poisons' row numbers.

    Returns
    -------
    float
        In [0, 1]. Higher is better.

    Raises
    ------
    ValueError
        If `keep` is not a boolean mask, or `poison_indices` is empty or not a list
        of its row numbers.

    Examples
    --------
    >>> from epic_sklearn.metrics import poison_recall
    >>> poison_recall([True, False, False, True], [0, 1])
    0.5
    """
    mask, poisoned = _poison_mask(keep, poison_indices)
    return float((~mask[poisoned]).mean())


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
    mask, poisoned = _poison_mask(keep, poison_indices)
    if poisoned.all():
        raise ValueError(
            f"poison_indices names all {len(mask)} examples; clean_retention needs at "
            "least one clean example."
        )
    return float(mask[~poisoned].mean())


class AttackSuccessScorer:
    """Scorer made by :func:`make_attack_success_scorer`, see there."""

    def __init__(
        self, X_targets: Any, adversarial_label: Any, accuracy_weight: float = 0.0
    ) -> None:
        self.X_targets = X_targets
        self.adversarial_label = adversarial_label
        self.accuracy_weight = accuracy_weight

    def __call__(self, estimator: Any, X: Any, y: Any = None) -> float:
        """Score a fitted classifier; `X` and `y` are held out and count by weight."""
        predicted = estimator.predict(self.X_targets)
        rate = attack_success_rate(predicted, self.adversarial_label)
        self._refuse_unknown(estimator)
        if self.accuracy_weight == 0:
            return 0.0 - rate
        accuracy = equal_labels(estimator.predict(X), y, "the prediction", "y").mean()
        return self.accuracy_weight * float(accuracy) - rate

    def _refuse_unknown(self, estimator: Any) -> None:
        """Refuse an adversarial label that would never be predicted."""
        known = getattr(estimator, "classes_", None)
        if known is None:
            return
        known, wanted = np.asarray(known), np.atleast_1d(self.adversarial_label)
        never = [label for label in wanted.tolist() if label not in known.tolist()]
        if never:
            raise ValueError(
                f"adversarial_label is {never[0]!r}, and the classifier knows only "
                f"{known.tolist()[:20]}: it would never be predicted. Give one of them."
            )

    def __repr__(self) -> str:
        """Name the settings, not the targets' values."""
        return (
            f"{type(self).__name__}(n_targets={_n_rows(self.X_targets)}, "
            f"adversarial_label={self.adversarial_label!r}, "
            f"accuracy_weight={self.accuracy_weight!r})"
        )


def _n_rows(X: Any) -> int:
    return int(X.shape[0]) if hasattr(X, "shape") else len(X)


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
    AttackSuccessScorer(n_targets=1, adversarial_label=2, accuracy_weight=0.0)
    >>> model = LogisticRegression(max_iter=1000)
    >>> cross_val_score(model, X, y, scoring=scorer, cv=3)
    array([0., 0., 0.])
    """
    n_targets = _n_rows(X_targets)
    if n_targets == 0:
        raise ValueError("X_targets is empty; give at least one target.")
    if np.shape(adversarial_label) not in ((), (n_targets,)):
        raise ValueError(
            f"adversarial_label has shape {np.shape(adversarial_label)}, there are "
            f"{n_targets} targets; give one label, or one a target."
        )
    return AttackSuccessScorer(X_targets, adversarial_label, accuracy_weight)
