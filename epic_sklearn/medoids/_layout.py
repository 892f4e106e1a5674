"""Features of a class as the kernels read them: scaled, ordered, in blocks."""

from __future__ import annotations

import numpy as np

from ._kernels import BLOCK

# Splitting looks at no more than this many features, those of largest spread.
SPLIT_FEATURES = 16
# The middle of a class is taken from no more examples than this.
CENTRE_EXAMPLES = 256


def centre_of(features: np.ndarray) -> np.ndarray:
    """Median (d,) of a few hundred examples, evenly spaced: any middle will do.

    The median and not the mean: the bulk of a class that has converged lies
    together, and it is there that small differences count.
    """
    step = max(1, len(features) // CENTRE_EXAMPLES)
    return np.median(features[::step], axis=0).astype(features.dtype)


def scaled(features: np.ndarray) -> np.ndarray:
    """Multiply by the power of two that brings the largest to [0.5, 1).

    That changes no digit and no rank, and keeps squares of very small or very
    large gradients inside the floating-point range.
    """
    largest = float(np.abs(features).max(initial=0.0))
    exponent = int(np.frexp(largest)[1]) if largest > 0 else 0
    return np.ldexp(features, -exponent)


def as_points(features: np.ndarray) -> np.ndarray:
    """Features (n, d) as float32 with the same differences, up to scale.

    Single precision is taken as it is: a difference of two of its numbers is
    exact to the last bit. Double precision is centred before it is rounded, so
    that an offset common to all examples costs no digits.
    """
    if features.dtype.itemsize <= 4:
        return scaled(features.astype(np.float32, copy=False))
    features = scaled(features)
    return scaled(features - centre_of(features)).astype(np.float32)


def directions(features: np.ndarray) -> np.ndarray:
    """Scale examples to unit length; a zero one becomes its own direction.

    The extra coordinate puts zero gradients at cosine distance 1 from all
    others and 0 from each other.
    """
    features = scaled(features.astype(np.float64))
    lengths = np.sqrt(np.einsum("nk,nk->n", features, features))
    is_zero = lengths == 0.0
    unit = features / np.where(is_zero, 1.0, lengths)[:, None]
    return np.column_stack([unit, is_zero.astype(np.float64)])


def spatial_order(features: np.ndarray) -> np.ndarray:
    """Order (n,) of examples in which those of a block lie close together.

    The class is halved again and again across its widest feature, at whole
    blocks, as a k-d tree is built.
    """
    if features.shape[1] > SPLIT_FEATURES:
        spread = np.ptp(features[:: max(1, len(features) // 1024)], axis=0)
        widest = np.argsort(spread, kind="stable")[-SPLIT_FEATURES:]
        features = features[:, widest]
    leaves, parts = [], [np.arange(len(features))]
    while parts:
        rows = parts.pop()
        if len(rows) <= BLOCK:
            leaves.append(rows)
            continue
        inside = features[rows]
        values = inside[:, np.argmax(np.ptp(inside, axis=0))]
        middle = BLOCK * (-(-len(rows) // BLOCK) // 2)
        halves = rows[np.argpartition(values, middle)]
        parts += [halves[middle:], halves[:middle]]
    return np.concatenate(leaves)


def in_blocks(features: np.ndarray) -> np.ndarray:
    """Features (n, d) as (n_blocks, d, BLOCK), zeros after the last example."""
    n, d = features.shape
    n_blocks = -(-n // BLOCK)
    padded = np.zeros((n_blocks * BLOCK, d), dtype=features.dtype)
    padded[:n] = features
    return np.ascontiguousarray(padded.reshape(n_blocks, BLOCK, d).transpose(0, 2, 1))


def fill_blocks(values: np.ndarray, fill: float) -> np.ndarray:
    """Values (n,) as (n_blocks, BLOCK), `fill` after the last."""
    n_blocks = -(-len(values) // BLOCK)
    padded = np.full(n_blocks * BLOCK, fill, dtype=values.dtype)
    padded[: len(values)] = values
    return padded.reshape(n_blocks, BLOCK)


def squared_norms(features: np.ndarray) -> np.ndarray:
    """Squared length (n,) of each row, float64."""
    return np.einsum("nk,nk->n", features, features, dtype=np.float64)
