"""Deep k-NN (Peri et al. 2020)."""

from __future__ import annotations

from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval, RealNotInt

from ..medoids import neighbor_votes
from .base import Judgement, Memory, Rule


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
    array([  0,  77,  83, 106, 138])
    """

    needs = ("inputs",)
    flags = "examples whose `k` neighbours mostly bear another label"
    score_is = (
        "votes of the most frequent other label less those of its own, as a share of "
        "all votes, in [-1, 1]"
    )
    to_drop_less = "Change k"

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
        n, sizes = len(codes), np.bincount(codes)
        if not isinstance(self.k, Integral):
            wanted = np.round(self.k * sizes)
            if self.k <= 1:  # not more than its class
                wanted = np.minimum(wanted, sizes - 1)
            k = wanted.clip(1, n - 1).astype(np.int64)[codes]
        elif self.k < n:
            k = np.full(n, int(self.k))
        else:
            raise ValueError(
                f"k is {self.k} and there are {n} examples, each with {n - 1} others; "
                f"give an integer in [1, {n - 1}], or a float, a multiple of the size "
                "of the example's class."
            )
        points = gradients.astype(np.float64)
        # Squares of very small or large ones would vanish or overflow.
        points = np.ldexp(points, -np.frexp(np.abs(points).max())[1])
        own, other = neighbor_votes(points, codes, k)
        score = (other - own) / k
        return Judgement(score, score > 1e-9)  # which is rounding
