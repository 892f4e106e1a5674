"""The distances inside one class: a float32 matrix, or rows made on demand.

Both give the same float32 numbers, but for the last bit where wide gradients are
stored by way of a matrix product. The matrix is kept while it fits scikit-learn's
``working_memory``.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import Any

import numpy as np
from sklearn import get_config

from .._features import Gradients, OuterProductGradients
from . import _kernels

METRICS = ("euclidean", "cosine")
ROWS_WORTH_A_THREAD = 256
# Features from which on a matrix product beats differences.
WIDE = 48
BLOCK_BYTES = 2**26


def in_threads(work: Callable[[int, int], None], n: int, n_threads: int) -> None:
    """Run ``work(start, stop)`` over stretches of n rows, in threads.

    The kernels release the GIL. A few rows are not worth a thread.
    """
    n_threads = min(n_threads, n // ROWS_WORTH_A_THREAD)
    if n_threads <= 1:
        work(0, n)
        return
    # More stretches than threads: a thread on a busy core holds up less.
    edges = np.linspace(0, n, 4 * n_threads + 1).astype(int)
    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(work, edges[:-1], edges[1:]))


def side_of_matrix(n: int, max_bytes: float | None = None) -> int:
    """Give n if the matrix of n examples may be stored, else 0."""
    if max_bytes is None:
        max_bytes = get_config()["working_memory"] * 2**20
    return n if 4 * n * n <= max_bytes else 0


def n_matrices_that_fit(side: int) -> int:
    """Count the square matrices that fit scikit-learn's working memory, >= 1."""
    return max(1, int(get_config()["working_memory"] * 2**20 / max(1, 4 * side**2)))


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


def _finish_block(
    squares: list[np.ndarray],
    rows: list[np.ndarray | None],
    norms: tuple[np.ndarray, np.ndarray],
    begin: int,
    dense: np.ndarray,
    points: np.ndarray,
    is_cosine: bool,
    sums: np.ndarray,
    maxima: np.ndarray,
    minima: np.ndarray,
    start: int,
    stop: int,
) -> None:
    """From a block's inner products to rows of distances and their statistics."""
    for products, wide, norm in zip(squares, rows, norms, strict=True):
        if wide is not None:
            _kernels.squares_from_products(
                products[start:stop], wide, norm, begin + start
            )
    _kernels.first_pass_of_block(
        dense,
        *squares,
        points,
        *norms,
        is_cosine,
        begin,
        start,
        stop,
        sums,
        maxima,
        minima,
    )


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
    n_threads : int
        Threads for work on many rows; the numbers do not depend on it.
    room : ndarray of float32, optional
        Memory for the matrix, used if it suffices.
    """

    def __init__(
        self,
        gradients: Gradients,
        metric: str,
        max_bytes: float | None = None,
        n_threads: int = 1,
        room: np.ndarray | None = None,
    ) -> None:
        self.gradients, self.metric, self.max_bytes = gradients, metric, max_bytes
        self.n_threads = n_threads
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
        side = side_of_matrix(n, max_bytes)
        if room is not None and room.size >= side * side:
            self.dense = room[: side * side].reshape(side, side)
        else:
            self.dense = np.empty((side, side), dtype=np.float32)
        if side:
            self.statistics  # noqa: B018  (fills the matrix on the way)

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
        """Row sums, the largest distance, each row's nearest other distance.

        Fills the stored matrix, if there is one.
        """
        n = self.shape[0]
        sums = np.empty(n)
        maxima, minima = np.empty(n, np.float32), np.empty(n, np.float32)
        if self.dense.size and max(len(self.points), len(self.inputs)) >= WIDE:
            self._fill_by_products(sums, maxima, minima)
        else:
            in_threads(
                lambda start, stop: _kernels.first_pass(
                    *self.arguments, start, stop, sums, maxima, minima
                ),
                n,
                self.n_threads,
            )
        return sums, float(maxima.max()), minima

    def _fill_by_products(
        self, sums: np.ndarray, maxima: np.ndarray, minima: np.ndarray
    ) -> None:
        """Fill the matrix from inner products, block by block of its rows.

        For wide gradients one matrix product is several times faster than the
        differences; it is made in float64 and mended where it cancels.
        """
        n = self.shape[0]
        size = max(ROWS_WORTH_A_THREAD, int(BLOCK_BYTES / (8 * n)))
        norms = (self.point_norms, self.input_norms)
        # Narrow points are left to the kernel, which makes their squares faster.
        rows = [
            np.ascontiguousarray(columns.T) if len(columns) >= least else None
            for columns, least in ((self.points, WIDE), (self.inputs, 1))
        ]
        for begin in range(0, n, size):
            squares = [
                np.empty((0, n))
                if wide is None
                else wide[begin : begin + size] @ wide.T
                for wide in rows
            ]
            finish = partial(
                _finish_block,
                *(squares, rows, norms, begin, self.dense, self.points),
                *(self.metric == "cosine", sums, maxima, minima),
            )
            in_threads(finish, min(size, n - begin), self.n_threads)

    def gains(self, nearest: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """Facility-location gains of candidates, given nearest distances (n,)."""
        gains = np.empty(len(candidates))
        in_threads(
            lambda start, stop: _kernels.gains_of(
                *self.arguments, nearest, candidates[start:stop], gains[start:stop]
            ),
            len(candidates),
            self.n_threads,
        )
        return gains

    def __getitem__(self, rows: Any) -> Any:
        if isinstance(rows, tuple):  # D[rows][:, rows]: already square
            return self
        if np.ndim(rows) == 1:
            return Distances(
                self.gradients[rows], self.metric, self.max_bytes, self.n_threads
            )
        if self.dense.size:
            return self.dense[rows]
        row = np.empty(self.shape[0], dtype=np.float32)
        _kernels.distance_row(*self._source, int(rows), row)
        return row
