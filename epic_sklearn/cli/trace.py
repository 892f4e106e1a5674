"""The work of ``epic-sklearn trace``, short of printing."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from ..base import take_rows
from ..report import all_or_none
from ..tracing import Trace, trace
from .rows import Rows, read
from .scan import (
    N_SUSPICIOUS,
    beside,
    check_files,
    draw,
    draw_columns,
    make_model,
    noting,
)
from .tables import open_table
from .values import Unusable, refuse_if

WAY_ON = (
    "Run the same trace again with these as --drop, quoted, and with --out KEPT, then "
    "train on KEPT."
)


def trace_files(o: SimpleNamespace) -> tuple[Trace, Rows]:
    """Run ``trace``, short of printing."""
    refuse_if((o.drop is None) != (o.out is None), "--drop and --out go together.")
    check_files(o)
    o.probabilities, o.needs_features = None, True
    files = (open_table(p, o.separator, o.encoding) for p in (o.data, o.examples))
    rows = read(o, *files)
    model = make_model(o, rows)
    of_file, asked = np.split(np.arange(len(rows.X)), [rows.n])
    X, (y, labels) = take_rows(rows.X, of_file), np.split(rows.labels, [rows.n])
    how = {"score": o.score, "n_top": o.top, "all_labels": o.all_labels}
    with noting(rows.notes):
        given = labels if len(labels) else None
        found = trace(model.fit(X, y), X, y, take_rows(rows.X, asked), given, **how)
    index, called = rows.shown["index"], rows.called(asked.tolist())
    index = None if index is None else index[: rows.n]
    found = replace(
        found, index=index, example_index=pd.Index(np.array(called, dtype=object))
    )
    if o.out:
        keep = ~np.isin(np.arange(rows.n), marked_rows(o.drop, found))
        gone = sorted(set(map(str, y.tolist())) - set(map(str, y[keep].tolist())))
        refuse_if(gone, f"--drop leaves no row of class {', '.join(gone)}.")
        with all_or_none({"out": o.out}) as paths:
            rows.data.write_rows(keep, paths["out"], rows.cut)
        dropped = ", ".join(rows.called(np.flatnonzero(~keep).tolist()))
        rows.notes.append(f"{o.out} has all rows but {dropped}.")
    if o.report:
        looks, page = rows.looks(), {"title": o.data.name, "overwrite": True}
        parts = take_rows(looks, of_file), take_rows(looks, asked)
        found.report(*parts, o.report, n_top=o.top, way_back=WAY_ON, **page)
    return found, rows


def marked_rows(text: str, found: Trace) -> list[int]:
    """Rows that are named as on the page, which shows those that are ranked."""
    rows = np.unique(found.indices[found.indices >= 0]).tolist()
    index = range(found.n_rows) if found.index is None else found.index
    ranked = {str(index[row]): row for row in rows}
    named = next(csv.reader([text.strip(" []")], skipinitialspace=True), [])
    names = [text] if text in ranked else named
    if others := [name for name in names if name not in ranked]:
        kind = "row" if found.index is None else str(found.index.name).lower()
        shown = ", ".join(list(ranked)[:N_SUSPICIOUS])
        raise Unusable(
            f"--drop: {', '.join(others)} is no {kind} that this trace ranks, such as "
            f"{shown}. Name rows as its page does."
        )
    return [ranked[name] for name in names]


def draw_trace(found: Trace, rows: Rows) -> str:
    """Draw a table for people."""
    frame = found.to_frame()
    of, asked = frame["row"].tolist(), rows.called(frame["example"] + rows.n)

    def once(values: Iterable[Any]) -> list[Any]:
        pairs = zip(values, frame["rank"], strict=True)
        return [value if rank == 1 else None for value, rank in pairs]

    columns = {
        "example": once(asked),
        "read as": once(frame["label"]),
        "taught by": rows.called(of),
        "labelled": frame["row_label"],
        "score": frame["score"].map("{:.3g}".format),
    }
    read = draw_columns(rows.shown["columns"])
    return read + draw(beside(columns, rows.texts(of)))
