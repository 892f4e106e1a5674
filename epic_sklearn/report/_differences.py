"""In which features does an isolated row differ from its nearest kept neighbour."""

from __future__ import annotations

from itertools import compress
from typing import Any

import numpy as np
import scipy.sparse
from sklearn.preprocessing import StandardScaler

from ..base import is_dataframe, take_rows
from ._case import as_text

N_FEATURES = 12
LONG = 60  # texts from which a column is shown by itself
BLOCK = 256


def resolve_names(X: Any, given: Any) -> list[str] | None:
    """Names of the columns of X, one each, or None where X is no table."""
    n = X.shape[1] if len(getattr(X, "shape", ())) == 2 else 0
    if given is None:
        given = X.columns if is_dataframe(X) else [f"x{i}" for i in range(n)]
    names = [str(name) for name in given]
    if isinstance(given, str) or len(names) != n:
        raise ValueError(
            f"feature_names has {len(names)} names and X has {n} columns; give one a "
            "column."
        )
    return names or None


def without_long_texts(
    X: Any, names: list[str], rows: np.ndarray
) -> tuple[Any, list[str], dict[str, Any]]:
    """Split a dataframe: columns to compare, their names, and those of long texts."""
    long, compared = {}, []
    for name, column in zip(names, X.columns, strict=True):
        values = np.asarray(take_rows(X[column], rows)).tolist()
        if any(isinstance(value, str) and len(value) > LONG for value in values):
            long[name] = X[column]
        else:
            compared.append((name, column))
    kept = X[[column for _, column in compared]]
    return kept, [name for name, _ in compared], long


def _scales(X: Any) -> tuple[np.ndarray, np.ndarray]:
    """Which columns are numbers, and their standard deviations (1 for others)."""
    is_frame = is_dataframe(X)
    columns = [np.asarray(X[name]) for name in X.columns] if is_frame else [X]
    is_number = np.array([column.dtype.kind in "iuf" for column in columns], bool)
    numbers = list(compress(columns, is_number))
    is_number = is_number if is_frame else np.repeat(is_number, X.shape[1])
    spread = np.ones(len(is_number))
    if numbers:
        table = np.column_stack(numbers) if is_frame else X
        spread[is_number] = StandardScaler(with_mean=False).fit(table).scale_
    return is_number, spread


def _values(X: Any, rows: np.ndarray) -> np.ndarray:
    """Rows as a dense array, of numbers or of objects."""
    block = take_rows(X, rows)
    if scipy.sparse.issparse(block):
        return block.toarray()
    if not is_dataframe(block):
        return np.asarray(block)
    values = np.empty(block.shape, dtype=object)  # to_numpy would leave pandas' NA
    for i, name in enumerate(block.columns):
        values[:, i] = np.asarray(block[name])
    return values


def _gaps(
    ours: np.ndarray, theirs: np.ndarray, is_number: np.ndarray, spread: np.ndarray
) -> np.ndarray:
    gap = np.zeros(ours.shape)
    texts, others = (each[:, ~is_number].astype(str) for each in (ours, theirs))
    gap[:, ~is_number] = texts != others
    a, b = (each[:, is_number].astype(np.float64) for each in (ours, theirs))
    far = np.nan_to_num(np.abs(a - b) / spread[is_number])
    gap[:, is_number] = np.where(np.isnan(a) != np.isnan(b), 1.0, far)
    return gap


def differences(X: Any, rows: np.ndarray, others: np.ndarray) -> list[list[Any]]:
    """Find the features in which pairs of rows, of numbers (m,), differ most.

    Numbers are compared in standard deviations of their column; any other
    values that differ, and one that is missing, count as one.

    For each pair at most 12 times column number, value, other value and
    difference, one after another, the largest difference first.
    """
    is_number, spread = _scales(X)
    found = []
    for start in range(0, len(rows), BLOCK):
        ours = _values(X, rows[start : start + BLOCK])
        theirs = _values(X, others[start : start + BLOCK])
        gap = _gaps(ours, theirs, is_number, spread)
        largest = np.argsort(-gap, axis=1, kind="stable")[:, :N_FEATURES]
        for i, columns in enumerate(largest):
            pair: list[Any] = []
            for j in columns[gap[i, columns] > 0].tolist():
                texts = as_text(ours[i, j]), as_text(theirs[i, j])
                pair += [j, *texts, round(float(gap[i, j]), 2)]
            found.append(pair)
    return found
