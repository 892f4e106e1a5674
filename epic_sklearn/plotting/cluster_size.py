"""How large the clusters are that poisons, classes or all examples are in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..metrics import check_column
from ._shared import (
    WITH_LEGEND,
    axes_to_draw_on,
    legend_outside,
    make_groups,
    names_with_sizes,
    schedule_of,
    show_percent,
)

BINS = (1, 2, 3, 4, 5, 10, 20)
# Room in a segment for its percentage, as a share of the axis.
WIDE_ENOUGH = 0.055


@dataclass(eq=False, repr=False)
class ClusterSizeDisplay:
    """Share of the examples that are in clusters of 1, 2, 3, ... examples.

    One bar a group, split by cluster size: the hatched part, from the left, is
    what was dropped. If EPIC tells poisons from clean examples, theirs is longer;
    poisons that collide on one point show as one block further right, at the
    threshold that would be needed.

    Made by :meth:`from_estimator` or :meth:`from_predictions`.

    Parameters
    ----------
    fractions : ndarray of shape (n_groups, n_bins)
        Share of each group's examples in clusters of each size; rows sum to 1.
    bins : ndarray of shape (n_bins,), int
        Smallest size of each bin; it ends before the next, the last is open.
    group_names : list of str
        What the bars are of.
    group_sizes : list of int
        Examples in each group.
    dropped : ndarray of shape (n_groups, n_bins), default=None
        The part of `fractions` that was dropped. None: not known.

    Attributes
    ----------
    bars_ : list of matplotlib BarContainer
        One a cluster size, of what was dropped and then of what was kept, with
        one bar a group; none where there is nothing.
    ax_, figure_, legend_ : see :class:`DropHistoryDisplay`

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from epic_sklearn import EPICFilter
    >>> from epic_sklearn.plotting import ClusterSizeDisplay
    >>> from epic_sklearn.rules import IsolatedMedoids
    >>> X, y = load_iris(return_X_y=True)
    >>> X[0] = X[100]  # a setosa that looks like a virginica
    >>> detector = EPICFilter(rule=IsolatedMedoids(subset_size=0.1)).fit(X, y)
    >>> display = ClusterSizeDisplay.from_estimator(detector, poison_indices=[0])
    >>> display.group_names, float(display.dropped[0, 0])
    (['poisons', 'clean examples'], 1.0)
    """

    fractions: np.ndarray
    bins: np.ndarray
    group_names: list[str]
    group_sizes: list[int]
    dropped: np.ndarray | None = None

    @classmethod
    def from_estimator(cls, estimator: Any, **how: Any) -> ClusterSizeDisplay:
        """Draw the clusters of a fitted estimator, callback or sampler.

        Parameters
        ----------
        estimator : see :meth:`DropHistoryDisplay.from_estimator`
            The rule must be one that makes clusters, such as IsolatedMedoids, or
            a ValueError is raised. The clusters are those of the round that dropped
            an example, or of the last; a reviewer's decisions leave them.
        **how : poison_indices, y, ax
            See :meth:`DropHistoryDisplay.from_predictions`.
        """
        schedule = schedule_of(estimator, **how)
        if "cluster_size" not in schedule.details:
            raise ValueError(
                "The rule of this detector makes no clusters, so there are no sizes to "
                "draw: its details have no 'cluster_size'. Fit with "
                "rule=IsolatedMedoids(), or draw a DropHistoryDisplay."
            )
        sizes = schedule.details["cluster_size"]
        return cls.from_predictions(sizes, schedule.dropped_at_epoch < 0, **how)

    @classmethod
    def from_predictions(
        cls,
        cluster_sizes: ArrayLike,
        keep: ArrayLike | None = None,
        *,
        poison_indices: ArrayLike | None = None,
        y: ArrayLike | None = None,
        ax: Any = None,
    ) -> ClusterSizeDisplay:
        """Draw given cluster sizes.

        Parameters
        ----------
        cluster_sizes : array-like of shape (n,), int
            Size of the cluster that each example is in, its medoid included:
            ``find_medoids(...).cluster_size``.
        keep : array-like of shape (n,), bool, default=None
            False for the examples that were dropped. None: not known.
        poison_indices, y, ax : see :meth:`DropHistoryDisplay.from_predictions`
        """
        sizes = check_column(cluster_sizes, "cluster_sizes", kinds="iu", a="integer")
        if sizes.min() < 1:
            raise ValueError(
                f"cluster_sizes contains {sizes.min()}; a cluster has its medoid at "
                "least: give the size of each example's cluster."
            )
        bins = np.array([edge for edge in BINS if edge <= sizes.max()])
        names, masks = make_groups(len(sizes), poison_indices, y)
        group_sizes, dropped = masks.sum(axis=1), None

        def shares(part: np.ndarray) -> np.ndarray:
            edges = [*bins, np.inf]
            counts = [np.histogram(sizes[m & part], edges)[0] for m in masks]
            return np.array(counts) / group_sizes[:, None]

        if keep is not None:
            dropped = shares(~check_column(keep, "keep", len(sizes), "b", "bool"))
        everything = shares(np.ones(len(sizes), dtype=bool))
        return cls(everything, bins, names, group_sizes.tolist(), dropped).plot(ax=ax)

    def plot(self, ax: Any = None) -> ClusterSizeDisplay:
        """Draw, on `ax` or in a new figure, and return the display."""
        names = names_with_sizes(self.group_names, self.group_sizes)
        # A legend of two entries a bin, at most.
        height = max(2.8, 1.0 + 0.42 * len(names), 0.8 + 0.48 * len(self.bins))
        self.figure_, (self.ax_,) = axes_to_draw_on(ax, (WITH_LEGEND, height))
        dropped = 0 * self.fractions if self.dropped is None else self.dropped
        left, self.bars_ = np.zeros(len(names)), []
        for part, is_dropped in ((dropped, True), (self.fractions - dropped, False)):
            for i in np.flatnonzero(part.any(axis=0)).tolist():
                self.bars_.append(self._draw_segment(i, part[:, i], left, is_dropped))
                left += part[:, i]
        room = 0.5 + max(0.0, (3 - len(names)) / 2)  # or a lone bar fills the axes
        self.ax_.set_yticks(np.arange(len(names)), names)
        self.ax_.set(
            xlim=(0, 1),
            ylim=(len(names) - 1 + room, -room),
            xlabel="share of the group's examples",
        )
        self.ax_.spines[["top", "right", "left"]].set_visible(False)
        self.ax_.tick_params(axis="y", length=0)
        show_percent(self.ax_.xaxis)
        title = "size of its cluster"
        self.legend_ = legend_outside(self.ax_, ax is None, title=title)
        return self

    def _draw_segment(
        self, i: int, width: np.ndarray, left: np.ndarray, is_dropped: bool
    ) -> Any:
        """Draw one size: orange and hatched if dropped, else blue; light if large."""
        import matplotlib as mpl

        shade = np.linspace(*((0.6, 0.2) if is_dropped else (0.9, 0.15)), len(BINS))[i]
        colour = mpl.colormaps["Oranges" if is_dropped else "Blues"](shade)
        first, *after = self.bins[i : i + 2].tolist()
        last = f" to {after[0] - 1}" if after else " or more"
        name = str(first) if after == [first + 1] else f"{first}{last}"
        bars = self.ax_.barh(
            np.arange(len(left)),
            width,
            left=left,
            height=0.72,
            color=colour,
            edgecolor="white",
            hatch="////" if is_dropped else None,
            label=name + ", dropped" * is_dropped,
        )
        self.ax_.bar_label(
            bars,
            [f"{share:.0%}" if share >= WIDE_ENOUGH else "" for share in width],
            label_type="center",
            color="white" if shade > 0.6 else "black",
            fontsize="small",
            # Readable on a hatch.
            bbox={"facecolor": colour, "edgecolor": "none", "pad": 1.0},
        )
        return bars
