"""What is trained on poisoned data: a model, with and without defences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from ..any_filter import predicts_labels, rows_kept
from ..filtered_classifier import FilteredClassifier
from ..report import Reviewable
from ..training import EPICClassifier

UNDEFENDED, ORACLE = "undefended", "poisons alone dropped"
AT_RANDOM = "as many as {}, at random"


def _callbacks_of(model: Any) -> list[Any]:
    """Callbacks that a skorch net was given, without their names."""
    given = getattr(model, "callbacks", None)
    entries = given if isinstance(given, list) else []
    return [entry[1] if isinstance(entry, tuple) else entry for entry in entries]


def fit_copy(estimator: Any, X: Any, y: np.ndarray, seed: int) -> Any:
    """Fit a clone; whatever has no `random_state` of its own follows `seed`.

    So does torch's global generator, from which skorch's nets draw: fork it before.
    """
    estimator = clone(estimator)
    # A net that is not initialised does not tell its callbacks' parameters.
    for part in (estimator, *_callbacks_of(estimator)):
        params = part.get_params() if hasattr(part, "get_params") else {}
        for name, value in params.items():
            if value is None and name.rpartition("__")[2] == "random_state":
                part.set_params(**{name: seed})
    torch.manual_seed(seed)
    return estimator.fit(X, y)


def arms_of(model: Any, defences: Any) -> dict[str, Any]:
    """Name the estimators to fit: the one without a defence, and those with one."""
    if part := _what_drops(model):
        raise TypeError(
            f"model is or holds {part}, which drops rows: there would be no undefended "
            "model to compare with. Give the model without it, and the whole as one of "
            "the defences."
        )
    if not isinstance(defences, Mapping | None):
        raise TypeError(
            f"defences is {defences!r}; give a dict of filters and classifiers by name."
        )
    names = [str(name) for name in defences or {}]
    taken = {UNDEFENDED, ORACLE, *map(AT_RANDOM.format, names)} & set(names)
    taken |= {name for name in names if names.count(name) > 1}
    if taken:
        raise ValueError(
            f"two rows of the report would have the same name, {taken}; give these "
            "defences other names."
        )
    _refuse_frozen("model", model)
    arms = {UNDEFENDED: model}
    for name, given in zip(names, (defences or {}).values(), strict=True):
        is_estimator = hasattr(given, "fit") and not isinstance(given, type)
        if hasattr(given, "judge") or not is_estimator:
            raise TypeError(
                f"the defence {name!r} is {given!r}; give a filter, such as "
                "EPICFilter(rule=...), or a classifier that defends itself."
            )
        predicts = predicts_labels(given)
        if predicts:
            _refuse_frozen(f"the defence {name!r}", given)
        arms[name] = given if predicts else FilteredClassifier(model, given)
    return arms


def _refuse_frozen(what: str, estimator: Any) -> None:
    """Refuse a classifier that would not be trained, so never see a poison."""
    part = estimator
    while part is not None:
        if isinstance(part, FrozenEstimator):
            raise TypeError(
                f"{what} predicts by {part!r}, which is not trained again: no poison "
                "could change it. Give it without FrozenEstimator."
            )
        inside = getattr(part, "classifier", getattr(part, "estimator", None))
        part = part.steps[-1][1] if isinstance(part, Pipeline) else inside


def _what_drops(estimator: Any) -> str | None:
    """Name what drops rows, be it the estimator or one of its parts."""
    has_parts = hasattr(estimator, "get_params")
    parts = [estimator, *(estimator.get_params().values() if has_parts else ())]
    parts += [callback for part in parts for callback in _callbacks_of(part)]
    dropping = (type(part).__name__ for part in parts if isinstance(part, Reviewable))
    return next(dropping, None)


def kept(fitted: Any, n: int) -> np.ndarray:
    """Rows (n,) that a fitted estimator kept: all, if nothing in it drops any."""
    keep = rows_kept(fitted, n)
    if keep is not None:
        return keep
    if dropping := _what_drops(getattr(fitted, "best_estimator_", fitted)):
        raise TypeError(
            f"{type(fitted).__name__} holds {dropping} and does not say which rows it "
            f"kept, so that nothing could be counted; give the {dropping} itself as "
            "the defence, in a pipeline or search if need be."
        )
    return np.ones(n, dtype=bool)


def trained_by(defence: Any, model: Any, X: Any) -> Any:
    """Give what a defence trains in the end, without what it drops; else the model."""
    if isinstance(defence, FilteredClassifier):
        return defence._classifier(X)
    return defence.undefended() if isinstance(defence, EPICClassifier) else model


def as_many_at_random(
    keep: np.ndarray, y: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Mask (n,) that drops as many rows of each class, drawn at random."""
    other = np.ones_like(keep)
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        other[rng.choice(rows, int((~keep[rows]).sum()), replace=False)] = False
    return other
