"""A reviewer's decisions: which fit they belong to, and reading them back."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from .._utils import shortened
from ..schedule import DropSchedule
from ..validation import digest

COLUMNS = ("row", "decision", "fit")
GIVE = "Give the CSV that the audit page downloads."


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


def _from_file(path: Path, fit: str) -> tuple[dict[int, str], dict[int, str]]:
    """Decisions and labels by row, also as a spreadsheet saves the file again."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file in UTF-8. {GIVE}") from error
    header = text.partition("\n")[0]
    delimiter = next((c for c in ",;\t" if c in header), ",")
    # Not by splitlines, which splits at more than a spreadsheet does.
    lines = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    missing = [name for name in COLUMNS if name not in (lines.fieldnames or ())]
    if missing:
        raise ValueError(
            f"{path} has no column {', '.join(missing)}; its first line is "
            f"{header.strip()[:80]!r}. {GIVE}"
        )
    twice = [name for name in COLUMNS if list(lines.fieldnames or ()).count(name) > 1]
    if twice:
        raise ValueError(f"{path} has several columns {', '.join(twice)}. {GIVE}")
    decisions, labels = dict[int, str](), dict[int, str]()
    for number, line in enumerate(lines, start=2):
        row, word, of_fit = (str(line[name] or "").strip() for name in COLUMNS)
        if of_fit != fit:
            raise ValueError(
                f"{path} was made for another fit ({of_fit}; this is {fit}): other "
                "data, another order of rows or other parameters. Do as you did for "
                "the page. (In Python a mapping from row numbers to 'keep' or 'drop' "
                "is taken without that check.)"
            )
        if not (row.isascii() and row.isdigit()) or int(row) in decisions:
            raise ValueError(
                f"{path}, line {number}: row is {row!r}, which is no row number or "
                "occurs a second time."
            )
        decisions[int(row)] = word.lower()
        labels[int(row)] = str(line.get("label") or "")
    return decisions, labels


def _refuse_moved(schedule: DropSchedule, places: dict[int, str]) -> None:
    """Refuse labels by place (m,) that say another class than the place's own.

    What a spreadsheet made of a label may be none: only other classes' are told.
    """

    def key(label: object) -> str:
        return shortened(label).strip().lstrip("'").casefold()

    classes = schedule.classes.tolist()
    known = {key(label): code for code, label in enumerate(classes)}
    for place, said in places.items():
        own = int(schedule.codes[place])
        if len(known) == len(classes) and known.get(key(said), own) != own:
            raise ValueError(
                f"A decision is on a row of class {classes[own]!r}, and its line says "
                f"{said!r}: row numbers were moved against the rest of their lines. "
                f"{GIVE}"
            )


def _by_index(index: Any, decisions: Any) -> dict[int, str]:
    """Decisions by row number, of a Series whose index names rows of the fit's."""
    if index is None or not index.is_unique or not decisions.index.isin(index).all():
        raise ValueError(
            "decisions is a Series whose index does not name rows of the fit, each by "
            "one label. Give row numbers and decisions as a dict."
        )
    if not decisions.index.is_unique:
        raise ValueError("decisions names a row twice.")
    places = index.get_indexer(decisions.index).tolist()
    return dict(zip(places, decisions.tolist(), strict=True))


def _refuse_labels(index: Any, decisions: Mapping[int, str]) -> None:
    """Refuse numbers that may be meant as labels of an index that counts otherwise."""
    if index is None or index.dtype.kind not in "iu":
        return
    rows = np.flatnonzero(index.isin(list(decisions)))
    others = index[rows][index[rows] != rows].tolist()
    if others:
        raise ValueError(
            f"Row number {others[0]} is not the row whose index is {others[0]}. Give a "
            "pandas Series of decisions, whose index names the rows, or the page's CSV."
        )


def read_decisions(
    schedule: DropSchedule,
    rows: np.ndarray,
    decisions: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """Give places (m,) among the judged rows (n,), and whether to keep each (m,).

    For parameters and errors see :meth:`epic_sklearn.EPICFilter.apply_decisions`.
    """
    said = dict[int, str]()
    if isinstance(decisions, str | PathLike):
        decisions, said = _from_file(Path(decisions), fit_id(schedule))
    elif hasattr(decisions, "iloc"):
        decisions = _by_index(schedule.index, decisions)
    elif isinstance(decisions, Mapping):
        _refuse_labels(schedule.index, decisions)
    else:
        raise TypeError(
            f"decisions is a {type(decisions).__name__}: no path, mapping or Series. "
            f"{GIVE}"
        )
    place = {row: i for i, row in enumerate(rows.tolist())}
    for row, word in decisions.items():
        if isinstance(row, bool) or row not in place:
            n = max(place) + 1
            less = ", without those that the net's train_split sets aside"
            raise ValueError(
                f"There is no row {row!r}, rows are 0 to {n - 1}"
                f"{less * (n > len(place))}."
            )
        if word not in ("keep", "drop"):
            raise ValueError(
                f"The decision on row {row} is {word!r}, not 'keep' or 'drop'."
            )
    _refuse_moved(schedule, {place[row]: label for row, label in said.items()})
    decided = np.array([place[row] for row in decisions], dtype=np.int64)
    keep = np.array([word == "keep" for word in decisions.values()], dtype=bool)
    after = schedule.keep.copy()
    after[decided] = keep
    n_kept = np.bincount(schedule.codes[after], minlength=len(schedule.classes))
    if not n_kept.all():
        emptied = schedule.classes.tolist()[n_kept.argmin()]
        raise ValueError(
            f"The decisions would leave no row of class {emptied!r}; keep at least "
            "one, or remove the class from the data."
        )
    return decided, keep
