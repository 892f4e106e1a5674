"""What displays are given: fitted objects, groups of examples, and their checks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from ..base import BaseDetector
from ..metrics import as_mask, check_column
from ..schedule import DropSchedule
from ..training import EPICClassifier, EPICSubsetSampler
from ..training.rounds import EPICRounds


def unwrap(estimator: Any) -> Any:
    """Give the filter of a FilteredClassifier, and anything else as it is."""
    is_callback = isinstance(estimator, EPICRounds)
    if isinstance(estimator, BaseEstimator) and not is_callback:
        check_is_fitted(estimator)
    return getattr(estimator, "filter_", estimator)


def schedule_of(estimator: Any) -> DropSchedule:
    """Give the schedule by which a fitted estimator, callback or sampler dropped."""
    given = unwrap(estimator)
    ours = (BaseDetector, EPICClassifier, EPICRounds, EPICSubsetSampler, DropSchedule)
    if not isinstance(given, ours):
        raise TypeError(
            f"{given!r} is nothing that runs EPIC's rounds; {_where_to_look(given)}"
            "give a fitted EPICClassifier, EPICFilter, EPICResampler, "
            "FilteredClassifier with one of these, EPICCallback, EPICSubsetSampler or "
            "DropSchedule, or use from_predictions."
        )
    source: Any = given
    if isinstance(given, EPICRounds):
        source = getattr(given, "sampler_", None)
    if source is None or not source._schedule.rounds:
        raise NotFittedError(
            f"This {type(given).__name__} has not run a round yet, so nothing is known "
            "of its examples; train beyond its warmup first. Of a skorch net take the "
            "callback from net.callbacks_, which holds a copy."
        )
    return source._schedule


def _where_to_look(estimator: Any) -> str:
    """Name the part of somebody else's meta-estimator that may be ours."""
    if hasattr(estimator, "best_estimator_"):
        return "give its best_estimator_ if that is ours, otherwise "
    if hasattr(estimator, "cv_results_"):
        return (
            "it was fitted with refit=False and holds no fitted estimator; fit it with "
            "refit=True and give its best_estimator_, otherwise "
        )
    if isinstance(estimator, Pipeline):
        return "give its step that does, such as pipeline[-1], otherwise "
    return ""


def extractor_of(estimator: Any) -> Any:
    """Extractor that gives the gradients of a fitted estimator's model as it is."""
    if hasattr(estimator, "extractor_"):
        return estimator.extractor_
    raise TypeError(
        f"{type(estimator).__name__} holds no model that gradients could come from; "
        "compute them, LogitGradients(module).compute(X, y) for example, and use "
        "from_predictions with its keep mask."
    )


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
