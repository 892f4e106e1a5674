"""What a scan found, as a table or as JSON."""

from __future__ import annotations

import csv
import io
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..filter import EPICFilter
from ._npz import write_arrays
from ._parquet import import_pyarrow


@dataclass
class Findings:
    """Result of a scan.

    Parameters
    ----------
    data : Path
        The file.
    labels : ndarray of shape (n,)
        Its labels.
    detector : EPICFilter
        Fitted.
    source : str
        Where the gradients come from.
    seconds : float
        Time for fitting the model and finding the isolated rows.
    notes : list of str
        What the user should know.
    warnings : list of str
        Why the result is worth little.
    outputs : dict of str to Path
        Option and file, of what was written.
    """

    data: Path
    labels: np.ndarray
    detector: EPICFilter
    source: str
    seconds: float
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    outputs: dict[str, Path] = field(default_factory=dict)

    @property
    def n_flagged(self) -> int:
        """Rows that are not kept."""
        return len(self.detector.isolated_indices_)

    def classes(self) -> list[dict[str, Any]]:
        """Rows and flagged rows of each class."""
        _, codes = np.unique(self.labels, return_inverse=True)
        rows = np.bincount(codes)
        flagged = np.bincount(codes[~self.detector.keep_], minlength=len(rows))
        return [
            {"label": label, "rows": n, "flagged": m, "share": m / n}
            for label, n, m in zip(
                self.detector.classes_.tolist(),
                rows.tolist(),
                flagged.tolist(),
                strict=True,
            )
        ]


def printable(label: Any) -> str:
    r"""Text of a label: no control characters, quotes where its ends are blank.

    Examples
    --------
    >>> from epic_sklearn.cli._summary import printable
    >>> print(printable("cat"), printable("cat "), printable("a\x1b[2J"))
    cat 'cat ' a\x1b[2J
    """
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(label))
    return text if text == text.strip() and text else repr(text)


def _settings(detector: EPICFilter) -> dict[str, Any]:
    """Name the rule and the parameters that it looks at."""
    if detector.rule == "neighbors":
        return {"rule": detector.rule, "cutoff": detector.cutoff}
    return {
        "rule": detector.rule,
        "subset_size": detector.subset_size,
        "threshold": detector.threshold,
    }


def as_json(findings: Findings) -> str:
    """One line of JSON."""
    n = len(findings.labels)
    detector = findings.detector
    return json.dumps(
        {
            "data": str(findings.data),
            "rows": n,
            "flagged": findings.n_flagged,
            "share": findings.n_flagged / n,
            "classes": findings.classes(),
            "rho": detector.rho_,
            "rounds": len(detector.rounds_),
            "gradients": findings.source,
            **_settings(detector),
            "seconds": round(findings.seconds, 3),
            "outputs": {k.lstrip("-"): str(v) for k, v in findings.outputs.items()},
            "notes": findings.notes,
            "warnings": findings.warnings,
        }
    )


def as_table(findings: Findings, width: int | None = None) -> str:
    """Draw a table for people, in colour on a terminal.

    Parameters
    ----------
    findings : Findings
        What to show.
    width : int, optional
        Characters a line; default: the terminal's, elsewhere 80.

    Returns
    -------
    str
    """
    unicode = "utf" in (sys.stdout.encoding or "").lower()
    table = Table(box=box.ROUNDED if unicode else box.ASCII)
    table.add_column("class", overflow="fold")
    for name in ("rows", "flagged", "share"):
        table.add_column(name, justify="right", no_wrap=True)
    n = len(findings.labels)
    for row in findings.classes():
        # Text, not str: a label may hold rich's markup.
        table.add_row(
            Text(printable(row["label"])), *_cells(row["rows"], row["flagged"])
        )
    table.add_section()
    table.add_row("all", *_cells(n, findings.n_flagged), style="bold")
    console = Console(file=io.StringIO(), width=width, force_terminal=_in_colour())
    console.print(table)
    detector = findings.detector
    lines = [f"Warning: {text}" for text in findings.warnings]
    lines += [
        f"Gradients: {findings.source}. Rule {detector.rule}, "
        f"{len(detector.rounds_)} round(s), "
        f"rho {detector.rho_:.3g}, {findings.seconds:.1f} s."
    ]
    lines += [f"{k[2:].capitalize()}: {v}" for k, v in findings.outputs.items()]
    return console.file.getvalue() + "\n".join(lines)  # type: ignore[attr-defined]


def _cells(rows: int, flagged: int) -> tuple[str, str, str]:
    return f"{rows:,}", f"{flagged:,}", f"{flagged / rows:.1%}"


def _in_colour() -> bool | None:
    return True if sys.stdout.isatty() else None


def write_mask(findings: Findings, path: Path) -> None:
    """Write one line a row: number, kept or not, score, cluster size, label.

    Parameters
    ----------
    findings : Findings
        Result of the scan.
    path : Path
        CSV, NPZ or Parquet file, by its suffix.
    """
    detector = findings.detector
    columns = {
        "row": np.arange(len(findings.labels)),
        "kept": detector.keep_,
        "isolation_score": detector.isolation_score_,
        "cluster_size": detector.cluster_sizes_,
        "label": findings.labels,
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
        with open(
            path, "w", newline="", encoding="utf-8", errors="backslashreplace"
        ) as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            lists = (column.tolist() for column in columns.values())
            writer.writerows(zip(*lists, strict=True))
