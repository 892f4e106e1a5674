"""The verbs of a filter in scikit-learn's Pipeline, which keeps the number of rows."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from ._detector import Detector, take_rows
from ._utils import RefusedMethod


class RowSanitiser(OneToOneFeatureMixin, TransformerMixin, Detector):
    """Base of the detectors that replace rows in training and none afterwards.

    A subclass implements `_replacements`.
    """

    predict = RefusedMethod(
        "A filter finds rows and predicts no labels. FilteredClassifier(classifier, "
        "filter) fits a classifier on the rows that the filter keeps and predicts with "
        "it; in a plain Pipeline put the classifier behind the filter."
    )

    def _replacements(self, values: Any, labels: np.ndarray) -> np.ndarray:
        """For each row, (n,), the number of the row that takes its place."""
        raise NotImplementedError

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Find the examples to drop.

        Parameters
        ----------
        X : array-like, sparse matrix or dataframe of shape (n, ...)
            Training examples, finite.
        y : array-like of shape (n,)
            Labels: strings, integers or bools, at least two classes.
        sample_weight : array-like of shape (n,), optional
            Passed to the extractor's classifier.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If a parameter is out of range or the data cannot be used.
        TypeError
            If `extractor` is nothing that can be used as one.
        """
        self._detect(X, y, sample_weight)
        return self

    def transform(self, X: Any) -> Any:
        """Give new rows back as they are: prediction never drops or alters one.

        Parameters
        ----------
        X : array-like, sparse matrix or dataframe of shape (n, ...)
            New examples.

        Returns
        -------
        X : same as given
        """
        check_is_fitted(self)
        return self._check_X(X, reset=False)

    def fit_transform(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Any:
        """Replace each row to drop by the nearest kept one of its class.

        Nearest in the space that is judged in: gradients or features. Differs
        from ``fit(X, y).transform(X)`` on purpose, as scikit-learn's
        TargetEncoder does: what happens to training rows must not happen to new
        ones. The number of rows, their index and y stay as they are.

        Parameters
        ----------
        X, y, sample_weight : see `fit`

        Returns
        -------
        X : array, sparse matrix or dataframe of shape (n, ...)
            A copy where rows were replaced.
        """
        X, values = self._detect(X, y, sample_weight)
        source = self._replacements(values, np.asarray(y).ravel())
        if np.array_equal(source, np.arange(len(source))):
            return X
        replaced = take_rows(X, source)
        if hasattr(replaced, "set_axis"):  # a dataframe keeps its index
            replaced = replaced.set_axis(X.index, axis=0)
        return replaced

    def fit_predict(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> np.ndarray:
        """Find the examples to drop: 1 where kept, -1 where not.

        Parameters
        ----------
        X, y, sample_weight : see `fit`

        Returns
        -------
        ndarray of shape (n,), int
            As scikit-learn's outlier detectors return.
        """
        return np.where(self.fit(X, y, sample_weight).keep_, 1, -1)
