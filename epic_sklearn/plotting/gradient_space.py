"""Examples in gradient space: what is isolated, where poisons and target lie."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import column_or_1d
from sklearn.utils.validation import _num_samples

from ..gradients import Gradients, OuterProductGradients, check_gradients
from ..metrics import as_mask, check_column
from ..projection import GradientPlane
from ..validation import refuse_other_order
from ._shared import (
    CLEAN,
    POISON,
    TARGET,
    axes_to_draw_on,
    legend_outside,
    names_with_sizes,
    schedule_of,
    short_names,
)

FIRST, SECOND = "first principal component", "second principal component"
MOST_PANELS = 30
# Areas of markers are multiples of a panel's own unit, smaller where it is fuller.
KEPT = {"c": CLEAN, "marker": "o", "alpha": 0.6, "linewidths": 0, "scale": 1.0}
# Under the others: many crosses would hide what is kept.
DROPPED = {"c": "#7F7F7F", "marker": "x", "linewidths": 0.9, "scale": 1.1, "zorder": 1}
MEDOID = {"c": "black", "marker": "o", "linewidths": 0, "scale": 0.25}
# Above targets, which they may hit, and smaller than these.
ON_TOP = {"c": POISON, "edgecolors": "white", "linewidths": 0.5, "zorder": 4}
POISON_KEPT = {**ON_TOP, "marker": "D", "scale": 1.8}
POISON_DROPPED = {**ON_TOP, "marker": "X", "scale": 2.8}
BLACK_EDGE = {"edgecolors": "black", "linewidths": 0.9}
TARGETS = {"c": TARGET, "marker": "*", "scale": 5.0, "zorder": 3, **BLACK_EDGE}
UNIT = 48  # of the legend, and of targets in every panel


@dataclass(eq=False, repr=False)
class GradientSpaceDisplay:
    """Examples in gradient space, projected on two principal components.

    EPIC drops examples that are isolated among the gradients of their class.
    This picture shows them there: one panel a class, in the plane in which the
    class's gradients vary most (two dimensions never show all; each panel says
    how much). Distances are drawn to scale.

    Made by :meth:`from_estimator` or :meth:`from_predictions`, of m examples.

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
        y: ArrayLike | None,
        *,
        target: Any = None,
        target_label: Any = None,
        steps: Any = None,
        **how: Any,
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
            Their labels; None takes those of a data set.
        target : array-like of shape (n_targets, ...), default=None
            Targets of the attack, in the form of rows of X.
        target_label : see :meth:`from_predictions`
        steps : see :meth:`EPICFilter.report`
            What X, and the targets, pass through first.
        **how : poison_indices, classes, ax
            See :meth:`from_predictions`.

        Raises
        ------
        TypeError
            If it has no gradients: a sampler or callback.
        ValueError
            If X and y are not of the length that it was fitted on.
        """
        schedule = schedule_of(estimator)
        given = getattr(estimator, "filter_", estimator)
        if not hasattr(given, "extractor_"):
            raise TypeError(
                f"{type(given).__name__} holds no model that gradients could come "
                "from; compute them, LogitGradients(module).compute(X, y) for example, "
                "and use from_predictions with its keep mask."
            )
        compute = given.extractor_.compute
        seen, labels = given._rows_of_the_fit(X, y, steps)
        gradients = compute(seen, labels)
        if target is not None:
            n_targets = _num_samples(target)
            target = target if steps is None else steps.transform(target)
            target = compute(target, _each_target(target_label, n_targets, labels))
        medoids = schedule.details.get("medoid")
        if medoids is not None:  # a medoid is its own
            medoids = medoids == np.arange(len(medoids))
        return cls.from_predictions(
            gradients,
            labels,
            schedule.keep,
            medoid_indices=medoids,
            target=target,
            target_label=target_label,
            metric=schedule.rule.metric,
            **how,
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
        rows = _rows_of_classes(labels, classes)
        labels, drawn = labels[rows], check_gradients(gradients, n)[rows]
        kept = check_column(keep, "keep", n, "b", "bool")[rows]
        given = {"medoid_indices": medoid_indices, "poison_indices": poison_indices}
        is_medoid, is_poison = (
            None if marked is None else as_mask(marked, n, name)[rows]
            for name, marked in given.items()
        )
        planes = {
            label: GradientPlane(drawn[np.flatnonzero(labels == label)], metric)
            for label in np.unique(labels)
        }
        ratios = np.array([each.explained_variance_ratio for each in planes.values()])
        display = cls(_project(planes, drawn, labels), labels, kept, ratios)
        display.is_medoid, display.is_poison = is_medoid, is_poison
        if target is not None:
            n_targets = len(target)  # type: ignore[arg-type]
            at = check_gradients(target, n_targets)
            display.target_labels = _each_target(target_label, n_targets, labels)
            display.targets = _project(planes, at, display.target_labels)
        return display.plot(ax=ax)

    def plot(self, ax: Any = None) -> GradientSpaceDisplay:
        """Draw, on `ax`, one for each panel, or in a new figure; return the display."""
        kinds, labels = self._kinds(), np.unique(self.y)
        n = len(labels)
        n_columns = n if n <= 3 else min(5, -(-n // 2))
        n_rows = -(-n // n_columns)
        size = (max(2.5 * n_columns, 6.4), 2.7 * n_rows + (1.0 if n > 1 else 2.5))
        self.figure_, axes = axes_to_draw_on(ax, size, n_rows, n_columns, n)
        names = short_names(labels, 20)
        for unused in axes[n:]:
            unused.set_axis_off()
        self.axes_, self.ax_ = axes[:n], axes[0]
        for i, label in enumerate(labels):
            _draw_examples(self.axes_[i], self.points, self.y == label, kinds)
            if self.targets is not None:
                here = self.targets[self.target_labels == label]
                _scatter(self.axes_[i], here, UNIT, TARGETS)
            self._name_panel(self.axes_[i], i, names[i], ax is None)
        self.legend_ = self._add_legend(kinds, ax is None)
        return self

    def _kinds(self) -> list[tuple[str, np.ndarray, dict[str, Any]]]:
        """Kinds of examples that there are, as drawn: name, mask (m,), look."""
        nowhere = np.zeros(len(self.keep), dtype=bool)
        poison = nowhere if self.is_poison is None else self.is_poison
        medoid = nowhere if self.is_medoid is None else self.is_medoid
        clean = "" if self.is_poison is None else "clean, "
        kinds = [
            (f"{clean}kept", ~poison & self.keep, KEPT),
            (f"{clean}dropped", ~poison & ~self.keep, DROPPED),
            ("medoid, kept", medoid & self.keep & ~poison, MEDOID),
            ("poison, kept", poison & self.keep, POISON_KEPT),
            ("poison, dropped", poison & ~self.keep, POISON_DROPPED),
        ]
        return [kind for kind in kinds if kind[1].any()]

    def _name_panel(self, ax: Any, i: int, name: str, is_new: bool) -> None:
        share = f"{self.explained_variance_ratio[i].sum():.0%} of variance"
        if np.unique(self.y, return_counts=True)[1][i] == 1:
            share = "one example"
        ax.set_title(f"class {name}\n{share}", fontsize="medium")
        if not is_new:
            ax.set(xlabel=FIRST, ylabel=SECOND)
        elif i == 0:
            self.figure_.supxlabel(f"{FIRST} of the class's gradients", size="medium")
            self.figure_.supylabel(SECOND, size="medium")

    def _add_legend(self, kinds: list[Any], is_new: bool) -> Any:
        """One for all panels, with the number of examples of each kind."""
        from matplotlib.lines import Line2D

        kind_names, masks, looks = map(list, zip(*kinds, strict=True))
        names = names_with_sizes(kind_names, np.sum(masks, axis=1))
        if self.targets is not None:
            names.append("target" if len(self.targets) == 1 else "targets")
            looks.append(TARGETS)
        handles = [
            Line2D(
                [],
                [],
                label=name,
                linestyle="none",
                color=look["c"],
                marker=look["marker"],
                markeredgecolor=look.get("edgecolors", look["c"]),
                markeredgewidth=look["linewidths"],
                markersize=(UNIT * look["scale"]) ** 0.5,
            )
            for name, look in zip(names, looks, strict=True)
        ]
        how: Any = {"handles": handles, "ncols": 3}
        return legend_outside(self.axes_[-1], is_new, "upper center", **how)


def _scatter(
    ax: Any, points: np.ndarray, unit: float, look: dict[str, Any], **how: Any
) -> None:
    style = {"zorder": 2, **look, **how}
    ax.scatter(*points.T, s=unit * style.pop("scale"), **style)


def _draw_examples(
    ax: Any, points: np.ndarray, inside: np.ndarray, kinds: list[Any]
) -> None:
    """Draw the kinds of examples that are inside one panel, to scale."""
    n = inside.sum()
    unit = float(np.clip(6000 / n, 6, 30))
    for _, mask, look in kinds:
        here = points[inside & mask]
        # A few poisons are seen in any crowd; thousands would hide it.
        least = 22.0 if look["c"] == POISON and len(here) < 200 else 3.0
        if len(here):
            # Thousands of points would make a vector file of megabytes.
            size = max(unit, least / look["scale"])
            _scatter(ax, here, size, look, rasterized=bool(n > 2000))
    ax.set_aspect("equal", adjustable="datalim")
    ax.margins(0.08)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize="small")
    ax.locator_params(nbins=5)


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


def _each_target(label: Any, n_targets: int, drawn: np.ndarray) -> np.ndarray:
    """One adversarial label a target; each must be a class that is drawn."""
    labels = np.asarray(label)
    is_one_each = label is not None and labels.shape in ((), (1,), (n_targets,))
    if not is_one_each or not np.isin(labels, drawn).all():
        raise ValueError(
            f"target_label is {label!r} for {n_targets} targets; give the adversarial "
            "label, with which their gradients are taken, or one a target, of the "
            f"classes that are drawn: {np.unique(drawn).tolist()[:20]}."
        )
    return np.broadcast_to(labels, (n_targets,))


def _project(
    planes: dict[Any, GradientPlane], gradients: Gradients, labels: np.ndarray
) -> np.ndarray:
    """Points (n, 2), each in the plane of its label."""
    points = np.empty((len(gradients), 2))
    for label, plane in planes.items():
        rows = np.flatnonzero(labels == label)
        points[rows] = plane.project(gradients[rows])
    return points
