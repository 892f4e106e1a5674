"""Our rule: distances to neighbours in the last layer's gradient."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import numpy as np
from scipy.stats import norm
from sklearn.utils._param_validation import Interval

from ..gradients import OuterProductGradients
from ..medoids import neighbor_distances
from .base import Judgement, Memory, Rule

# Colliding groups of up to as many examples are seen as groups.
N_NEIGHBORS = 10
# Most that either half of the score counts: alone it just passes a cutoff of 2.
LARGEST_Z = 3.0
# Directions closer than this are copies; float32 features can't tell them apart.
SAME_DIRECTION = 1e-6


def _robust_z(values: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Deviations (n,) from the class's median in robust standard deviations, +-3."""
    away = values - _medians(values, codes)[codes]
    spread = _medians(np.abs(away), codes) / norm.ppf(0.75)
    # Differences of logarithms below 1e-6 are rounding.
    return np.clip(away / spread.clip(1e-6)[codes], -LARGEST_Z, LARGEST_Z)


def _medians(values: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Median (C,) of the values of each class, of which none is empty."""
    order, sizes = np.lexsort((values, codes)), np.bincount(codes)
    begin = np.cumsum(sizes) - sizes
    middle = [order[begin + (sizes - 1) // 2], order[begin + sizes // 2]]
    return values[middle].mean(axis=0)


def _log_lengths(errors: np.ndarray) -> np.ndarray:
    """Logarithm of each row's length, also where its square would underflow."""
    rows = errors.astype(np.float64)
    largest = np.abs(rows).max(axis=1).clip(1e-300)
    return np.log(largest) + np.log(
        np.linalg.norm(rows / largest[:, None], axis=1).clip(1e-300)
    )


def neighbor_isolation(
    gradients: OuterProductGradients, codes: np.ndarray
) -> np.ndarray:
    """Score how isolated each example is among the neighbours of its class.

    The last layer's gradient is an outer product, error times input. With d_k the
    distance from an example's input to the k-th nearest of its class, both scaled
    to length 1, and e the length of its error, the score is
    ``(z(log(d_10 * d_10 / d_1)) + z(log(e))) / sqrt(2)``, where z are robust
    deviations in the class: from the median, in units of 1.4826 median absolute
    deviations, cut at 3.

    d_10 is large for an example far from its class, d_10 / d_1 for a member of a
    group of up to 10 that lie closer to each other than to the rest: poisons that
    collide. The error says whether training heeds the example. Nothing depends on
    the scale of the gradients.

    Parameters
    ----------
    gradients : OuterProductGradients
        The last layer's gradients of n examples.
    codes : ndarray of shape (n,), int
        Class of each example, 0, 1, ...

    Returns
    -------
    ndarray of shape (n,), float64
        In robust standard deviations, within +-4.25. 0 in classes of at most 10
        examples, which are too few to tell.

    Notes
    -----
    Distances are made in blocks: memory grows with n, time with the square of the
    classes' sizes.

    Examples
    --------
    >>> import numpy as np
    >>> from epic_sklearn import OuterProductGradients
    >>> from epic_sklearn.rules import neighbor_isolation
    >>> rng = np.random.default_rng(0)
    >>> errors, inputs = rng.normal(size=(50, 3)), rng.normal(size=(50, 20))
    >>> inputs[1:4] = inputs[0] + 0.01 * inputs[1:4]  # four collide
    >>> errors[:4] = 2.0
    >>> score = neighbor_isolation(
    ...     OuterProductGradients(errors, inputs), np.zeros(50, int))
    >>> score[:4] > 2, float(np.mean(score[4:] > 2).round(2))
    (array([ True,  True,  True,  True]), 0.02)
    """
    score = np.zeros(len(codes))
    rows = np.flatnonzero(np.bincount(codes)[codes] > N_NEIGHBORS)
    if len(rows) == 0:
        return score
    _, codes = np.unique(codes[rows], return_inverse=True)
    halves = neighbor_distances(
        gradients.inputs[rows], codes, (1, N_NEIGHBORS), metric="cosine"
    )
    # Half the square of the distance between rows scaled to length 1.
    first, last = np.log(np.sqrt(2 * halves).clip(SAME_DIRECTION)).T
    geometry = _robust_z(2 * last - first, codes)
    error = _robust_z(_log_lengths(gradients.errors[rows]), codes)
    score[rows] = (geometry + error) / np.sqrt(2)
    return score


class FarNeighbors(Rule):
    """Drop what is far from its class, or in a tight group, and fitted badly.

    Ours, not the paper's: :func:`neighbor_isolation` is compared with `cutoff`. It
    costs fewer clean examples than :class:`IsolatedMedoids` and finds groups of up
    to 10 poisons that collide on one point. Clean exact copies look like such a
    group: drop duplicates first.

    Parameters
    ----------
    cutoff : float, default=2.0
        Score above which an example is dropped, in robust standard deviations of
        its class; lower drops more, 4.25 or more nothing.

    See Also
    --------
    IsolatedMedoids : The paper's rule.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from epic_sklearn import EPICFilter
    >>> from epic_sklearn.rules import FarNeighbors
    >>> X, y = load_iris(return_X_y=True)
    >>> X[0] = X[100]  # a setosa that looks like a virginica
    >>> bool(EPICFilter(rule=FarNeighbors()).fit(X, y).keep_[0])
    False
    """

    needs: ClassVar[tuple[str, ...]] = ("errors", "inputs")
    flags: ClassVar[str] = (
        "examples far from their class, or in a tight group of up to 10, that are "
        "fitted badly"
    )
    score_is: ClassVar[str] = "robust standard deviations of its class, at most 4.25"
    to_drop_less: ClassVar[str] = "Raise cutoff"

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "cutoff": [Interval(Real, 0, None, closed="neither")]
    }

    def __init__(self, cutoff: float = 2.0) -> None:
        self.cutoff = cutoff

    def judge(self, gradients: Any, codes: np.ndarray, memory: Memory) -> Judgement:
        """Flag what scores above `cutoff`; see :meth:`Rule.judge`."""
        score = neighbor_isolation(gradients, codes)
        return Judgement(score, score > self.cutoff)
