"""What is odd in the rows themselves, whatever a rule says of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import scipy.sparse
from sklearn.utils import _safe_indexing

from .._utils import shortened
from ..base import is_dataframe, is_text
from ..validation import is_missing

MANY_GAPS = 5  # dropped rows from which it is worth a note
NUMBERS = "fiubmM"  # kinds of NumPy types
HEAD = 1000  # rows that tell most columns from the labels
BLOCK = 256  # rows made alike at a time
MOST = 5  # columns of which the same is said
LONGEST_NAME = 60


def columns_of(X: Any) -> Iterator[np.ndarray]:
    """Columns (n,) of a table, one after another; nested ones as texts."""
    for j in range(X.shape[1]):
        column = np.asarray(_safe_indexing(X, j, axis=1))
        if column.ndim > 1 or column.dtype.names:
            column = np.array([str(value) for value in column.tolist()], dtype=object)
        yield column


def _is_gap(column: np.ndarray) -> np.ndarray:
    """Whether a value is missing, shape (n,)."""
    if column.dtype.kind in NUMBERS:
        return np.asarray(column != column)
    return np.array([is_missing(value) for value in column.tolist()], dtype=bool)


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


def _as_bytes(X: Any) -> Iterator[bytes]:
    """Rows, of which equal ones give the same bytes."""
    if scipy.sparse.issparse(X):
        X = scipy.sparse.csr_array(X, copy=True)
        X.sum_duplicates()
        X.eliminate_zeros()
        for start, end in zip(X.indptr, X.indptr[1:], strict=False):
            yield X.indices[start:end].tobytes() + X.data[start:end].tobytes()
        return
    for start in range(0, len(X), BLOCK):
        block = X[start : start + BLOCK] + 0  # -0.0 is 0.0
        if block.dtype.kind == "f":
            block[block != block] = np.nan  # there are several
        yield from (row.tobytes() for row in block)


def _first_alike(X: Any) -> np.ndarray:
    """Give the number of the first row that is equal in all columns, shape (n,)."""
    if is_dataframe(X):
        X = np.column_stack(list(map(_different, columns_of(X))))
    elif is_text(X):
        X = _different(np.array(list(X), dtype=object))
    first: dict[bytes, int] = {}
    digests = (blake2b(row, digest_size=16).digest() for row in _as_bytes(X))
    return np.array([first.setdefault(at, row) for row, at in enumerate(digests)])


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
    """Name columns whose values, gaps among them, are the labels under other names."""
    n_classes = len(np.unique(codes))
    if n_classes == len(codes):  # as all that differs from row to row
        return
    for name, column in zip(names, columns_of(X), strict=False):
        if len(np.unique(_different(column[:HEAD]))) > n_classes:
            continue
        values = _different(column)
        pairs = np.unique(np.column_stack([values, codes]), axis=0)
        if len(np.unique(values)) == n_classes == len(pairs):
            yield (
                f"Column '{shortened(name, LONGEST_NAME)}' has one value for each "
                "class, in all of its rows: the model reads the label from it, also "
                "where that is wrong. If it is the label again, leave it out."
            )


def _some(notes: Iterator[str], more: str) -> list[str]:
    """Keep some of many notes of one kind, and say how many there are more."""
    found = list(notes)
    n = len(found) - MOST
    return found if n <= 1 else [*found[:MOST], f"Of {n} more columns {more}."]


def is_table(X: Any) -> bool:
    """Whether rows of X can be compared: tables, arrays of numbers, texts."""
    is_array = isinstance(X, np.ndarray) and X.ndim > 1 and X.dtype.kind in "fiub"
    return is_array or is_dataframe(X) or scipy.sparse.issparse(X) or is_text(X)


def notes_of_rows(
    X: Any, codes: np.ndarray, names: Sequence[str], place: Callable[[int], str]
) -> list[str]:
    """Say what is odd in rows (n, ...) of classes (n,); columns may have names."""
    copies = _of_copies(X, codes, place)
    if scipy.sparse.issparse(X):  # of many columns, most of them empty
        return list(copies)
    return [*copies, *_some(_of_labels(X, codes, names), "the same is true")]


def notes_of_gaps(X: Any, flagged: np.ndarray, names: Sequence[str]) -> list[str]:
    """Name columns whose missing values may be what makes rows rare, and so flagged."""
    if scipy.sparse.issparse(X):
        return []
    return _some(_of_gaps(X, flagged, names), "much the same is true")


def _of_gaps(X: Any, flagged: np.ndarray, names: Sequence[str]) -> Iterator[str]:
    for name, column in zip(names, columns_of(X), strict=False):
        is_gap = _is_gap(column)
        n, n_flagged = int(is_gap.sum()), int(flagged[is_gap].sum())
        others = flagged[~is_gap].mean() if n < len(column) else 1.0
        if n_flagged >= MANY_GAPS and n_flagged / n > 3 * others:
            yield (
                f"Of {n} rows without a value in '{shortened(name, LONGEST_NAME)}' "
                f"{n_flagged} are isolated, of the others {others:.1%}: the gap itself "
                "may be what makes them rare. Without the column it can be seen."
            )
