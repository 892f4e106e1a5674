"""Compiled lazy greedy: gains block by block, and the heap of their bounds.

A candidate's gain is the sum of what it gains in each group of blocks. A medoid
brings only examples in some blocks closer, so a gain that was computed before needs
only those of its parts made again that have changed since and were not zero: the
result is the same sum of the same numbers. A part is monotone in the distances that
it sums, in floating point too, so that old gains are true bounds and the lazy greedy
picks exactly what the naive greedy picks on the same numbers.
"""

from __future__ import annotations

import numba
import numpy as np

from ._kernels import (
    BLOCK,
    FAR,
    fill_block,
    gain_of_block,
    largest_of,
    load,
    options,
    scratch,
    smallest_but,
)


@numba.njit(**options)
def sum_of_parts(parts, i):
    """Sum of row i in an order that is always the same, four side by side."""
    a = b = c = d = 0.0
    n = parts.shape[1]
    whole = n - n % 4
    for group in range(0, whole, 4):
        a += parts[i, group]
        b += parts[i, group + 1]
        c += parts[i, group + 2]
        d += parts[i, group + 3]
    for group in range(whole, n):
        a += parts[i, group]
    return (a + b) + (c + d)


@numba.njit(**options)
def gains_of(source, nearest, candidates, parts, gains):
    """Fill `gains` with the gain of each of `candidates`, made of `parts`."""
    dense, points, inputs, p_norms, i_norms, cosine = source
    x, z, first, second, block, terms = scratch(source)
    for at in range(candidates.shape[0]):
        i = candidates[at]
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
            parts[at, b] = gain_of_block(block, nearest, b, terms)
        gains[at] = sum_of_parts(parts, at)


@numba.njit(**options)
def gains_and_extremes(
    source, n, per_group, nearest, start, stop, parts, bounds, maxima, minima
):
    """Gains of rows `start` to `stop`, their largest and nearest other distance.

    One pass over the distances for all three, while a block is in the cache.
    """
    dense, points, inputs, p_norms, i_norms, cosine = source
    x, z, first, second, block, terms = scratch(source)
    for i in range(start, stop):
        load(points, inputs, i, x, z)
        largest, smallest = np.float32(0.0), FAR
        for group in range(parts.shape[1]):
            parts[i, group] = 0.0
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
            parts[i, b // per_group] += gain_of_block(block, nearest, b, terms)
            n_valid = min(BLOCK, n - b * BLOCK)
            largest = max(largest, largest_of(block, n_valid))
            smallest = min(smallest, smallest_but(block, n_valid, i - b * BLOCK))
        bounds[i] = sum_of_parts(parts, i)
        maxima[i], minima[i] = largest, smallest


@numba.njit(**options)
def refresh(
    dense,
    points,
    inputs,
    p_norms,
    i_norms,
    cosine,
    i,
    per_group,
    nearest,
    changed_at,
    seen_at,
    parts,
    bounds,
    x,
    z,
    first,
    second,
    block,
    terms,
):
    """Make example i's gain anew where `nearest` changed since it was made.

    `changed_at` (n_groups,) and `seen_at` (n,) count medoids: those chosen when the
    group last changed, and when the gain was last made.
    """
    load(points, inputs, i, x, z)
    since = seen_at[i]
    for group in range(parts.shape[1]):
        if changed_at[group] <= since or parts[i, group] <= 0.0:
            continue
        gain = 0.0
        stop = min(nearest.shape[0], (group + 1) * per_group)
        for b in range(group * per_group, stop):
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
            gain += gain_of_block(block, nearest, b, terms)
        parts[i, group] = gain
    bounds[i] = sum_of_parts(parts, i)


@numba.njit(**options)
def refresh_all(
    source, per_group, nearest, changed_at, candidates, parts, bounds, seen_at, step
):
    """Refresh each of `candidates`; threads share no candidate."""
    dense, points, inputs, p_norms, i_norms, cosine = source
    x, z, first, second, block, terms = scratch(source)
    for at in range(candidates.shape[0]):
        i = candidates[at]
        refresh(
            dense,
            points,
            inputs,
            p_norms,
            i_norms,
            cosine,
            i,
            per_group,
            nearest,
            changed_at,
            seen_at,
            parts,
            bounds,
            x,
            z,
            first,
            second,
            block,
            terms,
        )
        seen_at[i] = step


@numba.njit(**options)
def choose(
    dense,
    points,
    inputs,
    p_norms,
    i_norms,
    cosine,
    i,
    position,
    per_group,
    nearest,
    owner,
    changed_at,
    parts,
    x,
    z,
    first,
    second,
    block,
):
    """Let each example that comes closer to medoid i belong to it.

    `position` is the medoid's place in the order of selection; its gain has just
    been made, so that blocks without a part in it need no look.
    """
    load(points, inputs, i, x, z)
    for b in range(nearest.shape[0]):
        if parts[i, b // per_group] <= 0.0:
            continue
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
                changed_at[b // per_group] = position + 1


@numba.njit(**options)
def comes_before(a, b, bounds, rank):
    """Greater gain first; equal gains in order of rank."""
    return bounds[a] > bounds[b] or (bounds[a] == bounds[b] and rank[a] < rank[b])


@numba.njit(**options)
def sift_down(bounds, rank, heap, size, at):
    """Restore the heap below position `at`."""
    index = heap[at]
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        right = child + 1
        if right < size and comes_before(heap[right], heap[child], bounds, rank):
            child = right
        if not comes_before(heap[child], index, bounds, rank):
            break
        heap[at] = heap[child]
        at = child
    heap[at] = index


@numba.njit(**options)
def make_heap(bounds, rank, heap):
    """Order candidates so that each comes before its two children."""
    for at in range(heap.shape[0] // 2 - 1, -1, -1):
        sift_down(bounds, rank, heap, heap.shape[0], at)


@numba.njit(**options)
def lazy_greedy(
    source,
    rank,
    per_group,
    nearest,
    owner,
    changed_at,
    heap,
    n_candidates,
    parts,
    bounds,
    seen_at,
    chosen,
    gains,
    step,
    patience,
):
    """Choose medoids by the accelerated greedy algorithm (Minoux, 1978).

    Parameters
    ----------
    source : see the module `_kernels`
    rank : int64 (n,), decides between equal gains, the lowest first
    per_group : blocks in a group
    nearest : float32 (n_blocks, BLOCK), distance to the nearest medoid, 0 beyond
        the last example; updated
    owner : int64, of the same shape, position of that medoid; updated
    changed_at, seen_at : see `refresh`
    heap : int64, `n_candidates` of them are used; see `make_heap`
    parts, bounds : float64 (n, n_groups) and (n,), gains when they were last made
    chosen, gains : int64 and float64 (k,), filled from `step` on
    step : how many medoids have been chosen
    patience : return when more candidates than this were refreshed for one medoid

    Returns
    -------
    step : how many medoids have now been chosen, k if all
    n_candidates : how many candidates are left
    """
    dense, points, inputs, p_norms, i_norms, cosine = source
    x, z, first, second, block, terms = scratch(source)
    while step < chosen.shape[0]:
        refreshed = 0
        # A gain only shrinks as medoids are added: a candidate that was made anew
        # for this medoid and still leads the heap is the best of all.
        while seen_at[heap[0]] < step and bounds[heap[0]] > 0.0:
            if refreshed >= patience:
                return step, n_candidates
            i = heap[0]
            refresh(
                dense,
                points,
                inputs,
                p_norms,
                i_norms,
                cosine,
                i,
                per_group,
                nearest,
                changed_at,
                seen_at,
                parts,
                bounds,
                x,
                z,
                first,
                second,
                block,
                terms,
            )
            seen_at[i] = step
            sift_down(bounds, rank, heap, n_candidates, 0)
            refreshed += 1
        best = heap[0]
        chosen[step], gains[step] = best, bounds[best]
        n_candidates -= 1
        heap[0] = heap[n_candidates]
        if n_candidates > 0:
            sift_down(bounds, rank, heap, n_candidates, 0)
        if gains[step] > 0.0:  # else no example comes closer
            choose(
                dense,
                points,
                inputs,
                p_norms,
                i_norms,
                cosine,
                best,
                step,
                per_group,
                nearest,
                owner,
                changed_at,
                parts,
                x,
                z,
                first,
                second,
                block,
            )
        step += 1
    return step, n_candidates
