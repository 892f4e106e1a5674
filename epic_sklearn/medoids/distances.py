"""Distances between the gradients of one class, made some rows at a time.

From matrix products, mended where those cancel. Gradients are scaled by a power of two
first, which changes no digit and keeps squares of very small ones inside the
floating-point range.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
from sklearn import get_config

from ..gradients.features import Gradients, factors_of

METRICS = ("euclidean", "cosine")
MAX_CLASS_SIZE = 20_000  # larger classes are worked on in parts
CLOSE = 1e-2  # below this share of the norms float32 products lose too many digits
BLOCK_ROWS = 128  # made at a time: enough for a product to pay

Array = np.ndarray


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile at the first call; cache on disk if there is a place to write to."""
    try:
        return numba.njit(function, nogil=True, cache=True)
    except RuntimeError:  # a read-only installation without a home
        return numba.njit(function, nogil=True)


# The inner loops run over slices of one dimension: those the compiler vectorises.


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
def squares_of_outer(
    out: Array, inputs: Array, rows: Array, norms: Any, unit: float
) -> None:
    """Turn squared distances (r, n) of errors and of inputs into those of gradients.

    |g h' - G H'|^2 = |dg|^2 |mean h|^2 + |mean g|^2 |dh|^2 + 2 (mean g . dg) (mean h
    . dh) needs only squared differences and norms: close examples keep their digits.
    """
    g, h = norms
    for at in range(len(rows)):
        own_g, own_h, p_line, q_line = g[rows[at]], h[rows[at]], out[at], inputs[at]
        for j in range(len(p_line)):
            p, q = np.float64(p_line[j]), np.float64(q_line[j])
            g_sum, h_sum = 2.0 * (own_g + g[j]) - p, 2.0 * (own_h + h[j]) - q
            cross = (own_g - g[j]) * (own_h - h[j])
            square = 0.25 * (p * h_sum + q * g_sum) + 0.5 * cross
            p_line[j] = max(square * unit, 0.0)


def squared_norms(features: Array) -> Array:
    """Squared length (n,) of each row, float64."""
    return np.einsum("nk,nk->n", features, features, dtype=np.float64)


def directions(factors: list[Array]) -> list[Array]:
    """Scale rows to length 1, as precise as given.

    A last feature is the direction of the examples of which any factor is zero.
    """
    is_zero, scaled = np.zeros((len(factors[0]), 1), dtype=bool), []
    for features in factors:
        largest = np.abs(features).max(axis=1, keepdims=True)
        features = np.ldexp(features, -np.frexp(largest)[1])
        norms = np.sqrt(squared_norms(features))[:, None].astype(features.dtype)
        scaled.append(np.divide(features, norms, out=features, where=norms > 0))
        is_zero |= largest == 0
    return [np.hstack([f * ~is_zero, is_zero.astype(f.dtype)]) for f in scaled]


class Points:
    """Features (n, d) as float32, centred, times 2**-exponent.

    Centred at the median of a few hundred examples, not at the mean: the bulk of a
    class that has converged lies together, and there small differences count. An
    offset common to all examples costs no digits.
    """

    def __init__(self, features: Array) -> None:
        few = features[:: max(1, len(features) // 256)]
        points = features - np.partition(few, len(few) // 2, axis=0)[len(few) // 2]
        self.exponent = int(np.frexp(max(points.max(), -points.min()))[1])
        self.points = np.ldexp(points, -self.exponent).astype(np.float32, copy=False)
        self.norms = squared_norms(self.points)

    def squares(self, rows: Array) -> Array:
        """Squared distances (r, n) of some rows to all."""
        out = self.points[rows] @ self.points.T
        squares_from_products(out, rows, self.points, self.norms)
        return out


class Distances:
    """Square matrix of float32 distances inside one class, times 2**-exponent.

    Offers what apricot asks of a matrix: `shape`, one row by an integer and the square
    sub-matrix by ``D[rows]`` (``D[rows][:, rows]`` gives the same).
    """

    stored: Array | None = None
    _summary: Any = None

    def __init__(
        self,
        gradients: Gradients,
        metric: str,
        n_threads: int = 1,
        limit: float | None = None,
    ) -> None:
        self.gradients, self.metric, self.n_threads = gradients, metric, n_threads
        self.limit = memory_limit() if limit is None else limit  # bytes
        self.shape = (len(gradients), len(gradients))
        factors = factors_of(gradients)
        if metric == "cosine":
            factors = directions(factors)
        self.factors = [Points(features) for features in factors]
        self.exponent = sum(points.exponent for points in self.factors)
        if len(factors) == 2:
            self.norms = tuple(
                squared_norms(np.ldexp(features, -points.exponent))
                for features, points in zip(factors, self.factors, strict=True)
            )
            # What is common to all is in these norms, as large or small as it may be.
            largest, of_points = (
                [float(norms.max()) for norms in both]
                for both in (self.norms, [points.norms for points in self.factors])
            )
            bound = float(np.dot(largest, of_points[::-1]))
            if not np.isfinite(bound):
                raise ValueError(
                    "The gradients' common part is so much larger than what varies in "
                    "them that their distances overflow; standardise the features."
                )
            power = int(np.frexp(bound)[1]) // 2
            self.unit, self.exponent = 0.25**power, self.exponent + power
        if metric == "cosine":  # half the squared distance of directions
            self.exponent = 2 * self.exponent - 1
        self.fits = 4 * len(gradients) ** 2 <= self.limit  # whether all rows do

    def rows(self, rows: Array) -> Array:
        """Distances (r, n) from some of the examples to all: read, or made."""
        if self.stored is not None:
            return self.stored[rows]
        squares, *of_inputs = (points.squares(rows) for points in self.factors)
        if of_inputs:
            squares_of_outer(squares, *of_inputs, rows, self.norms, self.unit)
        return squares if self.metric == "cosine" else np.sqrt(squares, out=squares)

    def in_blocks(self, work: Callable[[Array], None], rows: Array) -> None:
        """Call `work` with some of the rows at a time, in threads."""
        blocks = np.split(rows, range(BLOCK_ROWS, len(rows), BLOCK_ROWS))
        if min(self.n_threads, len(blocks)) < 2:
            list(map(work, blocks))
            return
        with ThreadPoolExecutor(self.n_threads) as pool:
            list(pool.map(work, blocks))

    @property
    def summary(self) -> tuple[Array, float, Array]:
        """Row sums (n,), the largest distance, each row's nearest other (n,)."""
        # No cached_property: before Python 3.12 all instances share its lock, and
        # classes that are worked on side by side would wait for each other.
        if self._summary is None:
            self.summarise()
        return self._summary

    def summarise(self, also: Callable[[Array, Array], None] | None = None) -> None:
        """Make all rows once for `summary`, and `also` for other work on a block.

        On the way they are `stored` if they fit.
        """
        n = self.shape[0]
        stored = np.empty((n, n), np.float32) if self.fits else None
        sums, farthest, nearest = np.empty(n), np.empty(n), np.empty(n, np.float32)

        def look_at(rows: Array) -> None:
            block, own = self.rows(rows), (np.arange(len(rows)), rows)
            sums[rows], farthest[rows] = block.sum(1, np.float64), block.max(axis=1)
            if stored is not None:
                stored[rows[0] : rows[-1] + 1] = block
            if also:
                also(block, rows)
            block[own] = np.inf
            nearest[rows] = block.min(axis=1)

        self.in_blocks(look_at, np.arange(n))
        self.stored = stored
        self._summary = sums, float(farthest.max()), nearest

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
            how = self.metric, self.n_threads, self.limit
            return Distances(self.gradients[rows], *how)
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
