"""A reviewer's decisions: which fit they belong to, and reading them back."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..schedule import DropSchedule
from ..validation import digest

COLUMNS = ("row", "decision", "fit")
N_SHOWN = 5
GIVE = (
    "Give the CSV that the audit page downloads, or a mapping from row numbers to "
    "'keep' or 'drop'."
)


def fit_id(schedule: DropSchedule) -> str:
    """Name a fit by its rows, where their digest is known, labels, and what was found.

    Of the latter whole numbers only: the last bits of a score differ from one machine
    to the next, and a review must not be lost to that. Decisions leave it unchanged.
    No spreadsheet takes "fit-" and hexadecimal digits for a number.
    """
    details = [np.asarray(values) for _, values in sorted(schedule.details.items())]
    whole = [values for values in details if values.dtype.kind in "iub"]
    labels = np.array(repr(schedule.classes.tolist()))
    rows = np.array(schedule.seen or "")
    found = digest(rows, labels, schedule.codes, schedule.dropped_at_epoch, *whole)
    return f"fit-{found[:16]}"


def _list_of(problems: list[str]) -> str:
    shown = "; ".join(problems[:N_SHOWN])
    more = len(problems) - N_SHOWN
    return f"{shown}; and {more} more" if more > 0 else shown


def _from_file(path: Path, fit: str) -> dict[int, str]:
    """Decisions by row, also as a spreadsheet saves the file again."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file in UTF-8. {GIVE}") from error
    header = text.partition("\n")[0]
    delimiter = next((c for c in ",;\t" if c in header), ",")
    lines = csv.DictReader(text.splitlines(keepends=True), delimiter=delimiter)
    missing = [name for name in COLUMNS if name not in (lines.fieldnames or ())]
    if missing:
        raise ValueError(
            f"{path} has no column {', '.join(missing)}; its first line is "
            f"{header.strip()[:80]!r}. {GIVE}"
        )
    decisions, problems, others = dict[int, str](), [], set[str]()
    for number, line in enumerate(lines, start=2):
        row, word, of_fit = (str(line[name] or "").strip() for name in COLUMNS)
        others |= {of_fit} - {fit}
        if not (row.isascii() and row.isdigit()):
            problems.append(f"line {number}: row is {row!r}, not a row number")
        elif int(row) in decisions:
            problems.append(f"line {number}: row {row} occurs a second time")
        else:
            decisions[int(row)] = word.lower()
    if others:
        raise ValueError(
            f"{path} was made for another fit ({_list_of(sorted(others))}; this is "
            f"{fit}): other data, another order of rows or other parameters. Fit as "
            "you did for the report. If you are sure that its row numbers are of these "
            "rows, give a mapping from row numbers to 'keep' or 'drop'."
        )
    if problems:
        raise ValueError(f"{path} cannot be used: {_list_of(problems)}.")
    return decisions


def _check(decisions: Mapping[Any, Any], place: Mapping[int, int]) -> None:
    n, problems = max(place) + 1, []
    less = ", without those that the net's train_split sets aside" * (n > len(place))
    for row, word in decisions.items():
        if isinstance(row, bool) or row not in place:
            problems.append(f"there is no row {row!r}, rows are 0 to {n - 1}{less}")
        if word not in ("keep", "drop"):
            problems.append(
                f"the decision on row {row} is {word!r}, not 'keep' or 'drop'"
            )
    if problems:
        raise ValueError(f"The decisions cannot be used: {_list_of(problems)}.")


def read_decisions(
    schedule: DropSchedule,
    rows: np.ndarray,
    decisions: str | PathLike[str] | Mapping[int, str],
) -> tuple[np.ndarray, np.ndarray]:
    """Give places (m,) among the judged rows (n,), and whether to keep each (m,).

    For parameters and errors see :meth:`epic_sklearn.EPICFilter.apply_decisions`.
    """
    if isinstance(decisions, str | PathLike):
        decisions = _from_file(Path(decisions), fit_id(schedule))
    elif not isinstance(decisions, Mapping):
        raise TypeError(
            f"decisions is a {type(decisions).__name__}, no path and no mapping. {GIVE}"
        )
    place = {row: i for i, row in enumerate(rows.tolist())}
    _check(decisions, place)
    decided = np.array([place[row] for row in decisions], dtype=np.int64)
    keep = np.array([word == "keep" for word in decisions.values()], dtype=bool)
    after = schedule.keep.copy()
    after[decided] = keep
    n_kept = np.bincount(schedule.codes[after], minlength=len(schedule.classes))
    emptied = [repr(label) for label in schedule.classes[n_kept == 0].tolist()]
    if emptied:
        raise ValueError(
            f"The decisions would leave no row of class {_list_of(emptied)}; "
            "keep at least one, or remove the class from the data."
        )
    return decided, keep
