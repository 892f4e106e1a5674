"""Groups of examples that a display compares, and checks of what is given."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ._style import shorten


def check_length(values: ArrayLike, name: str, n: int, of: str) -> np.ndarray:
    """Return a 1-D array of `n` entries, or say what has another length."""
    array = np.asarray(values)
    if array.shape != (n,):
        raise ValueError(
            f"{name} has shape {array.shape}, {of} has {n} entries; both need one "
            "entry a training example, in the same order."
        )
    return array


def check_keep(keep: ArrayLike, n: int, of: str) -> np.ndarray:
    """Return a boolean mask of `n` entries."""
    mask = check_length(keep, "keep", n, of)
    if mask.dtype != np.bool_:
        raise ValueError(
            f"keep has dtype {mask.dtype}; give a boolean mask, such as keep_ of a "
            "fitted estimator."
        )
    return mask


def as_mask(rows: ArrayLike | None, n: int, name: str) -> np.ndarray | None:
    """Turn row numbers, or a boolean mask, into a boolean mask of `n` entries."""
    if rows is None:
        return None
    array = np.asarray(rows)
    if array.dtype == np.bool_:
        return check_length(array, name, n, "the training set").copy()
    is_rows = array.ndim == 1 and (array.dtype.kind in "iu" or array.size == 0)
    if not is_rows or (array.size and (array.min() < 0 or array.max() >= n)):
        raise ValueError(
            f"{name} is {array!r}; give row numbers from 0 to {n - 1}, shape (k,), or "
            f"a boolean mask of shape ({n},)."
        )
    mask = np.zeros(n, dtype=bool)
    mask[array.astype(np.int64)] = True
    return mask


def target_labels(
    target_label: Any, n_targets: int, drawn: np.ndarray | None = None
) -> np.ndarray:
    """One label a target; each must be a class that is drawn."""
    if target_label is None:
        raise ValueError(
            "target is given without target_label; give the adversarial label, with "
            "which its gradient is taken."
        )
    labels = np.asarray(target_label)
    if labels.shape not in ((), (1,), (n_targets,)):
        raise ValueError(
            f"target_label has shape {labels.shape} for {n_targets} targets; give one "
            "label, or one a target."
        )
    labels = np.broadcast_to(labels, (n_targets,))
    if drawn is not None and not np.isin(labels, drawn).all():
        raise ValueError(
            f"target_label is {np.unique(labels).tolist()}, which is not among the "
            f"classes that are drawn: {np.unique(drawn).tolist()[:20]}."
        )
    return labels


def make_groups(
    n: int, poison_indices: ArrayLike | None, y: ArrayLike | None
) -> dict[str, np.ndarray]:
    """Name and mask of each group: poisons and clean, or classes, or all."""
    if poison_indices is not None and y is not None:
        raise ValueError(
            "Both poison_indices and y are given; give poison_indices to compare "
            "poisons with clean examples, or y to compare the classes."
        )
    if y is not None:
        labels = check_length(y, "y", n, "the training set")
        return {str(label): labels == label for label in np.unique(labels).tolist()}
    is_poison = as_mask(poison_indices, n, "poison_indices")
    if is_poison is None:
        return {"all examples": np.ones(n, dtype=bool)}
    groups = {"poisons": is_poison, "clean examples": ~is_poison}
    return {name: mask for name, mask in groups.items() if mask.any()}


def name_with_size(name: Any, size: int) -> str:
    """Name of a group and how many examples it has, for a legend."""
    return f"{shorten(name)} ({size:,})"
