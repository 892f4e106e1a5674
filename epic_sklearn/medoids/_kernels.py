"""Compiled distances: from one example to a block of others, rows, gains.

Examples lie in blocks of ``BLOCK``, feature by feature inside a block, so that a
kernel's inner loops have a fixed length and fill the vector registers. Every
kernel is compiled at its first call and cached on disk, releases the GIL and runs
in one thread; callers run several side by side. A block's numbers are made by one
thread in one fixed order, so they are the same for any number of threads.

A kernel's first argument, `source`, is the tuple ``(dense, points, inputs,
point_norms, input_norms, is_cosine)`` of :class:`Distances`, and each kernel is
compiled for each kind of it: stored distances `dense` (n, n_blocks, BLOCK), all else
None; features `points` (n_blocks, d, BLOCK); or features of the factors of outer
products, `points` and `inputs`, and their squared norms. Zeros fill the last block.
"""

from __future__ import annotations

import numba
import numpy as np
from numba import types
from numba.extending import overload

BLOCK = 64
HALF = BLOCK // 2

# No flag that lets the compiler reorder or fuse sums: one function compiled into two
# callers must give the same digits in both. These two only let max be one instruction.
options = {"nogil": True, "cache": True}
extreme_math = {"nsz", "nnan"}

FAR = np.float32(3e38)


# The functions of one block take arrays, not tuples of them or slices, and return
# none: counting references would cost as much as the block's arithmetic.


@numba.njit(**options)
def block_squares(features, b, x, out):
    """Fill `out` (BLOCK,) with squared distances from x to block b of features."""
    for j in range(BLOCK):
        out[j] = 0.0
    d = features.shape[1]
    k = 0
    while k + 2 <= d:
        x_k, x_l = x[k], x[k + 1]
        for j in range(BLOCK):
            first = features[b, k, j] - x_k
            second = features[b, k + 1, j] - x_l
            out[j] += first * first + second * second
        k += 2
    if k < d:
        x_k = x[k]
        for j in range(BLOCK):
            first = features[b, k, j] - x_k
            out[j] += first * first


@numba.njit(**options)
def outer_from_squares(first, second, p_norms, i_norms, is_cosine, i, b, out):
    """Distances between outer products from their factors' squared distances.

    By |g h' - G H'|^2 = |dg|^2 |mean h|^2 + |mean g|^2 |dh|^2 + 2 (mean g . dg)
    (mean h . dh), which needs only squared differences and norms and so keeps its
    digits for examples that lie close together.
    """
    g, h = p_norms[i // BLOCK, i % BLOCK], i_norms[i // BLOCK, i % BLOCK]
    for j in range(BLOCK):
        p, q = np.float64(first[j]), np.float64(second[j])
        g_sum = 2.0 * (g + p_norms[b, j]) - p
        h_sum = 2.0 * (h + i_norms[b, j]) - q
        cross = (g - p_norms[b, j]) * (h - i_norms[b, j])
        square = max(0.25 * (p * h_sum + q * g_sum) + 0.5 * cross, 0.0)
        out[j] = np.float32(0.5 * square if is_cosine else np.sqrt(square))


@numba.njit(**options)
def plain_from_squares(squares, is_cosine, out):
    """Distances from squared ones (BLOCK,)."""
    if is_cosine:
        for j in range(BLOCK):
            out[j] = 0.5 * squares[j]
    else:
        for j in range(BLOCK):
            out[j] = np.sqrt(squares[j])


def is_none(kind):
    """Whether a value is known to be None when its kernel is compiled."""
    return isinstance(kind, types.NoneType)


def like(features):
    """Memory for one example's features and a block's squares, or None twice."""


@overload(like)
def _like(features):
    if is_none(features):
        return lambda features: (None, None)

    def memory(features):
        x = np.empty(features.shape[1], dtype=features.dtype)
        return x, np.empty(BLOCK, dtype=features.dtype)

    return memory


@numba.njit(**options)
def scratch(source):
    """Memory for an example (x, z), a block's squares (two), distances and terms."""
    x, first = like(source[1])
    z, second = like(source[2])
    return x, z, first, second, np.empty(BLOCK, dtype=np.float32), np.empty(HALF)


def take(features, i, x):
    """Copy the features of example i, if there are any."""


@overload(take)
def _take(features, i, x):
    if is_none(features):
        return lambda features, i, x: None

    def copy(features, i, x):
        for k in range(x.shape[0]):
            x[k] = features[i // BLOCK, k, i % BLOCK]

    return copy


@numba.njit(**options)
def load(points, inputs, i, x, z):
    """Put example i's own features into x and z, where `fill_block` reads them."""
    take(points, i, x)
    take(inputs, i, z)


def fill_block(
    dense, points, inputs, p_norms, i_norms, is_cosine, i, b, x, z, first, second, out
):
    """Fill `out` with the distances from example i, loaded before, to block b."""


@overload(fill_block, inline="always")
def _fill_block(
    dense, points, inputs, p_norms, i_norms, is_cosine, i, b, x, z, first, second, out
):
    if not is_none(dense):
        return _read_block
    return _make_block if is_none(inputs) else _make_outer_block


def _read_block(
    dense, points, inputs, p_norms, i_norms, is_cosine, i, b, x, z, first, second, out
):
    for j in range(BLOCK):
        out[j] = dense[i, b, j]


def _make_block(
    dense, points, inputs, p_norms, i_norms, is_cosine, i, b, x, z, first, second, out
):
    block_squares(points, b, x, first)
    plain_from_squares(first, is_cosine, out)


def _make_outer_block(
    dense, points, inputs, p_norms, i_norms, is_cosine, i, b, x, z, first, second, out
):
    block_squares(points, b, x, first)
    block_squares(inputs, b, z, second)
    outer_from_squares(first, second, p_norms, i_norms, is_cosine, i, b, out)


@numba.njit(**options)
def folded_sum(values):
    """Sum of HALF values, which are overwritten, halving them again and again."""
    for j in range(16):
        values[j] += values[j + 16]
    for j in range(8):
        values[j] += values[j + 8]
    for j in range(4):
        values[j] += values[j + 4]
    return (values[0] + values[1]) + (values[2] + values[3])


@numba.njit(**options)
def sum_of_block(block, n_valid, terms):
    """Sum in float64 of the first of a block's distances."""
    for j in range(HALF):
        term = np.float64(block[j]) if j < n_valid else 0.0
        k = j + HALF
        terms[j] = term + (np.float64(block[k]) if k < n_valid else 0.0)
    return folded_sum(terms)


@numba.njit(fastmath=extreme_math, **options)
def largest_of(block, n_valid):
    """Largest of the first of a block's distances."""
    largest = np.float32(0.0)
    for j in range(BLOCK):
        largest = max(largest, block[j] if j < n_valid else np.float32(0.0))
    return largest


@numba.njit(fastmath=extreme_math, **options)
def smallest_but(block, n_valid, own):
    """Smallest of the first of a block's distances, but for the one at `own`."""
    smallest = FAR
    for j in range(BLOCK):
        smallest = min(smallest, block[j] if j < n_valid and j != own else FAR)
    return smallest


@numba.njit(fastmath=extreme_math, **options)
def gain_of_block(block, nearest, b, terms):
    """How much closer the examples of block b come.

    In double precision, so that candidates that gain the same do tie.
    """
    for j in range(HALF):
        near = max(np.float64(nearest[b, j]) - np.float64(block[j]), 0.0)
        k = j + HALF
        terms[j] = near + max(np.float64(nearest[b, k]) - np.float64(block[k]), 0.0)
    return folded_sum(terms)


@numba.njit(**options)
def summarise_rows(source, store, n, start, stop, sums, maxima, minima):
    """Make rows `start` to `stop`; store them if there is room, summarise them.

    Sum, maximum and distance to the nearest other cost next to nothing while
    the block is in the cache. `store` is (n, n_blocks, BLOCK) or (0, ...).
    """
    dense, points, inputs, p_norms, i_norms, cosine = source
    x, z, first, second, block, terms = scratch(source)
    n_blocks = (n + BLOCK - 1) // BLOCK
    for i in range(start, stop):
        load(points, inputs, i, x, z)
        total, largest, smallest = 0.0, np.float32(0.0), FAR
        for b in range(n_blocks):
            fill_block(
                dense,
                points,
                inputs,
                p_norms,
                i_norms,
                cosine,
                i,
                b,
                x,
                z,
                first,
                second,
                block,
            )
            if store.shape[0] > 0:
                for j in range(BLOCK):
                    store[i, b, j] = block[j]
            n_valid = min(BLOCK, n - b * BLOCK)
            total += sum_of_block(block, n_valid, terms)
            largest = max(largest, largest_of(block, n_valid))
            smallest = min(smallest, smallest_but(block, n_valid, i - b * BLOCK))
        sums[i], maxima[i], minima[i] = total, largest, smallest


@numba.njit(**options)
def sums_of_rows(source, n, rows, sums):
    """Fill `sums` with the sum of the distances from each of `rows`."""
    dense, points, inputs, p_norms, i_norms, cosine = source
    x, z, first, second, block, terms = scratch(source)
    for at in range(rows.shape[0]):
        load(points, inputs, rows[at], x, z)
        sums[at] = 0.0
        for b in range((n + BLOCK - 1) // BLOCK):
            fill_block(
                dense,
                points,
                inputs,
                p_norms,
                i_norms,
                cosine,
                rows[at],
                b,
                x,
                z,
                first,
                second,
                block,
            )
            sums[at] += sum_of_block(block, min(BLOCK, n - b * BLOCK), terms)


@numba.njit(**options)
def copy_row(source, i, out):
    """Fill `out` (n,) with the distances from example i."""
    dense, points, inputs, p_norms, i_norms, cosine = source
    x, z, first, second, block, _ = scratch(source)
    load(points, inputs, i, x, z)
    for b in range((out.shape[0] + BLOCK - 1) // BLOCK):
        fill_block(
            dense,
            points,
            inputs,
            p_norms,
            i_norms,
            cosine,
            i,
            b,
            x,
            z,
            first,
            second,
            block,
        )
        for j in range(min(BLOCK, out.shape[0] - b * BLOCK)):
            out[b * BLOCK + j] = block[j]


@numba.njit(**options)
def assign(source, medoids, nearest, owner):
    """Give each example to its nearest medoid, the earliest of equally near.

    `nearest` (n_blocks, BLOCK) starts at infinity and `owner`, of the same shape,
    is filled with positions in `medoids`. A medoid that lies exactly on an earlier
    one belongs to it.
    """
    dense, points, inputs, p_norms, i_norms, cosine = source
    x, z, first, second, block, _ = scratch(source)
    for position in range(medoids.shape[0]):
        i = medoids[position]
        load(points, inputs, i, x, z)
        for b in range(nearest.shape[0]):
            fill_block(
                dense,
                points,
                inputs,
                p_norms,
                i_norms,
                cosine,
                i,
                b,
                x,
                z,
                first,
                second,
                block,
            )
            for j in range(BLOCK):
                if block[j] < nearest[b, j]:
                    nearest[b, j] = block[j]
                    owner[b, j] = position
