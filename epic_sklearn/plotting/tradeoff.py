"""What a defence achieves against what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils._param_validation import StrOptions

from .._utils import validate_params
from ..attacks import AttackReport
from ..frames import as_frame
from ..metrics import wilson_interval
from ._shared import (
    WITH_LEGEND,
    axes_to_draw_on,
    legend_outside,
    series_style,
    short_names,
    show_percent,
    tidy,
)

QUANTITIES = {
    "attack_success": "attack success rate (lower is better)",
    "poisons_left": "poisons left (lower is better)",
    "clean_accuracy": "clean accuracy (higher is better)",
    "clean_lost": "clean examples lost (lower is better)",
}
MARKER = 9  # points


@dataclass(eq=False, repr=False)
class TradeoffDisplay:
    """Defences by what they stop and what they cost: attack against accuracy.

    One marker a defence, beside another where both would lie on one point. Up is the
    attack's success, or the poisons left; along is the clean accuracy, or the clean
    examples lost. A good defence is at the bottom, on the side that the axis calls
    better.

    Made by :meth:`from_predictions` or :meth:`from_report`.

    Parameters
    ----------
    names : list of str
        The defences.
    x : ndarray of shape (n_defences,)
        What they cost, in [0, 1].
    y : ndarray of shape (n_defences,)
        What the attack still achieves, in [0, 1].
    x_name, y_name : str, default="clean_accuracy" and "attack_success"
        What they are; see :meth:`from_predictions`.
    intervals : ndarray of shape (n_defences, 2), default=None
        Lower and upper end of y's confidence interval.

    Attributes
    ----------
    markers_ : list of matplotlib Line2D
        One a defence.
    ax_, figure_, legend_ : see :class:`DropHistoryDisplay`

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

    names: list[str]
    x: np.ndarray
    y: np.ndarray
    x_name: str = "clean_accuracy"
    y_name: str = "attack_success"
    _: KW_ONLY
    intervals: np.ndarray | None = None

    @classmethod
    @validate_params({"report": [AttackReport]}, prefer_skip_nested_validation=True)
    def from_report(
        cls,
        report: AttackReport,
        *,
        x: str = "clean_accuracy",
        y: str = "attack_success",
        ax: Any = None,
    ) -> TradeoffDisplay:
        """Draw what :func:`epic_sklearn.attack_report` found, all its arms.

        Parameters
        ----------
        report : AttackReport
            What it gave.
        x, y, ax : see :meth:`from_predictions`
        """
        n_trials = len(report.poisons)
        if y == "poisons_left":
            n_trials = sum(len(each.indices) for each in report.poisons)
        records = [{**row, "n_trials": n_trials} for row in report.records]
        return cls.from_predictions(records, x=x, y=y, ax=ax)

    @classmethod
    @validate_params(
        {
            "x": [StrOptions({"clean_accuracy", "clean_lost"})],
            "y": [StrOptions({"attack_success", "poisons_left"})],
        },
        prefer_skip_nested_validation=True,
    )
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
            fraction of: then each marker gets Wilson's 95% confidence interval. A
            ValueError is raised if a column is missing, of another length, or out of
            range.
        x : {"clean_accuracy", "clean_lost"}, default="clean_accuracy"
            What the defence costs.
        y : {"attack_success", "poisons_left"}, default="attack_success"
            What the attack still achieves.
        ax : matplotlib Axes, default=None
            Where to draw. None: a new figure.
        """
        frame = _checked(as_frame(records), x, y)
        xs, ys = frame[[x, y]].to_numpy(dtype=np.float64).T
        intervals = None
        if "n_trials" in frame:
            intervals = np.full((len(frame), 2), np.nan)
            for i, n in enumerate(frame["n_trials"].astype(float)):
                if n == n:  # known
                    intervals[i] = wilson_interval(round(ys[i] * n), int(n))
        names = list(map(str, frame["name"]))
        return cls(names, xs, ys, x, y, intervals=intervals).plot(ax=ax)

    def plot(self, ax: Any = None) -> TradeoffDisplay:
        """Draw, on `ax` or in a new figure, and return the display."""
        self.figure_, (self.ax_,) = axes_to_draw_on(ax, (WITH_LEGEND, 4.4))
        names = short_names(self.names, 32)
        self.markers_ = [self._draw(i, name) for i, name in enumerate(names)]
        self._name_axes()
        self.legend_ = legend_outside(self.ax_, ax is None, handles=self.markers_)
        return self

    def _draw(self, i: int, name: str) -> Any:
        from matplotlib.transforms import ScaledTranslation

        style, x, y = series_style(i), self.x[i], self.y[i]
        how: dict[str, Any] = {"clip_on": False}
        if n := self._n_covered(i):
            inches = n * 0.8 * MARKER / 72, 0
            aside = ScaledTranslation(*inches, self.figure_.dpi_scale_trans)
            # The layout would take its place before the axes have theirs.
            how |= {"transform": self.ax_.transData + aside, "in_layout": False}
        line = {"color": style["color"], "alpha": 0.7, "zorder": 2}
        if self.intervals is not None:
            self.ax_.vlines(x, *self.intervals[i], **line, **how)
        style |= {"linestyle": "none", "markersize": MARKER, "zorder": 3}
        return self.ax_.plot(x, y, label=name, **style, **how)[0]

    def _n_covered(self, i: int) -> int:
        """How many earlier defences stand where this one does, which moves aside."""
        widths = [max(np.ptp(self.x), 0.01), max(np.ptp(self.y), 0.01)]
        away = np.abs(np.c_[self.x, self.y][:i] - (self.x[i], self.y[i])) / widths
        return int((away < 0.01).all(axis=1).sum())

    def _name_axes(self) -> None:
        self.ax_.set(xlabel=QUANTITIES[self.x_name], ylabel=QUANTITIES[self.y_name])
        ends = self.y if self.intervals is None else self.intervals[:, 1]
        top = np.nanmax([0.1, *self.y, *ends])  # an end may not be known
        self.ax_.set_ylim(-0.03, min(1.03, 1.08 * float(top)))
        self.ax_.margins(x=0.12)
        self.ax_.locator_params(axis="x", nbins=7)
        show_percent(self.ax_.xaxis)
        show_percent(self.ax_.yaxis)
        tidy(self.ax_)


def _checked(frame: Any, x: str, y: str) -> Any:
    """Refuse records without what is drawn, and values that it cannot have."""
    if frame.empty or not {"name", x, y} <= set(frame):
        raise ValueError(
            f"records has columns {list(frame)} and {len(frame)} lines; give one a "
            f"defence, with its name, {x} and {y}."
        )
    for name in (x, y):
        numbers = frame[name].astype(float)
        for value in numbers[~numbers.between(0, 1)]:
            raise ValueError(
                f"{name} contains {value:g}; it is a fraction in [0, 1]. Divide "
                "percentages by 100, and leave out a defence of which it is not known."
            )
    if "n_trials" in frame:
        numbers = frame["n_trials"].astype(float)
        for value in numbers[(numbers < 1) | (numbers % 1 > 0)]:
            raise ValueError(
                f"n_trials contains {value:g}; give the number of targets (or poisons) "
                f"that {y} is a fraction of, or a missing value where it is not known."
            )
    return frame
