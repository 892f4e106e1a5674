"""How isolated an example is by its neighbours in the last layer's gradient.

The rule ``"neighbors"``, beside the paper's singletons of medoids: it finds poisons
that collide on one point, and costs fewer clean examples.
"""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from sklearn.neighbors import NearestNeighbors

from .gradients.features import Gradients, OuterProductGradients

RULES = ("medoids", "neighbors")
# Colliding groups of up to as many examples are seen as groups.
N_NEIGHBORS = 10
# Most that either half of the score counts: alone it just passes a cutoff of 2.
LARGEST_Z = 3.0
# Directions closer than this are copies; float32 features can't tell them apart.
SAME_DIRECTION = 1e-6


def robust_z(values: np.ndarray) -> np.ndarray:
    """Deviations from the median, in robust standard deviations, within +-3.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Logarithms: differences below 1e-6 are rounding and count as none.

    Returns
    -------
    ndarray of shape (n,)

    Examples
    --------
    >>> import numpy as np
    >>> from epic_sklearn._rules import robust_z
    >>> robust_z(np.array([1.0, 2.0, 3.0, 4.0, 99.0])).round(2)
    array([-1.35, -0.67,  0.  ,  0.67,  3.  ])
    """
    deviations = values - np.median(values)
    # 1.4826 makes the median deviation of a normal sample its standard deviation.
    spread = max(1.4826 * float(np.median(np.abs(deviations))), 1e-6)
    return np.clip(deviations / spread, -LARGEST_Z, LARGEST_Z)


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


def check_rule(rule: Any, cutoff: Any) -> None:
    """Refuse an unknown rule, or a cutoff that is no positive number.

    Raises
    ------
    ValueError
        If either is out of range.
    """
    if rule not in RULES:
        raise ValueError(f"rule is {rule!r}; choose one of {RULES}.")
    is_number = isinstance(cutoff, Real) and not isinstance(cutoff, bool)
    if not is_number or not 0 < cutoff < float("inf"):
        raise ValueError(
            f"cutoff is {cutoff!r}; it is the score above which rule='neighbors' "
            "drops, in robust standard deviations, and must be a positive number."
        )


def check_rule_fits(gradients: Gradients) -> OuterProductGradients:
    """Return gradients that show what went into the last layer, refuse others.

    Raises
    ------
    ValueError
        If they are not :class:`~epic_sklearn.OuterProductGradients`.
    """
    if not isinstance(gradients, OuterProductGradients):
        raise ValueError(
            "rule='neighbors' compares the last layer's inputs and errors, which an "
            f"array of gradients, here of shape {gradients.shape}, does not hold. "
            "Set gradients='last_layer' when training; give EPICFilter and its kin "
            "LastLayerGradients(classifier), and DropSchedule or EPICSubsetSampler "
            "OuterProductGradients."
        )
    return gradients


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
    >>> from epic_sklearn._rules import neighbor_isolation
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
        geometry = robust_z(_log_isolation(gradients.inputs[rows]))
        error = robust_z(_log_lengths(gradients.errors[rows]))
        score[rows] = (geometry + error) / np.sqrt(2)
    return score
