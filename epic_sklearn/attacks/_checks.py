"""Checks of what the attacks are given, and the ball that poisons stay in."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

ArrayPair = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]


def to_numpy(values: Any) -> npt.NDArray[Any]:
    """Array of a tensor on any device, or of anything array-like."""
    if isinstance(values, torch.Tensor):
        return np.asarray(values.detach().cpu())
    return np.asarray(values)


def _check_numbers(values: npt.NDArray[Any], name: str) -> None:
    if values.dtype.kind not in "fiu":
        raise TypeError(f"{name} has dtype {values.dtype}; give an array of numbers.")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} contains NaN or infinity; remove or impute them.")


def check_examples(X: Any) -> npt.NDArray[Any]:
    """Training examples as a finite array of shape (n, ...).

    Raises
    ------
    TypeError
        If they are not numbers.
    ValueError
        If there are none, they have no features, or contain NaN or infinity.
    """
    X = to_numpy(X)
    if X.ndim < 2 or len(X) == 0:
        raise ValueError(
            f"X has shape {X.shape}; give at least one training example and one "
            "axis of features, (n, ...)."
        )
    _check_numbers(X, "X")
    return X


def check_target(target: Any, X: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """One finite example of the shape of those in `X`.

    Raises
    ------
    TypeError
        If it is not made of numbers.
    ValueError
        If it has another shape, or contains NaN or infinity.
    """
    target = to_numpy(target)
    if target.shape != X.shape[1:]:
        raise ValueError(
            f"target has shape {target.shape}, the examples in X have shape "
            f"{X.shape[1:]}; give one example, without a batch axis."
        )
    _check_numbers(target, "target")
    return target


def check_labels(y: Any, n_examples: int) -> npt.NDArray[Any]:
    """One label an example, shape (n_examples,).

    Raises
    ------
    ValueError
        If `y` has another shape.
    """
    labels = to_numpy(y)
    if labels.shape != (n_examples,):
        raise ValueError(
            f"y has shape {labels.shape}, X has {n_examples} examples; give one label "
            f"an example, shape ({n_examples},)."
        )
    return labels


def rows_of_label(
    y: Any, label: Any, n_examples: int, name: str = "adversarial_label"
) -> npt.NDArray[np.int64]:
    """Rows that bear a label; `name` is what errors call it.

    Raises
    ------
    ValueError
        If there are none, or `y` does not have one label an example.
    """
    labels = check_labels(y, n_examples)
    # As objects: numpy would otherwise compare a number with strings as text.
    rows = np.flatnonzero(labels.astype(object) == label).astype(np.int64)
    if len(rows) == 0:
        known = ", ".join(map(repr, sorted(set(labels.tolist()), key=str)[:10]))
        raise ValueError(
            f"{name}={label!r} does not occur in y; give one of y's labels, such as "
            f"{known}."
        )
    return rows


def source_rows(
    y: Any, source_label: Any, adversarial_label: Any, n_examples: int
) -> npt.NDArray[np.int64]:
    """Rows that bear one source label, or any of a list of them.

    Raises
    ------
    ValueError
        If a source label does not occur, or is the adversarial label.
    """
    several = isinstance(source_label, list | tuple | np.ndarray)
    labels = list(source_label) if several else [source_label]
    if not labels or adversarial_label in labels:
        raise ValueError(
            f"source_label={source_label!r}, adversarial_label={adversarial_label!r}; "
            "give one or more source labels other than the adversarial one."
        )
    rows = [rows_of_label(y, label, n_examples, "source_label") for label in labels]
    return np.unique(np.concatenate(rows))


def check_enough(n_poisons: int, n_candidates: int) -> None:
    """Refuse more poisons than there are base examples.

    Raises
    ------
    ValueError
        If there are too few.
    """
    if n_poisons > n_candidates:
        raise ValueError(
            f"n_poisons={n_poisons}, but only {n_candidates} examples bear a label "
            "that can be poisoned; give at most that many."
        )


def draw_rows(
    candidates: npt.NDArray[np.int64], n_poisons: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Draw base examples among the candidates, without replacement."""
    check_enough(n_poisons, len(candidates))
    return rng.choice(candidates, size=n_poisons, replace=False)


def check_clip(clip: Any, examples: npt.NDArray[Any]) -> None:
    """Refuse limits that are no interval or that the examples leave.

    Raises
    ------
    ValueError
        If so.
    """
    if len(clip) != 2 or not clip[0] < clip[1]:
        raise ValueError(
            f"clip={clip!r}; give the lowest and the highest value that an example "
            "may take, such as (0.0, 1.0), or None."
        )
    if examples.min() < clip[0] or examples.max() > clip[1]:
        raise ValueError(
            f"X has values from {examples.min():g} to {examples.max():g}, outside "
            f"clip={clip}; scale X, or set clip to its range or None."
        )


def ball(
    base_examples: npt.NDArray[Any], eps: float, clip: tuple[float, float] | None
) -> ArrayPair:
    """Return the lowest and the highest value that each coordinate may take.

    Parameters
    ----------
    base_examples : ndarray of shape (n_poisons, ...)
        Examples before poisoning.
    eps : float
        The largest change of a coordinate.
    clip : tuple of (float, float) or None
        The limits of all examples.

    Returns
    -------
    lowest, highest : ndarray of shape (n_poisons, ...), float32

    Raises
    ------
    ValueError
        If `clip` is no interval, or base examples lie outside.
    """
    bases = base_examples.astype(np.float32)
    lowest, highest = bases - np.float32(eps), bases + np.float32(eps)
    if clip is None:
        return lowest, highest
    check_clip(clip, bases)
    return lowest.clip(*clip), highest.clip(*clip)
