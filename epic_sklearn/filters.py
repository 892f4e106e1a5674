"""EPIC for pipelines: find isolated rows, replace them or drop them."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import OneToOneFeatureMixin, TransformerMixin
from sklearn.utils._metadata_requests import RequestMethod
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from ._utils import RandomState, RefusedMethod
from .base import BaseDetector, nearest_kept, take_rows
from .gradients import Gradients
from .report import Reviewable
from .rules import Rule


def _may_have_features(detector: BaseDetector) -> bool:
    """Whether it has columns: texts have none, and would not be wrapped in a frame."""
    return hasattr(detector, "n_features_in_") or not hasattr(detector, "keep_")


class EPICFilter(OneToOneFeatureMixin, TransformerMixin, BaseDetector, Reviewable):
    """Find isolated training examples, and sanitise them in a plain Pipeline.

    A rule judges the per-example gradients of each class and flags those that are
    isolated among them: effective poisons must leave the gradients of the class
    whose label they bear (paper, section 3). Clean examples are lost too.

    ``fit_transform`` keeps the number of rows: an isolated row is replaced by
    the nearest kept row of its class in gradient space. ``transform`` gives new
    rows back as they are. It belongs behind all columns, not into a ColumnTransformer
    or FeatureUnion, which would put a part of one row beside that of another.

    Parameters
    ----------
    extractor : extractor, classifier, torch.nn.Module, callable or None
        Where gradients come from: ``LogitGradients(classifier)``,
        ``LastLayerInputGradients(classifier)``,
        ``LastLayerGradients(classifier)``, ``PrecomputedGradients()``, a
        function ``(X, y) -> (n, d)``, or a classifier with ``predict_proba`` or
        a trained torch module (wrapped in what the rule prefers: with the default,
        LastLayerGradients where there is a last layer, else LogitGradients). A
        clone is fitted. None takes logistic regression: of plain numbers on these
        as they are (give a pipeline to standardise them), of missing ones on filled
        and standardised ones; texts, dates and categories of a dataframe are encoded
        by skrub's ``TableVectorizer`` first, as ``epic-sklearn scan`` does (``pip
        install 'epic-sklearn[cli]'``).
    rule : Rule or None, default=None
        Which examples are isolated, one of :mod:`epic_sklearn.rules` or your own.
        None: ``NeighborVotes()``. To search a rule's parameters as ``rule__cutoff``,
        give it.
    n_rounds : int, default=1
        How often to fit on what is left and drop again.
    on_isolated : {"replace", "keep"}, default="replace"
        What ``fit_transform`` does with isolated rows.
    min_class_fraction : float, default=0.5
        Share of each class that is always kept. When reached, the least
        isolated examples are given back and one warning names the class.
    n_jobs : int, default=None
        Classes worked on side by side, by rules that can; the default asks all at
        once.
    random_state : int, RandomState instance or None, default=None
        For rules that draw at random, as ``NeighborVotes`` does from 5,000 rows on,
        and the parts of classes above their `max_class_size`; there other seeds drop
        partly other rows. None draws anew each time, whatever numpy's global
        generator is.
    verbose : int, default=0
        Above 0, progress bars and one line a round.

    Attributes
    ----------
    keep_ : ndarray of shape (n,), bool
        Which training rows are kept.
    isolated_indices_ : ndarray of int
        Row numbers of those that are not.
    isolation_score_ : ndarray of shape (n,)
        The rule's score, of several rounds the highest; higher is more isolated.
    details_ : dict of str to ndarray of shape (n,)
        What else the rule says of each row; see the rule.
    rule_ : Rule
        The rule that judged.
    extractor_ : extractor
        The fitted extractor of the last round.
    classes_ : ndarray
        The labels.
    dropped_at_round_ : ndarray of shape (n,), int
        Number, from 1, of the round that dropped the row; -1 where none did.
    rounds_ : list of Round
        Rows kept, dropped, seconds and rho of each round.
    rho_ : float
        Change in the norm of the mean gradient that dropping causes (Theorem
        3.1), after the last round; a reviewer's decisions leave it.
    n_features_in_ : int
        Number of features seen during ``fit``.
    feature_names_in_ : ndarray
        Their names, where X has string column names.

    See Also
    --------
    EPICResampler : The same in imbalanced-learn's Pipeline; drops rows.
    FilteredClassifier : Fits a classifier on the kept rows only.
    EPICClassifier : Drops while a torch model trains.

    References
    ----------
    Yang, Liu, Mirzasoleiman: Not All Poisons are Created Equal: Robust Training
    against Data Poisoning, ICML 2022.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from epic_sklearn import EPICFilter
    >>> from epic_sklearn.rules import IsolatedMedoids
    >>> X, y = load_iris(return_X_y=True)
    >>> X[0] = X[100]  # a setosa that looks like a virginica
    >>> detector = EPICFilter(rule=IsolatedMedoids(subset_size=0.1)).fit(X, y)
    >>> bool(detector.keep_[0]), float(detector.keep_.mean().round(2))
    (False, 0.99)
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseDetector._parameter_constraints,
        "on_isolated": [StrOptions({"replace", "keep"})],
    }
    _way_back: ClassVar[str] = (
        "Give the file to `EPICFilter.apply_decisions`, then fit your model on what is "
        "left: `model.fit(X[detector.keep_], y[detector.keep_])`."
    )

    predict = RefusedMethod(
        "A filter finds rows and predicts no labels. FilteredClassifier(classifier, "
        "filter) fits a classifier on the rows that the filter keeps and predicts with "
        "it; in a plain Pipeline put the classifier behind the filter."
    )
    fit_resample = RefusedMethod(
        "EPICFilter does not resample: it keeps the number of rows. To drop rows, use "
        "EPICResampler in imbalanced-learn's Pipeline, or FilteredClassifier as the "
        "last step of scikit-learn's."
    )

    def __init__(
        self,
        extractor: Any = None,
        *,
        rule: Rule | None = None,
        n_rounds: int = 1,
        on_isolated: str = "replace",
        min_class_fraction: float = 0.5,
        n_jobs: int | None = None,
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(
            extractor,
            rule=rule,
            n_rounds=n_rounds,
            min_class_fraction=min_class_fraction,
            n_jobs=n_jobs,
            random_state=random_state,
            verbose=verbose,
        )
        self.on_isolated = on_isolated

    def _detect(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> tuple[Any, Gradients]:
        if self.on_isolated == "drop":
            raise ValueError(
                "on_isolated is 'drop', but a step of scikit-learn's Pipeline cannot "
                "drop rows. Use FilteredClassifier as the last step, or EPICResampler "
                "in imbalanced-learn's Pipeline."
            )
        return super()._detect(X, y, sample_weight)

    def transform(self, X: Any) -> Any:
        """Give new rows back as they are: prediction never drops or alters one.

        Parameters
        ----------
        X : array-like, sparse matrix or dataframe of shape (n, ...)
            New examples.

        Returns
        -------
        X : as given; a list as an array, a sparse matrix by its rows (CSR)
        """
        check_is_fitted(self)
        return self._check_X(X, reset=False)

    @available_if(_may_have_features)
    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the features, as they were given; of texts there are none."""
        return super().get_feature_names_out(input_features)

    def fit_transform(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Any:
        """Replace each row to drop by the nearest kept one of its class.

        Nearest in the space of the gradients. Differs
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
        X, gradients = self._detect(X, y, sample_weight)
        rows = self.isolated_indices_
        if self.on_isolated == "keep" or len(rows) == 0:
            return X
        source = np.arange(len(self.keep_))
        source[rows] = nearest_kept(
            rows, gradients, self._schedule.codes, self.keep_, self.rule_.metric
        )
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


class EPICResampler(BaseDetector, Reviewable):
    """The detector of EPICFilter as a sampler for imbalanced-learn's Pipeline.

    ``fit_resample`` drops the isolated rows, at fit only. imbalanced-learn
    itself is not needed to use the class. Parameters and fitted attributes are
    those of :class:`EPICFilter`, without `on_isolated`.

    Parameters
    ----------
    extractor, rule, n_rounds, min_class_fraction, n_jobs, random_state, verbose : \
see EPICFilter

    Attributes
    ----------
    sample_indices_ : ndarray of int
        Row numbers of the kept rows, as imbalanced-learn names them.
    keep_, isolated_indices_, isolation_score_, details_, rule_, extractor_, \
classes_, rounds_, rho_, dropped_at_round_ : see EPICFilter

    See Also
    --------
    EPICFilter : The same in scikit-learn's Pipeline.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from epic_sklearn import EPICResampler
    >>> from epic_sklearn.rules import IsolatedMedoids
    >>> X, y = load_iris(return_X_y=True)
    >>> X[0] = X[100]  # a setosa that looks like a virginica
    >>> sampler = EPICResampler(rule=IsolatedMedoids(subset_size=0.1))
    >>> X_kept, y_kept = sampler.fit_resample(X, y)
    >>> len(X), len(X_kept), len(y_kept), 0 in sampler.sample_indices_
    (150, 148, 148, False)
    """

    # scikit-learn makes it only for methods that imbalanced-learn has named to it.
    set_fit_resample_request = RequestMethod("fit_resample", ["sample_weight"])
    # Of imbalanced-learn's ensembles: nothing of this sampler is set by them.
    _sampling_type: ClassVar[str] = "bypass"
    _way_back: ClassVar[str] = (
        "Give the file to `EPICResampler.apply_decisions`, then fit your model on what "
        "is left: `model.fit(X[sampler.keep_], y[sampler.keep_])`."
    )

    transform = RefusedMethod(
        "EPICResampler drops rows, which scikit-learn's Pipeline does not allow. Use "
        "EPICFilter there (it replaces isolated rows), or FilteredClassifier as the "
        "last step, or put EPICResampler in imbalanced-learn's Pipeline."
    )
    fit_transform = transform

    @property
    def sample_indices_(self) -> np.ndarray:
        """Row numbers of the kept rows, as imbalanced-learn names them."""
        check_is_fitted(self)
        return np.flatnonzero(self.keep_)

    def fit_resample(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> tuple[Any, Any]:
        """Drop the isolated rows.

        Parameters
        ----------
        X, y, sample_weight : see `fit`

        Returns
        -------
        X_resampled : same kind as X, shape (n_kept, ...)
            A dataframe keeps the index of its rows.
        y_resampled : same kind as y, shape (n_kept,)
        """
        self.fit(X, y, sample_weight)
        return take_rows(X, self.sample_indices_), take_rows(y, self.sample_indices_)
