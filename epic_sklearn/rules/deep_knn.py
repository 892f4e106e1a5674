"""Deep k-NN (Peri et al. 2020)."""

from __future__ import annotations

from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from sklearn import get_config
from sklearn.metrics import pairwise_distances_chunked
from sklearn.utils._param_validation import Interval, RealNotInt

from .base import Judgement, Memory, Rule


def _neighbour_votes(
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
    # What products of rows may miss a squared distance by: what is as near is as near.
    rounding = 1e-12 * np.square(features).sum(axis=1).max()

    def count(distances: np.ndarray, start: int) -> np.ndarray:
        n_rows = len(distances)
        rows = np.arange(n_rows)
        distances[rows, start + rows] = np.inf
        votes = np.empty((n_rows, one_hot.shape[1]))
        of_rows = k[start : start + n_rows]
        for size in np.unique(of_rows):
            some = distances[of_rows == size]
            kth = np.partition(some, size - 1, axis=1)[:, size - 1 : size]
            votes[of_rows == size] = (some <= np.sqrt(kth**2 + rounding)) @ one_hot
        return votes

    # `count` holds two further arrays of a chunk's size.
    memory = max(get_config()["working_memory"] / 3, 1)
    chunks = pairwise_distances_chunked(
        features, reduce_func=count, working_memory=memory
    )
    return np.concatenate(list(chunks))


class DeepKNN(Rule):
    """Drop the examples whose nearest neighbours mostly bear another label.

    An example is dropped when, among the k nearest others by the last layer's
    input, one other label is more frequent than its own. It finds poisons that lie
    among another class's examples; n * n distances are computed, in pieces that fit
    scikit-learn's ``working_memory``.

    Parameters
    ----------
    k : int or float, default=1.0
        Neighbours that vote. An integer is their number, a float a multiple of
        the size of the example's class, at most all others. Above 1.0 a class
        can be outvoted whole by the class next to it, however far apart the two
        are.

    See Also
    --------
    IsolatedMedoids : Judges an example inside its class.

    References
    ----------
    Peri, Gupta, Huang, Fowl, Zhu, Feizi, Goldstein, Dickerson: Deep k-NN Defense
    against Clean-label Data Poisoning Attacks, ECCV Workshops 2020.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from epic_sklearn import EPICFilter
    >>> from epic_sklearn.rules import DeepKNN
    >>> X, y = load_iris(return_X_y=True)
    >>> X[0] = X[100]  # a setosa that looks like a virginica
    >>> EPICFilter(rule=DeepKNN(k=10)).fit(X, y).isolated_indices_
    array([  0,  77,  83, 106])
    """

    needs: ClassVar[tuple[str, ...]] = ("inputs",)
    flags: ClassVar[str] = "examples whose `k` neighbours mostly bear another label"
    score_is: ClassVar[str] = (
        "votes of the most frequent other label less those of its own, as a share of "
        "all votes, in [-1, 1]"
    )
    to_drop_less: ClassVar[str] = "Change k"

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "k": [
            Interval(Integral, 1, None, closed="left"),
            Interval(RealNotInt, 0, None, closed="neither"),
        ]
    }

    def __init__(self, k: int | float = 1.0) -> None:
        self.k = k

    def judge(self, gradients: Any, codes: np.ndarray, memory: Memory) -> Judgement:
        """Flag what its neighbours outvote; see :meth:`Rule.judge`."""
        n = len(codes)
        if isinstance(self.k, Integral) and self.k >= n:
            raise ValueError(
                f"k is {self.k} and there are {n} examples, each with {n - 1} others; "
                f"give an integer in [1, {n - 1}], or a float, a multiple of the size "
                "of the example's class."
            )
        sizes = np.bincount(codes)
        wanted = self.k if isinstance(self.k, Integral) else self.k * sizes
        if not isinstance(self.k, Integral) and self.k <= 1:  # not more than its class
            wanted = np.minimum(wanted, sizes - 1)
        k = np.broadcast_to(np.round(wanted), codes.max() + 1).clip(1, n - 1)[codes]
        votes = _neighbour_votes(
            gradients.astype(np.float64), codes, k.astype(np.int64)
        )
        own = votes[np.arange(n), codes]
        others = votes.copy()
        others[np.arange(n), codes] = 0
        score = (others.max(axis=1) - own) / votes.sum(axis=1)
        return Judgement(score, score > 0)
