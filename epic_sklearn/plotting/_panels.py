"""Panels of gradient space: their grid, and how each kind of example looks."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ._style import CLEAN, POISON, TARGET, import_pyplot

# Marker areas are multiples of a panel's own unit, smaller where it is fuller.
KEPT = {"c": CLEAN, "marker": "o", "alpha": 0.6, "linewidths": 0, "scale": 1.0}
# Under the others: many crosses would hide what is kept.
DROPPED = {"c": "#7F7F7F", "marker": "x", "linewidths": 0.9, "scale": 1.1, "zorder": 1}
MEDOID = {"c": "black", "marker": "o", "linewidths": 0, "scale": 0.25}
ON_TOP = {"c": POISON, "edgecolors": "white", "linewidths": 0.5, "zorder": 3}
POISON_KEPT = {**ON_TOP, "marker": "D", "scale": 1.8}
POISON_DROPPED = {**ON_TOP, "marker": "X", "scale": 2.8}
BLACK_EDGE = {"edgecolors": "black", "linewidths": 0.9}
TARGET_STYLE = {"c": TARGET, "marker": "*", "s": 170, "zorder": 4, **BLACK_EDGE}
LEGEND_SIZES = {"*": 13, "X": 9}


class Kind(NamedTuple):
    """Examples that look alike: a mask (m,), a name, and a style for scatter."""

    rows: np.ndarray
    name: str
    style: dict[str, Any]


def kinds_of_examples(
    keep: np.ndarray, is_medoid: np.ndarray | None, is_poison: np.ndarray | None
) -> list[Kind]:
    """Tell the kinds that there are, first to last as they are drawn."""
    nowhere = np.zeros(len(keep), dtype=bool)
    poison = nowhere if is_poison is None else is_poison
    medoid = nowhere if is_medoid is None else is_medoid
    prefix = "" if is_poison is None else "clean, "
    kinds = [
        Kind(~poison & keep, f"{prefix}kept", KEPT),
        Kind(~poison & ~keep, f"{prefix}dropped", DROPPED),
        Kind(medoid & keep & ~poison, "medoid, kept", MEDOID),
        Kind(poison & keep, "poison, kept", POISON_KEPT),
        Kind(poison & ~keep, "poison, dropped", POISON_DROPPED),
    ]
    return [kind for kind in kinds if kind.rows.any()]


def draw_examples(
    ax: Any, points: np.ndarray, inside: np.ndarray, kinds: list[Kind]
) -> None:
    """Draw the kinds of examples that are inside one panel, to scale."""
    unit = float(np.clip(6000 / max(inside.sum(), 1), 6, 30))
    for kind in kinds:
        rows = inside & kind.rows
        style = {"zorder": 2, **kind.style}
        # A few poisons are seen in any crowd; thousands would hide it.
        least = 22.0 if style["c"] == POISON and rows.sum() < 200 else 3.0
        style["s"] = max(style.pop("scale") * unit, least)
        if rows.any():
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

    return Line2D(
        [],
        [],
        label=label,
        linestyle="none",
        marker=style["marker"],
        markerfacecolor=style["c"],
        markeredgecolor=style.get("edgecolors", style["c"]),
        markeredgewidth=style["linewidths"],
        markersize=4 if style is MEDOID else LEGEND_SIZES.get(style["marker"], 7),
    )


def panels_to_draw_on(ax: Any, n_panels: int) -> tuple[Any, np.ndarray]:
    """Figure and panels: a new grid, at most five in a row, or the user's axes."""
    if ax is not None:
        axes = np.atleast_1d(np.asarray(ax, dtype=object)).ravel()
        if len(axes) != n_panels:
            raise ValueError(
                f"ax holds {len(axes)} axes for {n_panels} panels; give one for each, "
                "or choose fewer classes."
            )
        return axes[0].figure, axes
    n_columns = n_panels if n_panels <= 3 else min(5, -(-n_panels // 2))
    n_rows = -(-n_panels // n_columns)
    size = (max(2.5 * n_columns, 6.4), 2.7 * n_rows + 1.0)
    figure, grid = import_pyplot().subplots(
        n_rows,
        n_columns,
        figsize=(6.4, 5.2) if n_panels == 1 else size,
        layout="constrained",
        squeeze=False,
    )
    for unused in grid.flat[n_panels:]:
        unused.set_axis_off()
    return figure, grid.ravel()[:n_panels]
