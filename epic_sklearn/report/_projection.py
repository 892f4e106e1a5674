"""Gradients of one class in the plane: their two principal components."""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import KernelPCA

from ..gradients.features import Gradients, OuterProductGradients

# Components are fitted on at most so many rows of a class.
N_FITTED = 1000


def _factors(gradients: Gradients) -> list[np.ndarray]:
    """Arrays whose inner products multiply to those of the gradients, scaled."""
    if isinstance(gradients, OuterProductGradients):
        arrays = [gradients.errors, gradients.inputs]
    else:
        arrays = [gradients]
    scaled = [np.asarray(array, dtype=np.float64) for array in arrays]
    # Gradients of a converged model are 1e-8 and less, and squares follow.
    return [array / (np.abs(array).max() or 1.0) for array in scaled]


def _to_length_one(factors: list[np.ndarray]) -> list[np.ndarray]:
    norms = [np.linalg.norm(factor, axis=1, keepdims=True) for factor in factors]
    return [f / np.where(r == 0, 1.0, r) for f, r in zip(factors, norms, strict=True)]


def _inner_products(a: list[np.ndarray], b: list[np.ndarray]) -> np.ndarray:
    products = [f @ g.T for f, g in zip(a, b, strict=True)]
    return products[0] if len(products) == 1 else products[0] * products[1]


def project(
    gradients: Gradients, shown: np.ndarray, metric: str, seed: int = 0
) -> tuple[np.ndarray, float]:
    """Project gradients on their first two principal components.

    Works on inner products, so that outer products are never built and the
    width of the gradients does not matter.

    Parameters
    ----------
    gradients : ndarray of shape (n, d) or OuterProductGradients
        Of one class.
    shown : ndarray of shape (m,), int
        Which of them to project.
    metric : {"euclidean", "cosine"}
        With "cosine" their directions are projected.
    seed : int
        Draws the rows to fit on, where there are many.

    Returns
    -------
    points : ndarray of shape (m, 2)
        Scaled so that the largest absolute coordinate is 1.
    explained : float
        Share of the variance that the plane shows, in [0, 1].
    """
    factors = _factors(gradients)
    if metric == "cosine":
        factors = _to_length_one(factors)
    n = len(gradients)
    fitted = np.random.default_rng(seed).permutation(n)[:N_FITTED]
    base = [factor[fitted] for factor in factors]
    kernel = _inner_products(base, base)
    total = float(np.trace(kernel) - kernel.sum() / len(kernel))
    points = np.zeros((len(shown), 2))
    if len(kernel) < 3 or total <= 1e-12 * np.trace(kernel):
        return points, 1.0
    pca = KernelPCA(
        2, kernel="precomputed", eigen_solver="randomized", random_state=seed
    ).fit(kernel)
    for start in range(0, len(shown), N_FITTED):
        rows = shown[start : start + N_FITTED]
        block = pca.transform(_inner_products([f[rows] for f in factors], base))
        points[start : start + N_FITTED, : block.shape[1]] = block
    points /= np.abs(points).max() or 1.0
    return points, float(np.clip(pca.eigenvalues_.sum() / total, 0.0, 1.0))
