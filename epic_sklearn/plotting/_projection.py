"""Gradients in the plane of their first two principal components."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse.linalg import LinearOperator, svds
from sklearn.decomposition import PCA

from ..gradients.features import Gradients, OuterProductGradients

# Entries up to which outer products are built: 80 MB.
SMALL = 10_000_000
MOST_PANELS = 30


class GradientPlane:
    """The plane in which gradients vary most: their first two components.

    Parameters
    ----------
    gradients : ndarray of shape (n, d) or OuterProductGradients
        What the plane is fitted to; outer products of any size are never built.

    Attributes
    ----------
    explained_variance_ratio : ndarray of shape (2,)
        Share of the gradients' variance along each axis, 0 where there is none.
    """

    def __init__(self, gradients: Gradients) -> None:
        n, d = gradients.shape
        if isinstance(gradients, OuterProductGradients):
            if n * d > SMALL:
                self._fit_outer_products(gradients)
                return
            gradients = gradients.toarray()
        self._fit_array(gradients)

    def _fit_array(self, gradients: np.ndarray) -> None:
        gradients = gradients.astype(np.float64)
        # PCA divides by the variance, which is zero for equal gradients and
        # rounds to zero for those of a converged model, about 1e-170.
        self.mean = gradients.mean(axis=0)
        centred = gradients - self.mean
        scale = np.abs(centred).max()
        self.axes = np.zeros((2, gradients.shape[1]))
        self.explained_variance_ratio = np.zeros(2)
        if len(gradients) < 2 or scale == 0:
            return
        k = min(2, *gradients.shape)
        pca = PCA(k, random_state=0).fit(centred / scale)
        self.axes[:k] = pca.components_
        self.explained_variance_ratio[:k] = pca.explained_variance_ratio_

    def _fit_outer_products(self, gradients: OuterProductGradients) -> None:
        """As scikit-learn's PCA fits sparse data: centred without being built."""
        errors = gradients.errors.astype(np.float64)
        inputs = gradients.inputs.astype(np.float64)
        n, width = gradients.shape
        self.mean = OuterProductGradients(errors, inputs).mean()
        shape = errors.shape[1], inputs.shape[1]

        def times(v: np.ndarray) -> np.ndarray:
            wide = v.reshape(shape)
            return ((errors @ wide) * inputs).sum(axis=1) - self.mean @ v.ravel()

        def transposed_times(u: np.ndarray) -> np.ndarray:
            flat = u.ravel()
            return ((errors.T * flat) @ inputs).ravel() - flat.sum() * self.mean

        operator = LinearOperator(
            (n, width), matvec=times, rmatvec=transposed_times, dtype=np.float64
        )
        _, singular, axes = svds(operator, k=2, v0=np.ones(min(n, width)))
        # svds gives the smallest first and any sign; PCA the reverse, and signs
        # by the largest entry.
        self.axes, singular = axes[::-1], singular[::-1]
        largest = np.abs(self.axes).argmax(axis=1)
        self.axes = self.axes * np.sign(self.axes[[0, 1], largest])[:, None]
        norms = (errors**2).sum(axis=1) * (inputs**2).sum(axis=1)
        total = norms.sum() - n * self.mean @ self.mean
        self.explained_variance_ratio = singular**2 / total

    def project(self, gradients: Gradients) -> np.ndarray:
        """Coordinates in the plane.

        Parameters
        ----------
        gradients : ndarray of shape (k, d) or OuterProductGradients
            Gradients like those that the plane was fitted to.

        Returns
        -------
        ndarray of shape (k, 2)
        """
        origin = self.axes @ self.mean
        if isinstance(gradients, OuterProductGradients):
            wide = self.axes.reshape(2, gradients.errors.shape[1], -1)
            along = [
                ((gradients.errors @ axis) * gradients.inputs).sum(axis=1)
                for axis in wide
            ]
            return np.column_stack(along) - origin
        return gradients @ self.axes.T - origin


def rows_of_classes(
    y: np.ndarray, classes: ArrayLike | None, per_class: bool
) -> np.ndarray:
    """Row numbers of the classes to draw."""
    known = np.unique(y)
    wanted = known if classes is None else np.atleast_1d(np.asarray(classes))
    unknown = wanted[~np.isin(wanted, known)]
    if len(unknown) or len(wanted) == 0:
        raise ValueError(
            f"classes is {wanted.tolist()}; give labels that are in y: "
            f"{known.tolist()[:20]}."
        )
    if per_class and len(wanted) > MOST_PANELS:
        raise ValueError(
            f"There are {len(wanted)} classes, too many for one panel each; name at "
            f"most {MOST_PANELS} of them in classes, or set per_class=False."
        )
    return np.flatnonzero(np.isin(y, wanted))


def project(
    gradients: Gradients,
    y: np.ndarray,
    target: Gradients | None,
    target_labels: np.ndarray | None,
    per_class: bool,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Points (m, 2), targets (k, 2) and explained variance of each plane."""
    points = np.empty((len(y), 2))
    targets = None if target is None else np.empty((len(target), 2))
    ratios = []
    for label in np.unique(y) if per_class else [None]:
        rows = np.arange(len(y)) if label is None else np.flatnonzero(y == label)
        plane = GradientPlane(gradients[rows])
        points[rows] = plane.project(gradients[rows])
        ratios.append(plane.explained_variance_ratio)
        if target is not None and targets is not None:
            here = np.arange(len(target))
            if label is not None:
                here = np.flatnonzero(target_labels == label)
            targets[here] = plane.project(target[here])
    return points, targets, np.array(ratios)
