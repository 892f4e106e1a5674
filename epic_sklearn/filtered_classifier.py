"""Fit any classifier on the rows that a filter keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn import get_config
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    MetaEstimatorMixin,
    clone,
)
from sklearn.linear_model import LogisticRegression
from sklearn.utils import Bunch, Tags, get_tags
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    process_routing,
)
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from ._detector import Detector, check_weights, take_rows
from ._utils import DocLinks
from .filter import EPICFilter


def _has_rows(value: Any, n: int) -> bool:
    """Whether a fit parameter holds one item a row."""
    if hasattr(value, "shape"):
        return tuple(value.shape[:1]) == (n,)
    return isinstance(value, list | tuple) and len(value) == n


def _predicts_labels(estimator: Any) -> bool:
    """Tell a classifier from filters; outlier detectors predict, but no labels."""
    return hasattr(estimator, "predict") and not hasattr(estimator, "fit_predict")


def _classifier_has(name: str) -> Any:
    """Check for ``available_if`` whether the classifier has this method."""

    def check(self: FilteredClassifier) -> bool:
        inner = getattr(self, "classifier_", None)
        getattr(self._classifier() if inner is None else inner, name)
        return True

    return check


class FilteredClassifier(MetaEstimatorMixin, ClassifierMixin, DocLinks, BaseEstimator):
    """Fit a classifier on the rows that a filter keeps.

    The way to drop rows in a plain scikit-learn Pipeline: as its last step.
    Prediction is the classifier's own, for every row.

    Parameters
    ----------
    classifier : classifier or None, default=None
        A clone is fitted on the kept rows. None takes logistic regression.
    filter : EPICFilter, outlier detector or None, default=None
        Anything that has ``keep_`` after ``fit(X, y)``, or ``fit_predict`` that
        gives 1 for rows to keep. None takes ``EPICFilter()``; to search its
        parameters by ``filter__...``, give it.

    Attributes
    ----------
    classifier_ : classifier
        Fitted on the kept rows.
    filter_ : EPICFilter
        The fitted filter.
    keep_ : ndarray of shape (n,), bool
        Which training rows the classifier saw.
    classes_ : ndarray
        The labels.

    See Also
    --------
    EPICFilter : Finds the rows to leave out.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from epic_sklearn import EPICFilter, FilteredClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> X[0] = X[100]  # a setosa that looks like a virginica
    >>> model = FilteredClassifier(
    ...     LogisticRegression(max_iter=1000), EPICFilter(subset_size=0.1))
    >>> model.fit(X, y).predict(X).shape
    (150,)
    >>> int((~model.keep_).sum()), bool(model.keep_[0])
    (2, False)
    """

    def __init__(self, classifier: Any = None, filter: Any = None) -> None:
        self.classifier = classifier
        self.filter = filter

    def _classifier(self) -> Any:
        if self.classifier is None:
            return LogisticRegression(max_iter=1000)
        return self.classifier

    def fit(self, X: Any, y: ArrayLike, **fit_params: Any) -> FilteredClassifier:
        """Filter the rows, then fit the classifier on those that are kept.

        Parameters
        ----------
        X : array-like, sparse matrix or dataframe of shape (n, ...)
            Training examples.
        y : array-like of shape (n,)
            Labels.
        **fit_params : dict
            With metadata routing enabled, routed to ``filter.fit`` and
            ``classifier.fit`` as they request; without it, given to the
            classifier. Arrays of n rows, ``sample_weight`` above all, reach the
            classifier for the kept rows only.

        Returns
        -------
        self : FilteredClassifier

        Raises
        ------
        TypeError
            If `classifier` predicts no labels (the two are swapped, for
            example), or `filter` does not say which rows to keep.
        """
        self._check_order()
        classifier = clone(self._classifier())
        if fit_params.get("sample_weight") is not None:
            weights = check_weights(fit_params["sample_weight"], X)
            fit_params = {**fit_params, "sample_weight": weights}
        routed = self._route(fit_params)
        rows_kept = self._fit_filter(X, y, routed.filter.fit)
        rows = np.flatnonzero(rows_kept)
        kept_params = {
            name: take_rows(value, rows) if _has_rows(value, len(rows_kept)) else value
            for name, value in routed.classifier.fit.items()
        }
        X = X if hasattr(X, "shape") else np.asarray(X)
        labels = y if hasattr(y, "shape") else np.asarray(y)
        self.classifier_ = classifier.fit(
            take_rows(X, rows),
            np.asarray(take_rows(labels, rows)).ravel(),
            **kept_params,
        )
        self.keep_ = rows_kept
        self.classes_ = self.classifier_.classes_
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(self.classifier_, name):
                setattr(self, name, getattr(self.classifier_, name))
        return self

    def _check_order(self) -> None:
        """Refuse what predicts no labels in the classifier's place."""
        given = self.classifier
        if given is None or _predicts_labels(given):
            return
        swapped = "the two are swapped: " if _predicts_labels(self.filter) else ""
        raise TypeError(
            f"classifier is {given!r}, which predicts no labels, and filter is "
            f"{self.filter!r}; {swapped}give FilteredClassifier(classifier, filter)."
        )

    def _fit_filter(self, X: Any, y: ArrayLike, params: dict[str, Any]) -> np.ndarray:
        given = EPICFilter() if self.filter is None else self.filter
        self.filter_ = clone(given)
        if isinstance(given, Detector) or not hasattr(given, "fit_predict"):
            self.filter_.fit(X, y, **params)
            if not hasattr(self.filter_, "keep_"):
                raise TypeError(
                    f"filter is {given!r}, which has no keep_ after fit; give an "
                    "EPICFilter, or an outlier detector with fit_predict."
                )
            return np.asarray(self.filter_.keep_)
        return np.asarray(self.filter_.fit_predict(X, **params)) == 1

    def predict(self, X: Any) -> np.ndarray:
        """Predict labels of new examples, every one of them.

        Parameters
        ----------
        X : array-like, sparse matrix or dataframe of shape (n, ...)
            New examples.

        Returns
        -------
        ndarray of shape (n,)
        """
        check_is_fitted(self)
        return self.classifier_.predict(X)

    @available_if(_classifier_has("predict_proba"))
    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict probabilities of new examples.

        Parameters
        ----------
        X : array-like, sparse matrix or dataframe of shape (n, ...)
            New examples.

        Returns
        -------
        ndarray of shape (n, n_classes)
        """
        check_is_fitted(self)
        return self.classifier_.predict_proba(X)

    @available_if(_classifier_has("decision_function"))
    def decision_function(self, X: Any) -> np.ndarray:
        """Give the classifier's decision function of new examples.

        Parameters
        ----------
        X : array-like, sparse matrix or dataframe of shape (n, ...)
            New examples.

        Returns
        -------
        ndarray
        """
        check_is_fitted(self)
        return self.classifier_.decision_function(X)

    def _route(self, fit_params: dict[str, Any]) -> Bunch:
        if get_config()["enable_metadata_routing"]:
            return process_routing(self, "fit", **fit_params)
        return Bunch(filter=Bunch(fit={}), classifier=Bunch(fit=dict(fit_params)))

    def get_metadata_routing(self) -> MetadataRouter:
        """Route ``fit``'s metadata to the filter's and the classifier's ``fit``.

        Returns
        -------
        MetadataRouter
        """
        mapping = MethodMapping().add(caller="fit", callee="fit")
        return MetadataRouter(owner=type(self).__name__).add(
            filter=EPICFilter() if self.filter is None else self.filter,
            classifier=self._classifier(),
            method_mapping=mapping,
        )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        inner = get_tags(self._classifier())
        tags.input_tags = inner.input_tags
        tags.classifier_tags = inner.classifier_tags
        return tags
