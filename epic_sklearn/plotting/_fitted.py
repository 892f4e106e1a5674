"""What was dropped and by which gradients, read from any of our fitted objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from .._epic_detector import EPICDetector
from ..schedule import DropSchedule
from ..training import EPICCallback, EPICClassifier, EPICSubsetSampler
from ..training._callback import EXTRACTORS


@dataclass(frozen=True)
class Outcome:
    """What a detector has dropped, whatever kind it is.

    Attributes
    ----------
    keep : ndarray of shape (n,), bool
        What is kept.
    dropped_at : ndarray of shape (n,), int, or None
        Epoch, or number of the round, that dropped the example; -1 where it is
        kept. None where the detector has not recorded it.
    epochs : ndarray of int
        When the rounds were.
    clock : {"epochs trained", "round"}
        What `epochs` counts.
    cluster_sizes : ndarray of shape (n,), int
        Size of the cluster that each example was last in.
    medoid_indices : ndarray of int
        Medoids of the last round.
    score : ndarray of shape (n,)
        Highest isolation score of all rounds.
    """

    keep: np.ndarray
    dropped_at: np.ndarray | None
    epochs: np.ndarray
    clock: str
    cluster_sizes: np.ndarray
    medoid_indices: np.ndarray
    score: np.ndarray


def unwrap(estimator: Any) -> Any:
    """Give the filter of a FilteredClassifier, and anything else as it is.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If it is not fitted.
    """
    if isinstance(estimator, BaseEstimator):
        check_is_fitted(estimator)
    return getattr(estimator, "filter_", estimator)


def read_outcome(estimator: Any) -> Outcome:
    """Read what a fitted estimator, callback or sampler has dropped.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If it is not fitted or has not run a round yet.
    TypeError
        If it is none of ours.
    """
    estimator = unwrap(estimator)
    if isinstance(estimator, EPICDetector):
        return _of_detector(estimator)
    schedule = _schedule_of(estimator)
    if schedule is None or not schedule.rounds:
        raise NotFittedError(
            f"This {type(estimator).__name__} has not run a round yet, so nothing is "
            "known of its examples; train beyond its warmup first. Of a skorch net "
            "take the callback from net.callbacks_, which holds a copy."
        )
    state = schedule.state_dict()
    return Outcome(
        keep=state["keep"],
        dropped_at=state["dropped_at"],
        epochs=np.array([record.epoch for record in schedule.rounds]),
        clock="epochs trained",
        cluster_sizes=state["cluster_size"],
        medoid_indices=state["medoid_indices"],
        score=schedule.isolation_score,
    )


def _schedule_of(estimator: Any) -> DropSchedule | None:
    if isinstance(estimator, EPICClassifier):
        estimator = estimator._sampler
    if isinstance(estimator, EPICCallback):
        estimator = getattr(estimator, "sampler_", None)
        if estimator is None:
            return None
    if isinstance(estimator, EPICSubsetSampler):
        return estimator.schedule
    if isinstance(estimator, DropSchedule):
        return estimator
    raise TypeError(
        f"{estimator!r} is nothing that runs EPIC's rounds; {_where_to_look(estimator)}"
        "give a fitted EPICClassifier, EPICFilter, EPICResampler, FilteredClassifier "
        "with one of these, EPICCallback, EPICSubsetSampler or DropSchedule, or use "
        "from_predictions."
    )


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


def _of_detector(detector: EPICDetector) -> Outcome:
    epochs = np.array([record.epoch for record in detector.rounds_])
    dropped_at = getattr(detector, "dropped_at_round_", None)
    if dropped_at is None and len(epochs) == 1:
        dropped_at = np.where(detector.keep_, -1, epochs[0])
    return Outcome(
        keep=detector.keep_,
        dropped_at=dropped_at,
        epochs=epochs,
        clock="round",
        cluster_sizes=detector.cluster_sizes_,
        medoid_indices=detector.medoid_indices_,
        score=detector.isolation_score_,
    )


def extractor_of(estimator: Any, X: Any, y: np.ndarray) -> tuple[Any, bool]:
    """Extractor of a fitted estimator; whether its medoids are of these gradients."""
    if isinstance(estimator, EPICDetector):
        return estimator.extractor_, True
    if isinstance(estimator, EPICClassifier):
        kind = EXTRACTORS[estimator.gradients]
        return kind(FrozenEstimator(estimator)).fit(X, y), False
    raise TypeError(
        f"{type(estimator).__name__} holds no model that gradients could come from; "
        "compute them, LogitGradients(module).compute(X, y) for example, and use "
        "from_predictions with its keep mask."
    )
