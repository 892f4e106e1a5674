"""Compiled distances of whole rows, made from inner products and stored.

Inner products come from matrix multiplication, many times faster than differences;
where they would lose digits, differences are taken. A kernel's `source` is described
in ``_kernels``.
"""

from __future__ import annotations

import numba
import numpy as np
from numba.extending import overload

from ._kernels import (
    BLOCK,
    FAR,
    block_squares,
    extreme_math,
    is_none,
    largest_of,
    load,
    options,
    outer_from_squares,
    plain_from_squares,
    scratch,
    smallest_but,
    sum_of_block,
)

# Squared distances below this share of the squared norms are not taken from
# inner products, which are made in float32.
CLOSE = 1e-2


@numba.njit(fastmath=extreme_math, **options)
def squared_difference(x, y):
    """Squared distance of two examples."""
    total = 0.0
    for k in range(x.shape[0]):
        difference = np.float64(x[k]) - np.float64(y[k])
        total += difference * difference
    return total


@numba.njit(**options)
def squares_from_products(products, i, rows, norms, out):
    """Squared distances (n,) of example i from its inner products (n,).

    ``|x|^2 + |y|^2 - 2 x.y`` loses its digits where x and y are close; those are
    computed again from the differences, so that doubles are exactly 0 apart.
    """
    for j in range(products.shape[0]):
        out[j] = norms[i] + norms[j] - 2.0 * np.float64(products[j])
    for j in range(products.shape[0]):
        if out[j] <= CLOSE * (norms[i] + norms[j]):
            out[j] = squared_difference(rows[i], rows[j])


@numba.njit(**options)
def squares_of_blocks(features, i, x, products, rows, norms, out):
    """Squared distances (n_blocks, BLOCK) of example i, from products if there are.

    `products` (n,) are those of centred `rows` (n, d) with squared `norms` (n,).
    """
    if products.shape[0] > 0:
        squares_from_products(products, i, rows, norms, out.ravel())
    else:
        for b in range(features.shape[0]):
            block_squares(features, b, x, out[b])


def fill_squares(features, i, x, products, rows, norms, out):
    """Squared distances of example i, loaded before, between features if any."""


@overload(fill_squares)
def _fill_squares(features, i, x, products, rows, norms, out):
    if is_none(features):
        return lambda features, i, x, products, rows, norms, out: None

    def fill(features, i, x, products, rows, norms, out):
        squares_of_blocks(features, i, x, products, rows, norms, out)

    return fill


def finish_block(first, second, p_norms, i_norms, is_cosine, i, b, out):
    """Fill `out` with the distances that follow from squared ones."""


@overload(finish_block)
def _finish_block(first, second, p_norms, i_norms, is_cosine, i, b, out):
    if is_none(p_norms):

        def plain(first, second, p_norms, i_norms, is_cosine, i, b, out):
            plain_from_squares(first[b], is_cosine, out)

        return plain

    def outer(first, second, p_norms, i_norms, is_cosine, i, b, out):
        outer_from_squares(first[b], second[b], p_norms, i_norms, is_cosine, i, b, out)

    return outer


@numba.njit(**options)
def store_from_products(
    source, store, products, rows, norms, begin, start, stop, sums, maxima, minima
):
    """Store rows ``begin + start`` to ``begin + stop`` made from inner products.

    `products`, `rows` and `norms` are pairs, of the points and of the inputs:
    products (r, n) of centred rows with squared norms (n,), or (r, 0), then squares
    are made here from differences; rows (n, d) where products cancel. Rows are
    summarised as by `summarise_rows`.
    """
    _, points, inputs, p_norms, i_norms, cosine = source
    x, z, _, _, block, terms = scratch(source)
    n, n_blocks, _ = store.shape
    first, second = np.zeros((n_blocks, BLOCK)), np.zeros((n_blocks, BLOCK))
    for r in range(start, stop):
        i = begin + r
        load(points, inputs, i, x, z)
        fill_squares(points, i, x, products[0][r], rows[0], norms[0], first)
        fill_squares(inputs, i, z, products[1][r], rows[1], norms[1], second)
        total, largest, smallest = 0.0, np.float32(0.0), FAR
        for b in range(n_blocks):
            finish_block(first, second, p_norms, i_norms, cosine, i, b, block)
            for j in range(BLOCK):
                store[i, b, j] = block[j]
            n_valid = min(BLOCK, n - b * BLOCK)
            total += sum_of_block(block, n_valid, terms)
            largest = max(largest, largest_of(block, n_valid))
            smallest = min(smallest, smallest_but(block, n_valid, i - b * BLOCK))
        sums[i], maxima[i], minima[i] = total, largest, smallest
