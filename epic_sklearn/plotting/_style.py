"""How the displays look: colours, markers, axes, legends beside the points.

Colours are Okabe and Ito's, which people with any kind of colour vision tell
apart; every colour comes with a marker or a hatch of its own. matplotlib is
imported when something is drawn.
"""

from __future__ import annotations

from typing import Any

CLEAN = "#0072B2"
POISON = "#D55E00"
TARGET = "#F0E442"
# Okabe and Ito's without yellow, too faint for a line on white.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
MARKERS = "osD^vPXph<>d"
LINES = ("-", "--", ":", "-.")
LONGEST_LABEL = 28
# Places of a legend in a figure of our own.
PLACES = {
    "right": "outside right upper",
    "below": "outside lower center",
    "above": "outside upper center",
}


def import_pyplot(caller: str) -> Any:
    """Import matplotlib's pyplot late.

    Raises
    ------
    ImportError
        If matplotlib is not installed; says how to install it.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f"{caller} needs matplotlib, which the extra 'plot' brings: "
            "pip install 'epic-sklearn[plot]'."
        ) from error
    return plt


def series_style(i: int) -> dict[str, str]:
    """Colour, marker and line style of the i-th of many series: 84 differ."""
    return {
        "color": COLOURS[i % len(COLOURS)],
        "marker": MARKERS[i % len(MARKERS)],
        "linestyle": LINES[i // len(COLOURS) % len(LINES)],
    }


def group_style(name: str, i: int) -> dict[str, str]:
    """Poisons and clean examples look the same in all displays."""
    fixed = {"poisons": (POISON, "D"), "clean examples": (CLEAN, "o")}
    if name not in fixed:
        return series_style(i)
    colour, marker = fixed[name]
    return {"color": colour, "marker": marker, "linestyle": "-"}


def shorten(label: Any, longest: int = LONGEST_LABEL) -> str:
    """Text of a label, some of its middle left out where it is too long."""
    text = " ".join(str(label).split())
    if len(text) > longest:
        half = (longest - 1) // 2
        text = f"{text[:half].rstrip()}…{text[-half:].lstrip()}"
    # matplotlib reads a pair of dollar signs as a formula, a leading underscore
    # as a label not to be shown.
    text = text.replace("$", r"\$")
    return f"\u200b{text}" if text.startswith("_") else text


def axes_to_draw_on(
    ax: Any, caller: str, figsize: tuple[float, float]
) -> tuple[Any, Any, bool]:
    """Give figure, axes and whether the figure is new, thus ours to lay out."""
    plt = import_pyplot(caller)
    if ax is not None:
        return ax.figure, ax, False
    figure, ax = plt.subplots(figsize=figsize, layout="constrained")
    return figure, ax, True


def tidy(ax: Any) -> None:
    """Take away the frame's upper and right side; a faint grid behind the data."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color="0.9", linewidth=0.7)
    ax.set_axisbelow(True)


def show_percent(axis: Any) -> None:
    """Write fractions as percentages, with as many decimals as they need."""
    axis.set_major_formatter(lambda value, position: f"{100 * value:.4g}%")


def width_of_legend(names: list[str]) -> float:
    """Inches by which a figure grows for the names at its right, or left."""
    return 0.0 if not names else 0.35 + 0.075 * max(map(len, names))


def legend_outside(
    figure: Any, axes: Any, is_new: bool, place: str = "right", **options: Any
) -> Any:
    """Put the legend right of, below or above the axes, never over what is drawn.

    In a figure of our own the layout makes room for it. In the user's the
    legend belongs to the axes and stands to their right.
    """
    handles = options.pop("handles", None) or axes.get_legend_handles_labels()[0]
    if is_new:
        where = PLACES[place]
        return figure.legend(handles=handles, frameon=False, loc=where, **options)
    options.pop("ncols", None)
    return axes.legend(
        handles=handles,
        frameon=False,
        loc="upper left",
        bbox_to_anchor=(1.02, 1.0),
        borderaxespad=0,
        **options,
    )
