"""Panels of gradient space: their grid, and how each kind of example looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ._style import CLEAN, COLOURS, POISON, TARGET, shorten

# Marker areas are multiples of a panel's own unit, smaller where it is fuller.
KEPT = {"c": CLEAN, "marker": "o", "alpha": 0.6, "linewidths": 0, "scale": 1.0}
DROPPED = {"c": "#7F7F7F", "marker": "x", "linewidths": 0.9, "scale": 1.1}
MEDOID = {"c": "black", "marker": "o", "linewidths": 0, "scale": 0.25}
POISON_KEPT = {
    "c": POISON,
    "marker": "D",
    "edgecolors": "white",
    "linewidths": 0.5,
    "scale": 1.8,
    "zorder": 3,
}
POISON_DROPPED = {**POISON_KEPT, "marker": "X", "scale": 2.8}
TARGET_STYLE: dict[str, Any] = {
    "c": TARGET,
    "marker": "*",
    "edgecolors": "black",
    "linewidths": 0.9,
    "s": 170,
    "zorder": 4,
}
# Of the classes in one plane: none that poisons or dropped examples have.
CLASS_MARKERS = "os^vph<>8Hd"
LEGEND_SIZES = {"*": 13, "X": 9}


@dataclass(frozen=True)
class Kind:
    """Examples that look alike.

    Attributes
    ----------
    rows : ndarray of shape (m,), bool
        Which they are.
    name : str
        For the legend.
    style : dict
        For ``Axes.scatter``, with ``scale`` instead of ``s``.
    """

    rows: np.ndarray
    name: str
    style: dict[str, Any]


def kinds_of_examples(
    y: np.ndarray,
    keep: np.ndarray,
    is_medoid: np.ndarray | None,
    is_poison: np.ndarray | None,
    per_class: bool,
) -> list[Kind]:
    """Tell the kinds that there are, first to last as they are drawn."""
    clean = np.ones(len(y), dtype=bool) if is_poison is None else ~is_poison
    prefix = "" if is_poison is None else "clean, "
    kinds = [Kind(clean & ~keep, f"{prefix}dropped", DROPPED)]
    if per_class:
        kinds.insert(0, Kind(clean & keep, f"{prefix}kept", KEPT))
    else:
        kinds = _kinds_of_classes(y, clean & keep) + kinds
    if is_medoid is not None:
        kinds.append(Kind(is_medoid & keep & clean, "medoid, kept", MEDOID))
    if is_poison is not None:
        kinds.append(Kind(is_poison & keep, "poison, kept", POISON_KEPT))
        kinds.append(Kind(is_poison & ~keep, "poison, dropped", POISON_DROPPED))
    return [kind for kind in kinds if kind.rows.any()]


def _kinds_of_classes(y: np.ndarray, shown: np.ndarray) -> list[Kind]:
    kinds = []
    for i, label in enumerate(np.unique(y)):
        marker = CLASS_MARKERS[i % len(CLASS_MARKERS)]
        style = {**KEPT, "c": COLOURS[i % 5], "marker": marker}
        kinds.append(Kind(shown & (y == label), f"{shorten(label)}, kept", style))
    return kinds


def draw_examples(
    ax: Any, points: np.ndarray, inside: np.ndarray, kinds: list[Kind]
) -> None:
    """Draw the kinds of examples that are inside one panel, to scale."""
    unit = float(np.clip(6000 / max(inside.sum(), 1), 6, 30))
    for kind in kinds:
        rows = inside & kind.rows
        if not rows.any():
            continue
        style = dict(kind.style)
        least = 3.0 if style["c"] != POISON else 22.0
        style["s"] = max(style.pop("scale") * unit, least)
        # Under the others: many crosses would hide what is kept.
        zorder = 1 if kind.style is DROPPED else style.pop("zorder", 2)
        style["zorder"] = zorder
        # Thousands of points would make a vector file of megabytes.
        ax.scatter(*points[rows].T, rasterized=bool(inside.sum() > 2000), **style)
    ax.set_aspect("equal", adjustable="datalim")
    ax.margins(0.08)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize="small")
    ax.locator_params(nbins=5)


def legend_handle(style: dict[str, Any], label: str) -> Any:
    """Handle of a fixed size that looks like what is scattered."""
    from matplotlib.lines import Line2D

    handle_size = 4 if style is MEDOID else LEGEND_SIZES.get(style["marker"], 7)
    return Line2D(
        [],
        [],
        label=label,
        linestyle="none",
        marker=style["marker"],
        markerfacecolor=style["c"],
        markeredgecolor=style.get("edgecolors", style["c"]),
        markeredgewidth=style["linewidths"],
        markersize=handle_size,
    )


def new_panels(plt: Any, n_panels: int, extra_width: float) -> tuple[Any, np.ndarray]:
    """Make a figure and the axes of a grid, at most five in a row."""
    if n_panels == 1:
        size = (6.4 + extra_width, 5.2)
        figure, ax = plt.subplots(figsize=size, layout="constrained")
        return figure, np.array([ax])
    n_columns = n_panels if n_panels <= 3 else min(5, int(np.ceil(n_panels / 2)))
    n_rows = int(np.ceil(n_panels / n_columns))
    figure, axes = plt.subplots(
        n_rows,
        n_columns,
        figsize=(max(2.5 * n_columns, 6.4), 2.7 * n_rows + 1.0),
        layout="constrained",
        squeeze=False,
    )
    for unused in axes.flat[n_panels:]:
        unused.set_axis_off()
    return figure, axes.ravel()[:n_panels]


def given_panels(ax: Any, n_panels: int) -> np.ndarray:
    """Check the axes that a user gives.

    Raises
    ------
    ValueError
        If there are not as many as panels.
    """
    axes = np.atleast_1d(np.asarray(ax, dtype=object)).ravel()
    if len(axes) != n_panels:
        raise ValueError(
            f"ax holds {len(axes)} axes for {n_panels} panels; give one for each, or "
            "choose fewer classes, or set per_class=False."
        )
    return axes
