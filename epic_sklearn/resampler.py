"""EPIC for imbalanced-learn's pipelines: drop rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ._detector import take_rows
from ._epic_detector import EPICDetector
from ._utils import RefusedMethod


class EPICResampler(EPICDetector):
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
    rule : {"medoids", "neighbors"}, default="medoids"
        What is isolated; "neighbors" needs ``LastLayerGradients``. See
        :class:`EPICFilter`.
    cutoff : float, default=2.0
        Score above which "neighbors" drops; lower drops more.
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
cluster_sizes_, extractor_, classes_, rounds_, rho_, dropped_at_round_ : see EPICFilter

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

    transform = RefusedMethod(
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
