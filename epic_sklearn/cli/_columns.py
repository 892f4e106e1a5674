"""Columns of a data file: features as numbers, labels as classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._errors import Unusable, unusable_columns

# Rarer values of a text column share one indicator.
MAX_CATEGORIES = 32
LONGEST_EXAMPLE = 40

# Says where row i stands, as a person looks it up: "line 7".
Place = Callable[[int], str]


@dataclass(frozen=True)
class Column:
    """One column of features, or a block of them from an array.

    Parameters
    ----------
    name : str
        Name of the column or array.
    values : ndarray of shape (n,) or (n, k)
        Numbers; of a text column the position in `categories`.
    categories : list of str or None
        The sorted values of a text column.
    array : str or None
        The array that it is a column of, where that has another name.
    """

    name: str
    values: np.ndarray
    categories: list[str] | None = None
    array: str | None = None

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
    seen: dict[str, int] = {}
    codes = np.array([seen.setdefault(value, len(seen)) for value in values], int)
    categories = sorted(seen)
    rank = np.empty(len(seen))
    rank[[seen[value] for value in categories]] = np.arange(len(seen))
    return Column(name, rank[codes], categories)


def _not_finite(column: Column, place: Place) -> tuple[str, str] | None:
    """Name the first feature with missing or infinite numbers, and the first row."""
    if column.values.dtype.kind != "f":
        return None
    good = np.isfinite(column.values).reshape(len(column.values), -1)
    rows = np.flatnonzero(~good.all(axis=1))
    if len(rows) == 0:
        return None
    feature = column.names[int(np.flatnonzero(~good[rows[0]])[0])]
    value = column.values.reshape(len(good), -1)[rows[0]][~good[rows[0]]][0]
    what = "no number" if np.isnan(value) else "an infinite number"
    return feature, (
        f"has {what} in {place(rows[0])} ({len(rows)} of {len(good)} rows are not "
        "finite: fill or drop them)"
    )


def _no_category(column: Column) -> tuple[str, str] | None:
    """Tell ids and free text: models learn them by heart."""
    n, found = len(column.values), len(column.categories or ())
    if found <= max(MAX_CATEGORIES, n / 2):
        return None
    assert column.categories is not None
    example = column.categories[-1]
    if len(example) > LONGEST_EXAMPLE:
        example = example[: LONGEST_EXAMPLE - 1] + "…"
    return column.name, (
        f"is text with {found} different values in {n} rows, such as {example!r}: an "
        "id, free text or numbers written in another way"
    )


def check_columns(columns: Iterable[Column], place: Place) -> None:
    """Refuse features that no model can use, all of them in one error.

    Parameters
    ----------
    columns : iterable of Column
        The features.
    place : callable
        Says where a row stands.

    Raises
    ------
    Unusable
        If a number is missing or infinite, or a text column is an id or free
        text: more than half of its values differ.
    """
    problems = []
    for column in columns:
        found = _not_finite(column, place) or _no_category(column)
        if found is not None:
            problems.append((*found, column.array or column.name))
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
            numbers = np.array([int(label) for label in set(labels)], dtype=np.int64)
        except (ValueError, OverflowError):
            return np.array(labels, dtype=object)
        if {str(number) for number in numbers.tolist()} == set(labels):
            return np.array(labels, dtype=np.int64)
        return np.array(labels, dtype=object)
    array = np.array(labels)
    if (
        array.dtype.kind == "f"
        and (np.isfinite(array) & (array == array.round())).all()
    ):
        return array.astype(np.int64)
    return array


def check_labels(name: str, labels: Sequence[Any], place: Place) -> np.ndarray:
    """Turn a label column into an array that scikit-learn takes.

    Parameters
    ----------
    name : str
        Name of the column, for messages.
    labels : sequence of length n
        Text, integers, bools or whole floats.
    place : callable
        Says where a row stands.

    Returns
    -------
    ndarray of shape (n,)

    Raises
    ------
    Unusable
        If there are no rows, a label is missing, there is one class only, or
        so many that they cannot be classes.

    Examples
    --------
    >>> from epic_sklearn.cli._columns import check_labels
    >>> check_labels("y", ["1", "2"], str), check_labels("y", ["01", "02"], str)
    (array([1, 2]), array(['01', '02'], dtype=object))
    """
    if len(labels) == 0:
        raise Unusable("The data have no rows.")
    values = list(labels)
    missing = [i for i, label in enumerate(values) if _is_missing(label)]
    if missing:
        raise Unusable(
            f"Label column {name!r} is empty in {place(missing[0])} ({len(missing)} of "
            f"{len(values)} rows); label these rows or drop them."
        )
    array = _as_array(values)
    classes = set(array.tolist())
    if len(classes) == 1:
        raise Unusable(
            f"Label column {name!r} has one class only, {classes.pop()!r}; isolation "
            "is judged with the gradients of a classifier, which needs at least two."
        )
    if array.dtype.kind not in "OiubU" or 2 * len(classes) > max(len(values), 4):
        raise Unusable(
            f"Label column {name!r} has {len(classes)} different values in "
            f"{len(values)} rows, such as {values[0]!r}: these are no classes. Give "
            "the column of class labels."
        )
    return array
