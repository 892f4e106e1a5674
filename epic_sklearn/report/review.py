"""The audit page of a fit, and a reviewer's decisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import column_or_1d
from sklearn.utils.validation import check_is_fitted

from ..base import is_dataframe
from ..frames import RowsToFrame, index_of
from ..gradients import (
    EXTRACTORS,
    Gradients,
    PrecomputedGradients,
    check_gradients,
)
from ..gradients.features import called
from ..gradients.items import is_dataset, n_items, take_items
from ..gradients.labels import digest_of, in_memory, labels_and_digest, varies
from ..schedule import DropSchedule
from ..validation import plain, refuse_other_order, to_numpy
from ._case import Case
from ._decisions import read_decisions
from ._pages import check_path, write_page

# Parameters that do not decide what is flagged.
NOT_SHOWN = (
    *("on_isolated", "n_jobs", "verbose", "callbacks", "checkpoint", "device"),
    "clean_dataset",
)


class Reviewable(RowsToFrame):
    """Mixin of what can be looked through and decided by a person.

    A class has `_schedule`, which dropped; it gives rows as it saw them (`_as_seen`),
    and looks at them (`_look`).
    """

    keep_: np.ndarray
    isolated_indices_: np.ndarray
    _schedule: DropSchedule
    _way_back: ClassVar[str]

    def report(
        self,
        X: Any,
        y: ArrayLike | None,
        path: str | PathLike[str],
        *,
        steps: Any = None,
        gradients: Any = None,
        images: ArrayLike | None = None,
        feature_names: ArrayLike | None = None,
        title: str = "EPIC audit",
        overwrite: bool = False,
    ) -> Path:
        """Write the audit page: one HTML file that shows what was dropped and why.

        The page has a summary, what is odd in the rows themselves (copies under
        different labels, columns that are the label again, gaps that make rows rare),
        the gradient space of each class, what each round dropped, and a table of the
        dropped rows beside the nearest kept row of their class, in which each can be
        marked to keep or to drop. The marks are downloaded as CSV, which
        :meth:`apply_decisions` reads. The page loads nothing from the network, and
        sends nothing. Needs jinja2 and pillow
        (``pip install 'epic-sklearn[report]'``).

        Parameters
        ----------
        X, y : see `fit`
            The rows of the fit, in their order; others are refused. Their gradients
            are computed again, with the model as it is now. The items of a data set,
            y then None for its own labels, are read for their labels, for their
            gradients and, those that the page shows, to be shown.
        path : str or path-like
            File to write.
        steps : transformer or Pipeline, optional
            What the rows passed through on their way here, such as ``pipeline[:-1]``
            for the last step of a pipeline; X are then the rows before that, and what
            the page shows. Steps whose ``fit_transform`` differs from ``transform``
            are cloned and fitted again.
        gradients : array-like, OuterProductGradients or callable, optional
            Those of the rows, or a function without arguments that computes them. A
            sampler, which has no net, needs them; None asks the model.
        images : array-like of shape (n, C, H, W), (n, H, W) or (n, H, W, C), optional
            What the rows look like, C being 1 or 3: floats in [0, 1], or whole
            numbers from 0 to 255. Longer sides than 64 pixels are reduced. Default:
            X itself, where it is an array of images, whatever its range.
        feature_names : sequence of str, optional
            Names of the columns of a two-dimensional X. Default: those of the
            dataframe, or x0, x1, ...
        title : str, default="EPIC audit"
            Heading of the page.
        overwrite : bool, default=False
            Whether an existing file may be replaced.

        Returns
        -------
        pathlib.Path
            The file written; an interrupted write leaves no part of it.

        Raises
        ------
        ValueError
            If X, y are not the rows of the fit, or `images` or `feature_names` do
            not fit them.
        FileExistsError
            If there is a file already and `overwrite` is False.
        ImportError
            If jinja2 or pillow is missing.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from epic_sklearn import EPICFilter
        >>> from epic_sklearn.rules import IsolatedMedoids
        >>> X, y = load_iris(return_X_y=True, as_frame=True)
        >>> detector = EPICFilter(rule=IsolatedMedoids(subset_size=0.1)).fit(X, y)
        >>> detector.report(X, y, "audit.html")  # doctest: +SKIP
        """
        self._check_judged()
        path = check_path(path, overwrite)
        case = self._case(X, y, steps, gradients)
        asked: Any = {"title": title, "images": images, "feature_names": feature_names}
        return write_page(replace(case, **asked), path)

    def apply_decisions(
        self, decisions: str | PathLike[str] | Mapping[int, str] | Any
    ) -> Self:
        """Put a reviewer's decisions in place of the rounds' own.

        Changes which rows are kept (`keep_`, `isolated_indices_`): a row marked
        ``keep`` is kept, one marked ``drop`` is dropped, every other row stays as it
        is. A reviewer may drop more of a class than `min_class_fraction` allows, but
        not all of it. What describes the rounds (`rounds_`, `rho_`,
        `isolation_score_`, when a row was dropped) stays; a page written afterwards
        has the rho of the decided rows. Fitting again forgets the decisions; rounds of
        a training that goes on respect them.

        Parameters
        ----------
        decisions : str, path-like, mapping or Series of {"keep", "drop"}
            The CSV that the audit page gives (see :meth:`report`); decisions by row
            number; or, as a pandas Series, by the index that the rows had. A file
            must be of this very fit; others are taken at their word.

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
        self._check_judged()
        schedule = self._schedule
        schedule.decide(*read_decisions(schedule, self._judged()[0], decisions))
        self._keep_as_decided()
        return self

    def _check_judged(self) -> None:
        """Refuse what has not judged anything yet."""
        if hasattr(self, "fit"):  # callbacks and samplers have none
            check_is_fitted(self)
        if not self._schedule.rounds:
            raise NotFittedError(
                f"This {type(self).__name__} has not run a round yet, so there is "
                "nothing to review; train beyond its warmup first."
            )

    def _judged(self) -> tuple[np.ndarray, int]:
        """Numbers of the rows that were judged, and how many were given to fit."""
        n = len(self._schedule.codes)
        return np.arange(n), n

    def _keep_as_decided(self) -> None:
        if hasattr(self, "fit"):  # what callbacks and samplers keep is their schedule's
            self.keep_ = self._schedule.keep
            self.isolated_indices_ = np.flatnonzero(~self.keep_)

    def _as_seen(self, X: Any) -> Any:
        """Rows as the fit saw them, checked as there."""
        return X

    def _look(self, seen: Any, labels: np.ndarray) -> Gradients:
        """Gradients of the judged rows, by the model as it is now."""
        extractor = getattr(self, "extractor_", None)
        if extractor is None:
            raise ValueError(f"{type(self).__name__} has no net: give gradients.")
        return extractor.compute(seen, labels)

    def _case(self, X: Any, y: Any, steps: Any = None, gradients: Any = None) -> Case:
        """Look at the rows of the fit again; refuse others before any work."""
        refuse_other_order(X=X, y=y)
        schedule, (rows, n) = self._schedule, self._judged()
        seen, labels = self._rows_of_the_fit(X, y, steps)
        if gradients is None:
            gradients = self._look(seen, labels)
        get = getattr(self, "get_params", None)
        now = {} if get is None else get(deep=False)
        settings = dict(getattr(self, "_params_of_fit", now))  # set since, maybe
        of_rule = schedule.rule.get_params().items()
        settings["rule"] = type(schedule.rule).__name__
        epochs = asdict(schedule.epochs)
        settings |= {name: epochs[name] for name in epochs if name in settings}
        settings |= {f"rule__{name}": value for name, value in of_rule}
        names: dict[type, str] = {each: name for name, each in EXTRACTORS.items()}
        extractor = getattr(self, "extractor_", None)
        of_extractor = names.get(type(extractor))
        if taken := getattr(self, "gradients_", of_extractor):
            settings["gradients"] = taken
        shown = to_numpy(in_memory(seen if steps is None else X))
        return Case(
            schedule,
            rows,
            n,
            shown,
            check_gradients(called(gradients), len(rows)),
            {k: plain(v) for k, v in settings.items() if k not in NOT_SHOWN},
            self._way_back,
            index=getattr(shown if is_dataframe(shown) else schedule, "index", None),
            is_gradients=steps is None and type(extractor) is PrecomputedGradients,
        )

    def _rows_of_the_fit(
        self, X: Any, y: Any, steps: Any = None
    ) -> tuple[Any, np.ndarray]:
        """Rows as they were seen, and labels; others are refused.

        Items of a data set are read once for labels and digest. Where they are others
        each time that they are read, as with random augmentation, labels alone tell.
        """
        (rows, n), found, known = self._judged(), None, self._schedule.seen
        if is_dataset(X) and n_items(X) != n:
            raise ValueError(
                f"X has {n_items(X)} items, and {n} rows were given to fit; give the "
                "rows of the fit."
            )
        is_items = is_dataset(X) and digest_of(X) is None
        some = take_items(X, rows) if is_items and len(rows) < n else X
        if is_dataset(X) and (y is None or (is_items and known is not None)):
            of_items, found = labels_and_digest(some)
            if y is None:
                y = np.zeros(n, of_items.dtype)
                y[rows] = of_items if is_items else of_items[rows]
        labels = self._check_labels(y)
        seen = self._as_seen(X if steps is None else steps.transform(X))
        if known in (None, found or digest_of(seen)):
            return seen, labels
        hint = "If these passed through a pipeline first, give steps=pipeline[:-1]."
        if steps is not None:  # what PCA gives in its fit differs in the last bits
            seen = self._as_seen(clone(steps).fit_transform(X, labels))
            if digest_of(seen) == known:
                return seen, labels
            hint = "They passed through `steps`: these must be those of the fit, too."
        if is_items and varies(some):
            return seen, labels
        raise ValueError(
            f"X, of {n} rows, is not what was given to fit: other rows, another order "
            f"or other values. Give the rows of the fit as they were. {hint}"
        )

    def _check_labels(self, y: Any) -> np.ndarray:
        """Refuse labels that are not those of the fit."""
        labels, (rows, n) = column_or_1d(to_numpy(y)), self._judged()
        schedule = self._schedule
        known, given = schedule.index, index_of(y)
        can_tell = schedule.seen is None and known is not None and given is not None
        if can_tell and not given.equals(known):
            raise ValueError(
                "y has another index than the rows that were given to fit; give these, "
                "in their order."
            )
        if len(labels) != n:
            raise ValueError(
                f"y has {len(labels)} labels, and {n} rows were given to fit; give the "
                "rows of the fit."
            )
        fitted = schedule.classes[schedule.codes].tolist()
        pairs = zip(labels[rows].tolist(), fitted, strict=True)
        n_other = sum(a != b for a, b in pairs)
        if n_other:
            raise ValueError(
                f"{n_other} of {n} labels in y are not those of the fit; give the rows "
                "of the fit, in their order."
            )
        return labels
