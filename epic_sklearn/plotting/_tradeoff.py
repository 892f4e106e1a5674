"""What a defence achieves against what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import roc_curve

from ._fitted import read_outcome
from ._groups import as_mask
from ._records import (
    as_columns,
    check_fractions,
    check_quantities,
    check_times,
    wilson_intervals,
)
from ._style import (
    COLOURS,
    axes_to_draw_on,
    import_pyplot,
    legend_outside,
    series_style,
    shorten,
    show_percent,
    tidy,
    width_of_legend,
)

QUANTITIES = {
    "attack_success": "attack success rate (lower is better)",
    "poisons_left": "poisons left (lower is better)",
    "clean_accuracy": "clean accuracy (higher is better)",
    "clean_lost": "clean examples lost (lower is better)",
}
# Marker areas, in points squared, from no time to the longest.
AREAS = (45.0, 300.0)


class TradeoffDisplay:
    """Defences by what they stop and what they cost: attack against accuracy.

    One marker a defence. Up is the attack's success, or the poisons left; along
    is the clean accuracy, or the clean examples lost. A good defence is at the
    bottom, on the side that the axis calls better.

    Make one with :meth:`from_predictions` from measured numbers, or with
    :meth:`from_estimator` from fitted detectors and known poisons. All
    parameters are stored as attributes.

    Parameters
    ----------
    names : list of str
        The defences.
    x : ndarray of shape (n_defences,)
        What they cost, in [0, 1].
    y : ndarray of shape (n_defences,)
        What the attack still achieves, in [0, 1].
    intervals : ndarray of shape (n_defences, 2), default=None
        Lower and upper end of y's confidence interval.
    seconds : ndarray of shape (n_defences,), default=None
        Time each takes: the marker's area grows with it.
    curves : list of (ndarray, ndarray), default=None
        x and y of a curve through each marker.
    x_name : {"clean_accuracy", "clean_lost"}, default="clean_accuracy"
        What `x` is.
    y_name : {"attack_success", "poisons_left"}, default="attack_success"
        What `y` is.

    Attributes
    ----------
    markers_ : list of matplotlib PathCollection
        One a defence.
    ax_ : matplotlib Axes
        What they are drawn on.
    figure_ : matplotlib Figure
        The figure that it is in.
    legend_ : matplotlib Legend
        Beside the axes.

    See Also
    --------
    DropHistoryDisplay : How poisons and clean examples go, round by round.
    epic_sklearn.attack_success_rate : Measures the attack.

    Examples
    --------
    The paper's figures for Gradient Matching on CIFAR-10, 200 epochs (Yang, Liu,
    Mirzasoleiman, ICML 2022):

    >>> from epic_sklearn.plotting import TradeoffDisplay
    >>> display = TradeoffDisplay.from_predictions({
    ...     "name": ["undefended", "spectral signatures", "EPIC 0.2"],
    ...     "attack_success": [0.45, 0.10, 0.01],
    ...     "clean_accuracy": [0.9495, 0.9299, 0.8971],
    ...     "n_trials": [100, 100, 300],
    ... })
    >>> display.intervals.round(2).tolist()
    [[0.36, 0.55], [0.06, 0.17], [0.0, 0.03]]
    """

    def __init__(
        self,
        names: list[str],
        x: np.ndarray,
        y: np.ndarray,
        *,
        intervals: np.ndarray | None = None,
        seconds: np.ndarray | None = None,
        curves: list[tuple[np.ndarray, np.ndarray]] | None = None,
        x_name: str = "clean_accuracy",
        y_name: str = "attack_success",
    ) -> None:
        self.names = names
        self.x = x
        self.y = y
        self.intervals = intervals
        self.seconds = seconds
        self.curves = curves
        self.x_name = x_name
        self.y_name = y_name

    @classmethod
    def from_estimator(
        cls, estimator: Any, poison_indices: ArrayLike, *, ax: Any = None
    ) -> TradeoffDisplay:
        """Draw poisons left against clean examples lost, of fitted detectors.

        The marker is what was dropped. The curve is what would be left and lost
        if more or fewer of the most isolated examples were dropped, by the
        detector's isolation score: that of a detector that tells poisons from
        clean examples falls at once, that of one that guesses is the diagonal.

        Parameters
        ----------
        estimator : detector or dict of str to detector
            Fitted EPICClassifier, EPICFilter, EPICResampler, FilteredClassifier
            with one of these, EPICCallback, EPICSubsetSampler or DropSchedule;
            several by name, on training sets of the same length and poisons.
        poison_indices : array-like of int, or of bool and shape (n,)
            The poisons' row numbers, or a mask; at least one poison and one
            clean example.
        ax : matplotlib Axes, default=None
            Where to draw. None: a new figure.

        Returns
        -------
        TradeoffDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        sklearn.exceptions.NotFittedError
            If an estimator is not fitted or has not run a round.
        TypeError
            If one is none of the above.
        ValueError
            If `poison_indices` doesn't fit.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from epic_sklearn import EPICFilter
        >>> from epic_sklearn.plotting import TradeoffDisplay
        >>> X, y = load_iris(return_X_y=True)
        >>> X[0] = X[100]  # a setosa that looks like a virginica
        >>> display = TradeoffDisplay.from_estimator(
        ...     {f"budget {b}": EPICFilter(subset_size=b).fit(X, y)
        ...      for b in (0.1, 0.3)}, poison_indices=[0])
        >>> display.y.tolist()
        [0.0, 0.0]
        """
        import_pyplot(f"{cls.__name__}.from_estimator")
        if not isinstance(estimator, Mapping):
            estimator = {type(estimator).__name__: estimator}
        if not estimator:
            raise ValueError("estimator is an empty dict; give at least one detector.")
        points, curves = [], []
        for one in estimator.values():
            outcome = read_outcome(one)
            is_poison = _both_kinds(poison_indices, len(outcome.keep))
            lost = float(np.mean(~outcome.keep[~is_poison]))
            points.append((lost, float(np.mean(outcome.keep[is_poison]))))
            clean_lost, dropped, _ = roc_curve(is_poison, outcome.score)
            curves.append((clean_lost, 1.0 - dropped))
        x, y = np.array(points).T
        return cls(
            list(map(str, estimator)),
            x,
            y,
            curves=curves,
            x_name="clean_lost",
            y_name="poisons_left",
        ).plot(ax=ax)

    @classmethod
    def from_predictions(
        cls,
        records: Mapping[str, ArrayLike] | Sequence[Mapping[str, Any]],
        *,
        x: str = "clean_accuracy",
        y: str = "attack_success",
        ax: Any = None,
    ) -> TradeoffDisplay:
        """Draw measured results.

        Parameters
        ----------
        records : dict of array-like, DataFrame, or list of dict
            Columns, or one dict a defence, with ``"name"``, the quantities
            named by `x` and `y` as fractions in [0, 1], and where known
            ``"n_trials"``, the number of targets (or poisons) that `y` is a
            fraction of: then each marker gets Wilson's 95% confidence interval;
            ``"seconds"``, the time it took: then the marker's area grows with
            it.
        x : {"clean_accuracy", "clean_lost"}, default="clean_accuracy"
            What the defence costs.
        y : {"attack_success", "poisons_left"}, default="attack_success"
            What the attack still achieves.
        ax : matplotlib Axes, default=None
            Where to draw. None: a new figure.

        Returns
        -------
        TradeoffDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If a column is missing, of another length, or out of range.

        Examples
        --------
        >>> from epic_sklearn.plotting import TradeoffDisplay
        >>> display = TradeoffDisplay.from_predictions([
        ...     {"name": "none", "poisons_left": 1.0, "clean_lost": 0.0},
        ...     {"name": "EPIC", "poisons_left": 0.1, "clean_lost": 0.17},
        ... ], x="clean_lost", y="poisons_left")
        >>> display.names
        ['none', 'EPIC']
        """
        check_quantities(x, y)
        columns = as_columns(records, ["name", x, y])
        xs, ys = (check_fractions(columns[name], name) for name in (x, y))
        intervals = None
        if "n_trials" in columns:
            intervals = wilson_intervals(ys, columns["n_trials"], y)
        seconds = columns.get("seconds")
        return cls(
            list(map(str, columns["name"].tolist())),
            xs,
            ys,
            intervals=intervals,
            seconds=None if seconds is None else check_times(seconds),
            x_name=x,
            y_name=y,
        ).plot(ax=ax)

    def plot(self, ax: Any = None) -> TradeoffDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw. None: a new figure.

        Returns
        -------
        self : TradeoffDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        caller = f"{type(self).__name__}.plot"
        handles = self._handles(import_pyplot(caller))
        width = 5.4 + width_of_legend([handle.get_label() for handle in handles])
        self.figure_, self.ax_, is_new = axes_to_draw_on(ax, caller, (width, 4.4))
        areas = self._areas()
        self.markers_ = [self._draw(i, areas[i]) for i in range(len(self.names))]
        self._name_axes()
        title = None if self.seconds is None else "larger marker: more time"
        self.legend_ = legend_outside(
            self.figure_, self.ax_, is_new, handles=handles, title=title
        )
        return self

    def _draw(self, i: int, area: float) -> Any:
        style = series_style(i)
        if self.curves is not None:
            self.ax_.plot(
                *self.curves[i],
                color=style["color"],
                linestyle=style["linestyle"],
                linewidth=1.4,
                alpha=0.8,
                zorder=2,
            )
        if self.intervals is not None:
            low, high = self.intervals[i]
            self.ax_.vlines(
                self.x[i], low, high, color=style["color"], alpha=0.6, zorder=2
            )
        face, edge = _face_and_edge(i)
        return self.ax_.scatter(
            self.x[i],
            self.y[i],
            s=area,
            facecolors=face,
            marker=style["marker"],
            edgecolors=edge,
            linewidths=0.8 if edge == "white" else 1.6,
            clip_on=False,
            # Small markers lie on large ones, so that none is hidden.
            zorder=4 - area / AREAS[1],
        )

    def _areas(self) -> np.ndarray:
        smallest, largest = AREAS
        if self.seconds is None or np.max(self.seconds) <= 0:
            return np.full(len(self.names), 80.0)
        share = self.seconds / np.max(self.seconds)
        return smallest + (largest - smallest) * share

    def _handles(self, plt: Any) -> list[Any]:
        handles = []
        for i, name in enumerate(self.names):
            style = series_style(i)
            if self.curves is None:
                style["linestyle"] = "none"
            label = shorten(name, 32)
            if self.seconds is not None:
                label += f" ({_duration(self.seconds[i], max(self.seconds))})"
            face, edge = _face_and_edge(i)
            handles.append(
                plt.Line2D(
                    [],
                    [],
                    label=label,
                    markersize=8,
                    markerfacecolor=face,
                    markeredgecolor=edge,
                    **style,
                )
            )
        return handles

    def _name_axes(self) -> None:
        self.ax_.set(xlabel=QUANTITIES[self.x_name], ylabel=QUANTITIES[self.y_name])
        if self.curves is not None:
            self.ax_.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
            self.ax_.plot([0, 1], [1, 0], color="0.7", linewidth=1, linestyle=":")
        else:
            top = self.y if self.intervals is None else self.intervals[:, 1]
            self.ax_.set_ylim(-0.03, min(1.03, 1.08 * max(0.1, float(np.max(top)))))
            self.ax_.margins(x=0.12)
            self.ax_.locator_params(axis="x", nbins=7)
        show_percent(self.ax_.xaxis)
        show_percent(self.ax_.yaxis)
        tidy(self.ax_)


def _face_and_edge(i: int) -> tuple[str, str]:
    """Colours inside and around a marker: hollow where colours come a second time."""
    colour = series_style(i)["color"]
    is_hollow = i // len(COLOURS) % 2 == 1
    return ("white", colour) if is_hollow else (colour, "white")


def _both_kinds(poison_indices: ArrayLike, n: int) -> np.ndarray:
    is_poison = as_mask(poison_indices, n, "poison_indices")
    if is_poison is None or not 0 < is_poison.sum() < n:
        raise ValueError(
            f"poison_indices is {poison_indices!r}; give the row numbers of at least "
            "one poison, and leave at least one clean example."
        )
    return is_poison


def _duration(seconds: float, longest: float) -> str:
    """Write a time in the unit that suits the longest."""
    if longest < 600:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    if longest < 18_000:
        return f"{seconds / 60:.2g} min" if seconds < 600 else f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
