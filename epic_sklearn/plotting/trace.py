"""An example beside the training rows that its prediction was traced to."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..report import check_looks, looks
from ..tracing import Trace
from ._inputs import as_mask
from ._style import POISON, import_pyplot, shorten


@dataclass(eq=False, repr=False)
class TraceDisplay:
    r"""Each traced example at the left, and the rows that taught its label beside it.

    Images are drawn as such, texts and the first values of a row written. Make one
    with :meth:`from_trace`.

    Parameters
    ----------
    panels : list of m lists of k + 1 images or str
        An example, then its rows; fewer where there are no more.
    titles : list of m lists of str
        What stands above the panels.
    marked : list of m lists of bool
        Which panels have an orange frame.

    Attributes
    ----------
    axes_ : ndarray of shape (m, k + 1) of matplotlib Axes
        The panels.
    figure_ : matplotlib Figure
        What they are in.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from epic_sklearn import TraceDisplay, trace
    >>> X, y = load_iris(return_X_y=True)
    >>> X[0] = X[100]  # a setosa that looks like a virginica
    >>> model = LogisticRegression(max_iter=1000).fit(X, y)
    >>> found = trace(model, X, y, X[[100]], labels=[0])
    >>> TraceDisplay.from_trace(found, X, X[[100]], n_top=3).titles[0][:2]
    ['example 0\nread as 0', 'row 0: 0\n1']
    """

    panels: list[list[Any]]
    titles: list[list[str]]
    marked: list[list[bool]]

    @classmethod
    def from_trace(
        cls,
        found: Trace,
        X: Any,
        examples: Any,
        *,
        n_top: int = 6,
        poison_indices: ArrayLike | None = None,
    ) -> TraceDisplay:
        """Draw what :func:`epic_sklearn.trace` found.

        Parameters
        ----------
        found : Trace
            What it gave.
        X, examples : see :func:`epic_sklearn.trace`
            Or what they look like: images of shape (n, H, W), (n, C, H, W) or
            (n, H, W, C), texts, dataframes, arrays.
        n_top : int, default=6
            Rows beside each example.
        poison_indices : see :meth:`DropHistoryDisplay.from_estimator`
            Rows with an orange frame.
        """
        check_looks(found, X, examples)
        is_poison = as_mask(poison_indices, found.n_rows, "poison_indices")
        if is_poison is None:
            is_poison = np.zeros(found.n_rows, dtype=bool)
        display = cls([], [], [])
        for i, (rows, scores) in enumerate(
            zip(found.indices[:, :n_top], found.scores, strict=True)
        ):
            rows = rows[rows >= 0]
            parts = [(examples, i), *((X, row) for row in rows)]
            label = shorten(found.labels[i])
            titles = [f"example {i}\nread as {label}"] + [
                f"row {row}: {shorten(label)}\n{score:.3g}"
                for row, label, score in zip(
                    rows, found.row_labels[i], scores, strict=False
                )
            ]
            display.panels.append([_as_panel(looks(*part)) for part in parts])
            display.titles.append(titles)
            of_rows = (
                np.zeros(len(rows), bool) if is_poison is None else is_poison[rows]
            )
            display.marked.append([False, *of_rows.tolist()])
        return display.plot()

    def plot(self) -> TraceDisplay:
        """Draw in a new figure, and return the display."""
        n_columns = max(map(len, self.panels))
        size = (1.35 * n_columns + 0.3, 1.75 * len(self.panels) + 0.1)
        self.figure_, self.axes_ = import_pyplot().subplots(
            len(self.panels), n_columns, figsize=size, layout="constrained",
            squeeze=False,
        )  # fmt: skip
        for axes, *line in zip(
            self.axes_, self.panels, self.titles, self.marked, strict=True
        ):
            for ax in axes[len(line[0]) :]:
                ax.set_axis_off()
            for ax, panel, title, is_marked in zip(axes, *line, strict=False):
                _draw(ax, panel)
                ax.set_title(title, fontsize="small")
                ax.set(xticks=[], yticks=[])
                style = {"color": POISON, "linewidth": 3} if is_marked else {}
                ax.spines[:].set(**style)
        return self


def _as_panel(seen: Any) -> Any:
    if not isinstance(seen, str):
        return seen
    lines = (textwrap.wrap(line, 16)[:5] for line in seen.splitlines()[:8])
    return "\n".join(part.replace("$", r"\$") for line in lines for part in line)


def _draw(ax: Any, panel: Any) -> None:
    if isinstance(panel, str):
        ax.text(0.5, 0.5, panel, ha="center", va="center", fontsize="x-small")
        return
    top = 1 if panel.dtype.kind in "fb" else 255
    ax.imshow(np.squeeze(panel), cmap="gray_r", vmin=0, vmax=top)
