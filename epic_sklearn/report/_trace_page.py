"""Why this prediction: each example beside the training rows it was traced to."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..gradients.items import is_dataset, n_items
from ._case import shortened
from ._looks import Look, looks
from ._thumbnails import Pictures, span_of
from ._write import check_path, environment, fill


def looks_of_trace(
    found: Any, X: Any, examples: Any, n_top: int
) -> list[tuple[Look, dict[int, Look]]]:
    """Each example, and the first of its rows by number; each is read once.

    Raises
    ------
    ValueError
        If X and examples are not of the rows and examples of a trace.
    """
    n, m = (
        n_items(each)
        if is_dataset(each)
        else np.shape(each)[0]
        if hasattr(each, "shape")
        else len(each)
        for each in (X, examples)
    )
    if (n, m) != (found.n_rows, len(found.labels)):
        raise ValueError(
            f"There are {n} rows and {m} examples, and the trace is of {found.n_rows} "
            f"and {len(found.labels)}; give the same, or what they look like, in the "
            "same order."
        )
    rows = [line[line >= 0] for line in found.indices[:, :n_top]]
    of_rows, asked = looks(X, np.concatenate(rows)), looks(examples, np.arange(m))
    return [
        (asked[i], {row: of_rows[row] for row in line.tolist()})
        for i, line in enumerate(rows)
    ]


def span_of_looks(shown: list[tuple[Look, dict[int, Look]]]) -> Any:
    """`span_of` all images."""
    every = [look for one, rows in shown for look in (one, *rows.values())]
    return span_of(look.image for look in every if look.image is not None)


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
    seen = looks_of_trace(found, X, examples, n_top)
    span = span_of_looks(seen)

    def shown(look: Look) -> dict[str, Any]:
        if look.image is None:
            return {"image": None, "text": look.text}
        (image,) = Pictures({0: look.image}, span).of_rows(np.array([0]))
        return {"image": image, "text": look.text}

    parts = [
        {"label": shortened(label), **shown(look), "rows": []}
        for label, (look, _) in zip(found.labels.tolist(), seen, strict=True)
    ]
    for line in found.to_frame().to_dict("records"):
        look = seen[line["example"]][1].get(line["row"])
        if look is not None:
            rows: Any = parts[line["example"]]["rows"]
            rows.append({"index": line["row"], **line, **shown(look)})
    title = "Why this prediction" if title is None else str(title)
    context = {"title": title, "n": found.n_rows, "examples": parts}
    return fill(jinja, path, "trace.html", ["trace.js"], **context)
