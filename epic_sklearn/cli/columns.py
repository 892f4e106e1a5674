"""Columns typed once, from text: numbers, dates, texts; and labels as classes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from difflib import get_close_matches
from typing import Any

import click
import numpy as np
import pandas as pd

from ..report import shortened

N_SHOWN = 20
LARGEST_WHOLE = 2**53  # floats tell whole numbers apart up to here
MISSING = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "<NA>", "NaT")
QUOTED = re.compile(r"'[^']*'")
NAN = re.compile(r"[-+]?nan", re.IGNORECASE)
WHOLE = re.compile(r"0|-?[1-9]\d{0,17}")  # a label that is a number, in 64 bits
MANY_GAPS = 5  # isolated rows from which it is worth a note
MANY = 40  # different texts, from which skrub takes a column as free text
NEARLY_ALL = 0.95  # share of different texts from which they are an id
CODE = re.compile(r"\s*0\d+\s*")  # 00714: a post code, a customer
ZONE = re.compile(r":\d\d\S*([Zz]|[+-]\d\d:?\d\d)\s*$")  # behind a time
# Where nobody gave a name: R's and pandas' index, pandas' index read back.
NAMELESS = re.compile(r"\s*|Unnamed: \d+|__index_level_\d+__")
# Percentages, amounts, times, dates: what float() does not take.
ODD = re.compile(
    r"\s*[-+]?([$£€]\s?)?(\d[\d., '\u00a0\u2019\u202f]*\s?[%$£€]?"
    r"|\d{1,2}:\d\d(:\d\d([.,]\d+)?)?|\d{1,4}([-/.])\d{1,2}\5\d{1,4}([T ].*)?)\s*"
)
DATE = re.compile(r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}([T ]\d{1,2}:\d\d.*)?")
DATES = ("%d-%m-%Y", "%m-%d-%Y", "%Y-%m-%d", "%d-%m-%y", "%m-%d-%y")
TIMES = ("", " %H:%M", " %H:%M:%S")
# --decimal and --thousands that are proposed where they would do.
WAYS = [(".", "")] + [(d, t) for d in ",." for t in ("", ",", ".", " ", "'") if d != t]
BLANKS = str.maketrans({"\u00a0": " ", "\u202f": " ", "\u2019": "'"})
USUAL = (ValueError, NotImplementedError, OSError, MemoryError, ImportError)
Place = Callable[[int], str]  # of a row, as a person looks it up: "line 7"


class Unusable(click.ClickException):
    """Input or an argument that cannot be used: exit status 2."""

    exit_code = 2


def refuse_if(is_wrong: object, message: str) -> None:
    """Stop with a message."""
    if is_wrong:
        raise Unusable(message)


@contextmanager
def refusing(before: str = "", after: str = "") -> Iterator[None]:
    """Stop with what others' errors say of what was given."""
    try:
        yield
    except USUAL as error:
        why = str(error) or "Not enough memory."
        raise Unusable(f"{before}{why}{after}") from error


def unknown(kind: str, name: str, known: Iterable[str], hint: str = "") -> Unusable:
    """Error for a name that is not there: the closest one, and all there are."""
    names = list(known)
    plain = {each.strip().casefold(): each for each in names}
    close = get_close_matches(name.strip().casefold(), plain, n=1)
    meant = f"; did you mean {plain[close[0]]!r}?" if close else "."
    shown = ", ".join(map(repr, names[:N_SHOWN])) + ", ..." * (len(names) > N_SHOWN)
    return Unusable(f"There is no {kind} {name!r}{meant} There are {shown}.{hint}")


def as_option(names: Iterable[str]) -> str:
    """Names as a shell and --exclude take them."""
    quoted = (name.replace('"', '""') for name in names)
    return shlex.quote(",".join(f'"{n}"' if set(n) & set(',"') else n for n in quoted))


@dataclass(frozen=True)
class Column:
    """A typed column, or a block of numbers from an array; what was done to it."""

    name: str
    values: Any  # (n,) or (n, k): numbers, datetime64 or Categorical; None: left out
    what: str
    aside: Any = None  # of a column left out: its texts (n,), to be shown


@dataclass(frozen=True)
class Reading:
    """How texts are read, as the options say."""

    decimal: str = "."
    thousands: str | None = None
    missing: tuple[str, ...] = ()
    date_format: str | None = None
    as_text: tuple[str, ...] = ()
    features: tuple[str, ...] = ()  # used even if they look like ids
    n: int | None = None  # rows that decide; behind them stand examples

    def is_gap(self, text: str) -> bool:
        """Whether a text stands for a missing value."""
        text = text.strip()
        return text in (*MISSING, *self.missing) or bool(NAN.fullmatch(text))


def as_numbers(
    values: Sequence[str], decimal: str = ".", thousands: str | None = None
) -> np.ndarray | None:
    """Numbers; None if a value is no number that floats hold."""
    if thousands:  # between one to three digits and three more
        mark = rf"(?<=\d)(?<!\d{{4}}){re.escape(thousands)}(?=\d{{3}}(?!\d))"
        parts = (value.translate(BLANKS).partition(decimal) for value in values)
        values = [re.sub(mark, "", first) + end + rest for first, end, rest in parts]
    wrong = "_" if decimal == "." else "_."  # Python reads 1_0 as ten
    if any(mark in value for mark in wrong for value in values):
        return None
    values = [value.replace(decimal, ".") for value in values]
    try:
        numbers = np.array(values, dtype=np.float64)
    except ValueError:
        return None
    for row in np.flatnonzero(np.abs(numbers) >= LARGEST_WHOLE).tolist():
        text = values[row].strip()
        if text.lstrip("+-").isdigit() and Decimal(text) != Decimal(numbers[row]):
            return None
    return numbers


def dates_as(texts: Sequence[str], written: str) -> Any:
    """Dates (datetime64) in a format, in UTC; NaT where a text is in another."""
    how: Any = {"format": written, "utc": True, "errors": "coerce"}
    return pd.to_datetime(pd.Index(texts), **how).tz_localize(None).to_numpy()


def as_dates(texts: Sequence[str], given: str | None) -> tuple[Any, str]:
    """Dates and their format; None where they are none."""
    first = DATE.fullmatch(texts[0])
    formats = [given] if given else []
    if first and all(DATE.fullmatch(text) for text in texts):
        dates = [date.replace("-", first[1]) for date in DATES]
        formats += ["ISO8601"] + [date + time for date in dates for time in TIMES]
    fits, others = list[tuple[Any, str]](), np.arange(len(texts))
    for how in formats:
        found = dates_as(texts, how)
        missed = np.flatnonzero(np.isnat(found))
        others = min(others, missed, key=len)
        if len(missed) == 0:
            fits.append((found, how))
            if how in (given, "ISO8601"):
                return fits[-1]
    if len(fits) > 1:
        ways = " or ".join(f"--date-format {shlex.quote(how)}" for _, how in fits)
        raise Unusable(f"holds dates such as {texts[0]!r}: give {ways}")
    if 0 < len(others) < len(texts):  # of the format that fits most
        fit = np.setdiff1d(np.arange(len(texts)), others)[0]
        raise Unusable(
            f"holds dates in no one format, such as {texts[fit]!r} and "
            f"{texts[others[0]]!r}: write them alike, or read them as text (--text)"
        )
    return fits[0] if fits else (None, "")


def beyond_floats(example: object) -> Unusable:
    """Error for whole numbers that would be rounded."""
    return Unusable(
        f"holds whole numbers beyond 2**53, such as {shortened(example, 40)}, which "
        "floats round: subtract the smallest, divide, or read them as text (--text)"
    )


def _refuse_odd(filled: list[str], how: Reading) -> None:
    """Refuse texts that are numbers in another way, or numbers but for a few."""
    marks = how.decimal, how.thousands
    texts = [text for text in filled if as_numbers([text], *marks) is None]
    if all(text.strip().lstrip("+-").isdigit() for text in texts):
        raise beyond_floats(texts[0])
    if all(ODD.fullmatch(text) for text in texts):
        ways = [
            f"--decimal {d}" + (f" --thousands {shlex.quote(t)}" if t else "")
            for d, t in WAYS
            if any(t in text.translate(BLANKS) for text in filled)
            and as_numbers(filled, d, t) is not None
        ]
        give = f"give {' or '.join(ways)}, " if ways else ""
        raise Unusable(
            f"holds numbers or times that are written as text, such as {texts[0]!r}: "
            f"{give}write them as plain numbers, or read them as text (--text)"
        )
    if len(texts) <= 5 < len(filled) - len(texts):
        raise Unusable(
            f"holds numbers, and {', '.join(map(repr, texts))}: if that is a missing "
            f"value, give --missing {shlex.quote(texts[0])}; to read it as text, --text"
        )


def as_values(filled: list[str], how: Reading) -> tuple[Any, str, Reading]:
    """Numbers or dates, what they are called, and how to read more; or None."""
    values = as_numbers(filled, how.decimal, how.thousands)
    if values is not None:
        is_code = any(map(CODE.fullmatch, filled))
        codes = ", written with leading zeros: a code? --text reads it as text"
        return values, "number" + codes * is_code, how
    values, written = as_dates(filled, how.date_format)
    is_moved = any(map(ZONE.search, filled))
    what = f"date, {written.removesuffix('8601')}" + ", shown in UTC" * is_moved
    return values, what, replace(how, date_format=written)


def as_in_data(
    more: list[str], column: str, how: Reading, texts: Any, place: Place
) -> Any:
    """Values of texts of examples, read as the column is in the data."""
    is_date, values = column.startswith("date"), list[Any]()
    for text in more:
        value = as_numbers([text], how.decimal, how.thousands)
        if is_date:
            value = dates_as([text], how.date_format or "")
        if value is None or (is_date and np.isnat(value).any()):
            where = place(int(np.flatnonzero(texts == text)[0]))
            kind = "dates" if is_date else "numbers"
            raise Unusable(f"holds {kind} in the data, and {text!r} in {where}")
        values += [value]
    return np.concatenate(values)


def text_column(
    name: str, texts: pd.Series, how: Reading, place: Place = "row {}".format
) -> Column:
    """Type a column of texts as a whole, by its first `how.n` rows if given."""
    is_category = isinstance(texts.dtype, pd.CategoricalDtype)  # a file may say so
    codes, found = pd.factorize(texts)  # in the order in which they appear
    found = np.asarray(found, dtype=object).tolist()
    n_of_data = int(codes[: how.n].max(initial=-1)) + 1
    filled, more = (
        [text for text in part if not how.is_gap(text)]
        for part in (found[:n_of_data], found[n_of_data:])
    )
    known = pd.Categorical.from_codes(codes, found).set_categories([*filled, *more])
    given = known.codes[: how.n]
    n_missing, given = int((given < 0).sum()), given[given >= 0]
    missing = f", {n_missing} missing" if n_missing else ""
    if not filled:
        return Column(name, None, "left out: empty")
    if not is_category and name not in how.as_text:
        values, what, how = as_values(filled, how)
        if values is not None:
            gap = np.array(["NaT" if what.startswith("date") else "nan"], values.dtype)
            if more:
                values = np.append(values, as_in_data(more, what, how, texts, place))
            return Column(name, np.append(values, gap)[known.codes], what + missing)
        _refuse_odd(filled, how)
    n_phrases = sum(len(text.split()) > 1 for text in filled)
    is_each_another = len(given) > MANY and len(filled) >= NEARLY_ALL * len(given)
    is_id = is_each_another and 2 * n_phrases < len(filled)
    if is_id and name not in (*how.as_text, *how.features):
        return Column(name, None, "left out: an id (--text uses it)", texts)
    kind = "category" if len(filled) < MANY else "text"
    return Column(name, known, f"{kind}, {len(filled)} different{missing}")


def number_column(name: str, values: np.ndarray, n: int | None) -> Column:
    """Type numbers (n, ...) that a file holds as such."""
    values = values.reshape(len(values), -1) if values.ndim > 1 else values
    if values.dtype.kind == "b":
        values = values.astype(np.float64)
    if values.dtype.kind in "iu":
        large = values[np.abs(values.astype(np.float64)) >= LARGEST_WHOLE].ravel()
        if as_numbers(list(map(str, large.tolist()))) is None:
            raise beyond_floats(large[0])
    n_missing = int(np.isnan(values[:n]).sum())
    if values.size and n_missing == values[:n].size:
        return Column(name, None, "left out: empty")
    return Column(name, values, "number" + f", {n_missing} missing" * (n_missing > 0))


def counts_rows(values: Any) -> bool:
    """Whether a column of numbers goes up by one from row to row."""
    if not isinstance(values, np.ndarray) or values.ndim != 1 or len(values) < 3:
        return False
    is_number = values.dtype.kind in "fiu"
    return is_number and bool((np.diff(values.astype(np.float64)) == 1).all())


def are_names(texts: list[str]) -> bool:
    """Whether a first line names columns: it is no row of numbers, or 0, 1, 2, ..."""
    numbers = as_numbers(texts)
    counted = list(map(str, range(max(2, len(texts)))))
    return numbers is None or bool(np.isnan(numbers).any()) or texts == counted


def typed(name: str, raw: Any, how: Reading, place: Place) -> Column:
    """Type what a file holds; an index is left out, infinite numbers are refused."""
    if isinstance(raw, Unusable):
        raise raw
    if isinstance(raw, np.ndarray):
        column = number_column(name, raw, how.n)
    else:
        column = text_column(name, raw, how, place)
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
            where = f"{place(rows[0])} ({len(rows)} of {len(values)} rows)"
            raise Unusable(f"has an infinite number in {where}")
    return column


def type_columns(raw: dict[str, Any], how: Reading, place: Place) -> list[Column]:
    """Type all columns; refuse those that fail in one error, so one look is enough."""
    columns, problems = [], {}
    for name in list(raw):
        try:
            columns.append(typed(name, raw.pop(name), how, place))
        except Unusable as error:
            problems[name] = error.message
    if not problems:
        return columns
    leave_out = f"out with --exclude {as_option(problems)} or mend"
    alike = dict[str, list[str]]()  # by what is wrong, whatever the example
    for name, why in problems.items():
        alike.setdefault(QUOTED.sub("", why), []).append(name)
    lines = [
        f"{first!r} {problems[first]}"
        + f"; so do {', '.join(map(repr, others[:N_SHOWN]))}" * bool(others)
        for first, *others in alike.values()
    ]
    if len(problems) == 1:
        raise Unusable(f"Column {lines[0]}. Leave it {leave_out} it.")
    lines[N_SHOWN:] = [f"and {len(lines) - N_SHOWN} more"] * (len(lines) > N_SHOWN)
    lines = [f"{len(problems)} columns cannot be used:", *lines]
    raise Unusable("\n  ".join(lines) + f"\nLeave them {leave_out} them.")


def check_labels(name: str, raw: Any, place: Place, how: Reading) -> np.ndarray:
    """Turn labels, as a file holds them, into an array that scikit-learn takes."""
    if isinstance(raw, Unusable):
        raise Unusable(f"Label column {name!r} {raw.message}.")
    raw = np.asarray(raw)
    raw = raw[:, 0] if raw.shape[1:] == (1,) else raw
    shape = f"{raw.shape}; it must be (n,), one label a row"
    refuse_if(raw.ndim != 1, f"Label array {name!r} has shape {shape}.")
    labels = raw.tolist()
    # A number is a class by its text, 2.0 by that of 2.
    texts = [x if isinstance(x, str) else str(x).removesuffix(".0") for x in labels]
    gaps = ("", *how.missing)  # NA may be a class
    empty = [
        row
        for row, text in enumerate(texts)
        if text.strip() in gaps or NAN.fullmatch(text.strip())
    ]
    if empty:
        where = ", ".join(map(place, empty[:N_SHOWN]))
        where += f" and {len(empty) - N_SHOWN} more" * (len(empty) > N_SHOWN)
        gap = texts[empty[0]].strip()
        what = f"{gap!r}, which is no label," if gap else "empty"
        raise Unusable(
            f"Label column {name!r} is {what} in {where}; label or drop these rows."
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


def notes_of_gaps(X: Any, names: list[str] | None, isolated: np.ndarray) -> list[str]:
    """Name columns whose missing values are what makes rows rare, and so isolated."""
    notes = list[str]()
    missing = pd.DataFrame(X).isna().to_numpy()
    for name, rows in zip(names or (), missing.T, strict=False):  # of pictures none
        n, n_isolated = int(rows.sum()), int(isolated[rows].sum())
        others = isolated[~rows].mean() if n < len(rows) else 1.0
        if n_isolated >= MANY_GAPS and n_isolated / n > 3 * others:
            notes.append(
                f"Of {n} rows without a value in {name!r} {n_isolated} are isolated, "
                f"of the others {others:.1%}: a gap makes a row rare. If gaps mean "
                "nothing, fill them, or leave the column out with --exclude."
            )
    return notes
