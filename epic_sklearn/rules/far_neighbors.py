"""Our rule: distances to neighbours in the last layer's gradient."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import numpy as np
from scipy.stats import median_abs_deviation
from sklearn.neighbors import NearestNeighbors
from sklearn.utils._param_validation import Interval

from ..gradients import OuterProductGradients
from .base import Judgement, Memory, Rule

# Colliding groups of up to as many examples are seen as groups.
N_NEIGHBORS = 10
# Most that either half of the score counts: alone it just passes a cutoff of 2.
LARGEST_Z = 3.0
# Directions closer than this are copies; float32 features can't tell them apart.
SAME_DIRECTION = 1e-6


def _robust_z(logarithms: np.ndarray) -> np.ndarray:
    """Deviations (n,) from the median, in robust standard deviations, within +-3."""
    spread = median_abs_deviation(logarithms, scale="normal")
    # Differences of logarithms below 1e-6 are rounding.
    z = (logarithms - np.median(logarithms)) / max(float(spread), 1e-6)
    return np.clip(z, -LARGEST_Z, LARGEST_Z)


def _directions(inputs: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1, in float64; a zero row stays zero."""
    rows = inputs.astype(np.float64)
    rows /= np.abs(rows).max(axis=1, keepdims=True, initial=1e-300)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=rows, where=lengths > 0)


def _log_lengths(errors: np.ndarray) -> np.ndarray:
    """Logarithm of each row's length, also where its square would underflow."""
    rows = errors.astype(np.float64)
    largest = np.abs(rows).max(axis=1).clip(1e-300)
    return np.log(largest) + np.log(
        np.linalg.norm(rows / largest[:, None], axis=1).clip(1e-300)
    )


def _log_isolation(inputs: np.ndarray) -> np.ndarray:
    """log(d_10 * d_10 / d_1), d_k the distance to the k-th nearest direction."""
    directions = _directions(inputs)
    neighbors = NearestNeighbors(n_neighbors=N_NEIGHBORS, algorithm="brute")
    distances, _ = neighbors.fit(directions).kneighbors()
    first, last = np.log(distances[:, [0, -1]].clip(SAME_DIRECTION)).T
    return 2 * last - first


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
    Distances are computed in blocks by scikit-learn: memory grows with n, time with
    the square of the classes' sizes.

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
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        if len(rows) <= N_NEIGHBORS:
            continue
        geometry = _robust_z(_log_isolation(gradients.inputs[rows]))
        error = _robust_z(_log_lengths(gradients.errors[rows]))
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
        "fitted badly: with a score above `cutoff`"
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
