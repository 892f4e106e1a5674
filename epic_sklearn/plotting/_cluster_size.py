"""How large the clusters are that poisons, classes or all examples are in."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..isolation import check_threshold
from ._fitted import read_outcome, unwrap
from ._groups import make_groups, name_with_size
from ._style import (
    axes_to_draw_on,
    import_pyplot,
    legend_outside,
    shorten,
    show_percent,
    width_of_legend,
)

BINS = (1, 2, 3, 4, 5, 10, 20)
# Room in a segment for its percentage, as a share of the axis.
WIDE_ENOUGH = 0.055


class ClusterSizeDisplay:
    """Share of the examples that are in clusters of 1, 2, 3, ... examples.

    EPIC drops what is in clusters of at most `threshold` examples. One bar a
    group, split by cluster size: the hatched part, from the left, is what is
    isolated. If EPIC tells poisons from clean examples, theirs is longer;
    poisons that collide on one point show as one block further right, at the
    threshold that would be needed.

    Make one with :meth:`from_estimator` or :meth:`from_predictions`. All
    parameters are stored as attributes.

    Parameters
    ----------
    fractions : ndarray of shape (n_groups, n_bins)
        Share of each group's examples in clusters of each size; rows sum to 1.
    bins : ndarray of shape (n_bins,), int
        Smallest size of each bin; it ends before the next, the last is open.
    group_names : list of str
        What the bars are of.
    group_sizes : list of int, default=None
        Examples in each group.
    threshold : int, default=1
        Largest size of a cluster that counts as isolated.

    Attributes
    ----------
    bars_ : list of matplotlib BarContainer
        One a bin, with one bar a group.
    ax_ : matplotlib Axes
        What they are drawn on.
    figure_ : matplotlib Figure
        The figure that it is in.
    legend_ : matplotlib Legend
        Beside or below the axes.

    See Also
    --------
    GradientSpaceDisplay : Where the clusters lie.

    References
    ----------
    Yang, Liu, Mirzasoleiman: Not All Poisons are Created Equal: Robust Training
    against Data Poisoning, ICML 2022, section 3.2.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from epic_sklearn import EPICFilter
    >>> from epic_sklearn.plotting import ClusterSizeDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> X[0] = X[100]  # a setosa that looks like a virginica
    >>> detector = EPICFilter(subset_size=0.1).fit(X, y)
    >>> display = ClusterSizeDisplay.from_estimator(detector, poison_indices=[0])
    >>> display.group_names, float(display.fractions[0, 0])
    (['poisons', 'clean examples'], 1.0)
    """

    def __init__(
        self,
        fractions: np.ndarray,
        bins: np.ndarray,
        group_names: list[str],
        *,
        group_sizes: list[int] | None = None,
        threshold: int = 1,
    ) -> None:
        self.fractions = fractions
        self.bins = bins
        self.group_names = group_names
        self.group_sizes = group_sizes
        self.threshold = threshold

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        poison_indices: ArrayLike | None = None,
        y: ArrayLike | None = None,
        ax: Any = None,
    ) -> ClusterSizeDisplay:
        """Draw the clusters of a fitted estimator, callback or sampler.

        Parameters
        ----------
        estimator : EPICClassifier, EPICCallback, EPICSubsetSampler, DropSchedule, \
EPICFilter, EPICResampler or FilteredClassifier
            After training, or after at least one round. Clusters are those of
            the round in which an example was last clustered: with
            ``cluster_on="all"`` the last one, dropped examples included.
        poison_indices : array-like of int, or of bool and shape (n,), default=None
            The poisons' row numbers, or a mask: one bar for the poisons, one
            for the clean examples.
        y : array-like of shape (n,), default=None
            Labels: one bar a class. Not together with `poison_indices`.
        ax : matplotlib Axes, default=None
            Where to draw. None: a new figure.

        Returns
        -------
        ClusterSizeDisplay

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
        >>> from epic_sklearn.plotting import ClusterSizeDisplay
        >>> X, y = load_iris(return_X_y=True)
        >>> detector = EPICFilter(threshold=2).fit(X, y)
        >>> ClusterSizeDisplay.from_estimator(detector, y=y).threshold
        2
        """
        import_pyplot(f"{cls.__name__}.from_estimator")
        outcome = read_outcome(estimator)
        if not len(outcome.medoid_indices):
            raise ValueError(
                "rule='neighbors' makes no clusters, so there are no sizes to draw; "
                "fit with rule='medoids', or draw a DropHistoryDisplay."
            )
        return cls.from_predictions(
            outcome.cluster_sizes,
            poison_indices=poison_indices,
            y=y,
            threshold=_threshold_of(unwrap(estimator)),
            ax=ax,
        )

    @classmethod
    def from_predictions(
        cls,
        cluster_sizes: ArrayLike,
        *,
        poison_indices: ArrayLike | None = None,
        y: ArrayLike | None = None,
        threshold: int = 1,
        ax: Any = None,
    ) -> ClusterSizeDisplay:
        """Draw given cluster sizes.

        Parameters
        ----------
        cluster_sizes : array-like of shape (n,), int
            Size of the cluster that each example is in, its medoid included:
            ``find_medoids(...).cluster_size``.
        poison_indices : array-like of int, or of bool and shape (n,), default=None
            The poisons' row numbers, or a mask.
        y : array-like of shape (n,), default=None
            Labels: one bar a class. Not together with `poison_indices`.
        threshold : int, default=1
            Largest size of a cluster that counts as isolated.
        ax : matplotlib Axes, default=None
            Where to draw. None: a new figure.

        Returns
        -------
        ClusterSizeDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If a size is below 1, `threshold` is, or lengths don't fit.

        Examples
        --------
        >>> from epic_sklearn.plotting import ClusterSizeDisplay
        >>> display = ClusterSizeDisplay.from_predictions(
        ...     [1, 2, 2, 12], poison_indices=[0])
        >>> display.bins.tolist()
        [1, 2, 3, 4, 5, 10]
        >>> display.fractions.round(2).tolist()
        [[1.0, 0.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.67, 0.0, 0.0, 0.0, 0.33]]
        """
        sizes = np.asarray(cluster_sizes)
        if sizes.ndim != 1 or len(sizes) == 0 or sizes.dtype.kind not in "iu":
            raise ValueError(
                f"cluster_sizes has dtype {sizes.dtype} and shape {sizes.shape}; give "
                "one integer a training example."
            )
        if sizes.min() < 1:
            raise ValueError(
                f"cluster_sizes contains {sizes.min()}; an example's cluster has at "
                "least itself in it, so sizes are 1 or more."
            )
        bins = _bins_up_to(int(sizes.max()), check_threshold(threshold))
        groups = make_groups(len(sizes), poison_indices, y)
        in_bin = np.searchsorted(bins, sizes, side="right") - 1
        counts = [
            np.bincount(in_bin[mask], minlength=len(bins)) for mask in groups.values()
        ]
        return cls(
            np.array([count / count.sum() for count in counts]),
            bins,
            list(groups),
            group_sizes=[int(mask.sum()) for mask in groups.values()],
            threshold=int(threshold),
        ).plot(ax=ax)

    def plot(self, ax: Any = None) -> ClusterSizeDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw. None: a new figure, higher for more groups.

        Returns
        -------
        self : ClusterSizeDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        caller = f"{type(self).__name__}.plot"
        names = list(map(shorten, self.group_names))
        if self.group_sizes is not None:
            names = list(map(name_with_size, self.group_names, self.group_sizes))
        size = 6.0 + width_of_legend(names), max(2.8, 1.0 + 0.42 * len(names))
        self.figure_, self.ax_, is_new = axes_to_draw_on(ax, caller, size)
        left = np.zeros(len(names))
        self.bars_ = []
        for i, style in enumerate(self._styles()):
            self.bars_.append(self._draw_bin(i, left, style))
            left += self.fractions[:, i]
        self.ax_.set_yticks(np.arange(len(names)), names)
        self._finish(is_new)
        return self

    def _draw_bin(self, i: int, left: np.ndarray, style: dict[str, Any]) -> Any:
        width = self.fractions[:, i]
        bars = self.ax_.barh(
            np.arange(len(left)),
            width,
            left=left,
            height=0.72,
            edgecolor="white",
            label=self._name_of_bin(i),
            **{k: v for k, v in style.items() if k != "text"},
        )
        labels = [f"{w:.0%}" if w >= WIDE_ENOUGH else "" for w in width]
        texts = self.ax_.bar_label(
            bars, labels, label_type="center", color=style["text"], fontsize="small"
        )
        for text in texts:  # readable on a hatch
            text.set_bbox(
                {"facecolor": style["color"], "edgecolor": "none", "pad": 1.0}
            )
            text.set_visible(bool(text.get_text()))
        return bars

    def _styles(self) -> list[dict[str, Any]]:
        """Isolated sizes orange and hatched, others blue, lighter as they grow."""
        import matplotlib as mpl

        n_isolated = int((self.bins <= self.threshold).sum())
        n_others = len(self.bins) - n_isolated
        styles: list[dict[str, Any]] = []
        for map_name, darkest, lightest, n in (
            ("Oranges", 0.55, 0.25, n_isolated),
            ("Blues", 0.9, 0.15, n_others),
        ):
            colours = mpl.colormaps[map_name]
            for value in np.linspace(darkest, lightest, max(n, 2))[:n]:
                dark = map_name == "Blues" and value > 0.5
                style = {"color": colours(value), "text": "white" if dark else "black"}
                hatch = {"hatch": "////"} if map_name == "Oranges" else {}
                styles.append({**style, **hatch})
        return styles

    def _name_of_bin(self, i: int) -> str:
        first = int(self.bins[i])
        last = int(self.bins[i + 1]) - 1 if i + 1 < len(self.bins) else None
        isolated = ", isolated" if first <= self.threshold else ""
        if last is None:
            return f"{first} or more{isolated}"
        return f"{first}{isolated}" if first == last else f"{first} to {last}{isolated}"

    def _finish(self, is_new: bool) -> None:
        n_groups = len(self.group_names)
        room = 0.5 + max(0.0, (3 - n_groups) / 2)  # or a lone bar fills the axes
        self.ax_.set(
            xlim=(0, 1),
            ylim=(n_groups - 1 + room, -room),
            xlabel="share of the group's examples",
        )
        self.ax_.spines[["top", "right", "left"]].set_visible(False)
        self.ax_.tick_params(axis="y", length=0)
        show_percent(self.ax_.xaxis)
        self.legend_ = legend_outside(
            self.figure_, self.ax_, is_new, title="size of its cluster"
        )


def _bins_up_to(largest: int, threshold: int) -> np.ndarray:
    """Smallest size of each bin; none across the threshold, the last is open."""
    edges = sorted({*BINS, threshold + 1})
    return np.array([edge for edge in edges if edge == 1 or edge <= largest])


def _threshold_of(estimator: Any) -> int:
    """Threshold that was used; samplers and schedules keep it in their state."""
    threshold = getattr(estimator, "threshold", None)
    if isinstance(threshold, Integral):
        return int(threshold)
    schedule = getattr(estimator, "schedule", estimator)
    return int(schedule.state_dict()["options"]["threshold"])
