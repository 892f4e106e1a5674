"""What a scan gives: a table or JSON, and files that are complete or not there."""

from __future__ import annotations

import csv
import io
import json
import os
import secrets
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..filters import EPICFilter
from ._npz import write_arrays
from ._options import ScanOptions
from ._parquet import import_pyarrow
from ._problem import Problem


@dataclass
class Findings:
    """What was asked, what of, the fitted filter, and the seconds that it took."""

    options: ScanOptions
    problem: Problem
    detector: EPICFilter
    seconds: float

    @property
    def n_isolated(self) -> int:
        """Rows that are not kept."""
        return len(self.detector.isolated_indices_)

    def counts(self) -> dict[str, Any]:
        """Rows in all, isolated and kept."""
        return _counts(len(self.problem.labels), self.n_isolated)

    def classes(self) -> list[dict[str, Any]]:
        """Rows of each class in all, isolated and kept."""
        classes, codes = np.unique(self.problem.labels, return_inverse=True)
        isolated = np.bincount(codes[~self.detector.keep_], minlength=len(classes))
        return [
            {"label": label, **_counts(n, m)}
            for label, n, m in zip(
                classes.tolist(),
                np.bincount(codes).tolist(),
                isolated.tolist(),
                strict=True,
            )
        ]


def _counts(rows: int, isolated: int) -> dict[str, Any]:
    return {
        "rows": rows,
        "isolated": isolated,
        "kept": rows - isolated,
        "share": isolated / rows,
    }


def printable(label: Any) -> str:
    r"""Text of a label: no control characters, quotes where its ends are blank.

    Examples
    --------
    >>> from epic_sklearn.cli._outputs import printable
    >>> print(printable("cat"), printable("cat "), printable("a\x1b[2J"))
    cat 'cat ' a\x1b[2J
    """
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(label))
    return text if text == text.strip() and text else repr(text)


def as_json(findings: Findings) -> str:
    """One line of JSON."""
    detector, problem = findings.detector, findings.problem
    outputs = findings.options.outputs
    return json.dumps(
        {
            "data": str(findings.options.data),
            **findings.counts(),
            "classes": findings.classes(),
            "rho": detector.rho_,
            "rounds": len(detector.rounds_),
            "gradients": problem.source,
            "rule": type(detector.rule_).__name__,
            "parameters": detector.rule_.get_params(),
            "seconds": round(findings.seconds, 3),
            "outputs": {k.lstrip("-"): str(path) for k, path in outputs.items()},
            "notes": problem.notes,
            "warnings": problem.warnings,
        }
    )


def as_table(findings: Findings) -> str:
    """Draw a table for people, in colour on a terminal."""
    unicode = "utf" in (sys.stdout.encoding or "").lower()
    table = Table(box=box.ROUNDED if unicode else box.ASCII)
    table.add_column("class", overflow="fold")
    for name in ("rows", "isolated", "share"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in findings.classes():
        # Text, not str: a label may hold rich's markup.
        table.add_row(Text(printable(row["label"])), *_cells(row))
    table.add_section()
    table.add_row("all", *_cells(findings.counts()), style="bold")
    in_colour = True if sys.stdout.isatty() else None
    console = Console(file=io.StringIO(), force_terminal=in_colour)
    console.print(table)
    detector, problem = findings.detector, findings.problem
    rule = " ".join(repr(detector.rule_).split())
    lines = [f"Warning: {text}" for text in problem.warnings]
    lines += [
        f"Gradients: {problem.source}. Rule: {rule}, {len(detector.rounds_)} round(s), "
        f"rho {detector.rho_:.3g}, {findings.seconds:.1f} s."
    ]
    for option, path in findings.options.outputs.items():
        lines.append(f"{option[2:].capitalize()}: {path}")
    return console.file.getvalue() + "\n".join(lines)  # type: ignore[attr-defined]


def _cells(counts: dict[str, Any]) -> tuple[str, str, str]:
    return f"{counts['rows']:,}", f"{counts['isolated']:,}", f"{counts['share']:.1%}"


def write_mask(findings: Findings, path: Path) -> None:
    """Write one line a row: number, kept or not, score, the rule's details, label."""
    detector = findings.detector
    columns = {
        "row": np.arange(len(findings.problem.labels)),
        "kept": detector.keep_,
        "isolation_score": detector.isolation_score_,
        **detector.details_,
        "label": findings.problem.labels,
    }
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        pyarrow, parquet = import_pyarrow()
        parquet.write_table(pyarrow.table(columns), path)
    elif suffix == ".npz":
        if columns["label"].dtype.kind == "O":
            columns["label"] = columns["label"].astype(str)
        write_arrays(columns, path)
    else:
        # A label may hold half a character.
        with open(
            path, "w", newline="", encoding="utf-8", errors="backslashreplace"
        ) as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            lists = (column.tolist() for column in columns.values())
            writer.writerows(zip(*lists, strict=True))


class AtomicFiles:
    """Files written under another name beside their place, then moved there.

    All are moved when the block ends, and none if it fails.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from epic_sklearn.cli._outputs import AtomicFiles
    >>> with TemporaryDirectory() as folder:
    ...     target = Path(folder, "out.txt")
    ...     with AtomicFiles() as files:
    ...         _ = files.temporary(target).write_text("done")
    ...         before = target.exists()
    ...     before, target.read_text()
    (False, 'done')
    """

    def __init__(self) -> None:
        self._moves: list[tuple[Path, Path]] = []

    def __enter__(self) -> AtomicFiles:
        return self

    def temporary(self, path: Path) -> Path:
        """Make an empty file to write in the place of `path`."""
        final = path.resolve()  # a link stays a link
        temporary = final.with_name(f".epic-{secrets.token_hex(8)}{final.suffix}")
        self._moves.append((temporary, final))
        temporary.touch(exist_ok=False)
        if final.exists():
            shutil.copymode(final, temporary)
        return temporary

    def __exit__(self, kind: type[BaseException] | None, *given: object) -> None:
        try:
            if kind is None:
                for temporary, final in self._moves:
                    os.replace(temporary, final)
        finally:
            for temporary, _ in self._moves:
                temporary.unlink(missing_ok=True)
