"""A reviewer's decisions: which fit they belong to, and reading them back."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Mapping
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

WORDS = ("keep", "drop")
COLUMNS = ("row", "decision", "fit")
N_SHOWN = 5


def fit_id(detector: Any) -> str:
    """Name a fit by its labels and by what its rounds found.

    Whole numbers only: the last bits of a score differ from one machine to the
    next, and a review must not be lost to that. Decisions leave it unchanged.

    Parameters
    ----------
    detector : EPICFilter
        Fitted.

    Returns
    -------
    str
        "fit-" and 16 hexadecimal digits: no spreadsheet takes it for a number.
    """
    digest = hashlib.sha256(repr(detector.classes_.tolist()).encode())
    details = [np.asarray(values) for _, values in sorted(detector.details_.items())]
    for values in (detector._codes, detector.dropped_at_round_, *details):
        if values.dtype.kind in "iub":
            digest.update(np.ascontiguousarray(values, dtype="<i8").tobytes())
    return f"fit-{digest.hexdigest()[:16]}"


def _list_of(problems: list[str]) -> str:
    shown = "; ".join(problems[:N_SHOWN])
    more = len(problems) - N_SHOWN
    return f"{shown}; and {more} more" if more > 0 else shown


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """Lines of a CSV file, also as a spreadsheet saves it again."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not a text file in UTF-8; give the CSV that the audit page "
            "downloads."
        ) from error
    header = text.partition("\n")[0]
    delimiter = next((c for c in ",;\t" if c in header), ",")
    lines = csv.DictReader(text.splitlines(keepends=True), delimiter=delimiter)
    missing = [name for name in COLUMNS if name not in (lines.fieldnames or ())]
    if missing:
        raise ValueError(
            f"{path} has no column {', '.join(missing)}; its first line is "
            f"{header.strip()[:80]!r}. Give the CSV that the audit page downloads, or "
            "a mapping from row numbers to 'keep' or 'drop'."
        )
    return list(lines)


def _check_fit(path: Path, lines: Iterable[dict[str, Any]], fit: str) -> None:
    others = sorted({str(line["fit"]).strip() for line in lines} - {fit})
    if others:
        raise ValueError(
            f"{path} was made for another fit ({_list_of(others)}; this is {fit}): "
            "other data, another order of rows or other parameters. Fit as you did "
            "for the report. If you are sure that its row numbers are of these rows, "
            "give a mapping from row numbers to 'keep' or 'drop'."
        )


def _from_file(path: Path, fit: str) -> dict[int, str]:
    lines = _read_lines(path)
    _check_fit(path, lines, fit)
    decisions: dict[int, str] = {}
    problems = []
    for number, line in enumerate(lines, start=2):
        text = str(line["row"] or "").strip()
        if not (text.isascii() and text.isdigit()):
            problems.append(f"line {number}: row is {text!r}, not a row number")
        elif int(text) in decisions:
            problems.append(f"line {number}: row {text} occurs a second time")
        else:
            decisions[int(text)] = str(line["decision"] or "").strip().lower()
    if problems:
        raise ValueError(f"{path} cannot be used: {_list_of(problems)}.")
    return decisions


def _check(decisions: Mapping[Any, Any], n: int) -> None:
    problems = []
    for row, word in decisions.items():
        is_number = isinstance(row, Integral) and not isinstance(row, bool)
        if not is_number or not 0 <= row < n:
            problems.append(f"there is no row {row!r}, rows are 0 to {n - 1}")
        if word not in WORDS:
            problems.append(
                f"the decision on row {row} is {word!r}, not 'keep' or 'drop'"
            )
    if problems:
        raise ValueError(f"The decisions cannot be used: {_list_of(problems)}.")


def decided_keep(
    detector: Any, decisions: str | PathLike[str] | Mapping[int, str]
) -> np.ndarray:
    """Give the keep mask that a reviewer's decisions make of the filter's own.

    Parameters
    ----------
    detector : EPICFilter
        Fitted; not changed.
    decisions : str, path-like or mapping of int to {"keep", "drop"}
        A CSV file of this fit, or row numbers and decisions.

    Returns
    -------
    ndarray of shape (n,), bool

    Raises
    ------
    TypeError
        If `decisions` is neither a path nor a mapping.
    ValueError
        If they cannot be used; see :meth:`EPICFilter.apply_decisions`.
    """
    if isinstance(decisions, str | PathLike):
        decisions = _from_file(Path(decisions), fit_id(detector))
    elif not isinstance(decisions, Mapping):
        raise TypeError(
            f"decisions is a {type(decisions).__name__}; give the path of a CSV file, "
            "or a mapping from row numbers to 'keep' or 'drop'."
        )
    keep = detector.keep_.copy()
    _check(decisions, len(keep))
    for row, word in decisions.items():
        keep[row] = word == "keep"
    n_kept = np.bincount(detector._codes[keep], minlength=len(detector.classes_))
    emptied = [repr(label) for label in detector.classes_[n_kept == 0].tolist()]
    if emptied:
        raise ValueError(
            f"The decisions would leave no row of class {_list_of(emptied)}; "
            "keep at least one, or remove the class from the data."
        )
    return keep
