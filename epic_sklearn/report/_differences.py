"""In which features does an isolated row differ from its nearest kept neighbour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse
from sklearn.utils.sparsefuncs import mean_variance_axis

from ..base import is_dataframe, take_rows

N_FEATURES = 12
LONGEST_TEXT = 120
BLOCK = 256

Categories = Sequence[Sequence[str] | None]


def resolve_names(X: Any, given: Any) -> list[str] | None:
    """Names of the columns of X, or None where X is no table.

    Raises
    ------
    ValueError
        If the names given are not one a column.
    """
    if X.ndim != 2 if hasattr(X, "ndim") else len(X.shape) != 2:
        if given is not None:
            raise ValueError(
                f"feature_names is given, but X has shape {tuple(X.shape)} and no "
                "columns; leave it out."
            )
        return None
    n = X.shape[1]
    if given is None:
        given = X.columns if is_dataframe(X) else [f"x{i}" for i in range(n)]
    names = [str(name) for name in given]
    if isinstance(given, str) or len(names) != n:
        raise ValueError(
            f"feature_names has {len(names)} names and X has {n} columns; give one a "
            "column."
        )
    return names


def _scales(X: Any) -> tuple[np.ndarray, np.ndarray]:
    """Which columns are numbers, and their standard deviations (1 for others)."""
    if is_dataframe(X):
        columns = [np.asarray(X[name]) for name in X.columns]
        is_number = np.array([column.dtype.kind in "iuf" for column in columns])
        spread = np.ones(len(columns))
        for i in np.flatnonzero(is_number):
            spread[i] = columns[i].astype(np.float64).std()
    else:
        is_number = np.full(X.shape[1], X.dtype.kind in "iuf")
        if scipy.sparse.issparse(X):
            floats = X.tocsr().astype(np.float64)
            spread = np.sqrt(mean_variance_axis(floats, axis=0)[1])
        elif is_number.all():
            spread = X.std(axis=0, dtype=np.float64)
        else:
            spread = np.ones(X.shape[1])
    return is_number, np.where(spread > 0, spread, 1.0)


def _values(X: Any, rows: np.ndarray) -> np.ndarray:
    """Rows as a dense array, of numbers or of objects."""
    block = take_rows(X, rows)
    if scipy.sparse.issparse(block):
        return block.toarray()
    return block.to_numpy() if is_dataframe(block) else np.asarray(block)


def _as_text(value: Any, is_number: bool, texts: Sequence[str] | None) -> str:
    if texts is not None:
        text = texts[int(value)]
        text = text if text.strip() else repr(text)
    else:
        text = f"{float(value):.5g}" if is_number else str(value)
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"


def differences(
    X: Any,
    rows: np.ndarray,
    others: np.ndarray,
    categories: Categories | None = None,
) -> list[list[Any]]:
    """Find the features in which pairs of rows differ most.

    Numbers are compared in standard deviations of their column; any other
    values that differ count as one.

    Parameters
    ----------
    X : ndarray, sparse matrix or dataframe of shape (n, d)
        All rows.
    rows, others : ndarray of shape (m,), int
        The pairs.
    categories : sequence of (sequence of str or None), optional
        For each column the texts that its values number, or None where they
        are numbers.

    Returns
    -------
    list of list
        For each pair at most 12 times column number, value, other value and
        difference, one after another, the largest difference first.
    """
    is_number, spread = _scales(X)
    texts = [None] * len(is_number) if categories is None else categories
    is_number &= [each is None for each in texts]
    found = []
    for start in range(0, len(rows), BLOCK):
        ours = _values(X, rows[start : start + BLOCK])
        theirs = _values(X, others[start : start + BLOCK])
        gap = np.zeros(ours.shape)
        gap[:, is_number] = (
            np.abs(
                ours[:, is_number].astype(np.float64)
                - theirs[:, is_number].astype(np.float64)
            )
            / spread[is_number]
        )
        gap[:, ~is_number] = ours[:, ~is_number].astype(str) != theirs[
            :, ~is_number
        ].astype(str)
        largest = np.argsort(-gap, axis=1, kind="stable")[:, :N_FEATURES]
        for i, columns in enumerate(largest):
            pair: list[Any] = []
            for j in columns[gap[i, columns] > 0].tolist():
                a = _as_text(ours[i, j], is_number[j], texts[j])
                b = _as_text(theirs[i, j], is_number[j], texts[j])
                pair += [j, a, b, round(float(gap[i, j]), 2)]
            found.append(pair)
    return found
