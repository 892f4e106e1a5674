"""Examples in gradient space: what is isolated, where poisons and target lie."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import column_or_1d

from ..gradients.features import Gradients, OuterProductGradients, check_gradients
from ._fitted import extractor_of, read_outcome, unwrap
from ._groups import as_mask, check_keep, check_length, name_with_size, target_labels
from ._panels import (
    TARGET_STYLE,
    Kind,
    draw_examples,
    given_panels,
    kinds_of_examples,
    legend_handle,
    new_panels,
)
from ._projection import project, rows_of_classes
from ._style import import_pyplot, legend_outside, shorten, width_of_legend

FIRST, SECOND = "first principal component", "second principal component"


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
        Projected gradients, in their own unit; each class in its own plane if
        `per_class`.
    y : ndarray of shape (m,)
        Labels.
    keep : ndarray of shape (m,), bool
        False for the examples that were dropped.
    is_medoid : ndarray of shape (m,), bool, default=None
        The medoids. None: not marked.
    is_poison : ndarray of shape (m,), bool, default=None
        The poisons. None: not known.
    targets : ndarray of shape (n_targets, 2), default=None
        The targets' projected gradients, taken with the adversarial label.
    target_labels : ndarray of shape (n_targets,), default=None
        That label, which names the panel that a target is drawn in.
    explained_variance_ratio : ndarray of shape (n_panels, 2), default=None
        Share of the variance along each axis, panels in the order of the sorted
        labels.
    per_class : bool, default=True
        One panel a class. False: all classes in one plane, with colours and
        markers of their own.

    Attributes
    ----------
    axes_ : ndarray of shape (n_panels,) of matplotlib Axes
        The panels.
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure
        The figure that they are in.
    legend_ : matplotlib Legend
        Beside or below the panels.

    See Also
    --------
    DropHistoryDisplay : When examples were dropped.
    ClusterSizeDisplay : How large the clusters are that poisons are in.

    References
    ----------
    Yang, Liu, Mirzasoleiman: Not All Poisons are Created Equal: Robust Training
    against Data Poisoning, ICML 2022, section 3.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from epic_sklearn import EPICFilter
    >>> from epic_sklearn.plotting import GradientSpaceDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> X[0] = X[100]  # a setosa that looks like a virginica
    >>> detector = EPICFilter(subset_size=0.1).fit(X, y)
    >>> display = GradientSpaceDisplay.from_estimator(
    ...     detector, X, y, poison_indices=[0])
    >>> [ax.get_title().splitlines()[0] for ax in display.axes_]
    ['class 0', 'class 1', 'class 2']
    """

    def __init__(
        self,
        points: np.ndarray,
        y: np.ndarray,
        keep: np.ndarray,
        *,
        is_medoid: np.ndarray | None = None,
        is_poison: np.ndarray | None = None,
        targets: np.ndarray | None = None,
        target_labels: np.ndarray | None = None,
        explained_variance_ratio: np.ndarray | None = None,
        per_class: bool = True,
    ) -> None:
        self.points = points
        self.y = y
        self.keep = keep
        self.is_medoid = is_medoid
        self.is_poison = is_poison
        self.targets = targets
        self.target_labels = target_labels
        self.explained_variance_ratio = explained_variance_ratio
        self.per_class = per_class

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
        per_class: bool = True,
        ax: Any = None,
    ) -> GradientSpaceDisplay:
        """Draw a fitted estimator's training examples in its gradient space.

        Parameters
        ----------
        estimator : EPICFilter, EPICResampler, FilteredClassifier or EPICClassifier
            Fitted on X and y. Gradients are those of the model as it is now: of
            a filter with several rounds the last round's, of a classifier those
            at the end of training, whatever they were when an example was
            dropped. To draw other epochs use :meth:`from_predictions`. Medoids
            are marked for filters.
        X : array-like, sparse matrix or dataframe of shape (n, ...)
            The training examples that it was fitted on, in the same order.
        y : array-like of shape (n,)
            Their labels.
        poison_indices : array-like of int, or of bool and shape (n,), default=None
            The poisons' row numbers, where they are known, or a mask.
        target : array-like of shape (n_targets, ...), default=None
            Targets of the attack, in the form of rows of X.
        target_label : label or array-like of shape (n_targets,), default=None
            The adversarial label, with which the targets' gradients are taken.
        classes : array-like of labels, default=None
            The classes to draw; one alone is as well. None: all.
        per_class : bool, default=True
            One panel a class, each in its own plane; False: all in one.
        ax : matplotlib Axes or array-like of them, default=None
            Where to draw: one for each panel. None: a new figure.

        Returns
        -------
        GradientSpaceDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        TypeError
            If it has no gradients: a sampler or callback.
        ValueError
            If X and y are not of the length that it was fitted on.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from epic_sklearn import EPICClassifier
        >>> from epic_sklearn.plotting import GradientSpaceDisplay
        >>> X, y = load_iris(return_X_y=True)
        >>> model = EPICClassifier(warmup=2, max_epochs=5, random_state=0).fit(X, y)
        >>> display = GradientSpaceDisplay.from_estimator(model, X, y, classes=[1])
        >>> display.points.shape
        (50, 2)
        """
        import_pyplot(f"{cls.__name__}.from_estimator")
        outcome = read_outcome(estimator)
        labels = check_length(y, "y", len(outcome.keep), "the estimator's keep mask")
        extractor, has_medoids = extractor_of(unwrap(estimator), X, labels)
        gradients = check_gradients(extractor.compute(X, labels), len(labels))
        if target is not None:
            n_targets = target.shape[0] if hasattr(target, "shape") else len(target)
            of_targets = target_labels(target_label, n_targets)
            target = extractor.compute(target, of_targets)
        return cls.from_predictions(
            gradients,
            labels,
            outcome.keep,
            medoid_indices=outcome.medoid_indices if has_medoids else None,
            poison_indices=poison_indices,
            target=target,
            target_label=target_label,
            classes=classes,
            per_class=per_class,
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
        per_class: bool = True,
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
            The classes to draw; None: all.
        per_class : bool, default=True
            One panel a class, each in its own plane; False: all in one.
        ax : matplotlib Axes or array-like of them, default=None
            Where to draw: one for each panel. None: a new figure.

        Returns
        -------
        GradientSpaceDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If lengths differ, a value is not finite, `classes` are not in y, or
            a target has no label that is drawn.

        Examples
        --------
        >>> import numpy as np
        >>> from epic_sklearn import find_medoids, flag_isolated
        >>> from epic_sklearn.plotting import GradientSpaceDisplay
        >>> gradients = np.random.RandomState(0).randn(60, 5)
        >>> y = np.repeat(["cat", "dog"], 30)
        >>> medoids = find_medoids(gradients, y)
        >>> display = GradientSpaceDisplay.from_predictions(
        ...     gradients, y, ~flag_isolated(medoids), medoid_indices=medoids.indices)
        >>> int(display.is_medoid.sum())
        12
        """
        import_pyplot(f"{cls.__name__}.from_predictions")
        labels = column_or_1d(y)
        n = len(labels)
        everything = check_gradients(gradients, n)
        mask = check_keep(keep, n, "y")
        is_medoid = as_mask(medoid_indices, n, "medoid_indices")
        is_poison = as_mask(poison_indices, n, "poison_indices")
        drawn = rows_of_classes(labels, classes, per_class)
        labels, everything = labels[drawn], everything[drawn]
        at: Gradients | None = None
        labels_of_targets = None
        if target is not None:
            n_targets = len(target)  # type: ignore[arg-type]
            labels_of_targets = target_labels(target_label, n_targets, labels)
            at = check_gradients(target, n_targets)
        points, targets, ratios = project(
            everything, labels, at, labels_of_targets, per_class
        )
        return cls(
            points,
            labels,
            mask[drawn],
            is_medoid=None if is_medoid is None else is_medoid[drawn],
            is_poison=None if is_poison is None else is_poison[drawn],
            targets=targets,
            target_labels=labels_of_targets,
            explained_variance_ratio=ratios,
            per_class=per_class,
        ).plot(ax=ax)

    def plot(self, ax: Any = None) -> GradientSpaceDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes or array-like of them, default=None
            Where to draw: one for each panel. None: a new figure.

        Returns
        -------
        self : GradientSpaceDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If there are not as many axes as panels.
        """
        plt = import_pyplot(f"{type(self).__name__}.plot")
        classes = np.unique(self.y) if self.per_class else [None]
        kinds = kinds_of_examples(
            self.y, self.keep, self.is_medoid, self.is_poison, self.per_class
        )
        is_new = ax is None
        if is_new:
            names = [] if self.per_class else [kind.name for kind in kinds]
            extra = width_of_legend(names)
            self.figure_, self.axes_ = new_panels(plt, len(classes), extra)
        else:
            self.axes_ = given_panels(ax, len(classes))
            self.figure_ = self.axes_[0].figure
        self.ax_ = self.axes_[0]
        for i, (panel, label) in enumerate(zip(self.axes_, classes, strict=True)):
            inside = np.ones(len(self.y), bool) if label is None else self.y == label
            draw_examples(panel, self.points, inside, kinds)
            self._draw_targets(panel, label)
            self._name_panel(panel, i, label, is_new)
        self.legend_ = self._add_legend(kinds, is_new)
        return self

    def _draw_targets(self, ax: Any, label: Any) -> None:
        if self.targets is None:
            return
        here = np.ones(len(self.targets), dtype=bool)
        if label is not None:
            here = np.asarray(self.target_labels) == label
        ax.scatter(*self.targets[here].T, **TARGET_STYLE)

    def _name_panel(self, ax: Any, i: int, label: Any, is_new: bool) -> None:
        ratio = self.explained_variance_ratio
        if len(self.axes_) == 1:
            shares = ["", ""]
            if ratio is not None:
                shares = [f" ({share:.0%} of variance)" for share in ratio[0]]
            ax.set(xlabel=FIRST + shares[0], ylabel=SECOND + shares[1])
            if label is not None:
                ax.set_title(f"Gradients of class {shorten(label, 40)}")
            return
        share = "" if ratio is None else f"\n{ratio[i].sum():.0%} of variance"
        ax.set_title(f"class {shorten(label, 20)}{share}", fontsize="medium")
        if not is_new:
            ax.set(xlabel=FIRST, ylabel=SECOND)
        elif i == 0:
            self.figure_.supxlabel(f"{FIRST} of the class's gradients", size="medium")
            self.figure_.supylabel(SECOND, size="medium")

    def _add_legend(self, kinds: list[Kind], is_new: bool) -> Any:
        """One for all panels, with the number of examples of each kind."""
        handles = [
            legend_handle(kind.style, name_with_size(kind.name, int(kind.rows.sum())))
            for kind in kinds
        ]
        if self.targets is not None:
            name = "target" if len(self.targets) == 1 else "targets"
            handles.append(legend_handle(TARGET_STYLE, name))
        place, n_columns = "right", 1
        if self.per_class:
            n_panels = len(self.axes_)
            place = "below" if n_panels == 1 else "above"
            n_columns = 3 if n_panels <= 3 else len(handles)
        return legend_outside(
            self.figure_,
            self.axes_[-1],
            is_new,
            handles=handles,
            place=place,
            n_columns=n_columns,
        )
