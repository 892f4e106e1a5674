"""What everything that finds rows to drop shares: the checks of what comes in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import Tags, _safe_indexing, check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, validate_data

from ._utils import DocLinks, check_labels
from .gradients import LogitGradients


class CallableGradients(BaseEstimator):
    """A user's function (X, y) -> (n, d), with the extractors' methods."""

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        self.function = function

    def fit(self, X: Any, y: Any, **fit_params: Any) -> CallableGradients:
        """Do nothing."""
        return self

    def compute(self, X: Any, y: Any) -> Any:
        """Call the function."""
        return self.function(X, y)


def as_extractor(given: Any) -> Any:
    """Turn what a user may give as `extractor` into one; rounds fit clones."""
    if given is None:
        return LogitGradients()
    if isinstance(given, type):
        raise TypeError(
            f"extractor is the class {given.__name__}; give an instance of it."
        )
    if hasattr(given, "compute") and hasattr(given, "fit"):
        return given
    if hasattr(given, "predict_proba") or isinstance(given, BaseEstimator):
        return LogitGradients(given)
    if hasattr(given, "named_parameters"):  # a torch module, also callable
        return LogitGradients(given)
    if callable(given):
        return CallableGradients(given)
    raise TypeError(
        f"extractor is {given!r}; give an extractor such as "
        "LogitGradients(classifier), a classifier with predict_proba, a torch "
        "module, or a function (X, y) -> array of shape (n, d)."
    )


def is_dataframe(X: Any) -> bool:
    """Pandas, polars and their like."""
    return hasattr(X, "columns") and hasattr(X, "shape")


def check_weights(weights: ArrayLike | None, X: Any) -> np.ndarray | None:
    """Refuse weights that are not one finite number >= 0 a row, or all zero."""
    if weights is None:
        return None
    checked = _check_sample_weight(weights, X, ensure_non_negative=True)
    if not np.any(checked):
        raise ValueError("sample_weight is zero for every example.")
    return checked


def _check_finite_columns(X: Any) -> None:
    """Refuse NaN and infinity in a dataframe's number columns.

    Other columns are the model's business: a ColumnTransformer takes strings.
    """
    bad = []
    for name in X.columns:
        column = np.asarray(X[name])
        if column.dtype.kind == "f" and not np.isfinite(column).all():
            bad.append(name)
    if bad:
        raise ValueError(
            f"Input X contains NaN or infinity in the columns {bad}; impute or drop "
            "them before filtering."
        )


def take_rows(X: Any, rows: np.ndarray) -> Any:
    """Rows of an array, dataframe or sparse matrix."""
    return X.tocsr()[rows] if scipy.sparse.issparse(X) else _safe_indexing(X, rows)


class Detector(DocLinks, BaseEstimator):
    """Base of what finds rows of a training set to drop, by whatever rule.

    Checks data; a subclass stores its own parameters and implements `_detect`.
    """

    keep_: np.ndarray
    isolated_indices_: np.ndarray

    def _detect(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> tuple[Any, Any]:
        """Set the fitted attributes, return X and what was judged by."""
        raise NotImplementedError

    def _check_X_y(self, X: Any, y: ArrayLike) -> tuple[Any, np.ndarray]:
        """Validate; dataframes and sparse matrices stay what they are."""
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is "
                "None: isolation is judged inside each class."
            )
        X = self._check_X(X, reset=True)
        labels = column_or_1d(y, warn=True)
        check_consistent_length(X, labels)
        check_labels(labels)
        check_classification_targets(labels)
        return X, labels

    def _check_X(self, X: Any, reset: bool) -> Any:
        if is_dataframe(X):
            validate_data(self, X, reset=reset, skip_check_array=True)
            if X.shape[1] == 0:
                raise ValueError("Found 0 feature(s): the dataframe X has no columns.")
            _check_finite_columns(X)
            return X
        return validate_data(
            self,
            X,
            reset=reset,
            accept_sparse="csr",
            allow_nd=True,
            ensure_min_samples=2 if reset else 1,
        )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.input_tags.sparse = True
        tags.input_tags.three_d_array = True
        return tags
