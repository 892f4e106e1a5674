"""Columns typed once, from text: numbers, dates, texts; and labels as classes."""

from __future__ import annotations

import csv
import io
import re
import shlex
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from typing import Any

import click
import numpy as np
import pandas as pd

N_SHOWN = 20
LARGEST_WHOLE = 2**53  # floats tell whole numbers apart up to here
MISSING = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "<NA>", "NaT")
MANY = 40  # different texts, from which skrub takes a column as free text
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


class Unusable(click.ClickException):
    """Input or an argument that cannot be used: exit status 2."""

    exit_code = 2


class Refused(ValueError):
    """Why a column cannot be used."""


def unknown(kind: str, name: str, known: Iterable[str], hint: str = "") -> Unusable:
    """Error for a name that is not there: the closest one, and all there are."""
    names = list(known)
    plain = {each.strip().casefold(): each for each in names}
    close = get_close_matches(name.strip().casefold(), plain, n=1)
    meant = f"; did you mean {plain[close[0]]!r}?" if close else "."
    shown = ", ".join(map(repr, names[:N_SHOWN]))
    more = f" and {len(names) - N_SHOWN} more" if len(names) > N_SHOWN else ""
    return Unusable(
        f"There is no {kind} {name!r}{meant} There are {shown}{more}.{hint}"
    )


def check_names(path: object, names: Sequence[str], kind: str) -> None:
    """Refuse a file in which two columns or arrays have one name."""
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice:
        raise Unusable(
            f"{path} has several {kind}s named {twice[0]!r}; give each its own name."
        )


def as_option(names: Iterable[str]) -> str:
    """Names as a shell and --exclude take them."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(names)
    return shlex.quote(line.getvalue())


def shortened(value: Any, longest: int = 40) -> str:
    """Text of bounded length."""
    text = str(value)
    return text if len(text) <= longest else text[: longest - 1] + "…"


@dataclass(frozen=True)
class Column:
    """A typed column, or a block of numbers from an array; what was done to it."""

    name: str
    values: Any  # (n,) or (n, k): numbers, datetime64 or Categorical; None: left out
    what: str


@dataclass(frozen=True)
class Reading:
    """How texts are read, as the options say."""

    decimal: str = "."
    thousands: str = ""
    missing: tuple[str, ...] = ()
    date_format: str | None = None
    as_text: tuple[str, ...] = ()
    asked_for: tuple[str, ...] = ()  # columns that are used though they look like ids


def as_numbers(
    values: Sequence[str], decimal: str = ".", thousands: str = ""
) -> np.ndarray | None:
    """Numbers; None if a value is no number that floats hold.

    Examples
    --------
    >>> from epic_sklearn.cli.columns import as_numbers
    >>> as_numbers(["1", " 2.5", "nan"]), as_numbers(["1", "1_0"]), as_numbers(["1,5"])
    (array([1. , 2.5, nan]), None, None)
    >>> as_numbers(["1.200,5"], ",", "."), as_numbers(["9007199254740993"])
    (array([1200.5]), None)
    """
    if thousands:
        mark, point = re.escape(thousands), re.escape(decimal)
        grouped = re.compile(rf"[-+]?\d{{1,3}}(?:{mark}\d{{3}})+(?:{point}\d*)?")
        plain = [value.translate(BLANKS).strip() for value in values]
        values = [
            v.replace(thousands, "") if grouped.fullmatch(v) else v for v in plain
        ]
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


def as_dates(texts: Sequence[str], given: str | None) -> tuple[Any, str]:
    """Dates (datetime64) and their format; None where they are none."""
    first = DATE.fullmatch(texts[0])
    formats = [given] if given else []
    if first and all(DATE.fullmatch(text) for text in texts):
        dates = [date.replace("-", first[1]) for date in DATES]
        formats += ["ISO8601"] + [date + time for date in dates for time in TIMES]
    fits: dict[str, Any] = {}
    for how in formats:
        try:
            found = pd.to_datetime(pd.Index(texts), format=how, utc=True)
        except (ValueError, OverflowError):
            continue
        fits[how] = found.tz_localize(None).to_numpy()
        if how in (given, "ISO8601"):
            return fits[how], how
    if len(fits) > 1:
        raise Refused(
            f"holds dates, such as {texts[0]!r}, that can be read in several ways: "
            f"give {' or '.join(f'--date-format {shlex.quote(f)}' for f in fits)}"
        )
    return next(((values, how) for how, values in fits.items()), (None, ""))


def beyond_floats(example: object) -> Refused:
    """Error for whole numbers that would be rounded."""
    return Refused(
        f"holds whole numbers beyond 2**53, such as {shortened(example)}, which floats "
        "round: subtract the smallest, divide, or read them as text (--text)"
    )


def _refuse_odd(filled: list[str], counts: np.ndarray, how: Reading) -> None:
    """Refuse texts that are numbers in another way, or numbers but for a few."""
    odd = [as_numbers([text], how.decimal, how.thousands) is None for text in filled]
    texts = [text for text, is_odd in zip(filled, odd, strict=True) if is_odd]
    if all(text.strip().lstrip("+-").isdigit() for text in texts):
        raise beyond_floats(texts[0])
    if all(ODD.fullmatch(text) for text in texts):
        do = [way for way in WAYS if as_numbers(filled, *way) is not None]
        ways = [
            (f"--decimal {d}" if d == "," or not t else "")
            + (f" --thousands {shlex.quote(t)}" if t else "")
            for d, t in do
        ]
        raise Refused(
            f"holds numbers or times that are written as text, such as {texts[0]!r}: "
            + (f"give {' or '.join(map(str.strip, ways))}, or " if ways else "")
            + "write them as plain numbers, or read them as text (--text)"
        )
    few = counts[np.array(odd)].sum() <= 0.05 * counts.sum() and len(texts) <= 5
    if few and len(filled) - len(texts) > 5:
        raise Refused(
            f"holds numbers, and {', '.join(map(repr, texts))}: if that stands for a "
            f"missing value give --missing {shlex.quote(texts[0])}, or read all as "
            "text (--text)"
        )


def text_column(name: str, texts: Any, how: Reading) -> Column:
    """Type a column of texts as a whole.

    Examples
    --------
    >>> import pandas as pd
    >>> from epic_sklearn.cli.columns import Reading, text_column
    >>> text_column("a", pd.Series(["1", "", "3"]), Reading()).what
    'number, 1 missing'
    """
    codes, found = pd.factorize(texts)
    found, none = np.array(found, dtype=object), (*MISSING, *how.missing)
    blank = np.array([text.strip() in none for text in found], dtype=bool)
    filled, counts = found[~blank].tolist(), np.bincount(codes, minlength=len(found))
    n_missing = int(counts[blank].sum())
    missing = f", {n_missing} missing" if n_missing else ""
    if not filled:
        return Column(name, None, "left out: empty")
    # A file may say itself that these are categories.
    is_text = isinstance(getattr(texts, "dtype", None), pd.CategoricalDtype)
    if not is_text and name not in how.as_text:
        values, what = as_numbers(filled, how.decimal, how.thousands), "number"
        if values is None:
            values, written = as_dates(filled, how.date_format)
            what = f"date, {written.removesuffix('8601')}"
        if values is not None:
            spread = np.full(len(found), "nan", values.dtype)  # NaN, or NaT
            spread[~blank] = values
            return Column(name, spread[codes], what + missing)
        _refuse_odd(filled, counts[~blank], how)
    words = sum(len(text.split()) > 1 for text in filled)
    is_id = len(filled) == len(codes) - n_missing > MANY and 2 * words < len(filled)
    if is_id and name not in (*how.as_text, *how.asked_for):
        return Column(name, None, "left out: an id (--text uses it)")
    places = np.full(len(found), -1)
    places[~blank] = np.arange(len(filled))
    kind = "category" if len(filled) < MANY else "text"
    texts = pd.Categorical.from_codes(places[codes], filled)
    return Column(name, texts, f"{kind}, {len(filled)} different{missing}")


def number_column(name: str, values: np.ndarray) -> Column:
    """Type numbers (n,) or (n, k) that a file holds as such."""
    if values.dtype.kind in "iu":
        large = values[np.abs(values.astype(np.float64)) >= LARGEST_WHOLE]
        bad = [n for n in large.ravel().tolist() if int(float(n)) != n]
        if bad:
            raise beyond_floats(bad[0])
    n_missing = int(np.isnan(values).sum())
    if values.size and n_missing == values.size:
        return Column(name, None, "left out: empty")
    return Column(
        name, values, f"number, {n_missing} missing" * bool(n_missing) or "number"
    )


def counts_rows(values: Any) -> bool:
    """Whether a column of numbers goes up by one from row to row."""
    values = np.asarray(values)
    if values.ndim != 1 or values.dtype.kind not in "fiu" or len(values) < 3:
        return False
    return bool((np.diff(values.astype(np.float64)) == 1).all())


def typed(name: str, raw: Any, how: Reading, place: Callable[[int], str]) -> Column:
    """Type what a file holds; an index is left out, infinite numbers are refused."""
    if isinstance(raw, str):  # why the file cannot be read as text here
        raise Refused(raw)
    is_number = isinstance(raw, np.ndarray) and raw.dtype.kind in "fiub"
    column = number_column(name, raw) if is_number else text_column(name, raw, how)
    values = column.values
    if NAMELESS.fullmatch(name) and values is not None:
        if counts_rows(values):
            return Column(name, None, "left out: an index, it counts the rows")
        raise Refused(
            "has no name and does not count the rows: is it an index? Name it"
        )
    if isinstance(values, np.ndarray) and values.dtype.kind == "f":
        rows = np.flatnonzero(np.isinf(values).reshape(len(values), -1).any(axis=1))
        if len(rows):
            raise Refused(
                f"has an infinite number in {place(rows[0])} ({len(rows)} of "
                f"{len(values)} rows)"
            )
    return column


def type_columns(
    raw: dict[str, Any], how: Reading, place: Callable[[int], str], known: Sequence[str]
) -> list[Column]:
    """Type all columns; refuse those that fail in one error, so one look is enough."""
    columns, problems = [], {}
    for name in list(raw):
        try:
            columns.append(typed(name, raw.pop(name), how, place))
        except Refused as error:
            problems[name] = str(error)
    if not problems:
        return columns
    # Of an array of texts each column has a name.
    given = [name if name in known else name.rpartition("[")[0] for name in problems]
    mend = (
        f"Leave {{}} out with --exclude {as_option(dict.fromkeys(given))} or mend {{}}."
    )
    if len(problems) == 1:
        ((name, why),) = problems.items()
        raise Unusable(f"Column {name!r} {why}. {mend.format('it', 'it')}")
    lines = [f"  {name!r} {why}" for name, why in problems.items()]
    lines[N_SHOWN:] = [f"  and {len(lines) - N_SHOWN} more"] * (len(lines) > N_SHOWN)
    lines = [f"{len(problems)} columns cannot be used:", *lines]
    raise Unusable("\n".join([*lines, mend.format("them", "them")]))


def _as_classes(labels: list[Any]) -> np.ndarray:
    """Integers where every label is written as one ('7', not '07'), else as is."""
    if all(isinstance(label, str) for label in labels):
        try:
            numbers = {label: int(label) for label in set(labels)}
            whole = np.array([numbers[label] for label in labels], dtype=np.int64)
        except (ValueError, OverflowError):
            return np.array(labels, dtype=object)
        is_plain = all(str(number) == label for label, number in numbers.items())
        return whole if is_plain else np.array(labels, dtype=object)
    is_real = all(isinstance(label, float | Decimal) for label in labels)
    if is_real and all(abs(n) <= LARGEST_WHOLE and n == int(n) for n in set(labels)):
        return np.array(labels).astype(np.int64)
    return np.array(labels)


def check_labels(
    name: str, labels: list[Any], place: Callable[[int], str]
) -> np.ndarray:
    """Turn labels into an array that scikit-learn takes."""
    if len(labels) == 0:
        raise Unusable("The data have no rows.")
    is_missing = [
        each is None or each != each or str(each).strip().casefold() in ("", "nan")
        for each in labels
    ]
    if any(is_missing):
        raise Unusable(
            f"Label column {name!r} is empty in {place(is_missing.index(True))} "
            f"({sum(is_missing)} of {len(labels)} rows); label these rows or drop them."
        )
    kinds = {type(label).__name__ for label in labels}
    if kinds != {"str"} and not kinds <= {"int", "bool", "float", "Decimal"}:
        raise Unusable(
            f"Label column {name!r} holds values of type {' and '.join(sorted(kinds))}"
            f", such as {labels[0]!r}; write the classes as text or whole numbers."
        )
    array = _as_classes(labels)
    n_classes = len(set(array.tolist()))
    is_class = array.dtype.kind in "iubU" or isinstance(array[0], str)
    if not is_class or 2 * n_classes > max(len(labels), 4):
        raise Unusable(
            f"Label column {name!r} has {n_classes} different values in {len(labels)} "
            f"rows, such as {shortened(labels[0])!r}: these are no classes. Give the "
            "column of class labels."
        )
    return array


def spelled_alike(labels: np.ndarray) -> list[str]:
    """Warn of classes that look like one class written in several ways."""
    alike = defaultdict(list)
    for label, n in sorted(Counter(map(str, labels.tolist())).items()):
        # What is seen: no case, blanks, Unicode form, hidden marks.
        plain = unicodedata.normalize("NFKC", label).casefold()
        seen = (c for c in plain if unicodedata.category(c) != "Cf" and not c.isspace())
        text = f"{label!a} ({n} row{'s' * (n > 1)})"  # ASCII: they may look the same
        alike[unicodedata.normalize("NFKC", "".join(seen))].append(text)
    groups = [", ".join(group) for group in alike.values() if len(group) > 1]
    if not groups:
        return []
    return [
        f"Classes differ only in blanks, case or Unicode form: {'; '.join(groups)}. "
        "If they are one class, write it in one way: each is judged by itself."
    ]
