"""Fit any classifier on the rows that a filter keeps."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn import get_config
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    MetaEstimatorMixin,
    clone,
    is_regressor,
)
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import Bunch, Tags, get_tags
from sklearn.utils.metadata_routing import (
    UNUSED,
    MetadataRouter,
    MethodMapping,
    process_routing,
)
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from ._utils import DocLinks, Parts, keeps_last_fit
from .any_filter import keep_of, predicts_labels, to_be_fitted
from .base import (
    check_weights,
    is_text,
    refuse_lacking_params,
    refuse_unlabelled,
    take_rows,
)
from .filters import EPICFilter
from .frames import as_frame, index_of
from .gradients import default_classifier, has_last_layer
from .gradients.items import is_dataset
from .gradients.last_layer import candidates, thawed, weights_to_last_step
from .report import Case, Reviewable
from .validation import has_rows, to_numpy


def _classifier_has(name: str) -> Any:
    """Check for ``available_if`` whether the classifier has this method."""

    def check(self: FilteredClassifier) -> bool:
        inner = getattr(self, "classifier_", None)
        getattr(self._classifier() if inner is None else inner, name)
        return True

    return check


# Names of fit parameters that hold a validation set.
VALIDATION = re.compile(r"(^|_)(e?val|validation)(_|$)")


class FilteredClassifier(
    Parts, MetaEstimatorMixin, ClassifierMixin, Reviewable, DocLinks, BaseEstimator
):
    """Fit a classifier on the rows that a filter keeps.

    The way to drop rows in a plain scikit-learn Pipeline: as its last step.
    Prediction is the classifier's own, for every row.

    Parameters
    ----------
    classifier : classifier or None, default=None
        A clone is fitted on the kept rows. None takes logistic regression.
    filter : EPICFilter, outlier detector or None, default=None
        Anything that has ``keep_`` after ``fit(X, y)``, or ``fit_predict`` that
        gives 1 for rows to keep. None takes ``EPICFilter(classifier)`` where that has
        a last layer, else ``EPICFilter()``, with ``random_state=0``; to search
        ``filter__...``, give it.

    Attributes
    ----------
    classifier_ : classifier
        Fitted on the kept rows.
    filter_ : EPICFilter
        The fitted filter.
    keep_, isolated_indices_ : see EPICFilter
        Which training rows the classifier saw, and which not; after
        :meth:`apply_decisions` what :meth:`refit` shows it.
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
    >>> from epic_sklearn.rules import IsolatedMedoids
    >>> X, y = load_iris(return_X_y=True)
    >>> X[0] = X[100]  # a setosa that looks like a virginica
    >>> detector = EPICFilter(rule=IsolatedMedoids(subset_size=0.1))
    >>> model = FilteredClassifier(LogisticRegression(max_iter=1000), detector)
    >>> model.fit(X, y).predict(X).shape
    (150,)
    >>> int((~model.keep_).sum()), bool(model.keep_[0])
    (2, False)
    """

    # `fit` routes its weights, by the parts' requests; what scores with weights asks.
    __metadata_request__fit: ClassVar[dict[str, str]] = {"sample_weight": UNUSED}
    _way_back: ClassVar[str] = (
        "Give the file to `FilteredClassifier.apply_decisions`, then call "
        "`refit(X, y)`: it fits the classifier on what is left."
    )

    def __init__(self, classifier: Any = None, filter: Any = None) -> None:
        self.classifier = classifier
        self.filter = filter

    @property
    def _none_stands_for(self) -> dict[str, str]:  # type: ignore[override]
        of_it = "classifier, " * self._judges_by_itself()
        return {
            "filter": f"EPICFilter({of_it}rule=NeighborVotes(), random_state=0)",
            "classifier": "LogisticRegression(max_iter=1000)",
        }

    def _classifier(self, X: Any = None) -> Any:
        return default_classifier(X) if self.classifier is None else self.classifier

    def _filter(self) -> Any:
        if isinstance(self.filter, str):
            raise TypeError(
                f"filter is {self.filter!r}; give a filter, or "
                "EPICFilter(rule=RandomDrop(0.0)), which keeps every row."
            )
        if self.filter is not None:
            return self.filter
        judged = self.classifier if self._judges_by_itself() else None
        found = EPICFilter(judged, random_state=0)  # there is no way to give another
        if get_config()["enable_metadata_routing"]:  # as without it
            found.set_fit_request(sample_weight=False)
        return found

    def _judges_by_itself(self) -> bool:
        """Whether the default filter takes gradients of the classifier."""
        kinds = candidates(self.classifier)
        return all(hasattr(k, "predict_proba") and has_last_layer(k) for k in kinds)

    @keeps_last_fit
    def fit(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        **fit_params: Any,
    ) -> Self:
        """Filter the rows, then fit the classifier on those that are kept.

        Parameters
        ----------
        X : array-like, sparse matrix or dataframe of shape (n, ...)
            Training examples.
        y : array-like of shape (n,)
            Labels.
        sample_weight : array-like of shape (n,), optional
            With metadata routing enabled, routed to ``filter.fit`` and
            ``classifier.fit`` as they request; without it, given to the
            classifier, for the kept rows.
        **fit_params : dict
            Treated as `sample_weight` is; what holds one item a row reaches the
            classifier for the kept rows only, but for a validation set, which its
            name tells (``X_val``, ``eval_set``).

        Returns
        -------
        self : FilteredClassifier

        Raises
        ------
        TypeError
            If `classifier` predicts no labels, or `filter` names no rows to keep.
        ValueError
            If what `filter` says is not n bools, or codes +1 and -1, or leaves
            nothing of a class.
        """
        self._check_order()
        if is_dataset(X):
            raise TypeError(
                f"X is a {type(X).__name__}, and FilteredClassifier takes arrays, "
                "frames and lists. Train on a data set by EPICClassifier, or on "
                "Subset(X, numpy.flatnonzero(filter.keep_)) after filter.fit(X, None)."
            )
        refuse_unlabelled(type(self).__name__, X, y)
        index, X, y = index_of(X, y), to_numpy(X), to_numpy(y)
        classifier = clone(self._classifier(X))
        if sample_weight is not None:
            fit_params["sample_weight"] = check_weights(sample_weight, X)
        routed = self._route(fit_params)
        self.filter_, keep = self._fit_filter(X, y, routed.filter.fit)
        self._index, self._was_given = index, tuple(fit_params)
        return self._fit_classifier(classifier, X, y, keep, routed.classifier.fit)

    @keeps_last_fit
    def refit(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        steps: Any = None,
        **fit_params: Any,
    ) -> Self:
        """Fit the classifier again on what is kept, as a reviewer decided.

        Parameters
        ----------
        X, y, sample_weight, **fit_params : see `fit`
            The rows of the fit.
        steps : see :meth:`report`

        Returns
        -------
        self : FilteredClassifier

        Raises
        ------
        ValueError
            If X, y are not the rows of the fit.
        """
        detector = self._detector()
        seen, _ = detector._rows_of_the_fit(X, y, steps)
        X = X if steps is None else seen
        if sample_weight is not None:
            fit_params["sample_weight"] = check_weights(sample_weight, X)
        refuse_lacking_params(self._was_given, fit_params)
        params = self._route(fit_params).classifier.fit
        X, y, classifier = to_numpy(X), to_numpy(y), clone(self._classifier(X))
        return self._fit_classifier(classifier, X, y, detector.keep_, params)

    def _fit_classifier(
        self, classifier: Any, X: Any, y: Any, keep: np.ndarray, params: dict[str, Any]
    ) -> Self:
        """Fit on the kept rows; what holds one item a row is cut to these."""
        rows = np.flatnonzero(keep)
        params = {
            name: take_rows(value, rows)
            if has_rows(value, len(keep)) and not VALIDATION.search(name)
            else value
            for name, value in params.items()
        }
        params = weights_to_last_step(classifier, params)
        if not hasattr(X, "shape"):
            X = np.array(X, dtype=object if is_text(X) else None)
        labels = np.asarray(y).ravel()[rows]
        self.classifier_ = classifier.fit(take_rows(X, rows), labels, **params)
        self.keep_, self.isolated_indices_ = keep, np.flatnonzero(~keep)
        self.classes_ = self.classifier_.classes_
        for name in ("n_features_in_", "feature_names_in_"):
            self.__dict__.pop(name, None)  # of an earlier fit
            if hasattr(self.classifier_, name):
                setattr(self, name, getattr(self.classifier_, name))
        return self

    def _detector(self) -> Any:
        """Return the fitted filter, refused if it has no rounds to review."""
        check_is_fitted(self)
        fitted = thawed(self.filter_)
        if not isinstance(fitted, Reviewable):
            raise TypeError(
                f"The filter {self.filter_!r} has no audit page and takes no "
                "decisions; give an EPICFilter, or fit the classifier on the rows that "
                "you decided on."
            )
        return fitted

    @property
    def _schedule(self) -> Any:  # type: ignore[override]
        return self._detector()._schedule

    def _keep_as_decided(self) -> None:
        super()._keep_as_decided()
        self._detector()._keep_as_decided()

    def _case(self, X: Any, y: Any, *args: Any, **kwargs: Any) -> Case:
        case = self._detector()._case(X, y, *args, **kwargs)
        return replace(case, way_back=self._way_back)

    def to_frame(self) -> Any:
        """As :meth:`EPICFilter.to_frame`; of other filters, the column ``keep``."""
        check_is_fitted(self)
        if hasattr(self.filter_, "to_frame"):
            return self.filter_.to_frame()
        return as_frame({"keep": self.keep_}, self._index)

    def _check_order(self) -> None:
        """Refuse what predicts no labels in the classifier's place."""
        given = last = self.classifier
        while isinstance(last, Pipeline):
            last = last[-1]
        if isinstance(last, FrozenEstimator):
            raise TypeError(
                f"classifier ends in {last!r}, which is not fitted again: what is "
                "dropped would change nothing. Give it without FrozenEstimator."
            )
        if given is None or (predicts_labels(given) and not is_regressor(given)):
            return
        swapped = "the two are swapped: " if predicts_labels(self.filter) else ""
        raise TypeError(
            f"classifier is {given!r}, which predicts no labels, and filter is "
            f"{self.filter!r}; {swapped}give FilteredClassifier(classifier, filter)."
        )

    def _fit_filter(
        self, X: Any, y: ArrayLike, params: dict[str, Any]
    ) -> tuple[Any, np.ndarray]:
        """Fit the filter; which rows it keeps, (n,), refused if it cannot be that."""
        fitted = to_be_fitted(self._filter(), X, y)
        try:
            return fitted, keep_of(fitted, X, y, params)
        except (ValueError, TypeError) as error:
            is_other = self.filter is None and fitted.extractor is None
            is_of_X = any(words in str(error) for words in ("X", "could not", "2D"))
            if not is_other or self.classifier is None or not is_of_X:
                raise
            raise type(error)(
                f"{error}\nThis is of the default filter, EPICFilter(), which fits "
                "logistic regression: to filter by your own model, give "
                "filter=EPICFilter(classifier)."
            ) from error

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
        """Predict probabilities (n, n_classes) of new examples; see :meth:`predict`."""
        check_is_fitted(self)
        return self.classifier_.predict_proba(X)

    @available_if(_classifier_has("predict_log_proba"))
    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Predict log-probabilities (n, n_classes); see :meth:`predict`."""
        check_is_fitted(self)
        return self.classifier_.predict_log_proba(X)

    @available_if(_classifier_has("decision_function"))
    def decision_function(self, X: Any) -> np.ndarray:
        """Give the classifier's own scores of new examples; see :meth:`predict`."""
        check_is_fitted(self)
        return self.classifier_.decision_function(X)

    def _route(self, fit_params: dict[str, Any]) -> Bunch:
        if get_config()["enable_metadata_routing"]:
            return process_routing(self, "fit", **fit_params)
        return Bunch(filter=Bunch(fit={}), classifier=Bunch(fit=dict(fit_params)))

    def get_metadata_routing(self) -> MetadataRouter:
        """Route ``fit``'s metadata to the parts' ``fit``; ``score`` has its own.

        Returns
        -------
        MetadataRouter
        """
        mapping = MethodMapping().add(caller="fit", callee="fit")
        router = MetadataRouter(owner=type(self).__name__).add_self_request(self)
        return router.add(
            filter=self._filter(),
            classifier=self._classifier(),
            method_mapping=mapping,
        )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        inner = get_tags(self._classifier())
        tags.input_tags = inner.input_tags
        tags.input_tags.allow_nan |= self.classifier is None  # which fills them in
        tags.input_tags.allow_nan &= get_tags(self._filter()).input_tags.allow_nan
        tags.classifier_tags = inner.classifier_tags
        tags.classifier_tags.multi_label = False
        return tags
