"""The work of ``epic-sklearn trace``, short of printing."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Sequence
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
from .tables import Raw, n_rows, open_table
from .values import Unusable, as_option, refuse_if, unknown

WAY_ON = (
    "Run the same trace again with these as --drop, quoted, and with --out KEPT, then "
    "train on KEPT."
)


class WithExamples:
    """A table with examples behind its rows; all but rows is the table's own.

    Examples need the columns that the model uses. Others that they lack are blank, or
    as a label left out.
    """

    def __init__(self, data: Any, examples: Any, label: str) -> None:
        self.data, self.examples, self.label, self.n = data, examples, label, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.data, name)

    def count(self, raw: Raw) -> int:
        """Count the table's rows."""
        return self.n

    def place(self, row: int) -> str:
        """Where a person finds a row."""
        if row < self.n:
            return self.data.place(row)
        return f"{self.examples.place(row - self.n)} of {self.examples.path.name}"

    def read(self, names: Sequence[str]) -> Raw:
        """Read columns of both."""
        known = *self.examples.names, *self.examples.others
        raw = self.data.read(names)
        more = self.examples.read([name for name in names if name in known])
        blank, self.n = pd.Series([""] * n_rows(more)), n_rows(raw)
        others = [name for name in names if name != self.label]
        # The rows of an array cannot be left blank.
        self.check_used([name for name in others if np.ndim(raw[name]) > 1])
        more = {name: blank for name in others} | more
        return raw | {name: _joined(raw[name], each) for name, each in more.items()}

    def check_used(self, names: Collection[str]) -> None:
        """Refuse examples without a column that the model uses."""
        for name in names:
            if name not in (*self.examples.names, *self.examples.others):
                kind = f"{self.kind} of the examples"
                way = f" To leave it out of the model: --exclude {as_option([name])}."
                hint = self.examples.hint or way
                raise unknown(kind, name, self.examples.names, hint)


def _joined(first: Any, more: Any) -> Any:
    """Put one column behind another, or say why it cannot be."""
    for part in (first, more):
        if isinstance(part, Unusable):
            return part
    if first.shape[1:] != more.shape[1:]:
        shapes = f"{first.shape[1:]}, and {more.shape[1:]} in the examples"
        return Unusable(f"has rows of shape {shapes}")
    if isinstance(first, np.ndarray) and isinstance(more, np.ndarray):
        return np.concatenate([first, more])
    # Text in one file, maybe numbers in the other: typed again as text.
    return pd.Series([str(value) for value in (*first, *more)], dtype=object)


def trace_files(o: SimpleNamespace) -> tuple[Trace, Rows]:
    """Run ``trace``, short of printing."""
    refuse_if((o.drop is None) != (o.out is None), "--drop and --out go together.")
    check_files(o)
    o.probabilities, o.needs_features = None, True
    data = open_table(o.data, o.separator, o.encoding)
    examples = open_table(o.examples, o.separator, o.encoding)
    rows = read(o, WithExamples(data, examples, o.label))
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
