"""An example beside the training rows that its prediction was traced to."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike

from .._utils import validate_params
from ..metrics import as_mask
from ..report import looks_of_trace
from ..tracing import Trace
from ._shared import POISON, axes_to_draw_on, shorten

LONGEST = 16  # characters of a label above a panel


@dataclass(eq=False, repr=False)
class TraceDisplay:
    r"""Each traced example at the left, and the rows that taught its label beside it.

    Images are drawn as such, texts and the first values of a row written.

    Parameters
    ----------
    panels : list of m lists of k + 1 images or str
        An example, then its rows; fewer where there are no more. Images (H, W) or
        (H, W, 3) have values in [0, 1].
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
    ['example 0 read as\n0', 'row 0: 1\n0']
    """

    panels: list[list[Any]]
    titles: list[list[str]]
    marked: list[list[bool]]

    @classmethod
    @validate_params({"found": [Trace]}, prefer_skip_nested_validation=True)
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
        poison_indices : see :meth:`DropHistoryDisplay.from_predictions`
            Rows with an orange frame.
        """
        asked, of_rows, span = looks_of_trace(found, X, examples, n_top)
        poisons: ArrayLike = [] if poison_indices is None else poison_indices
        is_poison = as_mask(poisons, found.n_rows, "poison_indices")
        display = cls([], [], [])
        for i, label in enumerate(found.labels.tolist()):
            rows = found.indices[i, :n_top]
            rows = rows[rows >= 0].tolist()
            beside = zip(rows, found.row_labels[i], found.scores[i], strict=False)
            every = [asked[i], *(of_rows[row] for row in rows)]
            display.panels.append([_as_panel(look, span) for look in every])
            display.titles.append(
                [f"example {i} read as\n{shorten(label, LONGEST)}"]
                + [
                    f"row {row}: {by:.3g}\n{shorten(its, LONGEST)}"
                    for row, its, by in beside
                ]
            )
            display.marked.append([False, *is_poison[rows].tolist()])
        return display.plot()

    def plot(self) -> TraceDisplay:
        """Draw in a new figure, and return the display."""
        n_rows, n_columns = len(self.panels), max(map(len, self.panels))
        size = (1.35 * n_columns + 0.3, 1.75 * n_rows + 0.1)
        self.figure_, axes = axes_to_draw_on(None, size, n_rows, n_columns)
        self.axes_ = axes.reshape(n_rows, n_columns)
        lines = zip(self.axes_, self.panels, self.titles, self.marked, strict=True)
        for axes, panels, titles, marked in lines:
            for ax in axes[len(panels) :]:
                ax.set_axis_off()
            parts = zip(axes, panels, titles, marked, strict=False)
            for ax, panel, title, is_marked in parts:
                if isinstance(panel, str):
                    how = {"ha": "center", "va": "center", "fontsize": "x-small"}
                    ax.text(0.5, 0.5, panel, **how)
                else:
                    ax.imshow(panel, cmap="gray", vmin=0, vmax=1)
                ax.set_title(title, fontsize="small")
                ax.set(xticks=[], yticks=[])
                if is_marked:
                    for spine in ax.spines.values():
                        spine.set(color=POISON, linewidth=3)
        return self


def _as_panel(look: Any, span: tuple[float, float] | None) -> Any:
    image = look.image
    if image is None:
        lines = (textwrap.wrap(line, 16)[:5] for line in look.text.splitlines()[:8])
        return "\n".join(part.replace("$", r"\$") for line in lines for part in line)
    low, high = span or (0, 1 if image.dtype.kind in "fb" else 255)
    pixels = ((image - low) / (high - low or 1)).clip(0, 1)
    return pixels[..., 0] if image.shape[2] == 1 else pixels
