"""The nearest kept example in gradient space."""

from __future__ import annotations

import numpy as np

from .gradients.features import Gradients
from .medoids._distances import Distances


def nearest_kept(
    rows: np.ndarray,
    gradients: Gradients,
    codes: np.ndarray,
    keep: np.ndarray,
    metric: str,
) -> np.ndarray:
    """For each of `rows` the nearest other kept row of its class.

    Parameters
    ----------
    rows : ndarray of shape (m,), int
        Row numbers.
    gradients : ndarray of shape (n, d) or OuterProductGradients
        Gradient features.
    codes : ndarray of shape (n,), int
        Class of each row.
    keep : ndarray of shape (n,), bool
        What may be a neighbour.
    metric : {"euclidean", "cosine"}
        Distance between gradients.

    Returns
    -------
    ndarray of shape (m,), int
        Row numbers; the row itself where its class keeps no other.
    """
    nearest = rows.copy()
    for code in np.unique(codes[rows]):
        members = np.flatnonzero(codes == code)
        distances = Distances(gradients[members], metric, max_bytes=0)
        for i in np.flatnonzero(codes[rows] == code):
            own = np.searchsorted(members, rows[i])
            away = np.where(keep[members], distances[own], np.inf)
            away[own] = np.inf
            if np.isfinite(away.min()):
                nearest[i] = members[np.argmin(away)]
    return nearest
