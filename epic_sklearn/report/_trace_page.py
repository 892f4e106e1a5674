"""Why this prediction: each example beside the training rows it was traced to."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..base import is_dataframe, take_rows, to_numpy
from ._case import shortened
from ._thumbnails import check_images, thumbnails
from ._write import check_path, environment, fill

N_VALUES = 12
LONGEST_TEXT = 300


def looks(source: Any, row: int) -> Any:
    """Give what a row looks like: an image (H, W, C), or lines of text."""
    item = to_numpy(take_rows(source, np.array([row])))
    if is_dataframe(item):
        values = zip(item.columns, np.asarray(item)[0].tolist(), strict=True)
        return "\n".join(f"{k} {_short(v)}" for k, v in [*values][:N_VALUES])
    item = np.asarray(item.toarray() if hasattr(item, "toarray") else item)
    if item.ndim in (3, 4):
        return check_images(item, 1)[0]
    if item.ndim == 1:
        return str(item[0])[:LONGEST_TEXT]
    return "\n".join(map(_short, item[0, :N_VALUES].tolist()))


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else shortened(value, 40)


def check_looks(found: Any, X: Any, examples: Any) -> None:
    """Refuse what is not of the rows and examples of a trace."""
    n, m = (
        each.shape[0] if hasattr(each, "shape") else len(each) for each in (X, examples)
    )
    if (n, m) != (found.n_rows, len(found.labels)):
        raise ValueError(
            f"There are {n} rows and {m} examples, and the trace is of {found.n_rows} "
            f"and {len(found.labels)}; give the same, or what they look like, in the "
            "same order."
        )


def _shown(source: Any, row: int) -> dict[str, str]:
    seen = looks(source, row)
    return (
        {"text": seen}
        if isinstance(seen, str)
        else {"image": thumbnails(seen[None])[0]}
    )


def write_trace(
    found: Any,
    X: Any,
    examples: Any,
    path: str | PathLike[str],
    *,
    n_top: int = 20,
    title: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the page; see :meth:`epic_sklearn.Trace.report`."""
    path, jinja = check_path(path, overwrite), environment()
    check_looks(found, X, examples)
    shown = [
        {"label": shortened(label), **_shown(examples, i), "rows": []}
        for i, label in enumerate(found.labels.tolist())
    ]
    for line in found.to_frame().to_dict("records"):
        rows: Any = shown[line["example"]]["rows"]
        if len(rows) < n_top:
            rows.append({"index": line["row"], **line, **_shown(X, line["row"])})
    title = "Why this prediction" if title is None else str(title)
    context = {"title": title, "n": found.n_rows, "examples": shown}
    return fill(jinja, path, "trace.html", ["trace.js"], **context)
