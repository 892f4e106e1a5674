"""The distances inside one class: a float32 matrix, or made when needed.

Both give the same float32 numbers, but for the last digits where wide gradients are
stored by way of a matrix product. The matrix is stored where that pays and while it
fits scikit-learn's ``working_memory``.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist
from sklearn import get_config

from ..gradients.features import Gradients, OuterProductGradients
from . import _kernels, _stored
from ._greedy import gains_of
from ._kernels import BLOCK
from ._layout import (
    as_points,
    centre_of,
    directions,
    fill_blocks,
    in_blocks,
    scaled,
    spatial_order,
    squared_norms,
)

METRICS = ("euclidean", "cosine")
ROWS_WORTH_A_THREAD = 256
# Features from which on a matrix product beats differences.
WIDE = 48
# Examples below which a matrix product, with its threads, is not worth starting.
MANY_ENOUGH = 512
# Features up to which making a distance again costs about as much as reading it.
NARROW = 16
PRODUCT_BYTES = 2**25


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


def matrix_bytes(n: int) -> int:
    """Memory that the stored matrix of n examples takes."""
    return 4 * n * -(-n // BLOCK) * BLOCK


def memory_limit() -> float:
    """scikit-learn's working memory, in bytes."""
    return get_config()["working_memory"] * 2**20


def n_matrices_that_fit(n: int) -> int:
    """Count the matrices of n examples that fit scikit-learn's working memory."""
    return max(1, int(memory_limit() / max(1, matrix_bytes(n))))


def worth_storing(gradients: Gradients, metric: str) -> bool:
    """Whether the lazy greedy does better to read distances than to make them."""
    if isinstance(gradients, OuterProductGradients):
        return True
    return gradients.shape[1] + (metric == "cosine") > NARROW


def _factors(gradients: Gradients, metric: str) -> list[np.ndarray]:
    """Features of the points, and of the inputs if gradients are outer products."""
    if isinstance(gradients, OuterProductGradients):
        # Not centred, which would change the products: in double precision.
        factors = [gradients.errors, gradients.inputs]
        if metric == "cosine":
            factors = [directions(factor) for factor in factors]
        return [scaled(factor.astype(np.float64)) for factor in factors]
    if metric == "cosine":
        unit = directions(gradients)
        return [(unit - centre_of(unit)).astype(np.float32)]
    return [as_points(gradients)]


def _centred(features: np.ndarray) -> np.ndarray:
    """Features about their middle, in single precision for fast products."""
    return (features - centre_of(features)).astype(np.float32)


def _products(features: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Inner products (r, n) of rows `start` to `stop` with all; (r, 0) of nothing."""
    rows = features[start:stop]
    if features.shape[1] == 0:
        return np.empty((len(rows), 0), dtype=np.float32)
    return rows @ features.T


def _store_rows(
    source_and_store: tuple[Any, ...],
    products: tuple[Any, ...],
    statistics: tuple[np.ndarray, ...],
    start: int,
    stop: int,
) -> None:
    """Call the kernel with its arguments in order, rows `start` to `stop`."""
    _stored.store_from_products(*source_and_store, *products, start, stop, *statistics)


class Distances:
    """Square matrix of float32 distances, stored or made when needed.

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
    spatial : bool
        Hold examples in an order in which close ones are neighbours.

    Attributes
    ----------
    order : ndarray of shape (n,)
        Row of `gradients` that each row of the matrix is of.
    source : tuple
        What the kernels read, see the module ``_kernels``.
    """

    def __init__(
        self,
        gradients: Gradients,
        metric: str,
        max_bytes: float | None = None,
        n_threads: int = 1,
        room: np.ndarray | None = None,
        spatial: bool = False,
    ) -> None:
        self.gradients, self.metric, self.max_bytes = gradients, metric, max_bytes
        self.n_threads = n_threads
        n = len(gradients)
        self.shape = (n, n)
        self._set_features(gradients, metric, spatial)
        max_bytes = memory_limit() if max_bytes is None else max_bytes
        stored = n if matrix_bytes(n) <= max_bytes else 0
        shape = (stored, self._n_blocks, BLOCK)
        if room is not None and room.size >= np.prod(shape):
            self._store = room[: np.prod(shape)].reshape(shape)
        else:
            self._store = np.empty(shape, dtype=np.float32)
        if stored:
            self.statistics  # noqa: B018  (fills the matrix on the way)

    def _set_features(self, gradients: Gradients, metric: str, spatial: bool) -> None:
        """Scaled features in blocks, and the squared norms of outer products."""
        factors = _factors(gradients, metric)
        is_outer = len(factors) == 2
        n = len(gradients)
        self.order = spatial_order(factors[0]) if spatial else np.arange(n)
        self._rows = [factor[self.order] for factor in factors]
        blocks = [in_blocks(rows) for rows in self._rows]
        norms = [fill_blocks(squared_norms(rows), 0.0) for rows in self._rows]
        is_cosine = metric == "cosine"
        self._n_blocks = len(blocks[0])
        self._features: tuple[Any, ...] = (None, blocks[0], None, None, None, is_cosine)
        if is_outer:
            self._features = (None, *blocks, *norms, is_cosine)

    @property
    def source(self) -> tuple[Any, ...]:
        """The stored distances, or what they are made from."""
        if self.is_stored:
            return (self._store, None, None, None, None, self._features[-1])
        return self._features

    @property
    def is_plain(self) -> bool:
        """Whether the gradients are rows of features, not outer products."""
        return not isinstance(self.gradients, OuterProductGradients)

    @property
    def is_stored(self) -> bool:
        """Whether the matrix is in memory."""
        return len(self._store) > 0

    @property
    def dense(self) -> np.ndarray:
        """The stored matrix (n, n), or (0, 0)."""
        n = len(self._store)
        return self._store.reshape(n, self._store.shape[1] * BLOCK)[:, :n]

    @cached_property
    def statistics(self) -> tuple[np.ndarray, float, np.ndarray]:
        """Row sums, the largest distance, each row's nearest other distance.

        Fills the stored matrix, if there is one.
        """
        n = self.shape[0]
        sums = np.empty(n)
        maxima, minima = np.empty(n, np.float32), np.empty(n, np.float32)
        widest = max(rows.shape[1] for rows in self._rows)
        if self.is_stored and widest >= WIDE and n >= MANY_ENOUGH:
            self._fill_by_products(sums, maxima, minima)
        else:
            in_threads(
                lambda start, stop: _kernels.summarise_rows(
                    self._features, self._store, n, start, stop, sums, maxima, minima
                ),
                n,
                self.n_threads,
            )
        return sums, float(maxima.max()), minima

    def _fill_by_products(
        self, sums: np.ndarray, maxima: np.ndarray, minima: np.ndarray
    ) -> None:
        """Store the matrix from inner products, some of its rows at a time.

        For wide gradients one matrix product is several times faster than the
        differences; it is made in float32, of centred features, and mended where
        it cancels.
        """
        n = self.shape[0]
        # One factor leaves the other's place to nothing.
        rows = [*self._rows, np.empty((n, 0), dtype=np.float32)][:2]
        # Narrow points are left to the kernel, which makes their squares faster.
        centred = [
            _centred(factor) if factor.shape[1] >= least else factor[:, :0]
            for factor, least in zip(rows, (WIDE, 1), strict=True)
        ]
        norms = [squared_norms(factor) for factor in centred]
        size = max(ROWS_WORTH_A_THREAD, int(PRODUCT_BYTES / (4 * n)))
        for begin in range(0, n, size):
            products = [_products(factor, begin, begin + size) for factor in centred]
            in_threads(
                partial(
                    _store_rows,
                    (self._features, self._store),
                    (tuple(products), tuple(rows), tuple(norms), begin),
                    (sums, maxima, minima),
                ),
                min(size, n - begin),
                self.n_threads,
            )

    def bounds_of_sums(self) -> np.ndarray:
        """Lower bounds (n,) of the row sums of plain gradients.

        Each block counts as if all its examples were at their mean.
        """
        rows = self._rows[0].astype(np.float64)
        edges = np.arange(0, len(rows), BLOCK)
        sizes = np.diff(np.append(edges, len(rows)))
        means = np.add.reduceat(rows, edges) / sizes[:, None]
        is_cosine = self.metric == "cosine"
        metric = "sqeuclidean" if is_cosine else "euclidean"
        weights = sizes * (0.5 if is_cosine else 1.0)
        bounds = np.empty(len(rows))
        step = max(1, int(PRODUCT_BYTES / (8 * len(means))))
        for start in range(0, len(rows), step):
            away = cdist(rows[start : start + step], means, metric)
            bounds[start : start + step] = away @ weights
        return bounds

    def sums_of(self, rows: np.ndarray) -> np.ndarray:
        """Row sums of some rows, the same numbers as in `statistics`."""
        sums = np.empty(len(rows))
        in_threads(
            lambda start, stop: _kernels.sums_of_rows(
                self.source, self.shape[0], rows[start:stop], sums[start:stop]
            ),
            len(rows),
            self.n_threads,
        )
        return sums

    def gains(self, nearest: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """Facility-location gains of candidates, given nearest distances (n,)."""
        gains = np.empty(len(candidates))
        blocks = fill_blocks(nearest, 0.0)
        parts = np.empty((len(candidates), len(blocks)))
        in_threads(
            lambda start, stop: gains_of(
                self.source,
                blocks,
                candidates[start:stop],
                parts[start:stop],
                gains[start:stop],
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
                self.gradients[self.order[rows]],
                self.metric,
                self.max_bytes,
                self.n_threads,
            )
        row = np.empty(self.shape[0], dtype=np.float32)
        _kernels.copy_row(self.source, int(rows), row)
        return row
