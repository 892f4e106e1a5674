"""EPIC for pipelines: sanitise rows, or drop them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import (
    OneToOneFeatureMixin,
    TransformerMixin,
)
from sklearn.utils.validation import check_is_fitted

from ._detector import Detector, take_rows
from ._missing_verb import MissingVerb
from ._random import RandomState
from .gradients import Gradients
from .medoids._distances import Distances

ON_ISOLATED = ("replace", "keep")


class EPICFilter(OneToOneFeatureMixin, TransformerMixin, Detector):
    """Find isolated training examples, and sanitise them in a plain Pipeline.

    In each class, medoids of the per-example gradients are chosen by facility
    location, every example is assigned to its nearest medoid, and the members
    of clusters of at most `threshold` examples are isolated: effective poisons
    must leave the gradients of the class whose label they bear (paper, section
    3). Clean examples are lost too; a fifth of them is not rare.

    ``fit_transform`` keeps the number of rows: an isolated row is replaced by
    the nearest kept row of its class in gradient space. ``transform`` gives new
    rows back as they are.

    Parameters
    ----------
    extractor : extractor, classifier, torch.nn.Module, callable or None
        Where gradients come from: ``LogitGradients(classifier)``,
        ``LastLayerInputGradients(classifier)``,
        ``LastLayerGradients(classifier)``, ``PrecomputedGradients()``, a
        function ``(X, y) -> (n, d)``, or a classifier with ``predict_proba`` or
        a trained torch module (both wrapped in LogitGradients). A clone is
        fitted. None takes logistic regression. With two or three classes logit
        gradients lie close to a line or plane, where little is isolated: use
        LastLayerGradients.
    subset_size : float, default=0.2
        Medoids as a share of each class, in (0, 1]. More medoids, more isolated
        examples. The paper uses 0.1 to 0.3.
    threshold : int, default=1
        Largest size, medoid included, of a cluster that counts as isolated.
        Poisons that collide on one point need it above 1.
    cluster_on : {"all", "kept"}, default="all"
        Whether rounds after the first cluster all examples and intersect
        (published code), or only what is kept, with the first round's number of
        medoids (paper).
    n_rounds : int, default=1
        How often to fit on what is left and drop again.
    metric : {"euclidean", "cosine"}, default="euclidean"
        Distance between gradients.
    optimizer : str, default="lazy"
        Any of apricot's optimizer names.
    on_isolated : {"replace", "keep"}, default="replace"
        What ``fit_transform`` does with isolated rows.
    min_class_fraction : float, default=0.5
        Share of each class that is always kept. When reached, the least
        isolated examples are given back and one warning names the class.
    n_jobs : int, default=None
        Classes worked on side by side.
    random_state : int, RandomState instance or None, default=None
        For optimizers that draw at random.
    verbose : int, default=0
        Above 0, a progress bar and one line a round.

    Attributes
    ----------
    keep_ : ndarray of shape (n,), bool
        Which training rows are kept.
    isolated_indices_ : ndarray of int
        Row numbers of those that are not.
    isolation_score_ : ndarray of shape (n,)
        Higher is more isolated; see :func:`epic_sklearn.isolation_score`. Of
        several rounds the highest.
    medoid_indices_ : ndarray of int
        Row numbers of the last round's medoids.
    cluster_sizes_ : ndarray of shape (n,), int
        Size of the cluster that each row was last in.
    extractor_ : extractor
        The fitted extractor of the last round.
    classes_ : ndarray
        The labels.
    rounds_ : list of Round
        Rows kept, dropped, seconds and rho of each round.
    rho_ : float
        Change in the norm of the mean gradient that dropping causes (Theorem
        3.1), after the last round.
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
    >>> X, y = load_iris(return_X_y=True)
    >>> X[0] = X[100]  # a setosa that looks like a virginica
    >>> detector = EPICFilter(subset_size=0.1).fit(X, y)
    >>> bool(detector.keep_[0]), float(detector.keep_.mean().round(2))
    (False, 0.99)
    """

    def __init__(
        self,
        extractor: Any = None,
        *,
        subset_size: float = 0.2,
        threshold: int = 1,
        cluster_on: str = "all",
        n_rounds: int = 1,
        metric: str = "euclidean",
        optimizer: str = "lazy",
        on_isolated: str = "replace",
        min_class_fraction: float = 0.5,
        n_jobs: int | None = None,
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(
            extractor,
            subset_size=subset_size,
            threshold=threshold,
            cluster_on=cluster_on,
            n_rounds=n_rounds,
            metric=metric,
            optimizer=optimizer,
            min_class_fraction=min_class_fraction,
            n_jobs=n_jobs,
            random_state=random_state,
            verbose=verbose,
        )
        self.on_isolated = on_isolated

    fit_resample = MissingVerb(
        "EPICFilter does not resample: it keeps the number of rows. To drop rows, use "
        "EPICResampler in imbalanced-learn's Pipeline, or FilteredClassifier as the "
        "last step of scikit-learn's."
    )

    def fit(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> EPICFilter:
        """Find the isolated examples.

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
        self : EPICFilter

        Raises
        ------
        ValueError
            If a parameter is out of range or the data cannot be used.
        TypeError
            If `extractor` is nothing that gradients can come from.
        """
        self._check_on_isolated()
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
        """Find isolated rows and replace each by the nearest kept of its class.

        Differs from ``fit(X, y).transform(X)`` on purpose, as scikit-learn's
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
        self._check_on_isolated()
        X, gradients = self._detect(X, y, sample_weight)
        if self.on_isolated == "keep" or self.keep_.all():
            return X
        return _with_rows_from(X, self._replacements(gradients, np.asarray(y)))

    def fit_predict(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> np.ndarray:
        """Find isolated rows: 1 where kept, -1 where isolated.

        Parameters
        ----------
        X, y, sample_weight : see `fit`

        Returns
        -------
        ndarray of shape (n,), int
            As scikit-learn's outlier detectors return.
        """
        return np.where(self.fit(X, y, sample_weight).keep_, 1, -1)

    def _replacements(self, gradients: Gradients, y: np.ndarray) -> np.ndarray:
        """For each row itself, or the nearest kept row of its class."""
        source = np.arange(len(self.keep_))
        labels = y.ravel()
        for label in np.unique(labels[self.isolated_indices_]):
            rows = np.flatnonzero(labels == label)
            kept = self.keep_[rows]
            distances = Distances(gradients[rows], self.metric, max_bytes=0)
            for i in np.flatnonzero(~kept):
                away = np.where(kept, distances[i], np.inf)
                source[rows[i]] = rows[np.argmin(away)]
        return source

    def _check_on_isolated(self) -> None:
        if self.on_isolated == "drop":
            raise ValueError(
                "on_isolated is 'drop', but a step of scikit-learn's Pipeline cannot "
                "drop rows. Use FilteredClassifier as the last step, or EPICResampler "
                "in imbalanced-learn's Pipeline."
            )
        if self.on_isolated not in ON_ISOLATED:
            raise ValueError(
                f"on_isolated is {self.on_isolated!r}; choose one of {ON_ISOLATED}."
            )


def _with_rows_from(X: Any, source: np.ndarray) -> Any:
    """Row i becomes row ``source[i]``; a dataframe keeps its index."""
    replaced = take_rows(X, source)
    if hasattr(replaced, "set_axis"):
        replaced = replaced.set_axis(X.index, axis=0)
    return replaced


class EPICResampler(Detector):
    """The detector of EPICFilter as a sampler for imbalanced-learn's Pipeline.

    ``fit_resample`` drops the isolated rows, at fit only. imbalanced-learn
    itself is not needed to use the class. Parameters and fitted attributes are
    those of :class:`EPICFilter`, without `on_isolated`.

    Parameters
    ----------
    extractor : extractor, classifier, torch.nn.Module, callable or None
        Where gradients come from; None takes logistic regression.
    subset_size : float, default=0.2
        Medoids as a share of each class, in (0, 1].
    threshold : int, default=1
        Largest size of a cluster that counts as isolated.
    cluster_on : {"all", "kept"}, default="all"
        What rounds after the first cluster.
    n_rounds : int, default=1
        How often to fit on what is left and drop again.
    metric : {"euclidean", "cosine"}, default="euclidean"
        Distance between gradients.
    optimizer : str, default="lazy"
        Any of apricot's optimizer names.
    min_class_fraction : float, default=0.5
        Share of each class that is always kept.
    n_jobs : int, default=None
        Classes worked on side by side.
    random_state : int, RandomState instance or None, default=None
        For optimizers that draw at random.
    verbose : int, default=0
        Above 0, a progress bar and one line a round.

    Attributes
    ----------
    sample_indices_ : ndarray of int
        Row numbers of the kept rows, as imbalanced-learn names them.
    keep_, isolated_indices_, isolation_score_, medoid_indices_, \
cluster_sizes_, extractor_, classes_, rounds_, rho_ : see EPICFilter

    See Also
    --------
    EPICFilter : The same in scikit-learn's Pipeline.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from epic_sklearn import EPICResampler
    >>> X, y = load_iris(return_X_y=True)
    >>> X[0] = X[100]  # a setosa that looks like a virginica
    >>> sampler = EPICResampler(subset_size=0.1)
    >>> X_kept, y_kept = sampler.fit_resample(X, y)
    >>> len(X), len(X_kept), len(y_kept), 0 in sampler.sample_indices_
    (150, 148, 148, False)
    """

    transform = MissingVerb(
        "EPICResampler drops rows, which scikit-learn's Pipeline does not allow. Use "
        "EPICFilter there (it replaces isolated rows), or FilteredClassifier as the "
        "last step, or put EPICResampler in imbalanced-learn's Pipeline."
    )
    fit_transform = transform

    def fit(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> EPICResampler:
        """Find the isolated examples.

        Parameters
        ----------
        X : array-like, sparse matrix or dataframe of shape (n, ...)
            Training examples, finite.
        y : array-like of shape (n,)
            Labels.
        sample_weight : array-like of shape (n,), optional
            Passed to the extractor's classifier.

        Returns
        -------
        self : EPICResampler
        """
        self._detect(X, y, sample_weight)
        self.sample_indices_ = np.flatnonzero(self.keep_)
        return self

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
