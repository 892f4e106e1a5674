"""The work of ``epic-sklearn trace``: which rows of a file taught a prediction."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table
from sklearn.base import clone

from ..base import take_rows
from ..tracing import Trace, trace
from .columns import Unusable, unknown
from .commands import OPTIONS
from .output import all_or_none, box_style, draw, printable
from .scan import check_options, choose_features, open_data, with_model


class Together:
    """Rows of a file and, behind them, examples of another: typed as one table."""

    def __init__(self, data: Any, examples: Any, label: str) -> None:
        self.data, self.examples, self.n = data, examples, 0
        self.names, self.kind, self.hint = data.names, data.kind, data.hint
        self.path, self.has_labels = data.path, label in examples.names

    def place(self, row: int) -> str:
        """Where a person finds a row."""
        if row < self.n:
            return self.data.place(row)
        return f"{self.examples.place(row - self.n)} of {self.examples.path.name}"

    def read(self, label: str, names: list[str]) -> tuple[list[Any], dict[str, Any]]:
        """Read both files; examples without labels get one for now."""
        for name in names:
            if name not in self.examples.names:
                known = self.examples.names
                raise unknown(f"{self.kind} of the examples", name, known)
        labels, raw = self.data.read(label, names)
        of_examples, more = self.examples.read(
            label if self.has_labels else names[0], names
        )
        self.n = len(labels)
        if not self.has_labels:
            of_examples = labels[:1] * len(of_examples)
        joined = {k: raw[k] if isinstance(raw[k], str) else _behind(raw[k], more[k])
                  for k in raw}  # fmt: skip
        return labels + of_examples, joined


def _behind(first: Any, second: Any) -> Any:
    if hasattr(first, "iloc"):
        return pd.concat([first, second], ignore_index=True)
    return np.concatenate([first, second])


def trace_file(o: SimpleNamespace) -> tuple[Trace, Any]:
    """Run the whole command, short of printing; what was found, and place of a row."""
    unused = {names.split()[-1].lstrip("-").replace("-", "_"): how.get("default")
              for names, _, how in OPTIONS}  # fmt: skip
    of_many = {
        k: () for k in ("features", "exclude", "show", "as_text", "missing", "cut")
    }
    fixed = {"settings": (), "gradient_of": "last_layer", "rounds": 1}
    o = SimpleNamespace(**{**unused, **of_many, **fixed, **vars(o)})
    check_options(o)
    data = open_data(o)
    choose_features(data, o)
    examples = open_data(SimpleNamespace(**{**vars(o), "data": o.examples}), False)
    both = Together(data, examples, o.label)
    problem = with_model(o, both)
    rows, asked = np.split(np.arange(len(problem.labels)), [both.n])
    X, y = take_rows(problem.X, rows), problem.labels[rows]
    try:
        model = clone(problem.extractor.classifier).fit(X, y)
        found = trace(
            model,
            X,
            y,
            take_rows(problem.X, asked),
            problem.labels[asked] if both.has_labels else None,
            score=o.score,
            n_top=o.top,
            all_labels=o.all_labels,
        )
    except ValueError as error:
        raise Unusable(str(error)) from error
    table = pd.DataFrame(problem.X, columns=problem.names)
    with all_or_none(o.outputs) as paths:
        if "ranks" in paths:
            found.to_frame().to_csv(paths["ranks"], index=False)
        if "report" in paths:
            found.report(
                table.iloc[rows], table.iloc[asked], paths["report"],
                n_top=o.top, title=data.path.name, overwrite=True,
            )  # fmt: skip
    return found, both.place


def as_json(found: Trace) -> str:
    """One line of JSON: of each example its label, rows and their scores."""
    frame = found.to_frame()
    return json.dumps(
        [
            {"label": label, "rows": part["row"].tolist(),
             "row_labels": part["row_label"].tolist(), "scores": part["score"].tolist()}
            for label, (_, part) in zip(
                found.labels.tolist(), frame.groupby("example"), strict=True
            )
        ]
    )  # fmt: skip


def as_table(found: Trace, place: Any) -> str:
    """Draw a table for people."""
    table = Table("example", "read as", "taught by", "labelled", "score", **box_style())
    for line in found.to_frame().to_dict("records"):
        first = [str(line["example"]), printable(line["label"])]
        table.add_row(
            *(first if line["rank"] == 1 else ("", "")),
            place(line["row"]),
            printable(line["row_label"]),
            f"{line['score']:.3g}",
        )
    return draw(table)
