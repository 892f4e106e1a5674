"""Examples in gradient space: what is isolated, where poisons and target lie."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import column_or_1d

from ..gradients import Gradients, OuterProductGradients, check_gradients
from ..metrics import as_mask, check_column
from ..projection import GradientPlane
from ..validation import refuse_other_order
from ._inputs import extractor_of, schedule_of, target_labels, unwrap
from ._panels import (
    TARGET_STYLE,
    Kind,
    draw_examples,
    kinds_of_examples,
    legend_handle,
    panels_to_draw_on,
)
from ._style import legend_outside, names_with_sizes, shorten

FIRST, SECOND = "first principal component", "second principal component"
MOST_PANELS = 30


@dataclass(eq=False, repr=False)
class GradientSpaceDisplay:
    """Examples in gradient space, projected on two principal components.

    EPIC drops examples that are isolated among the gradients of their class.
    This picture shows them there: one panel a class, in the plane in which the
    class's gradients vary most (two dimensions never show all; each panel says
    how much). Distances are drawn to scale.

    Make one with :meth:`from_estimator` or :meth:`from_predictions`. All
    parameters are stored as attributes. m is the number of examples drawn.

    Parameters
    ----------
    points : ndarray of shape (m, 2)
        Projected gradients, each class in its own plane.
    y : ndarray of shape (m,)
        Labels.
    keep : ndarray of shape (m,), bool
        False for the examples that were dropped.
    explained_variance_ratio : ndarray of shape (n_classes, 2)
        Share of the variance along each axis, in the order of the sorted labels.
    is_medoid : ndarray of shape (m,), bool, default=None
        The medoids. None: not marked.
    is_poison : ndarray of shape (m,), bool, default=None
        The poisons. None: not known.
    targets : ndarray of shape (n_targets, 2), default=None
        The targets' projected gradients, taken with the adversarial label.
    target_labels : ndarray of shape (n_targets,), default=None
        That label, which names the panel that a target is drawn in.

    Attributes
    ----------
    axes_ : ndarray of shape (n_panels,) of matplotlib Axes
        The panels.
    ax_ : matplotlib Axes
        The first of them.
    figure_, legend_ : see :class:`DropHistoryDisplay`

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from epic_sklearn import EPICFilter
    >>> from epic_sklearn.plotting import GradientSpaceDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> X[0] = X[100]  # a setosa that looks like a virginica
    >>> detector = EPICFilter().fit(X, y)
    >>> display = GradientSpaceDisplay.from_estimator(
    ...     detector, X, y, poison_indices=[0])
    >>> [ax.get_title().splitlines()[0] for ax in display.axes_]
    ['class 0', 'class 1', 'class 2']
    """

    points: np.ndarray
    y: np.ndarray
    keep: np.ndarray
    explained_variance_ratio: np.ndarray
    _: KW_ONLY
    is_medoid: np.ndarray | None = None
    is_poison: np.ndarray | None = None
    targets: np.ndarray | None = None
    target_labels: np.ndarray | None = None

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: ArrayLike,
        *,
        poison_indices: ArrayLike | None = None,
        target: Any = None,
        target_label: Any = None,
        classes: ArrayLike | None = None,
        ax: Any = None,
    ) -> GradientSpaceDisplay:
        """Draw a fitted estimator's training examples in its gradient space.

        Parameters
        ----------
        estimator : EPICFilter, EPICResampler, FilteredClassifier or EPICClassifier
            Fitted on X and y. Gradients are those of the model as it is now: of
            a filter with several rounds the last round's, of a classifier those
            at the end of training. Medoids, where its rule has any, and what was
            dropped are those of its rounds. To draw other epochs use
            :meth:`from_predictions`.
        X : array-like, sparse matrix or dataframe of shape (n, ...)
            The training examples that it was fitted on, in the same order.
        y : array-like of shape (n,)
            Their labels.
        target : array-like of shape (n_targets, ...), default=None
            Targets of the attack, in the form of rows of X.
        poison_indices, target_label, classes, ax : see :meth:`from_predictions`

        Raises
        ------
        TypeError
            If it has no gradients: a sampler or callback.
        ValueError
            If X and y are not of the length that it was fitted on.
        """
        schedule = schedule_of(estimator)
        n = len(schedule.keep)
        labels = check_column(y, "y", n)
        extractor = extractor_of(unwrap(estimator))
        seen, _ = unwrap(estimator)._rows_of_the_fit(X, labels)
        gradients = check_gradients(extractor.compute(seen, labels), n)
        if target is not None:
            n_targets = target.shape[0] if hasattr(target, "shape") else len(target)
            of_targets = target_labels(target_label, n_targets)
            target = extractor.compute(target, of_targets)
        medoids = schedule.details.get("medoid")
        return cls.from_predictions(
            gradients,
            labels,
            schedule.keep,
            # A medoid is its own.
            medoid_indices=None if medoids is None else medoids == np.arange(n),
            poison_indices=poison_indices,
            target=target,
            target_label=target_label,
            classes=classes,
            metric=schedule.rule.metric,
            ax=ax,
        )

    @classmethod
    def from_predictions(
        cls,
        gradients: ArrayLike | OuterProductGradients,
        y: ArrayLike,
        keep: ArrayLike,
        *,
        medoid_indices: ArrayLike | None = None,
        poison_indices: ArrayLike | None = None,
        target: ArrayLike | OuterProductGradients | None = None,
        target_label: Any = None,
        classes: ArrayLike | None = None,
        metric: str = "euclidean",
        ax: Any = None,
    ) -> GradientSpaceDisplay:
        """Draw gradients, from any model at any epoch.

        Parameters
        ----------
        gradients : array-like of shape (n, d) or OuterProductGradients
            Gradient features, one row an example.
        y : array-like of shape (n,)
            Labels.
        keep : array-like of shape (n,), bool
            False for the examples that were dropped.
        medoid_indices : array-like of int, or of bool and shape (n,), default=None
            Row numbers of the medoids, ``find_medoids(...).indices``, or a mask.
        poison_indices : array-like of int, or of bool and shape (n,), default=None
            The poisons' row numbers, where they are known, or a mask.
        target : array-like of shape (n_targets, d), default=None
            The targets' gradients, taken with the adversarial label.
        target_label : label or array-like of shape (n_targets,), default=None
            The adversarial label.
        classes : array-like of labels, default=None
            The classes to draw, or one alone; None: all.
        metric : {"euclidean", "cosine"}, default="euclidean"
            With "cosine" the gradients' directions are drawn.
        ax : matplotlib Axes or array-like of them, default=None
            Where to draw: one for each panel. None: a new figure.

        Raises
        ------
        ValueError
            If lengths differ, a value is not finite, `classes` are not in y, or
            a target has no label that is drawn.
        """
        refuse_other_order(gradients=gradients, y=y, keep=keep)
        labels = column_or_1d(y)
        n = len(labels)
        everything = check_gradients(gradients, n)
        kept = check_column(keep, "keep", n, "b", "bool")
        drawn = _rows_of_classes(labels, classes)
        given = {"medoid_indices": medoid_indices, "poison_indices": poison_indices}
        is_medoid, is_poison = (
            None if rows is None else as_mask(rows, n, name)[drawn]
            for name, rows in given.items()
        )
        labels = labels[drawn]
        at = of_targets = None
        if target is not None:
            n_targets = len(target)  # type: ignore[arg-type]
            of_targets = target_labels(target_label, n_targets, labels)
            at = check_gradients(target, n_targets)
        points, ratios, targets = _project(
            everything[drawn], labels, at, of_targets, metric
        )
        return cls(
            points,
            labels,
            kept[drawn],
            ratios,
            is_medoid=is_medoid,
            is_poison=is_poison,
            targets=targets,
            target_labels=of_targets,
        ).plot(ax=ax)

    def plot(self, ax: Any = None) -> GradientSpaceDisplay:
        """Draw, on `ax`, one for each panel, or in a new figure; return the display."""
        kinds = kinds_of_examples(self.keep, self.is_medoid, self.is_poison)
        labels = np.unique(self.y)
        self.figure_, self.axes_ = panels_to_draw_on(ax, len(labels))
        self.ax_ = self.axes_[0]
        for i, label in enumerate(labels):
            draw_examples(self.axes_[i], self.points, self.y == label, kinds)
            if self.targets is not None:
                here = self.target_labels == label
                self.axes_[i].scatter(*self.targets[here].T, **TARGET_STYLE)
            self._name_panel(self.axes_[i], i, label, ax is None)
        self.legend_ = self._add_legend(kinds, ax is None)
        return self

    def _name_panel(self, ax: Any, i: int, label: Any, is_new: bool) -> None:
        along, up = self.explained_variance_ratio[i]
        if len(self.axes_) == 1:
            ax.set_title(f"Gradients of class {shorten(label, 40)}")
            ax.set_xlabel(f"{FIRST} ({along:.0%} of variance)")
            ax.set_ylabel(f"{SECOND} ({up:.0%} of variance)")
            return
        share = f"{along + up:.0%} of variance"
        ax.set_title(f"class {shorten(label, 20)}\n{share}", fontsize="medium")
        if not is_new:
            ax.set(xlabel=FIRST, ylabel=SECOND)
        elif i == 0:
            self.figure_.supxlabel(f"{FIRST} of the class's gradients", size="medium")
            self.figure_.supylabel(SECOND, size="medium")

    def _add_legend(self, kinds: list[Kind], is_new: bool) -> Any:
        """One for all panels, with the number of examples of each kind."""
        sizes = [int(kind.rows.sum()) for kind in kinds]
        names = names_with_sizes([kind.name for kind in kinds], sizes)
        styles = [kind.style for kind in kinds]
        if self.targets is not None:
            names.append("target" if len(self.targets) == 1 else "targets")
            styles.append(TARGET_STYLE)
        handles = list(map(legend_handle, styles, names))
        n_panels = len(self.axes_)
        place = "lower center" if n_panels == 1 else "upper center"
        ncols = 3 if n_panels <= 3 else len(handles)
        return legend_outside(
            self.figure_, self.axes_[-1], is_new, place, handles=handles, ncols=ncols
        )


def _rows_of_classes(y: np.ndarray, classes: ArrayLike | None) -> np.ndarray:
    """Row numbers of the classes to draw."""
    known = np.unique(y)
    wanted = known if classes is None else np.atleast_1d(np.asarray(classes))
    if not 0 < len(wanted) <= MOST_PANELS or not np.isin(wanted, known).all():
        raise ValueError(
            f"classes is {classes!r}; give at most {MOST_PANELS} labels, one a panel, "
            f"of the {len(known)} in y: {known.tolist()[:20]}."
        )
    return np.flatnonzero(np.isin(y, wanted))


def _project(
    gradients: Gradients,
    y: np.ndarray,
    target: Gradients | None,
    target_labels: np.ndarray | None,
    metric: str,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Points (m, 2), explained variance of each plane, targets (k, 2)."""
    points, ratios = np.empty((len(gradients), 2)), []
    targets = None if target is None else np.empty((len(target), 2))
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        plane = GradientPlane(gradients[rows], metric)
        points[rows] = plane.project(gradients[rows])
        ratios.append(plane.explained_variance_ratio)
        if target is not None and targets is not None:
            here = np.flatnonzero(target_labels == label)
            targets[here] = plane.project(target[here])
    return points, np.array(ratios), targets
