"""What a scan gives: tables or JSON, and files that are complete or not there."""

from __future__ import annotations

import io
import json
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
from ..gradients import gradient_norm_change
from ..report import Case, Page, environment, write_page
from .arrays import write_arrays
from .columns import Column, refuse_if, shortened
from .tables import format_of, import_pyarrow

N_SUSPICIOUS = 10
N_COLUMNS = 30
WAY_BACK = (
    "Run the same scan again with `--decisions FILE --out KEPT`: it writes the rows "
    "that are left, to train on."
)
FORMATS = {"mask": (".csv", ".npz", ".parquet"), "report": (".html", ".htm")}
FORMATS["ranks"] = (".csv",)


@dataclass
class Findings:
    """What was asked, what of, the fitted filter, and the seconds that it took."""

    options: Any
    problem: Any
    detector: EPICFilter
    place: Callable[[int], str]
    seconds: float
    rho: float
    case: Case | None = None

    def look_again(self) -> None:
        """Look at the rows again; rho is then that of the decided rows."""
        case = self.detector._case(self.problem.X, self.problem.labels)
        settings = {**case.settings, "extractor": self.problem.source}
        self.case = replace(case, way_back=WAY_BACK, settings=settings)
        self.rho = gradient_norm_change(case.gradients, self.detector.keep_)

    def name(self, row: int) -> str:
        """Where a row stands, and what the column of --id calls it."""
        kind, name_of = self.problem.rows
        is_named = name_of is not None and kind != "Line"
        return f"{name_of(row)}, {self.place(row)}" if is_named else self.place(row)

    def asides(self) -> dict[str, Any]:
        """Columns of no use to the model, that are shown: texts (n,) by name."""
        return {c.name: c.aside for c in self.problem.columns if c.aside is not None}

    def counts(self) -> list[dict[str, Any]]:
        """Rows in all, isolated and kept: of each class, and of all."""
        classes, codes = np.unique(self.problem.labels, return_inverse=True)
        rows = np.bincount(codes)
        isolated = np.bincount(codes[~self.detector.keep_], minlength=len(classes))
        return [
            {"label": label, "rows": n, "isolated": m, "kept": n - m, "share": m / n}
            for label, n, m in zip(
                [*classes.tolist(), "all"],
                [*rows.tolist(), len(codes)],
                [*isolated.tolist(), int(isolated.sum())],
                strict=True,
            )
        ]

    def suspicious(self) -> np.ndarray:
        """Return the isolated rows, the ten of highest score."""
        rows, score = self.detector.isolated_indices_, self.detector.isolation_score_
        return rows[np.argsort(-score[rows], kind="stable")][:N_SUSPICIOUS]


def check_outputs(o: SimpleNamespace) -> None:
    """Refuse outputs that cannot be written, before any work."""
    inputs = [o.data, o.probabilities, o.gradients, o.decisions]
    inputs.append(getattr(o, "examples", None))
    taken = {path.resolve(): f"the input {path}" for path in inputs if path is not None}
    names = ("out", "mask", "report", "ranks")
    o.outputs = {k: getattr(o, k) for k in names if getattr(o, k, None)}
    for name, path in o.outputs.items():
        real = path.resolve()
        what = f"--{name}: {path}"
        ends = FORMATS.get(name, (format_of(o.data),))
        fits = format_of(path) in ends
        refuse_if(not fits, f"{what}: give a name that ends in {', '.join(ends)}.")
        refuse_if(
            not real.parent.is_dir(), f"{what}: there is no folder {real.parent}."
        )
        for other, it in taken.items():
            is_same = real.exists() and other.exists() and real.samefile(other)
            refuse_if(real == other or is_same, f"{what} is {it} as well.")
        if real.exists():
            refuse_if(not real.is_file(), f"{what} is not a regular file.")
            refuse_if(not o.force, f"{what} exists; give --force to replace it.")
        can_write = os.access(real.parent, os.W_OK)
        refuse_if(not can_write, f"{what}: no permission to write in {real.parent}.")
        if format_of(path) == ".parquet":
            import_pyarrow()
        taken[real] = f"the file of --{name}"


def as_json(findings: Findings) -> str:
    """One line of JSON."""
    detector, problem, o = findings.detector, findings.problem, findings.options
    *classes, in_all = findings.counts()
    del in_all["label"]
    return json.dumps(
        {
            "data": str(o.data),
            **in_all,
            "classes": classes,
            "suspicious": findings.suspicious().tolist(),
            "rho": findings.rho,
            "rounds": len(detector.rounds_),
            "gradients": problem.source,
            "columns": {column.name: column.what for column in problem.columns},
            "rule": type(detector.rule_).__name__,
            "parameters": detector.rule_.get_params(),
            "seconds": round(findings.seconds, 3),
            "outputs": {name: str(path) for name, path in o.outputs.items()},
            "notes": problem.notes,
            "warnings": problem.warnings,
        }
    )


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


def box_style() -> dict[str, Any]:
    """Lines of tables that the terminal can show."""
    unicode = "utf" in (sys.stdout.encoding or "").lower()
    return {"box": box.ROUNDED if unicode else box.ASCII}


def draw(*tables: Table) -> str:
    """Draw tables one below the other, in colour on a terminal."""
    in_colour = True if sys.stdout.isatty() else None
    console = Console(file=io.StringIO(), force_terminal=in_colour)
    for table in tables:
        console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined]


def as_tables(findings: Findings) -> str:
    """Draw tables for people."""
    how, problem, detector = box_style(), findings.problem, findings.detector
    tables = [_class_table(findings, how)]
    if any(column.what != "number" for column in problem.columns):
        tables.insert(0, _column_table(problem.columns, how))
    if len(detector.isolated_indices_):
        tables.append(_suspicious_table(findings, how))
    rule = " ".join(repr(detector.rule_).split())
    lines = [f"Warning: {text}" for text in problem.warnings]
    lines += [
        f"Gradients: {problem.source}. Rule: {rule}, {len(detector.rounds_)} round(s), "
        f"rho {findings.rho:.3g}, {findings.seconds:.1f} s."
    ]
    lines += [f"{k.capitalize()}: {v}" for k, v in findings.options.outputs.items()]
    return draw(*tables) + "\n".join(lines)


def _column_table(columns: Sequence[Column], how: dict[str, Any]) -> Table:
    table = Table("column", "read as", **how)
    for column in columns[:N_COLUMNS]:
        table.add_row(printable(column.name), printable(column.what))
    if len(columns) > N_COLUMNS:
        table.add_row("...", f"{len(columns)} in all, see --json")
    return table


def _class_table(findings: Findings, how: dict[str, Any]) -> Table:
    table = Table(**how)
    table.add_column("class", overflow="fold")
    for name in ("rows", "isolated", "share"):
        table.add_column(name, justify="right", no_wrap=True)
    *classes, in_all = findings.counts()
    for row in [*classes, in_all]:
        if row is in_all:
            table.add_section()
        numbers = f"{row['rows']:,}", f"{row['isolated']:,}", f"{row['share']:.1%}"
        style = "bold" if row is in_all else None
        table.add_row(printable(row["label"]), *numbers, style=style)
    return table


def _suspicious_table(findings: Findings, how: dict[str, Any]) -> Table:
    """Where the most suspicious rows stand, and how they begin."""
    problem, detector = findings.problem, findings.detector
    table = Table("most suspicious", "class", "score", "values", **how)
    for row in findings.suspicious().tolist():
        X = problem.X.iloc[row] if hasattr(problem.X, "iloc") else problem.X[row]
        values = [f"{v:.4g}" if isinstance(v, float) else str(v) for v in list(X[:9])]
        values = [text.removesuffix(" 00:00:00") for text in values]
        table.add_row(
            printable(findings.name(row)),
            printable(problem.labels[row]),
            f"{detector.isolation_score_[row]:.4g}",
            printable(shortened(", ".join(values))),
        )
    return table


def write_mask(findings: Findings, path: Path) -> None:
    """Write one line a row: number, kept or not, score, the rule's details, label."""
    detector, labels = findings.detector, findings.problem.labels
    columns = {
        "row": np.arange(len(labels)),
        "kept": detector.keep_,
        "isolation_score": detector.isolation_score_,
        **detector.details_,
    }
    for name, texts in findings.asides().items():
        columns[f"data {name}" if name in (*columns, "label") else name] = texts
    columns["label"] = labels
    if path.suffix.lower() == ".npz":
        arrays = {name: np.asarray(values) for name, values in columns.items()}
        write_arrays(
            {k: a.astype(str) if a.dtype.kind == "O" else a for k, a in arrays.items()},
            path,
        )
    elif path.suffix.lower() == ".parquet":
        pd.DataFrame(columns).to_parquet(path, index=False)
    else:  # a label may hold half a character
        pd.DataFrame(columns).to_csv(path, index=False, errors="backslashreplace")


@contextmanager
def all_or_none(targets: Mapping[str, Path]) -> Iterator[dict[str, Path]]:
    """Give empty files beside the targets; move them there at the end, or none."""
    moves: list[tuple[Path, Path]] = []
    made = {}
    try:
        for name, path in targets.items():
            final = path.resolve()  # a link stays a link
            short = f".epic-{secrets.token_hex(8)}{format_of(final)}"
            made[name] = final.with_name(short)
            moves.append((made[name], final))
            made[name].touch(exist_ok=False)
            if final.exists():
                shutil.copymode(final, made[name])
        yield made
        for temporary, final in moves:
            os.replace(temporary, final)
    finally:
        for temporary, _ in moves:
            temporary.unlink(missing_ok=True)


def _write_report(findings: Findings, data: Any, images: Any, path: Path) -> None:
    problem, case, names = findings.problem, findings.case, findings.problem.names
    assert case is not None  # the rows were looked at again
    if images is None and problem.images is not None:  # the examples are pictures
        case, names = replace(case, X=problem.images), None
    kind, name_of = problem.rows
    page = Page(
        data.path.name,
        images,
        names,
        problem.warnings,
        kind,
        name_of,
        {k: texts for k, texts in findings.asides().items() if k != kind},
        [(column.name, column.what) for column in problem.columns],
    )
    write_page(case, page, path, environment())


def write_all(findings: Findings, data: Any, images: Any, cut: set[str]) -> None:
    """Write all files that were asked for, or none."""
    with all_or_none(findings.options.outputs) as paths:
        if "out" in paths:
            data.write_rows(findings.detector.keep_, paths["out"], cut)
        if "mask" in paths:
            write_mask(findings, paths["mask"])
        if "report" in paths:
            _write_report(findings, data, images, paths["report"])
