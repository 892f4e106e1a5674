"""What was dropped, round by round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..metrics import check_column
from ._shared import (
    SERIES_OF_GROUP,
    WITH_LEGEND,
    axes_to_draw_on,
    legend_outside,
    make_groups,
    names_with_sizes,
    schedule_of,
    series_style,
    show_percent,
    tidy,
)

# Groups whose names find room above the curves.
FEW = 3


@dataclass(eq=False, repr=False)
class DropHistoryDisplay:
    """Share of the examples dropped so far, round by round, group by group.

    The groups are poisons and clean examples where the poisons are known, or
    classes, or all examples together. A curve is a staircase: between rounds
    nothing is dropped, and what is dropped stays dropped.

    Made by :meth:`from_estimator` or :meth:`from_predictions`.

    Parameters
    ----------
    fractions : ndarray of shape (n_groups, n_rounds)
        Share of each group dropped up to each round, in [0, 1].
    epochs : ndarray of shape (n_rounds,), int
        When the rounds were.
    group_names : list of str
        What the curves are of.
    group_sizes : list of int
        Examples in each group.
    clock : str, default="epochs trained"
        What `epochs` counts: the name of the x axis.

    Attributes
    ----------
    lines_ : list of matplotlib Line2D
        One a group.
    ax_ : matplotlib Axes
        What they are drawn on.
    figure_ : matplotlib Figure
        The figure that it is in.
    legend_ : matplotlib Legend or None
        Beside the axes, a short one inside axes of your own; None where there is only
        one group.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from epic_sklearn import EPICClassifier
    >>> from epic_sklearn.plotting import DropHistoryDisplay
    >>> from epic_sklearn.rules import IsolatedMedoids
    >>> X, y = load_iris(return_X_y=True)
    >>> X[0] = X[100]  # a setosa that looks like a virginica
    >>> model = EPICClassifier(rule=IsolatedMedoids(subset_size=0.1), warmup=5, every=5,
    ...                        stop=10, max_epochs=20, random_state=0).fit(X, y)
    >>> display = DropHistoryDisplay.from_estimator(model, poison_indices=[0])
    >>> display.group_names, display.epochs.tolist()
    (['poisons', 'clean examples'], [5, 10])
    >>> display.fractions[0].tolist()
    [1.0, 1.0]
    """

    fractions: np.ndarray
    epochs: np.ndarray
    group_names: list[str]
    group_sizes: list[int]
    clock: str = "epochs trained"

    @classmethod
    def from_estimator(cls, estimator: Any, **how: Any) -> DropHistoryDisplay:
        """Draw what a fitted estimator, callback or sampler dropped.

        Parameters
        ----------
        estimator : EPICClassifier, EPICCallback, EPICSubsetSampler, DropSchedule, \
EPICFilter, EPICResampler or FilteredClassifier
            After training, or after at least one round. Rounds of a filter are
            numbered, those of training stand at their epoch; a reviewer's decisions
            leave them.
        **how : poison_indices, y, ax
            See :meth:`from_predictions`.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted or has not run a round.
        TypeError
            If it is none of the above.
        ValueError
            If lengths or row numbers don't fit.
        """
        schedule = schedule_of(estimator, **how)
        clock = "round" if schedule.clock == "round" else "epochs trained"
        rounds = [record.epoch for record in schedule.rounds]
        given = schedule.dropped_at_epoch, rounds
        return cls.from_predictions(*given, clock=clock, **how)

    @classmethod
    def from_predictions(
        cls,
        dropped_at: ArrayLike,
        epochs: ArrayLike,
        *,
        poison_indices: ArrayLike | None = None,
        y: ArrayLike | None = None,
        clock: str = "epochs trained",
        ax: Any = None,
    ) -> DropHistoryDisplay:
        """Draw a record of what was dropped when.

        Parameters
        ----------
        dropped_at : array-like of shape (n,), int
            Epoch, or number of the round, that dropped each example; -1 where
            it was kept. ``dropped_at_epoch_`` of an EPICClassifier. A ValueError
            is raised if `epochs` lacks one of them.
        epochs : array-like of shape (n_rounds,), int
            When the rounds were, those that dropped nothing included.
        poison_indices : array-like of int, or of bool and shape (n,), default=None
            The poisons' row numbers, or a mask: one curve for the poisons, one
            for the clean examples.
        y : array-like of shape (n,), default=None
            Labels: one curve a class. Not together with `poison_indices`.
        clock : str, default="epochs trained"
            What `epochs` counts: the name of the x axis.
        ax : matplotlib Axes, default=None
            Where to draw. None: a new figure.
        """
        when = check_column(dropped_at, "dropped_at", kinds="iu", a="integer")
        rounds = np.unique(np.asarray(epochs))
        elsewhere = np.setdiff1d(when[when != -1], rounds)
        is_time = len(rounds) > 0 and np.isfinite(rounds).all()
        if not is_time or len(elsewhere):
            raise ValueError(
                f"epochs is {rounds.tolist()} and examples were dropped at "
                f"{elsewhere.tolist() or 'no time'}; give the epochs of all rounds."
            )
        names, masks = make_groups(len(when), poison_indices, y)
        so_far = (when[:, None] != -1) & (when[:, None] <= rounds)
        fractions = np.array([so_far[mask].mean(axis=0) for mask in masks])
        sizes = masks.sum(axis=1).tolist()
        return cls(fractions, rounds, names, sizes, clock).plot(ax=ax)

    def plot(self, ax: Any = None) -> DropHistoryDisplay:
        """Draw, on `ax` or in a new figure, and return the display."""
        names = names_with_sizes(self.group_names, self.group_sizes)
        width = 6.4 if len(names) == 1 else WITH_LEGEND
        height = max(4.0, 1.0 + 0.24 * len(names))  # of the legend beside
        self.figure_, (self.ax_,) = axes_to_draw_on(ax, (width, height))
        self.lines_ = [self._draw_staircase(i, name) for i, name in enumerate(names)]
        self._name_axes(names)
        self.legend_ = self._add_legend(ax is None) if len(names) > 1 else None
        return self

    def _draw_staircase(self, i: int, label: str) -> Any:
        last = int(self.epochs[-1])
        begin = 0 if self.epochs[0] > 0 else -0.02 * max(1, last)
        # What is dropped stays dropped: the last step goes on for a while. Markers
        # stand at the rounds only.
        end = last + 0.05 * (last - begin)
        fractions, name = self.fractions[i], self.group_names[i]
        (line,) = self.ax_.plot(
            np.concatenate([[begin], self.epochs, [end]]),
            np.concatenate([[0.0], fractions, fractions[-1:]]),
            drawstyle="steps-post",
            label=label,
            markevery=slice(1, -1, max(1, len(self.epochs) // 20)),
            markersize=5,
            clip_on=False,
            zorder=3,
            **series_style(SERIES_OF_GROUP.get(name, i)),
        )
        return line

    def _name_axes(self, names: list[str]) -> None:
        highest = float(np.max(self.fractions, initial=0.0))
        self.ax_.set(
            xlabel=self.clock,
            ylabel="examples dropped so far",
            ylim=(0.0, min(1.0, max(0.1, 1.08 * highest))),
        )
        if len(names) == 1:
            self.ax_.set_title(names[0][:1].upper() + names[0][1:])
        self.ax_.xaxis.get_major_locator().set_params(integer=True)
        show_percent(self.ax_.yaxis)
        tidy(self.ax_)

    def _add_legend(self, is_new: bool) -> Any:
        if is_new or len(self.lines_) > FEW:
            return legend_outside(self.ax_, is_new)
        # Beside the user's axes there may be others: inside, in room made above.
        high = self.ax_.get_ylim()[1]
        self.ax_.set_yticks([tick for tick in self.ax_.get_yticks() if tick <= high])
        self.ax_.set_ylim(0.0, high * (1.15 + 0.1 * len(self.lines_)))
        return self.ax_.legend(loc="upper left", frameon=False, borderaxespad=0.2)
