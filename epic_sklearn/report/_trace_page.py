"""Why this prediction: each example beside the training rows it was traced to."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils.validation import _num_samples

from ..gradients.items import is_dataset, n_items
from ..validation import refuse_other_order
from ._case import shortened
from ._looks import Look, looks, span_of, thumbnails
from ._write import check_path, fill

NUMBERS = "Train again without these row numbers, which count from 0."


def looks_of_trace(
    found: Any, X: Any, examples: Any, n_top: int
) -> tuple[dict[int, Look], dict[int, Look], tuple[float, float] | None]:
    """Examples and their first rows by number, each read once; span of all images."""
    n, m = (n_items(x) if is_dataset(x) else _num_samples(x) for x in (X, examples))
    if (n, m) != (found.n_rows, len(found.labels)):
        raise ValueError(
            f"There are {n} rows and {m} examples, and the trace is of {found.n_rows} "
            f"and {len(found.labels)}; give the same, or what they look like, in the "
            "same order."
        )
    if found.index is not None:
        refuse_other_order(traced=found.index.to_series(), X=X)
    if found.example_index is not None:
        refuse_other_order(traced=found.example_index.to_series(), examples=examples)
    rows = found.indices[:, :n_top]
    of_rows = found.row_labels[:, :n_top]
    labels = dict(zip(rows.ravel().tolist(), of_rows.ravel().tolist(), strict=True))
    asked, of_rows = looks(examples, np.arange(m)), looks(X, rows[rows >= 0], labels)
    every = [*asked.values(), *of_rows.values()]
    return asked, of_rows, span_of(e.image for e in every if e.image is not None)


def write_trace(
    found: Any,
    X: Any,
    examples: Any,
    path: str | PathLike[str],
    *,
    n_top: int = 20,
    title: str = "Why this prediction",
    overwrite: bool = False,
    way_back: str = NUMBERS,
) -> Path:
    """Write the page; see :meth:`epic_sklearn.Trace.report`."""
    path = check_path(path, overwrite)
    asked, of_rows, span = looks_of_trace(found, X, examples, n_top)

    def shown(look: Look) -> dict[str, Any]:
        image = None if look.image is None else thumbnails({0: look.image}, span)[0]
        return {"image": image, "text": look.text}

    names = found.example_index
    kind, names = (
        ("Example", range(len(asked)))
        if names is None
        else (str(names.name or "Example"), names)
    )
    parts: Any = [
        {"name": f"{kind} {shortened(name)}", "label": shortened(label)}
        | {**shown(asked[i]), "rows": []}
        for i, (name, label) in enumerate(zip(names, found.labels, strict=True))
    ]
    for line in found.to_frame().query("rank <= @n_top").to_dict("records"):
        row = {"index": line["row"], **line, **shown(of_rows[line["row"]])}
        parts[line["example"]]["rows"].append(row)
    kind = "Row" if found.index is None else str(found.index.name or "Index")
    context = {"title": title, "n": found.n_rows, "examples": parts, "row_kind": kind}
    context |= {"by_number": way_back == NUMBERS or kind == "Row", "way_back": way_back}
    return fill(path, "trace.html", ["trace.js"], **context)
