"""The work of ``epic-sklearn trace``, short of printing."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd

from .._utils import all_or_none
from ..reading.errors import Unusable, refuse_if
from ..reading.lines import open_table
from ..report import notes_of_rows
from ..tracing import Trace, trace
from .drawing import beside, draw, draw_columns
from .rows import Rows, read
from .scan import N_SUSPICIOUS, check_files, make_model, noting

WAY_ON = (
    "Run the same trace again with these as --drop, quoted, and with --out KEPT, then "
    "train on KEPT."
)


def trace_files(o: SimpleNamespace) -> tuple[Trace, Rows]:
    """Run ``trace``, short of printing."""
    refuse_if((o.drop is None) != (o.out is None), "--drop and --out go together.")
    check_files(o)
    o.probabilities, o.needs_features = None, True
    files = (open_table(path, o) for path in (o.data, o.examples))
    rows = read(o, *files)
    model, n = make_model(o, rows), rows.n
    (X, asked), (y, labels) = ((part[:n], part[n:]) for part in (rows.X, rows.labels))
    codes, names = np.unique(y, return_inverse=True)[1], rows.shown["feature_names"]
    rows.notes += notes_of_rows(X, codes, names or (), rows.place)
    how = {"score": o.score, "n_top": o.top, "all_labels": o.all_labels}
    with noting(rows.notes):
        given = labels if len(labels) else None
        found = trace(model.fit(X, y), X, y, asked, given, **how)
    index, called = rows.shown["index"], rows.called(range(n, len(rows.X)))
    found = replace(
        found,
        index=None if index is None else index[:n],
        example_index=pd.Index(called, dtype=object),
    )
    if o.out:
        keep = ~np.isin(np.arange(n), marked_rows(o.drop, found))
        gone = sorted(set(map(str, y.tolist())) - set(map(str, y[keep].tolist())))
        refuse_if(gone, f"--drop leaves no row of class {', '.join(gone)}.")
        with all_or_none({"out": o.out}) as paths:
            rows.write(keep, paths["out"])
        dropped = ", ".join(rows.called(np.flatnonzero(~keep).tolist()))
        rows.notes.append(f"{o.out} has all rows but {dropped}.")
    if o.report:
        page = {"title": o.data.name, "overwrite": True, "way_back": WAY_ON}
        looks = rows.looks()
        found.report(looks[:n], looks[n:], o.report, n_top=o.top, **page)
    return found, rows


def marked_rows(text: str, found: Trace) -> list[int]:
    """Rows that are named as on the page, which shows those that are ranked."""
    rows = np.unique(found.indices[found.indices >= 0]).tolist()
    index = range(found.n_rows) if found.index is None else found.index
    ranked = {str(index[row]): row for row in rows}
    listed = re.fullmatch(r"\s*\[(.*)\]\s*", text)  # [3, 17]
    fields = listed[1] if listed else text
    try:
        plain, named = (
            next(csv.reader([each], skipinitialspace=True), [])
            for each in (text, fields)
        )
    except csv.Error as error:
        raise Unusable(f"--drop: {error}. Quote names as the page does.") from error
    is_unclear = plain != named and set(plain) <= set(ranked)
    refuse_if(is_unclear, "--drop: quote names with brackets, as the page does.")
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
    frame = found.to_frame().astype(object)
    of, is_first = frame["row"].tolist(), frame["rank"] == 1
    asked = pd.Series(rows.called(frame["example"] + rows.n), dtype=object)
    columns = {
        "example": asked.where(is_first, None),
        "read as": frame["label"].where(is_first, None),
        "taught by": rows.called(of),
        "labelled": frame["row_label"],
        "score": frame["score"].map("{:.3g}".format),
    }
    read = draw_columns(rows.shown["columns"])
    return read + draw(beside(columns, rows.texts(of)))
