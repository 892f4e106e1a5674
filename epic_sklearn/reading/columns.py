"""Columns typed once, from text: numbers, dates, texts; and labels as classes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np
import pandas as pd

from .._utils import shortened
from .errors import N_SHOWN, Unusable, as_option, refuse_if
from .values import (
    LARGEST_WHOLE,
    MANY,
    NAN,
    Reading,
    as_number,
    as_numbers,
    as_values,
    beyond_floats,
    dates_as,
    refuse_odd,
)

QUOTED = re.compile(r"'[^']*'")
WHOLE = re.compile(r"0|-?[1-9]\d{0,17}")  # a label that is a number, in 64 bits
NEARLY_ALL = 0.95  # share of different texts from which they are an id
# Where nobody gave a name: R's and pandas' index, pandas' index read back.
NAMELESS = re.compile(r"\s*|Unnamed: \d+|__index_level_\d+__")


@dataclass(frozen=True)
class Column:
    """A typed column, or a block of numbers from an array; what was done to it."""

    name: str
    values: Any  # (n,) or (n, k): numbers, datetime64 or Categorical; None: left out
    what: str
    aside: Any = None  # of a column left out: its texts (n,), to be shown


def as_in_data(more: list[str], written: str, how: Reading, texts: Any) -> Any:
    """Numbers, or dates in a format, of the examples' texts, as in the data."""
    values = dates_as(more, written) if written else as_numbers(more, *how.marks)
    for text in compress(more, pd.isna(values)):
        kind, row = "dates" if written else "numbers", int((texts == text).argmax())
        raise Unusable(f"holds {kind} in the data, and {text!r} in {how.place(row)}")
    return values


def text_column(name: str, texts: pd.Series, how: Reading) -> Column:
    """Type a column of texts as a whole, by its first `how.n` rows if given."""
    is_category = isinstance(texts.dtype, pd.CategoricalDtype)  # a file may say so
    codes, found = pd.factorize(texts)  # in the order in which they appear
    found = np.asarray(found, dtype=object).tolist()
    n_of_data = int(codes[: how.n].max(initial=-1)) + 1
    filled, more = (
        [text for text in part if not how.is_gap(text, name)]
        for part in (found[:n_of_data], found[n_of_data:])
    )
    known = pd.Categorical.from_codes(codes, found).set_categories([*filled, *more])
    given = known.codes[: how.n]
    n_missing, given = int((given < 0).sum()), given[given >= 0]
    missing = f", {n_missing} missing" if n_missing else ""
    if not filled:
        return Column(name, None, "left out: empty")
    if not is_category and name not in how.as_text:
        how = how.of(name)
        values, what, written = as_values(filled, how)
        if values is not None:
            gap = np.array(["NaT" if written else "nan"], values.dtype)
            if more:
                values = np.append(values, as_in_data(more, written, how, texts))
            return Column(name, np.append(values, gap)[known.codes], what + missing)
        refuse_odd(filled, how)
    n_phrases = sum(len(text.split()) > 1 for text in filled)
    is_each_another = len(given) > MANY and len(filled) >= NEARLY_ALL * len(given)
    is_id = is_each_another and 2 * n_phrases < len(filled)
    if is_id and name not in (*how.as_text, *how.features):
        return Column(name, None, "left out: an id (--text uses it)", texts)
    kind = "category" if len(filled) < MANY else "text"
    if more and kind == "category":
        at = how.place(int((texts == more[0]).argmax()))
        how.notes.append(
            f"{at} has {more[0]!r} in {name!r}, which no row of the data has"
            + f"; so have {len(more) - 1} other values" * (len(more) > 1)
            + ": the model makes nothing of it."
        )
    return Column(name, known, f"{kind}, {len(filled)} different{missing}")


def number_column(name: str, values: np.ndarray, how: Reading) -> Column:
    """Type numbers (n, ...) that a file holds as such."""
    values = values.reshape(len(values), -1) if values.ndim > 1 else values
    if values.dtype.kind == "b":
        values = values.astype(np.float64)
    if values.dtype.kind in "iu":
        large = values[np.abs(values.astype(np.float64)) >= LARGEST_WHOLE].ravel()
        if np.isnan(as_numbers(list(map(str, large.tolist())))).any():
            raise beyond_floats(large[0])
    for text in how.missing:
        is_gap = values == as_number(text)
        if is_gap.any():
            how.met.add(text)
            values = np.where(is_gap, np.nan, values)
    n_missing = int(np.isnan(values[: how.n]).sum())
    if values.size and n_missing == values[: how.n].size:
        return Column(name, None, "left out: empty")
    return Column(name, values, "number" + f", {n_missing} missing" * (n_missing > 0))


def as_texts(values: np.ndarray) -> pd.Series:
    """Numbers as a CSV file would hold them: whole ones without a point."""
    texts = [str(v).removesuffix(".0") if v == v else "" for v in values.tolist()]
    return pd.Series(texts, dtype=object)


def counts_rows(values: Any) -> bool:
    """Whether a column of numbers goes up by one from row to row."""
    if not isinstance(values, np.ndarray) or values.ndim != 1:
        return False
    is_number = values.dtype.kind in "fiu"
    return is_number and bool((np.diff(values.astype(np.float64)) == 1).all())


def are_names(texts: list[str]) -> bool:
    """Whether a first line names columns: no row of numbers, or 0, 1, ..; 2020, 2021.

    Larger numbers name columns if they are years or, five at least, wavelengths.
    """
    numbers = as_numbers(texts)
    if np.isnan(numbers).any():
        return True
    if texts == list(map(str, range(max(2, len(texts))))):
        return True
    steps = np.diff(numbers)
    is_regular = len(steps) > 0 and steps[0] > 0 and np.allclose(steps, steps[0])
    are_years = numbers[0] >= 1000 and (steps == 1).all()
    return bool(is_regular and (are_years or (numbers[0] >= 100 and len(steps) > 3)))


def typed(name: str, raw: Any, how: Reading) -> Column:
    """Type what a file holds; an index is left out, infinite numbers are refused."""
    if isinstance(raw, Unusable):
        raise raw
    is_nested = name in how.nested and name not in how.as_text
    way_out = "give a column for each of their parts"
    refuse_if(is_nested, f"holds lists or objects: {way_out}")
    is_column = isinstance(raw, np.ndarray) and raw.ndim == 1
    if is_column and (name in how.as_text or raw.dtype.kind == "b"):  # as in a CSV file
        raw = as_texts(raw)
    if isinstance(raw, np.ndarray):
        column = number_column(name, raw, how)
    else:
        column = text_column(name, raw, how)
    values = column.values
    is_count = values is not None and counts_rows(values[: how.n])
    if NAMELESS.fullmatch(name) and values is not None:
        why = "has no name and does not count the rows: an index? Name it"
        refuse_if(not is_count, why)
        return Column(name, None, "left out: an index, it counts the rows")
    if is_count:
        counts = "number that counts the rows: --exclude it?"
        return Column(name, values, column.what.replace("number", counts))
    if isinstance(values, np.ndarray) and values.dtype.kind == "f":
        rows = np.flatnonzero(np.isinf(values).reshape(len(values), -1).any(axis=1))
        if len(rows):
            where = f"{how.place(rows[0])} ({len(rows)} of {len(values)} rows)"
            raise Unusable(f"has an infinite number in {where}")
    return column


def type_columns(raw: dict[str, Any], how: Reading) -> list[Column]:
    """Type all columns; refuse those that fail in one error, so one look is enough."""
    columns, problems = [], {}
    for name in list(raw):
        try:
            columns.append(typed(name, raw.pop(name), how))
        except Unusable as error:
            problems[name] = str(error)
    if not problems:
        return columns
    leave_out = f"out with --exclude {as_option(problems)} or mend"
    alike = dict[str, list[str]]()  # by what is wrong, whatever the example
    for name, why in problems.items():
        alike.setdefault(QUOTED.sub("", why), []).append(name)
    lines = [
        f"{first!r} {problems[first]}"
        + f"; alike: {', '.join(map(repr, others[:N_SHOWN]))}" * bool(others)
        for first, *others in alike.values()
    ]
    if len(problems) == 1:
        raise Unusable(f"Column {lines[0]}. Leave it {leave_out} it.")
    lines[N_SHOWN:] = [f"and {len(lines) - N_SHOWN} more"] * (len(lines) > N_SHOWN)
    lines = [f"{len(problems)} columns cannot be used:", *lines]
    raise Unusable("\n  ".join(lines) + f"\nLeave them {leave_out} them.")


def is_no_label(value: Any, gaps: Sequence[str]) -> bool:
    """Whether a label is missing; NA may be a class."""
    text = str(value).strip()
    return text in ("", *gaps) or bool(NAN.fullmatch(text))


def check_labels(name: str, raw: Any, how: Reading) -> np.ndarray:
    """Turn labels, as a file holds them, into an array that scikit-learn takes."""
    if isinstance(raw, Unusable):
        raise Unusable(f"Label column {name!r} {raw}.")
    raw = np.asarray(raw)
    raw = raw[:, 0] if raw.shape[1:] == (1,) else raw
    shape = f"{raw.shape}; it must be (n,), one label a row"
    refuse_if(raw.ndim != 1, f"Label array {name!r} has shape {shape}.")
    labels = raw.tolist()
    # A number is a class by its text, 2.0 by that of 2.
    texts = [x if isinstance(x, str) else str(x).removesuffix(".0") for x in labels]
    empty = [row for row, text in enumerate(texts) if is_no_label(text, how.missing)]
    if empty:
        where = ", ".join(map(how.place, empty[:N_SHOWN]))
        where += f" and {len(empty) - N_SHOWN} more" * (len(empty) > N_SHOWN)
        gap = texts[empty[0]].strip()
        what = f"{gap!r}, which is no label," if gap else "empty"
        raise Unusable(
            f"Label column {name!r} is {what} in {where}; label or drop these rows, or "
            "give --skip-unlabelled."
        )
    different = set(texts)
    if 2 * len(different) > max(len(labels), 4):
        raise Unusable(
            f"Label column {name!r} has {len(different)} different values in "
            f"{len(labels)} rows, such as {shortened(labels[0], 40)!r}: these are no "
            "classes."
        )
    if isinstance(labels[0], bool):
        return np.array(labels)
    if all(map(WHOLE.fullmatch, different)):
        return np.array(list(map(int, texts)))
    return np.array(texts, dtype=object)
