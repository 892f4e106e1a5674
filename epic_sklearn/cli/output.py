"""What a command gives: tables or JSON, and files that are complete or not there."""

from __future__ import annotations

import io
import json
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..filters import EPICFilter
from ..report import Case, environment, shortened, write_page
from ..tracing import Trace
from ..validation import is_missing
from .columns import need, refuse_if
from .tables import format_of, write_arrays

N_SUSPICIOUS = 10
N_COLUMNS = 30
N_VALUES = 9
FORMATS = {
    "mask": (".csv", ".npz", ".parquet"),
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
        ends = FORMATS.get(name, (format_of(o.data),))
        fits = format_of(path) in ends
        refuse_if(not fits, f"{what}: give a name that ends in {', '.join(ends)}.")
        folder = real.parent
        refuse_if(not folder.is_dir(), f"{what}: there is no folder {folder}.")
        for other, it in taken.items():
            is_same = real.exists() and other.exists() and real.samefile(other)
            refuse_if(real == other or is_same, f"{what} is {it} as well.")
        if real.exists():
            refuse_if(not real.is_file(), f"{what} is not a regular file.")
            refuse_if(not o.force, f"{what} exists; give --force to replace it.")
        can_write = os.access(folder, os.W_OK)
        refuse_if(not can_write, f"{what}: no permission to write in {folder}.")
        taken[real] = f"the file of --{name}"
        if name == "report":
            need("jinja2", "report", "--report needs")
        elif format_of(path) == ".parquet":
            need("pyarrow", "parquet", "Parquet files need")


@contextmanager
def all_or_none(targets: Mapping[str, Path]) -> Iterator[dict[str, Path]]:
    """Give empty files beside the targets; move them there at the end, or none."""
    finals = {name: path.resolve() for name, path in targets.items()}  # links stay
    made = {
        name: final.with_name(f".epic-{secrets.token_hex(8)}{format_of(final)}")
        for name, final in finals.items()
    }
    try:
        for name, final in finals.items():
            made[name].touch(exist_ok=False)
            if final.exists():
                shutil.copymode(final, made[name])
        yield made
        for name, final in finals.items():
            os.replace(made[name], final)
    finally:
        for temporary in made.values():
            temporary.unlink(missing_ok=True)


def printable(value: Any) -> Text:
    r"""Text of a label: no control characters, quotes where its ends are blank.

    Examples
    --------
    >>> from epic_sklearn.cli.output import printable
    >>> print(printable("cat"), printable("cat "), printable("a\x1b[2J"))
    cat 'cat ' a\x1b[2J
    """
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
class Findings:
    """What was asked, what of, what was found, and the seconds that it took."""

    options: Any
    problem: Any
    detector: EPICFilter
    case: Case
    data: Any
    seconds: float

    def __post_init__(self) -> None:
        rows, score = self.detector.isolated_indices_, self.detector.isolation_score_
        order = np.argsort(-score[rows], kind="stable")
        self.suspicious = rows[order][:N_SUSPICIOUS].tolist()

    def as_json(self) -> str:
        """One line of JSON."""
        problem, rule, o = self.problem, self.detector.rule_, self.options
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
                "gradients": problem.source,
                "columns": dict(problem.page.columns),
                "rule": type(rule).__name__,
                "parameters": rule.get_params(),
                "seconds": round(self.seconds, 3),
                "outputs": {name: str(path) for name, path in o.outputs.items()},
                "notes": problem.notes,
                "warnings": self.case.warnings,
            }
        )

    def as_tables(self) -> str:
        """Draw tables for people."""
        page, detector, parts = self.problem.page, self.detector, []
        if any(what != "number" for _, what in page.columns):
            n = len(page.columns)
            more = [("...", f"{n} in all, see --json")] * (n > N_COLUMNS)
            lines = [*page.columns[:N_COLUMNS], *more]
            parts.append(draw(["column", "read as"], lines))
        numbers = ("rows", "isolated", "share")
        lines = [
            (c["label"], f"{c['rows']:,}", f"{c['isolated']:,}", f"{c['share']:.1%}")
            for c in self.case.counts(~detector.keep_)
        ]
        parts.append(draw(["class", *numbers], lines, numbers))
        if self.suspicious:
            names = ", ".join((page.feature_names or ["values"])[:N_VALUES])
            heads = ["most suspicious", "class", "score", shortened(names, 60)]
            parts.append(draw(heads, map(self._line, self.suspicious)))
        rule = " ".join(repr(detector.rule_).split())
        parts += [f"Warning: {text}\n" for text in self.case.warnings]
        parts.append(
            f"Gradients: {self.problem.source}. Rule: {rule}, {len(detector.rounds_)} "
            f"round(s), rho {self.case.rho:.3g}, {self.seconds:.1f} s."
        )
        outputs = self.options.outputs.items()
        return "".join(parts + [f"\n{k.capitalize()}: {v}" for k, v in outputs])

    def _line(self, row: int) -> tuple[str, ...]:
        """Where a row stands, its class and score, and how it begins."""
        problem, place = self.problem, self.data.place(row)
        if self.options.id is not None:
            place = f"{problem.page.row_name(row)}, {place}"
        X = problem.X.iloc[row] if hasattr(problem.X, "iloc") else problem.X[row]
        values = [_as_read(value) for value in list(X[:N_VALUES])]
        score = f"{self.detector.isolation_score_[row]:.4g}"
        return place, problem.labels[row], score, shortened(", ".join(values), 60)

    def write(self, cut: set[str]) -> None:
        """Write all files that were asked for, or none."""
        with all_or_none(self.options.outputs) as paths:
            if "out" in paths:
                self.data.write_rows(self.detector.keep_, paths["out"], cut)
            if "mask" in paths:
                self._write_mask(paths["mask"])
            if "report" in paths:
                page = self.problem.page
                write_page(self.case, page, paths["report"], environment())

    def _write_mask(self, path: Path) -> None:
        """Write a line for each row: kept or not, score, the rule's details, label."""
        detector, labels = self.detector, self.problem.labels
        columns = {
            "row": np.arange(len(labels)),
            "kept": detector.keep_,
            "isolation_score": detector.isolation_score_,
            **detector.details_,
        }
        for name, texts in self.problem.page.asides.items():
            columns[f"data {name}" if name in (*columns, "label") else name] = texts
        frame = pd.DataFrame({**columns, "label": labels})
        if format_of(path) == ".npz":
            arrays = {name: np.asarray(frame[name]) for name in frame}
            texts = {k: a.astype(str) for k, a in arrays.items() if a.dtype.kind == "O"}
            write_arrays(arrays | texts, path)
        elif format_of(path) == ".parquet":
            frame.to_parquet(path, index=False)
        else:  # a label may hold half a character
            frame.to_csv(path, index=False, errors="backslashreplace")


def _as_read(value: Any) -> str:
    """Text of a value of a table."""
    if is_missing(value):
        return "missing"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text.removesuffix(" 00:00:00")


def trace_as_json(found: Trace) -> str:
    """One line of JSON: of each example its label, rows and their scores."""
    given = found.labels.tolist(), found.indices, found.row_labels, found.scores
    lines = [
        {
            "label": label,
            "rows": rows[rows >= 0].tolist(),
            "row_labels": labels[rows >= 0].tolist(),
            "scores": scores[rows >= 0].tolist(),
        }
        for label, rows, labels, scores in zip(*given, strict=True)
    ]
    return json.dumps(lines)


def trace_as_table(found: Trace, place: Callable[[int], str]) -> str:
    """Draw a table for people."""
    lines = [
        (
            *((line["example"], line["label"]) if line["rank"] == 1 else (None, None)),
            place(line["row"]),
            line["row_label"],
            f"{line['score']:.3g}",
        )
        for line in found.to_frame().to_dict("records")
    ]
    return draw(["example", "read as", "taught by", "labelled", "score"], lines)
