"""The distances inside one class: a float32 matrix, or rows made on demand.

Both give the same float32 numbers, so nothing downstream can tell them apart.
The matrix is kept while it fits scikit-learn's ``working_memory``.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from sklearn import get_config

from .._features import Gradients, OuterProductGradients
from . import _kernels

METRICS = ("euclidean", "cosine")


def _as_columns(features: np.ndarray) -> np.ndarray:
    """Features (n, d) as float64 columns (d, n), scaled to at most 1.

    Scaling by a power of two changes no digit and no rank, and keeps squares
    of very small or very large gradients inside the floating-point range.
    """
    largest = float(np.abs(features).max(initial=0.0))
    exponent = np.frexp(largest)[1] if largest > 0 else 0
    # A copy even where nothing changes: the caller's array stays the caller's.
    columns = np.array(features.T, dtype=np.float64, order="C")
    return np.ldexp(columns, -exponent, out=columns)


def _to_directions(columns: np.ndarray) -> np.ndarray:
    """Scale columns to unit length; a zero column becomes its own direction.

    The extra coordinate puts zero gradients at cosine distance 1 from all
    others and 0 from each other.
    """
    lengths = np.sqrt(np.einsum("kj,kj->j", columns, columns))
    is_zero = lengths == 0.0
    unit = columns / np.where(is_zero, 1.0, lengths)
    return np.vstack([unit, is_zero[None].astype(np.float64)])


class Distances:
    """Square matrix of float32 distances, stored or made row by row.

    Offers what apricot's optimizers ask of a matrix: `shape`, one row by an
    integer, and the square sub-matrix by ``D[rows]`` (apricot's
    ``D[rows][:, rows]`` gives the same).

    Parameters
    ----------
    gradients : ndarray of shape (n, d) or OuterProductGradients
        The class's gradient features, finite.
    metric : {"euclidean", "cosine"}
        "cosine" is 1 minus the cosine similarity.
    max_bytes : float, optional
        The matrix is stored if it needs at most this much. Default:
        scikit-learn's ``working_memory``.
    """

    def __init__(
        self, gradients: Gradients, metric: str, max_bytes: float | None = None
    ) -> None:
        self.gradients, self.metric, self.max_bytes = gradients, metric, max_bytes
        if isinstance(gradients, OuterProductGradients):
            factors = [_as_columns(gradients.errors), _as_columns(gradients.inputs)]
        else:
            factors = [_as_columns(gradients)]
        if metric == "cosine":
            factors = [_to_directions(factor) for factor in factors]
        points, inputs = (*factors, np.empty((0, 0)))[:2]
        n = points.shape[1]
        self.shape = (n, n)
        self.points, self.inputs = points, inputs
        self.point_norms = np.einsum("kj,kj->j", points, points)
        self.input_norms = np.einsum("kj,kj->j", inputs, inputs)
        self.dense = np.empty((0, 0), dtype=np.float32)
        if max_bytes is None:
            max_bytes = get_config()["working_memory"] * 2**20
        if 4 * n * n <= max_bytes:
            dense = np.empty((n, n), dtype=np.float32)
            _kernels.fill_distances(*self._source, 0, dense)
            self.dense = dense

    @property
    def _source(self) -> tuple[Any, ...]:
        """What a kernel needs to make a row."""
        cosine = self.metric == "cosine"
        return self.points, self.inputs, self.point_norms, self.input_norms, cosine

    @property
    def arguments(self) -> tuple[Any, ...]:
        """Leading arguments of the kernels: the matrix, or how to make a row."""
        return (self.dense, *self._source)

    @cached_property
    def statistics(self) -> tuple[np.ndarray, float, np.ndarray]:
        """Row sums, the largest distance, each row's nearest other distance."""
        n = self.shape[0]
        sums = np.empty(n)
        maxima, minima = np.empty(n, np.float32), np.empty(n, np.float32)
        _kernels.row_statistics(*self.arguments, 0, sums, maxima, minima)
        return sums, float(maxima.max()), minima

    def __getitem__(self, rows: Any) -> Any:
        if isinstance(rows, tuple):  # D[rows][:, rows]: already square
            return self
        if np.ndim(rows) == 1:
            return Distances(self.gradients[rows], self.metric, self.max_bytes)
        if self.dense.size:
            return self.dense[rows]
        row = np.empty(self.shape[0], dtype=np.float32)
        _kernels.distance_row(*self._source, int(rows), row)
        return row
