"""Simple filters to compare with: by loss, by confidence, at random."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._utils import RandomState, resolve_seed
from ._base import Rival, check_number, highest_in_each_class, label_columns


def check_drop_fraction(value: Any) -> None:
    """Refuse a share that is none."""
    check_number("drop_fraction", value, 0, 1, "the share of each class to drop")


class FilterByProbabilities(Rival):
    """Base of the filters that drop a share of each class by its probabilities."""

    uses = "probabilities"

    def __init__(
        self,
        extractor: Any = None,
        *,
        drop_fraction: float = 0.1,
        min_class_fraction: float = 0.5,
    ) -> None:
        self.extractor = extractor
        self.drop_fraction = drop_fraction
        self.min_class_fraction = min_class_fraction

    def _check_parameters(self) -> None:
        check_drop_fraction(self.drop_fraction)

    def _check_values(self, values: Any, y: np.ndarray) -> np.ndarray:
        """Probabilities with one column a class of `y`'s, in the order of codes."""
        values = super()._check_values(values, y)
        if (values < 0).any() or (np.abs(values.sum(axis=1) - 1) > 1e-3).any():
            raise ValueError(
                "Probabilities must be non-negative with rows that sum to 1; of "
                "logits, take the softmax."
            )
        return values

    def _assess(
        self, values: np.ndarray, codes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        score = self._score(values, codes)
        return score, highest_in_each_class(score, codes, self.drop_fraction)

    def _score(self, probabilities: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Higher is more suspicious."""
        raise NotImplementedError


class HighLoss(FilterByProbabilities):
    """Drop the examples of each class that the model finds hardest.

    The usual filter against wrong labels: the highest cross-entropy goes first.
    EPIC's paper finds that effective poisons escape it, being fitted like clean
    examples. It drops its share of every class, poisoned or not.

    Parameters
    ----------
    extractor : extractor, classifier, torch.nn.Module, callable or None
        Where probabilities come from: ``Probabilities(classifier)``,
        ``PrecomputedGradients()`` where X already is the probabilities, a
        function ``(X, y) -> (n, C)``, or a classifier with ``predict_proba`` or
        a torch module (wrapped in Probabilities). None takes logistic
        regression.
    drop_fraction : float, default=0.1
        Share of each class to drop, in [0, 1]; rounded down.
    min_class_fraction : float, default=0.5
        Share of each class that is always kept.

    Attributes
    ----------
    keep_ : ndarray of shape (n,), bool
        Which training rows are kept.
    isolated_indices_ : ndarray of int
        Row numbers of those that are not; named as in EPICFilter.
    isolation_score_ : ndarray of shape (n,)
        Cross-entropy loss, in nats; named as in EPICFilter.
    extractor_ : extractor
        The fitted extractor.
    classes_ : ndarray
        The labels.
    n_features_in_ : int
        Number of features seen during ``fit``.
    feature_names_in_ : ndarray
        Their names, where X has string column names.

    See Also
    --------
    LowConfidence : Doesn't look at the labels.

    References
    ----------
    Yang, Liu, Mirzasoleiman: Not All Poisons are Created Equal: Robust Training
    against Data Poisoning, ICML 2022.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from epic_sklearn.baselines import HighLoss
    >>> X, y = load_iris(return_X_y=True)
    >>> X[0] = X[100]  # a setosa that looks like a virginica
    >>> HighLoss(drop_fraction=0.02).fit(X, y).isolated_indices_
    array([  0,  83, 106])
    """

    def _check_values(self, values: Any, y: np.ndarray) -> np.ndarray:
        """Only the columns of the labels that occur, in their order."""
        values = super()._check_values(values, y)
        _, first = np.unique(y, return_index=True)
        return values[:, label_columns(y, values.shape[1])[first]]

    def _score(self, probabilities: np.ndarray, codes: np.ndarray) -> np.ndarray:
        of_label = probabilities[np.arange(len(codes)), codes]
        return -np.log(np.maximum(of_label, np.finfo(np.float64).tiny))


class LowConfidence(FilterByProbabilities):
    """Drop the examples of each class of which the model is least sure.

    The lowest highest probability goes first, whichever label has it. It drops
    its share of every class, poisoned or not.

    Parameters
    ----------
    extractor : extractor, classifier, torch.nn.Module, callable or None
        Where probabilities come from: ``Probabilities(classifier)``,
        ``PrecomputedGradients()`` where X already is the probabilities, a
        function ``(X, y) -> (n, C)``, or a classifier with ``predict_proba`` or
        a torch module (wrapped in Probabilities). None takes logistic
        regression.
    drop_fraction : float, default=0.1
        Share of each class to drop, in [0, 1]; rounded down.
    min_class_fraction : float, default=0.5
        Share of each class that is always kept.

    Attributes
    ----------
    keep_ : ndarray of shape (n,), bool
        Which training rows are kept.
    isolated_indices_ : ndarray of int
        Row numbers of those that are not; named as in EPICFilter.
    isolation_score_ : ndarray of shape (n,)
        1 - the highest probability, in [0, 1); named as in EPICFilter.
    extractor_ : extractor
        The fitted extractor.
    classes_ : ndarray
        The labels.
    n_features_in_ : int
        Number of features seen during ``fit``.
    feature_names_in_ : ndarray
        Their names, where X has string column names.

    See Also
    --------
    HighLoss : Looks at the probability of the label.

    References
    ----------
    Yang, Liu, Mirzasoleiman: Not All Poisons are Created Equal: Robust Training
    against Data Poisoning, ICML 2022.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from epic_sklearn.baselines import LowConfidence
    >>> X, y = load_iris(return_X_y=True)
    >>> LowConfidence(drop_fraction=0.02).fit(X, y).isolated_indices_
    array([ 20,  77, 106])
    """

    def _score(self, probabilities: np.ndarray, codes: np.ndarray) -> np.ndarray:
        others = probabilities.copy()  # 1 - p would round to 0 for sure examples
        others[np.arange(len(codes)), probabilities.argmax(axis=1)] = 0.0
        return others.sum(axis=1)


class RandomDrop(Rival):
    """Drop examples of each class at random: the control.

    What a defence gains over it comes from which examples it drops, not from how
    many.

    Parameters
    ----------
    drop_fraction : float, default=0.1
        Share of each class to drop, in [0, 1]; rounded down.
    min_class_fraction : float, default=0.5
        Share of each class that is always kept.
    random_state : int, RandomState instance or None, default=None
        Decides which. With an integer, `flag` draws the same rows at each call.

    Attributes
    ----------
    keep_ : ndarray of shape (n,), bool
        Which training rows are kept.
    isolated_indices_ : ndarray of int
        Row numbers of those that are not; named as in EPICFilter.
    isolation_score_ : ndarray of shape (n,)
        A random number in [0, 1); named as in EPICFilter.
    classes_ : ndarray
        The labels.
    n_features_in_ : int
        Number of features seen during ``fit``.
    feature_names_in_ : ndarray
        Their names, where X has string column names.

    See Also
    --------
    HighLoss : Drops as many, by their loss.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from epic_sklearn.baselines import RandomDrop
    >>> X, y = load_iris(return_X_y=True)
    >>> RandomDrop(drop_fraction=0.02, random_state=0).fit(X, y).isolated_indices_
    array([ 26,  77, 122])
    """

    uses = "labels"

    def __init__(
        self,
        *,
        drop_fraction: float = 0.1,
        min_class_fraction: float = 0.5,
        random_state: RandomState = None,
    ) -> None:
        self.drop_fraction = drop_fraction
        self.min_class_fraction = min_class_fraction
        self.random_state = random_state

    def _check_parameters(self) -> None:
        check_drop_fraction(self.drop_fraction)

    def _extractor(self) -> None:
        """Nothing to look at."""

    def _check_values(self, values: Any, y: np.ndarray) -> np.ndarray:
        """No value is looked at; rows are replaced by rows drawn at random."""
        return np.empty((len(y), 0))

    def _assess(
        self, values: np.ndarray, codes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(resolve_seed(self.random_state))
        score = rng.random(len(codes))
        return score, highest_in_each_class(score, codes, self.drop_fraction)

    def _replacements(self, values: Any, labels: np.ndarray) -> np.ndarray:
        """For each row itself, or any kept row of its class."""
        source = np.arange(len(self.keep_))
        in_drawn_order = np.argsort(self.isolation_score_)
        for label in np.unique(labels[self.isolated_indices_]):
            members = in_drawn_order[labels[in_drawn_order] == label]
            flagged, kept = members[~self.keep_[members]], members[self.keep_[members]]
            source[flagged] = np.resize(kept, len(flagged))
        return source
