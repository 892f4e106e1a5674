"""What was dropped, round by round."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ._fitted import read_outcome
from ._groups import make_groups, name_with_size
from ._style import (
    axes_to_draw_on,
    group_style,
    import_pyplot,
    legend_outside,
    shorten,
    show_percent,
    tidy,
    width_of_legend,
)


class DropHistoryDisplay:
    """Share of the examples dropped so far, round by round, group by group.

    The groups are poisons and clean examples where the poisons are known, or
    classes, or all examples together. A curve is a staircase: between rounds
    nothing is dropped, and what is dropped stays dropped.

    Make one with :meth:`from_estimator` or :meth:`from_predictions`. All
    parameters are stored as attributes.

    Parameters
    ----------
    fractions : ndarray of shape (n_groups, n_rounds)
        Share of each group dropped up to each round, in [0, 1].
    epochs : ndarray of shape (n_rounds,), int
        When the rounds were.
    group_names : list of str
        What the curves are of.
    group_sizes : list of int, default=None
        Examples in each group, for the legend.
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
        Beside or below the axes; None where there is only one group.

    See Also
    --------
    TradeoffDisplay : What is left of the poisons against what it cost.
    GradientSpaceDisplay : Where the dropped examples lie.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from epic_sklearn import EPICClassifier
    >>> from epic_sklearn.plotting import DropHistoryDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> X[0] = X[100]  # a setosa that looks like a virginica
    >>> model = EPICClassifier(warmup=5, every=5, stop=10, subset_size=0.1,
    ...                        max_epochs=20, random_state=0).fit(X, y)
    >>> display = DropHistoryDisplay.from_estimator(model, poison_indices=[0])
    >>> display.group_names, display.epochs.tolist()
    (['poisons', 'clean examples'], [5, 10])
    >>> display.fractions[0].tolist()
    [1.0, 1.0]
    """

    def __init__(
        self,
        fractions: np.ndarray,
        epochs: np.ndarray,
        group_names: list[str],
        *,
        group_sizes: list[int] | None = None,
        clock: str = "epochs trained",
    ) -> None:
        self.fractions = fractions
        self.epochs = epochs
        self.group_names = group_names
        self.group_sizes = group_sizes
        self.clock = clock

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        poison_indices: ArrayLike | None = None,
        y: ArrayLike | None = None,
        ax: Any = None,
    ) -> DropHistoryDisplay:
        """Draw what a fitted estimator, callback or sampler dropped.

        Parameters
        ----------
        estimator : EPICClassifier, EPICCallback, EPICSubsetSampler, DropSchedule, \
EPICFilter, EPICResampler or FilteredClassifier
            After training, or after at least one round. Rounds of a filter are
            numbered, those of training stand at their epoch.
        poison_indices : array-like of int, or of bool and shape (n,), default=None
            The poisons' row numbers, or a mask: one curve for the poisons, one
            for the clean examples.
        y : array-like of shape (n,), default=None
            Labels: one curve a class. Not together with `poison_indices`.
        ax : matplotlib Axes, default=None
            Where to draw. None: a new figure.

        Returns
        -------
        DropHistoryDisplay

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

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from epic_sklearn import EPICFilter
        >>> from epic_sklearn.plotting import DropHistoryDisplay
        >>> X, y = load_iris(return_X_y=True)
        >>> detector = EPICFilter().fit(X, y)
        >>> display = DropHistoryDisplay.from_estimator(detector, y=y)
        >>> display.group_names
        ['0', '1', '2']
        """
        import_pyplot(f"{cls.__name__}.from_estimator")
        outcome = read_outcome(estimator)
        if outcome.dropped_at is None:
            raise ValueError(
                f"This {type(estimator).__name__} ran {len(outcome.epochs)} rounds and "
                "does not record which round dropped which example; use n_rounds=1, "
                "or from_predictions."
            )
        return cls.from_predictions(
            outcome.dropped_at,
            outcome.epochs,
            poison_indices=poison_indices,
            y=y,
            clock=outcome.clock,
            ax=ax,
        )

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
            it was kept. ``dropped_at_epoch_`` of an EPICClassifier.
        epochs : array-like of shape (n_rounds,), int
            When the rounds were, those that dropped nothing included.
        poison_indices : array-like of int, or of bool and shape (n,), default=None
            The poisons' row numbers, or a mask.
        y : array-like of shape (n,), default=None
            Labels: one curve a class. Not together with `poison_indices`.
        clock : str, default="epochs trained"
            What `epochs` counts: the name of the x axis.
        ax : matplotlib Axes, default=None
            Where to draw. None: a new figure.

        Returns
        -------
        DropHistoryDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If lengths don't fit, or an example was dropped at no round.

        Examples
        --------
        >>> from epic_sklearn.plotting import DropHistoryDisplay
        >>> display = DropHistoryDisplay.from_predictions(
        ...     [2, -1, 4, -1], epochs=[2, 4], poison_indices=[0])
        >>> display.fractions.round(2).tolist()
        [[1.0, 1.0], [0.0, 0.33]]
        """
        when = np.asarray(dropped_at)
        if when.ndim != 1 or len(when) == 0 or when.dtype.kind not in "iu":
            raise ValueError(
                f"dropped_at has dtype {when.dtype} and shape {when.shape}; give one "
                "integer a training example, -1 where it was kept."
            )
        rounds = np.unique(np.asarray(epochs))
        elsewhere = np.setdiff1d(when[when != -1], rounds)
        if len(rounds) == 0 or len(elsewhere):
            raise ValueError(
                f"epochs is {rounds.tolist()} and examples were dropped at "
                f"{elsewhere.tolist() or 'no time'}; give the epochs of all rounds."
            )
        groups = make_groups(len(when), poison_indices, y)
        so_far = (when[:, None] != -1) & (when[:, None] <= rounds)
        return cls(
            np.array([so_far[mask].mean(axis=0) for mask in groups.values()]),
            rounds,
            list(groups),
            group_sizes=[int(mask.sum()) for mask in groups.values()],
            clock=clock,
        ).plot(ax=ax)

    def plot(self, ax: Any = None) -> DropHistoryDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw. None: a new figure.

        Returns
        -------
        self : DropHistoryDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        caller = f"{type(self).__name__}.plot"
        names = list(map(shorten, self.group_names))
        if self.group_sizes is not None:
            names = list(map(name_with_size, self.group_names, self.group_sizes))
        few = len(names) <= 3
        width = 6.4 if few else 5.4 + width_of_legend(names)
        self.figure_, self.ax_, is_new = axes_to_draw_on(ax, caller, (width, 4.0))
        self.lines_ = [self._draw_staircase(i, name) for i, name in enumerate(names)]
        self._name_axes()
        self.legend_ = None
        if len(self.lines_) > 1:
            place, n_columns = ("below", 3) if few else ("right", 1)
            self.legend_ = legend_outside(
                self.figure_, self.ax_, is_new, place=place, n_columns=n_columns
            )
        return self

    def _draw_staircase(self, i: int, label: str) -> Any:
        begin, last = min(0, int(self.epochs[0]) - 1), int(self.epochs[-1])
        # What is dropped stays dropped: the last step goes on for a while. Markers
        # stand at the rounds only.
        end = last + 0.05 * (last - begin)
        fractions = self.fractions[i]
        (line,) = self.ax_.plot(
            np.concatenate([[begin], self.epochs, [end]]),
            np.concatenate([[0.0], fractions, fractions[-1:]]),
            drawstyle="steps-post",
            label=label,
            markevery=slice(1, -1, max(1, len(self.epochs) // 20)),
            markersize=5,
            markeredgecolor="white",
            markeredgewidth=0.5,
            clip_on=False,
            zorder=3,
            **group_style(self.group_names[i], i),
        )
        return line

    def _name_axes(self) -> None:
        highest = float(np.max(self.fractions, initial=0.0))
        self.ax_.set(
            xlabel=self.clock,
            ylabel="examples dropped so far",
            ylim=(0.0, min(1.0, max(0.1, 1.08 * highest))),
        )
        if len(self.group_names) == 1:
            size = "" if not self.group_sizes else f" ({self.group_sizes[0]:,})"
            self.ax_.set_title(f"{self.group_names[0].capitalize()}{size}")
        self.ax_.xaxis.get_major_locator().set_params(integer=True)
        show_percent(self.ax_.yaxis)
        tidy(self.ax_)
