"""Distances between the gradients of one class, made some rows at a time.

Few features: from differences, in a compiled loop. Many: from matrix products, mended
where those cancel. Gradients are scaled by a power of two first, which changes no digit
and keeps squares of very small ones inside the floating-point range.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import numba
import numpy as np
from sklearn import get_config

from ..gradients.features import Gradients, OuterProductGradients

METRICS = ("euclidean", "cosine")
MAX_CLASS_SIZE = 20_000  # larger classes are worked on in parts
WIDE = 48  # features from which on a matrix product beats differences
CLOSE = 1e-2  # below this share of the norms float32 products lose too many digits
TILE = 512  # columns worked on at a time, to stay in the cache
# Rows made at a time: so many bytes, and enough for a matrix product to pay.
BLOCK_BYTES, BLOCK_ROWS = 2**21, 256

Array = np.ndarray


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile at the first call; cache on disk if there is a place to write to."""
    try:
        return numba.njit(function, nogil=True, cache=True)
    except RuntimeError:  # a read-only installation without a home
        return numba.njit(function, nogil=True)


# The inner loops run over slices of one dimension: those the compiler vectorises.


@compiled
def squares_of_differences(rows: Array, columns: Array, out: Array) -> None:
    """Fill `out` (r, m) with squared distances of `rows` (r, d), `columns` (d, m)."""
    for begin in range(0, columns.shape[1], TILE):
        stop = begin + TILE
        for i in range(len(rows)):
            total = out[i, begin:stop]
            total[:] = 0
            for k in range(0, len(columns), 2):  # d is even: half as many stores
                a, x = rows[i, k], columns[k, begin:stop]
                b, y = rows[i, k + 1], columns[k + 1, begin:stop]
                for j in range(len(total)):
                    total[j] += (x[j] - a) * (x[j] - a) + (y[j] - b) * (y[j] - b)


@compiled
def squares_from_products(out: Array, rows: Array, points: Array, norms: Any) -> None:
    """Turn products (r, n) of some points with all into squared distances.

    ``|x|^2 + |y|^2 - 2 x.y`` cancels where x and y are close; those are computed
    again from differences, so that doubles are exactly 0 apart.
    """
    for at in range(len(rows)):
        own, line, x = norms[rows[at]], out[at], points[rows[at]]
        for j in range(len(line)):
            line[j] = own + norms[j] - 2.0 * np.float64(line[j])
        for j in range(len(line)):
            if line[j] <= CLOSE * (own + norms[j]):
                total, y = 0.0, points[j]
                for k in range(len(x)):
                    total += (np.float64(x[k]) - np.float64(y[k])) ** 2
                line[j] = total


@compiled
def squares_of_outer(out: Array, inputs: Array, rows: Array, norms: Any) -> None:
    """Turn squared distances (r, n) of errors and of inputs into those of gradients.

    |g h' - G H'|^2 = |dg|^2 |mean h|^2 + |mean g|^2 |dh|^2 + 2 (mean g . dg) (mean h
    . dh) needs only squared differences and norms: close examples keep their digits.
    """
    g, h, unit = norms
    for at in range(len(rows)):
        own_g, own_h, p_line, q_line = g[rows[at]], h[rows[at]], out[at], inputs[at]
        for j in range(len(p_line)):
            p, q = np.float64(p_line[j]), np.float64(q_line[j])
            g_sum, h_sum = 2.0 * (own_g + g[j]) - p, 2.0 * (own_h + h[j]) - q
            cross = (own_g - g[j]) * (own_h - h[j])
            square = 0.25 * (p * h_sum + q * g_sum) + 0.5 * cross
            p_line[j] = max(unit * square, 0.0)


def exponent_of(features: Array) -> int:
    """Power of two that the largest feature is just below; 0 for zeros."""
    return int(np.frexp(max(features.max(), -features.min()))[1])


def squared_norms(features: Array) -> Array:
    """Squared length (n,) of each row, float64."""
    return np.einsum("nk,nk->n", features, features, dtype=np.float64)


def centred(features: Array) -> Array:
    """Subtract the median of a few hundred examples: any middle will do.

    Not the mean: the bulk of a class that has converged lies together, and it is
    there that small differences count.
    """
    few = features[:: max(1, len(features) // 256)]
    return features - np.median(few, axis=0).astype(features.dtype)


def directions(features: Array) -> Array:
    """Scale rows to unit length, as precise as given; zeros stay."""
    largest = np.abs(features).max(axis=1, keepdims=True)
    features = np.ldexp(features, -np.frexp(largest)[1])
    norms = np.sqrt(squared_norms(features))[:, None].astype(features.dtype)
    return np.divide(features, norms, out=features, where=norms > 0)


class Points:
    """Features (n, d) as float32 with the same differences, times 2**-exponent.

    A difference of two float32 numbers is exact to the last bit. Double precision is
    centred before it is rounded: an offset common to all examples costs no digits.
    """

    def __init__(self, features: Array) -> None:
        if features.dtype.itemsize > 4:
            features = centred(features)
        self.exponent = exponent_of(features)
        points = np.ldexp(features, -self.exponent).astype(np.float32, copy=False)
        self.is_wide = points.shape[1] >= WIDE
        if self.is_wide:
            self.centred = centred(points)
            self.norms = squared_norms(self.centred)
        else:
            if points.shape[1] % 2:
                points = np.pad(points, ((0, 0), (0, 1)))
            self.columns = np.ascontiguousarray(points.T)
        self.points = points

    def squares(self, rows: Array, out: Array) -> Array:
        """Fill `out` (r, n) with squared distances of some rows to all."""
        if self.is_wide:
            np.matmul(self.centred[rows], self.centred.T, out=out)
            squares_from_products(out, rows, self.points, self.norms)
        else:
            squares_of_differences(self.points[rows], self.columns, out)
        return out


class Distances:
    """Square matrix of float32 distances inside one class, times 2**-exponent.

    Offers what apricot asks of a matrix: `shape`, one row by an integer and the square
    sub-matrix by ``D[rows]`` (``D[rows][:, rows]`` gives the same).
    """

    stored: Array | None = None

    def __init__(self, gradients: Gradients, metric: str, n_threads: int = 1) -> None:
        self.gradients, self.metric, self.n_threads = gradients, metric, n_threads
        self.shape = (len(gradients), len(gradients))
        factors: list[Any] = [gradients]
        if isinstance(gradients, OuterProductGradients):
            factors = [gradients.errors, gradients.inputs]
        if metric == "cosine":  # zeros get a direction of their own
            is_zero = ~np.all([f.any(axis=1) for f in factors], axis=0)[:, None]
            factors = [
                np.hstack([directions(f) * ~is_zero, is_zero.astype(f.dtype)])
                for f in factors
            ]
        self.factors = [Points(features) for features in factors]
        self.exponent = sum(points.exponent for points in self.factors)
        if len(factors) == 2:
            g, h = (
                squared_norms(np.ldexp(f.astype(np.float64), -points.exponent))
                for f, points in zip(factors, self.factors, strict=True)
            )
            scale = (exponent_of(g) + exponent_of(h) + 1) // 2  # squares stay below 4
            self.exponent, self._norms = self.exponent + scale, (g, h, 4.0**-scale)
        if metric == "cosine":  # half the squared distance of directions
            self.exponent = 2 * self.exponent - 1

    def rows(self, rows: Array, out: Array | None = None) -> Array:
        """Distances (r, n) from some of the examples to all: read, or made."""
        if self.stored is not None:
            return self.stored[rows]
        if out is None:
            out = np.empty((len(rows), self.shape[0]), dtype=np.float32)
        self.factors[0].squares(rows, out)
        if len(self.factors) == 2:
            squares = self.factors[1].squares(rows, np.empty_like(out))
            squares_of_outer(out, squares, rows, self._norms)
        return out if self.metric == "cosine" else np.sqrt(out, out=out)

    def in_blocks(self, work: Callable[[Array], None], rows: Array) -> None:
        """Call `work` with some of the rows at a time, in threads."""
        size = BLOCK_BYTES // (4 * self.shape[0])
        if any(points.is_wide for points in self.factors):
            size = max(size, BLOCK_ROWS)
        per_row = 4 * self.shape[0] * len(self.factors) * self.n_threads
        size = max(1, min(size, int(memory_limit() / per_row)))
        blocks = [rows[start : start + size] for start in range(0, len(rows), size)]
        if min(self.n_threads, len(blocks)) < 2:
            list(map(work, blocks))
            return
        with ThreadPoolExecutor(self.n_threads) as pool:
            list(pool.map(work, blocks))

    @cached_property
    def summary(self) -> tuple[Array, float, Array]:
        """Row sums (n,), the largest distance, each row's nearest other (n,)."""
        return self.summarised()

    @cached_property
    def fits(self) -> bool:
        """Whether all rows fit scikit-learn's working_memory."""
        return bool(4 * self.shape[0] ** 2 <= memory_limit())

    def summarised(self, also: Callable[[Array, Array], None] | None = None) -> Any:
        """Make all rows once for `summary`, and `also` for other work on a block.

        On the way they are `stored` if they fit.
        """
        n = self.shape[0]
        stored = np.empty((n, n), np.float32) if self.fits else None
        sums, farthest, nearest = np.empty(n), np.empty(n), np.empty(n, np.float32)

        def summarise(rows: Array) -> None:
            out = None if stored is None else stored[rows[0] : rows[-1] + 1]
            block = self.rows(rows, out)
            sums[rows] = block.sum(axis=1, dtype=np.float64)
            farthest[rows] = block.max(axis=1)
            own = (np.arange(len(rows)), rows)
            block[own] = np.inf
            nearest[rows] = block.min(axis=1)
            block[own] = 0.0
            if also:
                also(block, rows)

        self.in_blocks(summarise, np.arange(n))
        self.stored = stored
        return sums, float(farthest.max()), nearest

    def likely_centre(self) -> int:
        """Guess which row sum is the least: of few columns, then of whole rows."""
        few = np.arange(0, self.shape[0], max(1, self.shape[0] // BLOCK_ROWS))
        likely = np.argsort(self.rows(few).sum(axis=0), kind="stable")[:BLOCK_ROWS]
        sums = self.rows(likely).sum(axis=1, dtype=np.float64)
        return int(likely[np.lexsort((likely, sums))[0]])

    def __getitem__(self, rows: Any) -> Any:
        if isinstance(rows, tuple):  # D[rows][:, rows]: already square
            return self
        if np.ndim(rows) == 1:
            return Distances(self.gradients[rows], self.metric, self.n_threads)
        return self.rows(np.array([rows]))[0]


def memory_limit() -> float:
    """scikit-learn's working memory, in bytes."""
    return get_config()["working_memory"] * 2**20


def distances_between(
    gradients: Gradients, rows: Array, columns: Array, metric: str
) -> Array:
    """Distances (r, m), float64, of the examples `rows` (r,) to `columns` (m,)."""
    both = Distances(gradients[np.concatenate([rows, columns])], metric)
    own = both.rows(np.arange(len(rows)))[:, len(rows) :]
    return np.ldexp(own.astype(np.float64), both.exponent)
