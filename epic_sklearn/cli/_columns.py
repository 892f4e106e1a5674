"""Columns of a data file: features as numbers, labels as classes."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from ._errors import Unusable, unusable_columns

# Rarer values of a text column share one indicator.
MAX_CATEGORIES = 32
LONGEST_EXAMPLE = 40
# Floats tell whole numbers apart up to here.
LARGEST_WHOLE = 2**53
MISSING = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None")

# Where nobody gave a name: R's and pandas' index, pandas' index read back by pandas
# or without pandas.
NAMELESS = re.compile(r"\s*|Unnamed: \d+|__index_level_\d+__")
# What people and spreadsheets write for a number, and float() does not take:
# 1,5  1.234,5  1,234.5  1 234  12 %  € 5  12:30:00  2020-01-31 12:30
ODD_NUMBER = re.compile(
    r"""\s*[-+]?[$£€]?\s?(
        \d+,\d+ | \d{1,3}([., '\u00a0\u2019\u202f]\d{3})+([.,]\d+)?
        | \d+([.,]\d+)?\s?[%$£€]
        | [$£€]\s?\d+([.,]\d+)?
        | (\d{4}-\d\d-\d\d|\d{1,2}[./]\d{1,2}[./]\d{4})([T\s]\d{1,2}:\d\d.*)?
        | \d{1,2}:\d\d(:\d\d([.,]\d+)?)?
    )\s*""",
    re.VERBOSE,
)
DECIMAL_COMMA = re.compile(r"\s*[-+]?\d+,\d+\s*")

# Says where row i stands, as a person looks it up: "line 7".
Place = Callable[[int], str]


@dataclass(frozen=True)
class Column:
    """One column of features, or a block of them from an array."""

    name: str
    values: np.ndarray  # (n,) or (n, k): numbers, or the place of a text among
    categories: list[str] | None = None  # the sorted texts of a text column
    array: str | None = None  # the array that it is of, if that has another name

    @property
    def names(self) -> list[str]:
        """One name a feature."""
        if self.values.ndim == 1:
            return [self.name]
        return [f"{self.name}[{j}]" for j in range(self.values.shape[1])]


def text_column(name: str, values: Iterable[str]) -> Column:
    """Give each value of a text column its rank as a number.

    Examples
    --------
    >>> from epic_sklearn.cli._columns import text_column
    >>> column = text_column("colour", ["red", "blue", "red"])
    >>> column.values.tolist(), column.categories
    ([1.0, 0.0, 1.0], ['blue', 'red'])
    """
    categories, codes = np.unique(np.array(list(values), object), return_inverse=True)
    return Column(name, codes.astype(np.float64), categories.tolist())


def as_numbers(values: Sequence[str], decimal: str = ".") -> np.ndarray | None:
    """Numbers, NaN where one is missing; None if a value is no number that floats hold.

    Examples
    --------
    >>> from epic_sklearn.cli._columns import as_numbers
    >>> as_numbers(["1", " 2.5", ""]), as_numbers(["1", "1_0"]), as_numbers(["1,5"])
    (array([1. , 2.5, nan]), None, None)
    >>> as_numbers(["1,5"], decimal=","), as_numbers(["9007199254740993"])
    (array([1.5]), None)
    """
    # Python reads 1_0 as ten; in a file it is text.
    if any("_" in value for value in values):
        return None
    if decimal != ".":
        if any("." in value for value in values):
            return None
        values = [value.replace(decimal, ".") for value in values]
    try:
        numbers = np.array(values, dtype=np.float64)
    except ValueError:
        filled = ["nan" if value.strip() in MISSING else value for value in values]
        try:
            numbers = np.array(filled, dtype=np.float64)
        except ValueError:
            return None
    for row in np.flatnonzero(np.abs(numbers) >= LARGEST_WHOLE).tolist():
        text = values[row].strip()
        if text.lstrip("+-").isdigit() and Decimal(text) != Decimal(numbers[row]):
            return None
    return numbers


def counts_rows(values: np.ndarray) -> bool:
    """Whether a column goes up by one from row to row."""
    steps = np.diff(values.astype(np.float64)) if values.ndim == 1 else np.empty(0)
    return len(steps) > 1 and bool((steps == 1).all())


def _not_finite(column: Column, place: Place) -> str | None:
    """Name the first missing or infinite number, and where it stands."""
    if column.values.dtype.kind != "f":
        return None
    good = np.isfinite(column.values).reshape(len(column.values), -1)
    rows = np.flatnonzero(~good.all(axis=1))
    if len(rows) == 0:
        return None
    feature = int(np.flatnonzero(~good[rows[0]])[0])
    value = column.values.reshape(len(good), -1)[rows[0], feature]
    what = "no number" if np.isnan(value) else "an infinite number"
    where = place(rows[0]) + (f", feature {feature}" * (column.values.ndim > 1))
    return (
        f"has {what} in {where} ({len(rows)} of {len(good)} rows are not "
        "finite: fill or drop them)"
    )


def _inexact(column: Column, place: Place) -> str | None:
    """Tell whole numbers that become others as floats."""
    if column.values.dtype.kind not in "iu":
        return None
    large = column.values[np.abs(column.values.astype(np.float64)) >= LARGEST_WHOLE]
    bad = [n for n in large.ravel().tolist() if int(float(n)) != n]
    return _beyond_floats(bad[0]) if bad else None


def _beyond_floats(example: object) -> str:
    return (
        f"holds whole numbers beyond 2**53, such as {_shortened(str(example))}, which "
        "floats round: subtract the smallest, divide, or store ids as text"
    )


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_EXAMPLE else text[: LONGEST_EXAMPLE - 1] + "…"


def _no_category(column: Column, place: Place) -> str | None:
    """Tell ids, free text, and numbers written in another way."""
    if column.categories is None:
        return None
    filled = [text for text in column.categories if text.strip() not in MISSING]
    odd = [text for text in filled if as_numbers([text]) is None]
    if odd and all(re.fullmatch(r"[-+]?\d+", text.strip()) for text in odd):
        return _beyond_floats(odd[0])
    if odd and all(ODD_NUMBER.fullmatch(text) for text in odd):
        comma = all(DECIMAL_COMMA.fullmatch(text) for text in odd)
        return (
            f"holds numbers or times that are written as text, such as {odd[0]!r}: "
            + ("of a CSV file give --decimal , or " if comma else "")
            + "write them as plain numbers"
        )
    n, found = len(column.values), len(column.categories)
    if found <= max(MAX_CATEGORIES, n / 2):
        return None
    return (
        f"is text with {found} different values in {n} rows, such as "
        f"{_shortened(column.categories[-1])!r}: an id, free text or numbers written "
        "in another way"
    )


def _no_index(column: Column, place: Place) -> str | None:
    if not NAMELESS.fullmatch(column.name):
        return None
    return "has no name and does not count the rows: is it an index? Name it"


def check_columns(columns: Iterable[Column], place: Place) -> None:
    """Refuse features that no model can use, all of them in one error."""
    problems = []
    for column in columns:
        checks = (_no_index, _not_finite, _inexact, _no_category)
        found = next(filter(None, (check(column, place) for check in checks)), None)
        if found is not None:
            problems.append((column.name, found, column.array or column.name))
    if problems:
        raise unusable_columns(problems)


def _is_missing(label: Any) -> bool:
    if isinstance(label, str):
        return label.strip().casefold() in ("", "nan")
    return label is None or label != label


def _as_array(labels: list[Any]) -> np.ndarray:
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
    name: str, labels: Sequence[Any] | np.ndarray, place: Place
) -> np.ndarray:
    """Turn a label column into an array that scikit-learn takes.

    Examples
    --------
    >>> from epic_sklearn.cli._columns import check_labels
    >>> check_labels("y", ["1", "2"], str), check_labels("y", ["01", "02"], str)
    (array([1, 2]), array(['01', '02'], dtype=object))
    """
    if len(labels) == 0:
        raise Unusable("The data have no rows.")
    values = labels.tolist() if isinstance(labels, np.ndarray) else list(labels)
    missing = [i for i, label in enumerate(values) if _is_missing(label)]
    if missing:
        raise Unusable(
            f"Label column {name!r} is empty in {place(missing[0])} ({len(missing)} of "
            f"{len(values)} rows); label these rows or drop them."
        )
    kinds = {type(value).__name__ for value in values}
    if kinds != {"str"} and not kinds <= {"int", "bool", "float", "Decimal"}:
        raise Unusable(
            f"Label column {name!r} holds values of type {' and '.join(sorted(kinds))}"
            f", such as {values[0]!r}; write the classes as text or whole numbers."
        )
    array = _as_array(values)
    classes = set(array.tolist())
    if len(classes) == 1:
        raise Unusable(
            f"Label column {name!r} has one class only, {classes.pop()!r}; isolation "
            "is judged with the gradients of a classifier, which needs at least two."
        )
    is_class = array.dtype.kind in "iubU" or isinstance(array[0], str)
    if not is_class or 2 * len(classes) > max(len(values), 4):
        raise Unusable(
            f"Label column {name!r} has {len(classes)} different values in "
            f"{len(values)} rows, such as {_shortened(str(values[0]))!r}: these are no "
            "classes. Give the column of class labels."
        )
    return array


def _spelling(label: str) -> str:
    """Reduce a label to what is seen: no case, blanks, Unicode form, hidden marks."""
    plain = unicodedata.normalize("NFKC", label).casefold()
    seen = (c for c in plain if unicodedata.category(c) != "Cf" and not c.isspace())
    return unicodedata.normalize("NFKC", "".join(seen))


def spelled_alike(labels: np.ndarray) -> list[str]:
    """Warn of classes that look like one class written in several ways.

    Examples
    --------
    >>> import numpy as np
    >>> from epic_sklearn.cli._columns import spelled_alike
    >>> spelled_alike(np.array(["cat", "Cat ", "dog"]))[0][53:85]
    "'Cat ' (1 row), 'cat' (1 row). I"
    """
    alike = defaultdict(list)
    for label, n in sorted(Counter(map(str, labels.tolist())).items()):
        # ASCII: they may look the same.
        alike[_spelling(label)].append(f"{label!a} ({n} row{'s' * (n > 1)})")
    groups = [", ".join(group) for group in alike.values() if len(group) > 1]
    if not groups:
        return []
    return [
        f"Classes differ only in blanks, case or Unicode form: {'; '.join(groups)}. "
        "If they are one class, write it in one way: each is judged by itself."
    ]
