"""Gradients in the plane of their first two principal components."""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import KernelPCA

from .gradients import Gradients
from .gradients.features import (
    factors_of,
    inner_products,
    of_factors,
    unit_gradients,
)

# Components are fitted on at most so many rows; so many are projected at a time.
N_FITTED = 1000


class GradientPlane:
    """The plane in which gradients vary most: their first two components.

    Works on inner products, so that outer products are never built and the
    width of the gradients does not matter. Of more than 1,000 gradients it is fitted to
    a random part, with the metric "cosine" to their directions.
    `explained_variance_ratio` is the share along each axis; (1, 0) if nothing varies.
    """

    def __init__(self, gradients: Gradients, metric: str = "euclidean") -> None:
        self.metric = metric
        # Gradients of a converged model are 1e-8 and less, and squares follow.
        self._scales = [float(np.abs(f).max()) or 1.0 for f in factors_of(gradients)]
        fitted = np.random.default_rng(0).permutation(len(gradients))[:N_FITTED]
        self._base = self._scaled(gradients[fitted])
        kernel = inner_products(self._base, self._base)
        total = float(np.trace(kernel) - kernel.sum() / len(kernel))
        self.explained_variance_ratio = np.array([1.0, 0.0])
        self._pca: KernelPCA | None = None
        if total <= 1e-12 * np.trace(kernel):
            return
        self._pca = KernelPCA(2, kernel="precomputed", random_state=0).fit(kernel)
        shares = np.clip(self._pca.eigenvalues_ / total, 0.0, 1.0)
        self.explained_variance_ratio[: len(shares)] = shares

    def _scaled(self, gradients: Gradients) -> Gradients:
        if self.metric == "cosine":
            return unit_gradients(gradients)
        pairs = zip(factors_of(gradients), self._scales, strict=True)
        return of_factors([f.astype(np.float64) / scale for f, scale in pairs])

    def project(self, gradients: Gradients) -> np.ndarray:
        """Coordinates (k, 2) in the gradients' unit; with "cosine" of unit vectors."""
        points = np.zeros((len(gradients), 2))
        if self._pca is None:
            return points
        for start in range(0, len(points), N_FITTED):
            rows = np.arange(start, min(start + N_FITTED, len(points)))
            products = inner_products(self._scaled(gradients[rows]), self._base)
            block = self._pca.transform(products)
            points[rows, : block.shape[1]] = block
        unit = 1.0 if self.metric == "cosine" else float(np.prod(self._scales))
        return points * unit
