"""What is odd in the rows themselves, whatever a rule says of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing

from ..base import is_dataframe
from ..validation import is_missing

MANY_GAPS = 5  # dropped rows from which it is worth a note
NUMBERS = "fiubmM"  # kinds of NumPy types
HEAD = 1000  # rows that tell most columns from the labels


def _is_gap(column: np.ndarray) -> np.ndarray:
    """Whether a value is missing, shape (n,)."""
    if column.dtype.kind in NUMBERS:
        return np.asarray(column != column)
    return np.array([is_missing(value) for value in column.tolist()])


def _different(column: np.ndarray) -> np.ndarray:
    """Count different values (n,) of a column from 0; -1 where one is missing."""
    if column.dtype.kind in NUMBERS:
        counts = np.unique(column, return_inverse=True)[1]
    else:
        known: dict[Any, int] = {}
        values = map(_hashable, column.tolist())
        counts = np.array([known.setdefault(value, len(known)) for value in values])
    return np.where(_is_gap(column), -1, counts).astype(np.int32)


def _hashable(value: Any) -> Any:
    try:
        hash(value)
    except TypeError:  # a list
        return repr(value)
    return value


def _columns(X: Any) -> Iterator[np.ndarray]:
    """Columns of a table, one after another."""
    for j in range(X.shape[1]):
        yield np.asarray(_safe_indexing(X, j, axis=1))


def _first_alike(X: Any) -> np.ndarray:
    """Give the number of the first row that is equal in all columns, shape (n,)."""
    if is_dataframe(X):
        X = np.column_stack(list(map(_different, _columns(X))))
    first: dict[bytes, int] = {}
    rows = (blake2b(row.tobytes(), digest_size=16) for row in X)
    return np.array([first.setdefault(at.digest(), i) for i, at in enumerate(rows)])


def _of_copies(X: Any, codes: np.ndarray, place: Callable[[int], str]) -> Iterator[str]:
    """Say how many rows are alike, first those that bear different labels."""
    first = _first_alike(X)
    is_torn = np.isin(first, first[codes != codes[first]])
    _, pair, sizes = np.unique(
        first * (codes.max() + 1) + codes, return_inverse=True, return_counts=True
    )
    for found, is_same in ((is_torn, False), (sizes[pair] > 1, True)):
        if found.any():
            a = int(found.argmax())
            alike = np.flatnonzero(
                (first == first[a]) & ((codes == codes[a]) == is_same)
            )
            b = int(alike[alike > a][0])
            label = "the same label" if is_same else "different labels"
            yield (
                f"{int(found.sum()):,} rows equal another in all features, under "
                f"{label}, such as {place(a)} and {place(b)}."
            )


def _of_labels(X: Any, codes: np.ndarray, names: Sequence[str]) -> Iterator[str]:
    """Name columns whose values are the labels under other names."""
    n_classes = len(np.unique(codes))
    for name, column in zip(names, _columns(X), strict=False):
        if len(np.unique(_different(column[:HEAD]))) > n_classes:
            continue
        values = _different(column)
        pairs = np.unique(np.column_stack([values, codes]), axis=0)
        if len(np.unique(values)) == n_classes == len(pairs) and values.min() >= 0:
            yield (
                f"Column {name!r} has one value for each class, in all of its rows: "
                "the model reads the label from it, also where that is wrong. If it "
                "is the label again, leave it out."
            )


def is_table(X: Any) -> bool:
    """Whether rows of X can be compared: a frame, or an array of numbers."""
    is_array = isinstance(X, np.ndarray) and X.ndim > 1 and X.dtype.kind in "fiub"
    return is_array or is_dataframe(X)


def notes_of_rows(
    X: Any, codes: np.ndarray, names: Sequence[str], place: Callable[[int], str]
) -> list[str]:
    """Say what is odd in rows (n, ...) of classes (n,); columns may have names."""
    return [*_of_copies(X, codes, place), *_of_labels(X, codes, names)]


def notes_of_gaps(X: Any, dropped: np.ndarray, names: Sequence[str]) -> Iterator[str]:
    """Name columns whose missing values are what makes rows rare, and so dropped."""
    for name, column in zip(names, _columns(X), strict=False):
        is_gap = _is_gap(column)
        n, n_dropped = int(is_gap.sum()), int(dropped[is_gap].sum())
        others = dropped[~is_gap].mean() if n < len(column) else 1.0
        if n_dropped >= MANY_GAPS and n_dropped / n > 3 * others:
            yield (
                f"Of {n} rows without a value in {name!r} {n_dropped} are isolated, of "
                f"the others {others:.1%}: a gap makes a row rare. If gaps mean "
                "nothing, fill them, or leave the column out."
            )
