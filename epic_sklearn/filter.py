"""EPIC for scikit-learn pipelines: find isolated rows, and sanitise them."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from ._epic_detector import EPICDetector
from ._neighbours import nearest_kept
from ._rounds import RoundOptions
from ._sanitiser import RowSanitiser
from ._utils import RandomState, RefusedMethod

ON_ISOLATED = ("replace", "keep")


class EPICFilter(RowSanitiser, EPICDetector):
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
    rule : {"medoids", "neighbors"}, default="medoids"
        What is isolated: a member of a small cluster (paper), or an example that
        is far from its class, or in a tight group of up to 10 that collide, and
        fitted badly. "neighbors" costs fewer clean examples and finds poisons
        that collide. It needs ``extractor=LastLayerGradients(classifier)``, and
        does not use `subset_size`, `threshold`, `metric` and `optimizer`.
    cutoff : float, default=2.0
        Score above which "neighbors" drops, in robust standard deviations of
        the class; lower drops more, 4.25 or more nothing.
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
        Higher is more isolated; see :func:`epic_sklearn.isolation_score`, with
        "neighbors" what `cutoff` is compared with. Of several rounds the
        highest.
    medoid_indices_ : ndarray of int
        Row numbers of the last round's medoids; none with "neighbors".
    cluster_sizes_ : ndarray of shape (n,), int
        Size of the cluster that each row was last in; 0 with "neighbors".
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
        rule: str = "medoids",
        cutoff: float = 2.0,
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
            rule=rule,
            cutoff=cutoff,
            n_rounds=n_rounds,
            metric=metric,
            optimizer=optimizer,
            min_class_fraction=min_class_fraction,
            n_jobs=n_jobs,
            random_state=random_state,
            verbose=verbose,
        )
        self.on_isolated = on_isolated

    fit_resample = RefusedMethod(
        "EPICFilter does not resample: it keeps the number of rows. To drop rows, use "
        "EPICResampler in imbalanced-learn's Pipeline, or FilteredClassifier as the "
        "last step of scikit-learn's."
    )

    def report(
        self,
        X: Any,
        y: ArrayLike,
        path: str | PathLike[str],
        *,
        images: ArrayLike | None = None,
        feature_names: ArrayLike | None = None,
        title: str | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Write the audit page: one HTML file that shows what was isolated and why.

        The page has a summary, the gradient space of each class, what each round
        dropped, and a table of the isolated rows beside the nearest kept row of
        their class, in which each can be marked to keep or to drop. The marks are
        downloaded as CSV, which :meth:`apply_decisions` reads. The page loads
        nothing from the network, and sends nothing. Needs jinja2
        (``pip install 'epic-sklearn[report]'``).

        Parameters
        ----------
        X, y : see `fit`
            The rows that the filter was fitted on, in their order. Their
            gradients are computed again with `extractor_`.
        path : str or path-like
            File to write.
        images : array-like of shape (n, C, H, W), (n, H, W) or (n, H, W, C), optional
            What the rows look like, C being 1 or 3: floats in [0, 1], or whole
            numbers from 0 to 255. Longer sides than 64 pixels are reduced.
        feature_names : sequence of str, optional
            Names of the columns of a two-dimensional X. Default: those of the
            dataframe, or x0, x1, ...
        title : str, optional
            Heading of the page.
        overwrite : bool, default=False
            Whether an existing file may be replaced.

        Returns
        -------
        pathlib.Path
            The file written.

        Raises
        ------
        ValueError
            If X, y are not the rows of the fit, or `images` or `feature_names` do
            not fit them.
        FileExistsError
            If there is a file already and `overwrite` is False.
        ImportError
            If jinja2 is missing.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from epic_sklearn import EPICFilter
        >>> X, y = load_iris(return_X_y=True, as_frame=True)
        >>> detector = EPICFilter(subset_size=0.1).fit(X, y)
        >>> detector.report(X, y, "audit.html")  # doctest: +SKIP
        """
        from .report import write_report

        check_is_fitted(self)
        return write_report(
            self,
            X,
            y,
            path,
            images=images,
            feature_names=feature_names,
            title=title,
            overwrite=overwrite,
        )

    def apply_decisions(
        self, decisions: str | PathLike[str] | Mapping[int, str]
    ) -> EPICFilter:
        """Put a reviewer's decisions in place of the filter's own.

        Changes `keep_` and `isolated_indices_`: a row marked ``keep`` is kept, one
        marked ``drop`` is dropped, every other row stays as it is. A reviewer may
        drop more of a class than `min_class_fraction` allows, but not all of it.
        What describes the rounds (`rounds_`, `rho_`, `isolation_score_`,
        `dropped_at_round_`) stays, and fitting again forgets the decisions.

        Parameters
        ----------
        decisions : str, path-like or mapping of int to {"keep", "drop"}
            The CSV that the audit page gives (see :meth:`report`), or row numbers
            and decisions. A file must be of this very fit; a mapping is taken at
            its word.

        Returns
        -------
        self : EPICFilter

        Raises
        ------
        ValueError
            If the file is no such CSV or of another fit, a row is unknown or
            occurs twice, a decision is neither ``keep`` nor ``drop``, or a class
            would be emptied. Nothing has changed then.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from epic_sklearn import EPICFilter
        >>> X, y = load_iris(return_X_y=True)
        >>> X[0] = X[100]  # a setosa that looks like a virginica
        >>> detector = EPICFilter(subset_size=0.1).fit(X, y)
        >>> detector.isolated_indices_
        array([ 0, 41])
        >>> detector.apply_decisions({41: "keep"}).isolated_indices_
        array([0])
        """
        from .report import decided_keep

        check_is_fitted(self)
        self.keep_ = decided_keep(self, decisions)
        self.isolated_indices_ = np.flatnonzero(~self.keep_)
        return self

    def _options(self) -> RoundOptions:
        """Check all parameters before any work."""
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
        return super()._options()

    def _replacements(self, values: Any, labels: np.ndarray) -> np.ndarray:
        """For each row itself, or the nearest kept row of its class."""
        source = np.arange(len(self.keep_))
        if self.on_isolated == "replace":
            source[self.isolated_indices_] = nearest_kept(
                self.isolated_indices_, values, self._codes, self.keep_, self.metric
            )
        return source
