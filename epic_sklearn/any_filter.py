"""Which rows a filter keeps: ours, any with ``keep_``, or an outlier detector."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone, is_classifier
from sklearn.pipeline import Pipeline
from sklearn.utils import check_consistent_length, column_or_1d

from ._utils import warn_user
from .base import BaseDetector
from .gradients.last_layer import tells_when_fitted, thawed
from .report import Reviewable
from .validation import (
    check_labels,
    label_array,
    refuse_masked,
    refuse_other_order,
    warn_of_classes,
)


def predicts_labels(estimator: Any) -> bool:
    """Tell a classifier from filters; outlier detectors predict, but no labels."""
    is_filter = hasattr(estimator, "fit_predict") and not is_classifier(estimator)
    predicts = hasattr(estimator, "predict") or tells_when_fitted(estimator)
    return predicts and not is_filter


def to_be_fitted(given: Any, X: Any, y: ArrayLike) -> Any:
    """Clone a filter; a frozen one is refused other rows, which it knows by number."""
    if hasattr(given, "judge"):
        raise TypeError(f"filter is the rule {given!r}; give EPICFilter(rule=...).")
    held = thawed(given)
    if isinstance(held, Reviewable) and held is not given:
        try:
            held._rows_of_the_fit(X, y)
        except ValueError as error:
            raise ValueError(
                "filter is frozen, and X, y are not the rows of its fit, in order "
                "and as they were: it would drop others. Give these, or thaw it."
            ) from error
    elif getattr(getattr(given, "_schedule", None), "decided", np.zeros(1)).any():
        warn_user(
            "filter has decisions of a reviewer, and a clone of it is fitted, without "
            "them. To drop what was decided, give FrozenEstimator(filter)."
        )
    return clone(given)


def keep_of_codes(codes: ArrayLike, labels: np.ndarray, given: Any) -> np.ndarray:
    """Rows (n,) to keep of an outlier detector's codes: +1 inlier, -1 outlier."""
    codes = np.asarray(codes)
    values = set(codes.ravel().tolist())
    is_codes = codes.shape == labels.shape and codes.dtype.kind != "b"
    if not is_codes or not values <= {1, -1}:
        raise ValueError(
            f"fit_predict of {given!r} gives {sorted(values, key=str)[:10]} for "
            f"{len(codes)} rows; a filter must give 1 (keep) or -1 (drop) for each of "
            f"{len(labels)}, as scikit-learn's outlier detectors do. PyOD's codes and "
            "numbers of clusters mean something else."
        )
    return codes == 1


def keep_of(given: Any, X: Any, y: ArrayLike, params: dict[str, Any]) -> np.ndarray:
    """Fit a filter, and tell which rows it keeps (n,); refuse what cannot be that."""
    labels = column_or_1d(label_array(y), warn=True)
    if isinstance(given, BaseDetector) or not hasattr(given, "fit_predict"):
        given.fit(X, y, **params)
        if not hasattr(given, "keep_"):
            raise TypeError(
                f"filter is {given!r}, which has no keep_ after fit; give an "
                "EPICFilter, or an outlier detector with fit_predict."
            )
        refuse_other_order(X=X, keep_=given.keep_)
        refuse_masked(keep_=given.keep_)
        keep = np.asarray(given.keep_)
        if keep.shape != labels.shape or keep.dtype != bool:
            raise ValueError(
                f"keep_ of {given!r} is an array of {keep.dtype} of shape "
                f"{keep.shape}; it must be one bool a row, {len(labels)}."
            )
    else:
        check_consistent_length(X, labels)
        check_labels(labels)
        warn_of_classes(labels)
        keep = keep_of_codes(given.fit_predict(X, y, **params), labels, given)
    emptied = np.setdiff1d(labels, labels[keep])
    if len(emptied):
        raise ValueError(
            f"{given!r} keeps no row of the classes {emptied.tolist()}, which the "
            "classifier would never predict. Let it drop less, or filter inside "
            "each class, as EPICFilter does."
        )
    return keep


def rows_kept(fitted: Any, n: int) -> np.ndarray | None:
    """Rows (n,) that a fitted model, a step or a callback of it kept, if one tells."""
    fitted = getattr(fitted, "best_estimator_", fitted)
    parts = [fitted]
    if isinstance(fitted, Pipeline):
        parts += fitted.named_steps.values()
    parts += [entry for part in parts for _, entry in getattr(part, "callbacks_", ())]
    found = (getattr(part, "keep_", None) for part in parts)
    own = (keep for keep in found if keep is not None and np.shape(keep) == (n,))
    return next(map(np.asarray, own), None)
