"""What displays share: what they are given, colours, markers, axes, legends.

Colours are Okabe and Ito's, which people with any kind of colour vision tell
apart; every colour comes with a marker or a hatch of its own. matplotlib is
imported when something is drawn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..metrics import as_mask, check_column
from ..report import Reviewable
from ..schedule import DropSchedule
from ..validation import refuse_missing, refuse_other_order

CLEAN = "#0072B2"
POISON = "#D55E00"
TARGET = "#F0E442"
# Okabe and Ito's without yellow, too faint for a line on white.
COLOURS = (CLEAN, "#E69F00", "#009E73", "#CC79A7", "#56B4E9", POISON, "#000000")
MARKERS = "o^svPDX<hp>d"
LINES = ("-", "--", ":", "-.")
# Poisons and clean examples look the same in all displays.
SERIES_OF_GROUP = {"clean examples": 0, "poisons": 5}
LONGEST_LABEL = 28
WITH_LEGEND = 8.4  # inches: room for a legend beside the axes


def schedule_of(estimator: Any, **given: Any) -> DropSchedule:
    """Give the schedule by which a fitted estimator, callback or sampler dropped.

    Of what else is given, pandas objects in another order than its rows are refused.
    """
    if isinstance(estimator, DropSchedule):
        schedule = estimator
    elif isinstance(estimator, Reviewable):
        estimator._check_judged()
        schedule = estimator._schedule
    else:
        raise TypeError(
            f"{estimator!r} is nothing that runs EPIC's rounds; give a fitted "
            "EPICClassifier, EPICFilter, EPICResampler, FilteredClassifier with one of "
            "these, EPICCallback, EPICSubsetSampler or DropSchedule: of a pipeline its "
            "step that does, such as pipeline[-1], of a search (with refit=True) its "
            "best_estimator_. Or use from_predictions."
        )
    if schedule.index is not None:
        refuse_other_order(fitted=schedule.index.to_series(), **given)
    return schedule


def make_groups(
    n: int, poison_indices: ArrayLike | None, y: ArrayLike | None
) -> tuple[list[str], np.ndarray]:
    """Names and masks (n_groups, n): poisons and clean, or classes, or all."""
    if poison_indices is not None and y is not None:
        raise ValueError(
            "Both poison_indices and y are given; give poison_indices to compare "
            "poisons with clean examples, or y to compare the classes."
        )
    if y is not None:
        labels = check_column(y, "y", n)
        refuse_missing(labels)
        classes = np.unique(labels)
        return list(map(str, classes.tolist())), labels == classes[:, None]
    if poison_indices is None:
        return ["all examples"], np.ones((1, n), dtype=bool)
    is_poison = as_mask(poison_indices, n, "poison_indices")
    groups = {"poisons": is_poison, "clean examples": ~is_poison}
    groups = {name: mask for name, mask in groups.items() if mask.any()}
    return list(groups), np.array(list(groups.values()))


def series_style(i: int) -> dict[str, Any]:
    """Look of the i-th of many series: hollow and dashed where a colour returns."""
    cycle, place = divmod(i, len(COLOURS))
    face, edge = COLOURS[place], "white"
    if cycle % 2:
        face, edge = edge, face
    return {
        "color": COLOURS[place],
        "linestyle": LINES[cycle % len(LINES)],
        "marker": MARKERS[i % len(MARKERS)],
        "markerfacecolor": face,
        "markeredgecolor": edge,
        "markeredgewidth": 1.8 if cycle % 2 else 0.7,
    }


def shorten(label: Any, longest: int = LONGEST_LABEL) -> str:
    """Text of a label, as matplotlib takes it; of a long one both ends."""
    text = " ".join(str(label).split())
    if len(text) > longest:
        half = (longest - 1) // 2
        text = f"{text[:half].rstrip()}…{text[-half:].lstrip()}"
    # It reads a pair of dollar signs as a formula, a leading underscore as a label
    # not to be shown.
    text = text.replace("$", r"\$")
    return f"\u200b{text}" if text.startswith("_") else text


def short_names(labels: Iterable[Any], longest: int = LONGEST_LABEL) -> list[str]:
    """Shorten labels; those that then are alike are numbered by their place."""
    texts = [shorten(label, longest) for label in labels]
    many = Counter(texts)
    return [f"{i}: {t}" if many[t] > 1 else t for i, t in enumerate(texts, 1)]


def names_with_sizes(names: Iterable[str], sizes: Iterable[int]) -> list[str]:
    """Names of groups, and how many examples each has, for a legend."""
    pairs = zip(short_names(names), sizes, strict=True)
    return [f"{name} ({n:,})" for name, n in pairs]


def axes_to_draw_on(
    ax: Any,
    size: tuple[float, float],
    n_rows: int = 1,
    n_columns: int = 1,
    n_panels: int = 1,
) -> tuple[Any, np.ndarray]:
    """Figure and a row of axes: new ones, or the user's, one for each panel."""
    if ax is not None:
        axes = np.atleast_1d(np.asarray(ax, dtype=object)).ravel()
        if not all(hasattr(each, "plot") for each in axes):
            raise TypeError(f"ax is {ax!r}; give matplotlib Axes.")
        if len(axes) != n_panels:
            raise ValueError(
                f"ax holds {len(axes)} axes for {n_panels} panel"
                f"{'s' * (n_panels > 1)}; give one for each"
                + ", or choose fewer classes."
                * (n_panels > 1)
            )
        return axes[0].figure, axes
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "Displays need matplotlib, which the extra 'plot' brings: "
            "pip install 'epic-sklearn[plot]'."
        ) from error
    figure, axes = plt.subplots(
        n_rows, n_columns, figsize=size, layout="constrained", squeeze=False
    )
    return figure, axes.ravel()


def tidy(ax: Any) -> None:
    """Take away the frame's upper and right side; a faint grid behind the data."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color="0.9", linewidth=0.7)
    ax.set_axisbelow(True)


def show_percent(axis: Any) -> None:
    """Write fractions as percentages, with as many decimals as they need."""
    axis.set_major_formatter(lambda value, position: f"{100 * value:.4g}%")


def legend_outside(
    axes: Any, is_new: bool, place: str = "right upper", **options: Any
) -> Any:
    """Put the legend at a place of our own figure, or right of a user's axes.

    Inside these where their figure has no layout that would make room for it.
    """
    if is_new:
        return axes.figure.legend(frameon=False, loc=f"outside {place}", **options)
    options.pop("ncols", None)
    if axes.figure.get_layout_engine() is None:
        return axes.legend(loc="best", fontsize="small", **options)
    corner = {"loc": "upper left", "bbox_to_anchor": (1.02, 1.0), "borderaxespad": 0}
    return axes.legend(frameon=False, **corner, **options)
