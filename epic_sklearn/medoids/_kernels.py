"""Compiled loops: distances from one row, gains, the lazy greedy.

Every kernel is compiled at its first call and cached on disk, releases the
GIL and runs in one thread; callers run several side by side. One thread a
gain, summed in one fixed order, makes results the same for any number of
threads, and makes a computed gain monotone in the distances it sums, so that
the lazy greedy picks exactly what the naive greedy picks on the same numbers.
"""

from __future__ import annotations

import numba
import numpy as np

# "contract" lets multiply and add fuse, "nsz"/"nnan" let max become one
# instruction, "reassoc" lets a sum use vector registers. All keep the order of
# operations fixed in the compiled code.
_options = {"nogil": True, "cache": True}
_row_math = {"contract"}
_sum_math = {"reassoc", "contract", "nsz", "nnan", "ninf"}

# Distances of one row are made in stretches that stay in the first cache.
STRETCH = 512

# Squared distances below this share of the squared norms are not taken from
# inner products.
CLOSE = 1e-7


@numba.njit(fastmath=_row_math, **_options)
def squared_differences(points, i, start, stop, out):
    """Fill ``out[: stop - start]`` with squared distances from column i."""
    width = stop - start
    for j in range(width):
        out[j] = 0.0
    for k in range(points.shape[0]):
        x = points[k, i]
        row = points[k, start:stop]
        for j in range(width):
            difference = row[j] - x
            out[j] += difference * difference


@numba.njit(fastmath=_row_math, **_options)
def squares_from_products(products, rows, norms, start):
    """Turn inner products (b, n) into squared distances, in place.

    ``|x|^2 + |y|^2 - 2 x.y`` loses its digits where x and y are close; those
    few are computed again from the differences, so that doubles are exactly 0
    apart.
    """
    for r in range(products.shape[0]):
        i = start + r
        for j in range(products.shape[1]):
            both = norms[i] + norms[j]
            square = both - 2.0 * products[r, j]
            if square <= CLOSE * both:
                square = 0.0
                for k in range(rows.shape[1]):
                    difference = rows[i, k] - rows[j, k]
                    square += difference * difference
            products[r, j] = square


@numba.njit(fastmath=_row_math, **_options)
def distances_from_squares(
    first, second, factored, p_norms, i_norms, cosine, i, start, out
):
    """Distances from example i to a stretch of others, from squared ones.

    Factored, the distance is between outer products, by |g h' - G H'|^2 =
    |dg|^2 |mean h|^2 + |mean g|^2 |dh|^2 + 2 (mean g . dg)(mean h . dh), which
    needs only squared differences and norms and so keeps its digits for
    examples that lie close together.
    """
    g, h = p_norms[i], i_norms[i] if factored else 0.0
    for j in range(out.shape[0]):
        square = first[j]
        if factored:
            g_sum = 2.0 * (g + p_norms[start + j]) - first[j]
            h_sum = 2.0 * (h + i_norms[start + j]) - second[j]
            cross = (g - p_norms[start + j]) * (h - i_norms[start + j])
            square = 0.25 * (first[j] * h_sum + second[j] * g_sum) + 0.5 * cross
            square = max(square, 0.0)
        out[j] = np.float32(0.5 * square if cosine else np.sqrt(square))


@numba.njit(**_options)
def distance_row(points, inputs, p_norms, i_norms, cosine, i, out):
    """Fill ``out`` (n,) with the float32 distances from example i to all.

    With ``inputs`` of zero rows the distance is between columns of `points`;
    otherwise between the outer products of columns of `points` and `inputs`.
    """
    n = points.shape[1]
    factored = inputs.shape[0] > 0
    first = np.empty(STRETCH)
    second = np.empty(STRETCH)
    for start in range(0, n, STRETCH):
        stop = min(n, start + STRETCH)
        squared_differences(points, i, start, stop, first)
        if factored:
            squared_differences(inputs, i, start, stop, second)
        distances_from_squares(
            first, second, factored, p_norms, i_norms, cosine, i, start, out[start:stop]
        )


@numba.njit(fastmath=_sum_math, **_options)
def summarise_row(row, i):
    """Sum (float64) and largest of row i, and its smallest but for row[i]."""
    total = 0.0
    for j in range(row.shape[0]):
        total += np.float64(row[j])
    largest = np.float32(0.0)
    for j in range(row.shape[0]):
        largest = row[j] if row[j] > largest else largest
    smallest = np.float32(3e38)
    for j in range(i):
        smallest = row[j] if row[j] < smallest else smallest
    for j in range(i + 1, row.shape[0]):
        smallest = row[j] if row[j] < smallest else smallest
    return total, largest, smallest


@numba.njit(fastmath=_sum_math, **_options)
def gain_of_row(row, nearest):
    """Facility-location gain: how much closer all examples come to a medoid."""
    total = 0.0
    for j in range(row.shape[0]):
        total += max(np.float64(nearest[j]) - np.float64(row[j]), 0.0)
    return total


@numba.njit(**_options)
def first_pass(
    dense,
    points,
    inputs,
    p_norms,
    i_norms,
    cosine,
    start,
    stop,
    sums,
    maxima,
    minima,
):
    """Make rows `start` to `stop`: store them if there is room, summarise them.

    Sum, maximum and distance to the nearest other cost next to nothing while
    the row is in the cache.
    """
    is_dense = dense.shape[0] > 0
    buffer = np.empty(points.shape[1], dtype=np.float32)
    for i in range(start, stop):
        row = dense[i] if is_dense else buffer
        distance_row(points, inputs, p_norms, i_norms, cosine, i, row)
        sums[i], maxima[i], minima[i] = summarise_row(row, i)


@numba.njit(**_options)
def first_pass_of_block(
    dense,
    point_squares,
    input_squares,
    points,
    p_norms,
    i_norms,
    cosine,
    begin,
    start,
    stop,
    sums,
    maxima,
    minima,
):
    """First pass over rows `start` to `stop` of squared distances made before.

    The blocks of squares begin at row `begin`; `point_squares` may be empty,
    then those of the (narrow) points are made here.
    """
    n = dense.shape[0]
    factored = input_squares.shape[0] > 0
    buffer = np.empty(n)
    for r in range(start, stop):
        i = begin + r
        if point_squares.shape[0] > 0:
            first = point_squares[r]
        else:
            squared_differences(points, i, 0, n, buffer)
            first = buffer
        second = input_squares[r] if factored else buffer
        distances_from_squares(
            first, second, factored, p_norms, i_norms, cosine, i, 0, dense[i]
        )
        sums[i], maxima[i], minima[i] = summarise_row(dense[i], i)


@numba.njit(**_options)
def gains_of(
    dense, points, inputs, p_norms, i_norms, cosine, nearest, candidates, gains
):
    """Fill `gains` with the gain of each of `candidates`."""
    is_dense = dense.shape[0] > 0
    buffer = np.empty(nearest.shape[0], dtype=np.float32)
    for at in range(candidates.shape[0]):
        i = candidates[at]
        if not is_dense:
            distance_row(points, inputs, p_norms, i_norms, cosine, i, buffer)
        row = dense[i] if is_dense else buffer
        gains[at] = gain_of_row(row, nearest)


@numba.njit(**_options)
def _comes_before(gain_a, index_a, gain_b, index_b):
    """Greater gain first; equal gains in order of index."""
    return gain_a > gain_b or (gain_a == gain_b and index_a < index_b)


@numba.njit(**_options)
def _sift_down(gains, heap, size, at):
    """Restore the heap below position `at`."""
    index = heap[at]
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        right = child + 1
        if right < size and _comes_before(
            gains[heap[right]], heap[right], gains[heap[child]], heap[child]
        ):
            child = right
        if not _comes_before(gains[heap[child]], heap[child], gains[index], index):
            break
        heap[at] = heap[child]
        at = child
    heap[at] = index


@numba.njit(**_options)
def lazy_greedy(
    dense, points, inputs, p_norms, i_norms, cosine, bounds, nearest, candidates, k
):
    """Choose k medoids by the accelerated greedy algorithm (Minoux, 1978).

    Parameters
    ----------
    dense : float32 (n, n), or (0, 0) to make rows from `points` as needed
    points, inputs, p_norms, i_norms, cosine : see `distance_row`
    bounds : float64 (n,), upper bounds of all gains; overwritten
    nearest : float32 (n,), distance to the nearest medoid; updated in place
    candidates : int64, rows that may be chosen
    k : how many

    Returns
    -------
    chosen : int64 (<= k,), in order of selection
    gains : float64 (<= k,)
    """
    n = nearest.shape[0]
    is_dense = dense.shape[0] > 0
    buffer = np.empty(n, dtype=np.float32)
    heap = candidates.copy()
    size = heap.shape[0]
    for at in range(size // 2 - 1, -1, -1):
        _sift_down(bounds, heap, size, at)
    evaluated_at = np.full(n, -1, dtype=np.int64)
    chosen = np.empty(min(k, size), dtype=np.int64)
    gains = np.empty(min(k, size))
    for step in range(chosen.shape[0]):
        # A gain only shrinks as medoids are added: a candidate that was
        # evaluated in this step and still leads the heap is the best of all.
        while evaluated_at[heap[0]] != step and bounds[heap[0]] > 0.0:
            top = heap[0]
            if not is_dense:
                distance_row(points, inputs, p_norms, i_norms, cosine, top, buffer)
            row = dense[top] if is_dense else buffer
            bounds[top] = gain_of_row(row, nearest)
            evaluated_at[top] = step
            _sift_down(bounds, heap, size, 0)
        best = heap[0]
        chosen[step] = best
        gains[step] = bounds[best]
        size -= 1
        heap[0] = heap[size]
        if size > 0:
            _sift_down(bounds, heap, size, 0)
        if gains[step] > 0.0:  # else no example comes closer
            if not is_dense:
                distance_row(points, inputs, p_norms, i_norms, cosine, best, buffer)
            row = dense[best] if is_dense else buffer
            for j in range(n):
                nearest[j] = min(nearest[j], row[j])
    return chosen, gains


@numba.njit(**_options)
def assign(dense, points, inputs, p_norms, i_norms, cosine, medoids, nearest, owner):
    """Give each example to its nearest medoid, the earliest of equally near.

    `nearest` (n,) starts at infinity and `owner` (n,) is filled with positions
    in `medoids`. A medoid that lies exactly on an earlier one belongs to it.
    """
    n = nearest.shape[0]
    is_dense = dense.shape[0] > 0
    buffer = np.empty(n, dtype=np.float32)
    for position in range(medoids.shape[0]):
        medoid = medoids[position]
        if not is_dense:
            distance_row(points, inputs, p_norms, i_norms, cosine, medoid, buffer)
        row = dense[medoid] if is_dense else buffer
        for j in range(n):
            if row[j] < nearest[j]:
                nearest[j] = row[j]
                owner[j] = position
