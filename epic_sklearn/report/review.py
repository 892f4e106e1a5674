"""The audit page of a fitted filter, and a reviewer's decisions."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from ._decisions import decided_keep
from ._write import write_report


class Reviewable:
    """Mixin of what can be looked through and decided by a person."""

    keep_: np.ndarray
    isolated_indices_: np.ndarray

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
        >>> from epic_sklearn.rules import IsolatedMedoids
        >>> X, y = load_iris(return_X_y=True, as_frame=True)
        >>> detector = EPICFilter(rule=IsolatedMedoids(subset_size=0.1)).fit(X, y)
        >>> detector.report(X, y, "audit.html")  # doctest: +SKIP
        """
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
    ) -> Self:
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
        self : object

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
        >>> from epic_sklearn.rules import IsolatedMedoids
        >>> X, y = load_iris(return_X_y=True)
        >>> X[0] = X[100]  # a setosa that looks like a virginica
        >>> detector = EPICFilter(rule=IsolatedMedoids(subset_size=0.1)).fit(X, y)
        >>> detector.isolated_indices_
        array([ 0, 41])
        >>> detector.apply_decisions({41: "keep"}).isolated_indices_
        array([0])
        """
        check_is_fitted(self)
        self.keep_ = decided_keep(self, decisions)
        self.isolated_indices_ = np.flatnonzero(~self.keep_)
        return self
