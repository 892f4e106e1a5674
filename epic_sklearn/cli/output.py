"""What a command gives: tables or JSON, and files that are complete or not there."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..report import all_or_none, shortened, stand_out, write_page
from ..tracing import Trace
from .columns import need, refuse_if
from .tables import format_of

N_SUSPICIOUS = 10
N_COLUMNS = 30
FORMATS = {
    "mask": (".csv",),
    "report": (".html", ".htm"),
    "ranks": (".csv",),
}


def check_outputs(o: SimpleNamespace) -> None:
    """Refuse outputs that cannot be written, before any work."""
    names = ("data", "examples", "probabilities", "gradients", "decisions")
    inputs = [getattr(o, name, None) for name in names]
    taken = {path.resolve(): f"the input {path}" for path in inputs if path}
    o.outputs = {
        k: getattr(o, k) for k in ("out", *FORMATS) if getattr(o, k, None) is not None
    }
    for name, path in o.outputs.items():
        real, what = path.resolve(), f"--{name}: {path}"
        ends, folder = FORMATS.get(name, (format_of(o.data),)), real.parent
        fits = format_of(path) in ends
        refuse_if(not fits, f"{what}: give a name that ends in {', '.join(ends)}.")
        can_write = f"there is no folder {folder}, or no permission to write in it."
        refuse_if(not os.access(folder, os.W_OK), f"{what}: {can_write}")
        refuse_if(real in taken, f"{what} is {taken.get(real)} as well.")
        if real.exists():
            refuse_if(not real.is_file(), f"{what} is not a regular file.")
            refuse_if(not o.force, f"{what} exists; give --force to replace it.")
        taken[real] = f"the file of --{name}"
        if name == "report":
            for module in ("jinja2", "PIL"):
                need(module, "report", "--report needs")


def printable(value: Any) -> Text:
    """Text of a label: no control characters, quotes where its ends are blank."""
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(value))
    # Text, not str: a label may hold rich's markup.
    return Text(text if text == text.strip() and text else repr(text))


def draw(
    names: Sequence[str], lines: Iterable[Sequence[Any]], numbers: Sequence[str] = ()
) -> str:
    """Draw a table, in colour on a terminal; under columns of `numbers` a total."""
    unicode = "utf" in (sys.stdout.encoding or "").lower()
    table = Table(box=box.ROUNDED if unicode else box.ASCII)
    for name in names:
        how: Any = {"justify": "right", "no_wrap": True} if name in numbers else {}
        table.add_column(name, overflow="fold", **how)
    for line in lines:
        table.add_row(*(None if v is None else printable(v) for v in line))
    if numbers:
        table.rows[-2].end_section, table.rows[-1].style = True, "bold"
    in_colour = True if sys.stdout.isatty() else None
    console = Console(file=io.StringIO(), force_terminal=in_colour)
    console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined]


@dataclass
class Scan:
    """What was asked, what is in the file, and what was found."""

    options: SimpleNamespace
    data: Any  # the table
    labels: np.ndarray
    X: Any  # what the model sees; None where no column is for it
    shown: dict[str, Any]  # what the page shows of the file: fields of a Case
    notes: list[str]
    beside: dict[str, str]  # columns that are no features, and the option that says so
    n: int = 0  # rows of the data where examples are behind them
    source: str = ""  # of the gradients
    cut: set[str] = field(default_factory=set)  # arrays that --out cuts
    detector: Any = None
    case: Any = None
    seconds: float = 0.0

    @property
    def suspicious(self) -> list[int]:
        """The isolated rows of highest score."""
        rows, score = self.detector.isolated_indices_, self.detector.isolation_score_
        return rows[np.argsort(-score[rows], kind="stable")][:N_SUSPICIOUS].tolist()

    def as_json(self) -> str:
        """One line of JSON."""
        rule, o = self.detector.rule_, self.options
        *classes, in_all = self.case.counts(~self.detector.keep_)
        del in_all["label"]
        return json.dumps(
            {
                "data": str(o.data),
                **in_all,
                "classes": classes,
                "suspicious": self.suspicious,
                "rho": self.case.rho,
                "rounds": len(self.detector.rounds_),
                "gradients": self.source,
                "columns": dict(self.case.columns),
                "rule": type(rule).__name__,
                "parameters": rule.get_params(),
                "seconds": round(self.seconds, 3),
                "outputs": {name: str(path) for name, path in o.outputs.items()},
                "notes": self.notes,
                "warnings": self.case.warnings,
            }
        )

    def as_tables(self) -> str:
        """Draw tables for people."""
        case, detector, parts = self.case, self.detector, []
        if any(what != "number" for _, what in case.columns):
            n = len(case.columns)
            more = [("...", f"{n} in all, see --json")] * (n > N_COLUMNS)
            parts.append(draw(["column", "read as"], case.columns[:N_COLUMNS] + more))
        numbers = ("rows", "isolated", "share")
        lines = [
            (c["label"], f"{c['rows']:,}", f"{c['isolated']:,}", f"{c['share']:.1%}")
            for c in case.counts(~detector.keep_)
        ]
        parts.append(draw(["class", *numbers], lines, numbers))
        if self.suspicious:
            parts.append(self._draw_suspicious())
        rule = " ".join(repr(detector.rule_).split())
        parts += [f"Warning: {text}\n" for text in case.warnings]
        parts.append(
            f"Gradients: {self.source}. Rule: {rule}, {len(detector.rounds_)} "
            f"round(s), rho {case.rho:.3g}, {self.seconds:.1f} s."
        )
        outputs = self.options.outputs.items()
        return "".join(parts + [f"\n{k.capitalize()}: {v}" for k, v in outputs])

    def _draw_suspicious(self) -> str:
        """Draw where rows stand, their class, score and what stands out in them."""
        case, rows = self.case, self.suspicious
        places = list(map(self.data.place, rows))
        if self.options.id is not None:
            names = map(case.row_name, rows)
            places = [f"{name}, {at}" for name, at in zip(names, places, strict=True)]
        columns = {
            "most suspicious": places,
            "class": self.labels[rows].tolist(),
            "score": [f"{self.detector.isolation_score_[row]:.4g}" for row in rows],
            "differs most (nearest kept)": stand_out(case, np.array(rows)),
        }
        for name, texts in case.asides.items():
            if self.beside.get(name) == "--show":
                columns[name] = [shortened(texts[row], 60) for row in rows]
        return draw(list(columns), zip(*columns.values(), strict=True))

    def write(self) -> None:
        """Write all files that were asked for, or none."""
        with all_or_none(self.options.outputs) as paths:
            if "out" in paths:
                self.data.write_rows(self.detector.keep_, paths["out"], self.cut)
            if "mask" in paths:
                self._write_mask(paths["mask"])
            if "report" in paths:
                write_page(self.case, paths["report"])

    def _write_mask(self, path: Path) -> None:
        """Write a line for each row: kept or not, score, the rule's details, label."""
        detector = self.detector
        columns = {
            "row": np.arange(len(self.labels)),
            "kept": detector.keep_,
            "isolation_score": detector.isolation_score_,
            **detector.details_,
        }
        for name, texts in self.case.asides.items():
            columns[f"data {name}" if name in (*columns, "label") else name] = texts
        frame = pd.DataFrame({**columns, "label": self.labels})
        # A label may hold half a character.
        frame.to_csv(path, index=False, errors="backslashreplace")


def trace_as_json(found: Trace) -> str:
    """One line of JSON: of each example its label, rows and their scores."""
    frame = found.to_frame().groupby("example")
    names = {"rows": "row", "row_labels": "row_label", "scores": "score"}
    return json.dumps(
        [
            {"label": label, **{name: part[of].tolist() for name, of in names.items()}}
            for label, (_, part) in zip(found.labels.tolist(), frame, strict=True)
        ]
    )


def trace_as_table(found: Trace, place: Callable[[int], str]) -> str:
    """Draw a table for people."""
    lines = [
        (
            *((line.example, line.label) if line.rank == 1 else (None, None)),
            place(line.row),
            line.row_label,
            f"{line.score:.3g}",
        )
        for line in found.to_frame().itertuples()
    ]
    return draw(["example", "read as", "taught by", "labelled", "score"], lines)
