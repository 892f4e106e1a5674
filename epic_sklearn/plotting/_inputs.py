"""What displays are given: fitted objects, groups of examples, and their checks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..metrics import as_mask, check_column
from ..report import Reviewable
from ..schedule import DropSchedule


def schedule_of(estimator: Any) -> DropSchedule:
    """Give the schedule by which a fitted estimator, callback or sampler dropped."""
    if isinstance(estimator, DropSchedule):
        return estimator
    if not isinstance(estimator, Reviewable):
        raise TypeError(
            f"{estimator!r} is nothing that runs EPIC's rounds; give a fitted "
            "EPICClassifier, EPICFilter, EPICResampler, FilteredClassifier with one of "
            "these, EPICCallback, EPICSubsetSampler or DropSchedule: of a pipeline its "
            "step that does, such as pipeline[-1], of a search (with refit=True) its "
            "best_estimator_. Or use from_predictions."
        )
    estimator._check_judged()
    return estimator._schedule


def target_labels(
    target_label: Any, n_targets: int, drawn: np.ndarray | None = None
) -> np.ndarray:
    """One adversarial label a target; each must be a class that is drawn."""
    labels = np.asarray(target_label)
    if target_label is None or labels.shape not in ((), (1,), (n_targets,)):
        raise ValueError(
            f"target_label is {target_label!r} for {n_targets} targets; give the "
            "adversarial label, with which their gradients are taken, or one a target."
        )
    if drawn is not None and not np.isin(labels, drawn).all():
        raise ValueError(
            f"target_label is {np.unique(labels).tolist()}, which is not among the "
            f"classes that are drawn: {np.unique(drawn).tolist()[:20]}."
        )
    return np.broadcast_to(labels, (n_targets,))


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
        labels = check_column(y, "y", n)
        return {str(label): labels == label for label in np.unique(labels).tolist()}
    if poison_indices is None:
        return {"all examples": np.ones(n, dtype=bool)}
    is_poison = as_mask(poison_indices, n, "poison_indices")
    groups = {"poisons": is_poison, "clean examples": ~is_poison}
    return {name: mask for name, mask in groups.items() if mask.any()}
