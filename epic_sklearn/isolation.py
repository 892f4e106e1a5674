"""From medoids and cluster sizes to flags, scores and keep masks."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np

from .gradients.features import Gradients, mean_gradient
from .medoids import Medoids


def check_threshold(threshold: Any) -> int:
    """Return `threshold` if it is an integer of at least 1.

    Parameters
    ----------
    threshold : int
        Largest size of a cluster that counts as isolated.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If it is anything else.

    Examples
    --------
    >>> from epic_sklearn.isolation import check_threshold
    >>> check_threshold(1)
    1
    """
    is_integer = isinstance(threshold, Integral) and not isinstance(threshold, bool)
    if not is_integer or threshold < 1:
        raise ValueError(
            f"threshold is {threshold!r}; it is the size, medoid included, up to "
            "which a cluster counts as isolated and must be an integer >= 1."
        )
    return int(threshold)


def flag_isolated(medoids: Medoids, threshold: int = 1) -> np.ndarray:
    """Flag the examples whose cluster has at most `threshold` members.

    With the paper's threshold of 1 these are the medoids to which no other
    example was assigned (paper, section 3.2).

    Parameters
    ----------
    medoids : Medoids
        From :func:`epic_sklearn.find_medoids`.
    threshold : int, default=1
        Largest size, medoid included, of a cluster that counts as isolated.

    Returns
    -------
    ndarray of shape (n,), bool

    Raises
    ------
    ValueError
        If `threshold` is not an integer of at least 1.

    Examples
    --------
    >>> import numpy as np
    >>> from epic_sklearn import find_medoids, flag_isolated
    >>> gradients = np.array([[0.0], [0.1], [0.2], [5.0]])
    >>> flag_isolated(find_medoids(gradients, [0, 0, 0, 0], subset_size=0.5))
    array([False, False, False,  True])
    """
    return medoids.cluster_size <= check_threshold(threshold)


def isolation_score(medoids: Medoids) -> np.ndarray:
    """Score how isolated each example is: 1 / (s + 1 - t), in (0, 1).

    s is the size of the example's cluster and t = g / (1 + g), where g is its
    distance to the nearest other example of its class, relative to the class's
    median of that distance. So 1 / (s + 1) <= score < 1 / s: a smaller cluster
    always scores higher, whatever the distances, and inside one size the
    example with the more distant neighbour does. Every example that
    :func:`flag_isolated` flags ranks above every one that it doesn't, at any
    threshold.

    Parameters
    ----------
    medoids : Medoids
        From :func:`epic_sklearn.find_medoids`.

    Returns
    -------
    ndarray of shape (n,), float64
        Higher is more isolated.

    Examples
    --------
    >>> import numpy as np
    >>> from epic_sklearn import find_medoids, isolation_score
    >>> gradients = np.array([[0.0], [0.1], [0.2], [5.0]])
    >>> isolation_score(find_medoids(gradients, [0] * 4, subset_size=0.5)).round(2)
    array([0.29, 0.29, 0.29, 0.98])
    """
    beyond = medoids.gap / (1.0 + medoids.gap)
    score = 1.0 / (medoids.cluster_size + 1.0 - beyond)
    # Converged gradients give gaps of 1e17, where g / (1 + g) rounds to 1.
    return np.minimum(score, np.nextafter(1.0 / medoids.cluster_size, 0.0))


def drop_within_floor(
    keep: np.ndarray,
    isolated: np.ndarray,
    score: np.ndarray,
    codes: np.ndarray,
    min_class_fraction: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Drop isolated examples, but never below a share of their class.

    Where a class would fall below ``ceil(min_class_fraction * n_c)`` kept
    examples, or to none, the least isolated of those just dropped are given
    back.

    Parameters
    ----------
    keep : ndarray of shape (n,), bool
        What is kept so far.
    isolated : ndarray of shape (n,), bool
        What to drop now.
    score : ndarray of shape (n,)
        Isolation score; the lowest are given back first.
    codes : ndarray of shape (n,), int
        Class of each example, 0, 1, ...
    min_class_fraction : float
        In [0, 1].

    Returns
    -------
    keep : ndarray of shape (n,), bool
        A subset of the `keep` given.
    floored : ndarray of int
        Codes of the classes in which examples were given back.

    Examples
    --------
    >>> import numpy as np
    >>> from epic_sklearn.isolation import drop_within_floor
    >>> keep, floored = drop_within_floor(
    ...     np.ones(4, bool), np.array([True, True, True, False]),
    ...     np.array([0.9, 0.8, 0.7, 0.1]), np.zeros(4, int), 0.5)
    >>> keep
    array([False, False,  True,  True])
    """
    keep, before = keep & ~isolated, keep
    floored = []
    sizes = np.bincount(codes)
    floors = np.ceil(min_class_fraction * sizes - 1e-9).clip(1).astype(np.int64)
    missing = floors - np.bincount(codes[keep], minlength=len(sizes))
    for c in np.flatnonzero(missing > 0):
        dropped = np.flatnonzero(before & ~keep & (codes == c))
        least_isolated_first = dropped[np.argsort(score[dropped], kind="stable")]
        given_back = least_isolated_first[: missing[c]]
        if len(given_back):
            keep[given_back] = True
            floored.append(c)
    return keep, np.array(floored, dtype=np.int64)


def gradient_norm_change(gradients: Gradients, keep: np.ndarray) -> float:
    """Rho of Theorem 3.1: how much dropping changes the mean gradient's norm.

    ``abs(norm(mean(gradients[keep])) - norm(mean(gradients)))``. Training on
    the kept examples has dynamics close to training on all of them while this
    is small against the norm itself.

    Parameters
    ----------
    gradients : ndarray of shape (n, d) or OuterProductGradients
        Gradient features of all examples.
    keep : ndarray of shape (n,), bool
        What is kept, at least one example.

    Returns
    -------
    float
        In the gradients' own unit, >= 0.

    Examples
    --------
    >>> import numpy as np
    >>> from epic_sklearn.isolation import gradient_norm_change
    >>> gradient_norm_change(np.array([[1.0], [3.0]]), np.array([True, False]))
    1.0
    """
    if keep.all():
        return 0.0
    norm_of_all = np.linalg.norm(mean_gradient(gradients))
    norm_of_kept = np.linalg.norm(mean_gradient(gradients[keep]))
    return float(abs(norm_of_kept - norm_of_all))
