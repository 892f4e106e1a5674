"""Deep k-NN (Peri et al. 2020)."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn import get_config
from sklearn.metrics import pairwise_distances_chunked

from ._base import Rival


def neighbour_votes(
    features: np.ndarray, codes: np.ndarray, k: np.ndarray
) -> np.ndarray:
    """Count the labels of each row's nearest other rows.

    All rows as near as the k-th vote, so ties in distance have no order.

    Parameters
    ----------
    features : ndarray of shape (n, d)
        Features.
    codes : ndarray of shape (n,), int
        Class of each row, 0, 1, ...
    k : ndarray of shape (n,), int
        Neighbours of each row, in [1, n - 1].

    Returns
    -------
    ndarray of shape (n, C)
    """
    features = features - features.mean(axis=0)  # distances lose digits far from 0
    one_hot = np.eye(codes.max() + 1)[codes]

    def count(distances: np.ndarray, start: int) -> np.ndarray:
        n_rows = len(distances)
        rows = np.arange(n_rows)
        distances[rows, start + rows] = np.inf
        votes = np.empty((n_rows, one_hot.shape[1]))
        of_rows = k[start : start + n_rows]
        for size in np.unique(of_rows):
            some = distances[of_rows == size]
            kth = np.partition(some, size - 1, axis=1)[:, size - 1 : size]
            votes[of_rows == size] = (some <= kth) @ one_hot
        return votes

    # `count` holds two further arrays of a chunk's size.
    memory = max(get_config()["working_memory"] / 3, 1)
    chunks = pairwise_distances_chunked(
        features, reduce_func=count, working_memory=memory
    )
    return np.concatenate(list(chunks))


class DeepKNN(Rival):
    """Drop the examples whose nearest neighbours mostly bear another label.

    An example is dropped when, among the k nearest others, one other label is
    more frequent than its own. It finds poisons that lie among another class's
    examples; n * n distances are computed, in pieces that fit scikit-learn's
    ``working_memory``.

    Parameters
    ----------
    extractor : extractor, classifier, torch.nn.Module, callable or None
        Where features come from: ``LastLayerInputs(classifier)``,
        ``PrecomputedGradients()`` where X already is the features, a function
        ``(X, y) -> (n, d)``, or a classifier or torch module (wrapped in
        LastLayerInputs). None takes X itself, flattened.
    k : int or float, default=1.0
        Neighbours that vote. An integer is their number, a float a multiple of
        the size of the example's class, at most all others. Above 1.0 a class
        can be outvoted whole by the class next to it, however far apart the two
        are.
    min_class_fraction : float, default=0.5
        Share of each class that is always kept.

    Attributes
    ----------
    keep_ : ndarray of shape (n,), bool
        Which training rows are kept.
    isolated_indices_ : ndarray of int
        Row numbers of those that are not; named as in EPICFilter.
    isolation_score_ : ndarray of shape (n,)
        Votes for the most frequent other label less those for its own, as a
        share of all votes, in [-1, 1]; above 0 is flagged. Named as in
        EPICFilter.
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
    epic_sklearn.EPICFilter : Judges an example inside its class.

    References
    ----------
    Peri, Gupta, Huang, Fowl, Zhu, Feizi, Goldstein, Dickerson: Deep k-NN Defense
    against Clean-label Data Poisoning Attacks, ECCV Workshops 2020.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from epic_sklearn.baselines import DeepKNN
    >>> X, y = load_iris(return_X_y=True)
    >>> X[0] = X[100]  # a setosa that looks like a virginica
    >>> DeepKNN(k=10).fit(X, y).isolated_indices_
    array([  0,  77,  83, 106])
    """

    uses = "features"

    def __init__(
        self,
        extractor: Any = None,
        *,
        k: int | float = 1.0,
        min_class_fraction: float = 0.5,
    ) -> None:
        self.extractor = extractor
        self.k = k
        self.min_class_fraction = min_class_fraction

    def _check_parameters(self) -> None:
        k: Any = self.k
        is_number = isinstance(k, Real) and not isinstance(k, bool)
        least = 1 if isinstance(k, Integral) else 0
        if not is_number or not least <= k < float("inf") or k == 0:
            raise ValueError(
                f"k is {k!r}; it must be an integer >= 1, the number of neighbours "
                "that vote, or a float > 0, that number in sizes of the example's "
                "class."
            )

    def _check_X_y(self, X: Any, y: ArrayLike) -> tuple[Any, np.ndarray]:
        """Validate, before a model is fitted."""
        X, labels = super()._check_X_y(X, y)
        self._check_k(len(labels))
        return X, labels

    def _check_k(self, n: int) -> None:
        if isinstance(self.k, Integral) and self.k >= n:
            raise ValueError(
                f"k is {self.k} and there are {n} examples, each with {n - 1} others; "
                f"give an integer in [1, {n - 1}], or a float, a multiple of the size "
                "of the example's class."
            )

    def _assess(
        self, values: np.ndarray, codes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        n = len(codes)
        self._check_k(n)
        wanted = self.k if isinstance(self.k, Integral) else self.k * np.bincount(codes)
        k = np.broadcast_to(np.round(wanted), codes.max() + 1).clip(1, n - 1)[codes]
        votes = neighbour_votes(values, codes, k.astype(np.int64))
        own = votes[np.arange(n), codes]
        others = votes.copy()
        others[np.arange(n), codes] = 0
        score = (others.max(axis=1) - own) / votes.sum(axis=1)
        return score, score > 0
