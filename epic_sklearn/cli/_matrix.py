"""Probabilities or gradients computed elsewhere: one row of numbers an example."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ._errors import Unusable
from ._npz import load_array
from ._parquet import ParquetFile

SUFFIXES = (".csv", ".tsv", ".parquet", ".npz", ".npy")


def _from_csv(path: Path, n: int) -> tuple[np.ndarray, list[str] | None]:
    """Numbers of a CSV file; its first line is a header if it is one too many."""
    how: dict[str, Any] = {"quotechar": '"', "ndmin": 2, "comments": None}
    how["encoding"] = "utf-8-sig"
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            first = file.readline()
        separator = next((c for c in "\t;, " if c in first), ",")
        how["delimiter"] = separator
        # Without a header line there is one row more than there are examples.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "loadtxt: input contained no data")
            below = np.loadtxt(path, skiprows=1, **how)
        if len(below) == n - 1:
            return np.loadtxt(path, **how), None
    except ValueError as error:
        raise Unusable(
            f"{path}: {error}. It must hold {n} rows of numbers, one for each row of "
            "the data, under a header line or without one."
        ) from error
    return below, next(csv.reader([first], delimiter=separator), [])


def _from_parquet(path: Path) -> tuple[np.ndarray, list[str]]:
    file = ParquetFile(path)
    if not file.names:
        raise Unusable(f"{path} has no columns.")
    _, columns = file.read(file.names[0], file.names)
    text = [column.name for column in columns if column.categories is not None]
    if text:
        raise Unusable(f"Column {text[0]!r} of {path} is text; it must be numbers.")
    return np.column_stack([column.values for column in columns]), file.names


def _from_numpy(path: Path, name: str) -> tuple[np.ndarray, list[str] | None]:
    """One array; of an archive's several the one called `name`."""
    loaded = load_array(path)
    if isinstance(loaded, np.ndarray):
        return loaded, None
    classes = loaded.pop("classes", None)
    if len(loaded) == 1:
        name = next(iter(loaded))
    if name not in loaded:
        raise Unusable(
            f"{path} holds the arrays {', '.join(loaded)}; call one of them {name!r}."
        )
    names = None if classes is None else [str(each) for each in classes.tolist()]
    return loaded[name], names


def read_matrix(path: Path, name: str, n: int) -> tuple[np.ndarray, list[str] | None]:
    """Read numbers of shape (n, d) and the names of their columns, if any.

    Parameters
    ----------
    path : Path
        CSV, Parquet, NPZ or NPY.
    name : str
        What they are: "probabilities" or "gradients".
    n : int
        How many rows there must be.

    Returns
    -------
    matrix : ndarray of shape (n, d), finite
    names : list of str or None

    Raises
    ------
    Unusable
        If the format, the shape or a value cannot be used.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise Unusable(
            f"{path} ends in {suffix!r}; the formats read are {', '.join(SUFFIXES)}."
        )
    if path.stat().st_size == 0:
        raise Unusable(f"{path} is empty.")
    if suffix in (".csv", ".tsv"):
        matrix, names = _from_csv(path, n)
    elif suffix == ".parquet":
        matrix, names = _from_parquet(path)
    else:
        matrix, names = _from_numpy(path, name)
    if matrix.dtype.kind not in "fiub" or matrix.ndim != 2:
        raise Unusable(
            f"The {name} in {path} have shape {matrix.shape} and type {matrix.dtype}; "
            f"they must be numbers in {n} rows, one for each row of the data."
        )
    if len(matrix) != n:
        raise Unusable(
            f"{path} has {len(matrix)} rows of {name}; the data have {n} rows. "
            "Give one row for each, in the same order."
        )
    if names is not None and len(names) != matrix.shape[1]:
        raise Unusable(
            f"{path} has {matrix.shape[1]} columns and names {len(names)}: "
            f"{names[:20]}."
        )
    bad = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if len(bad):
        raise Unusable(
            f"The {name} in {path} are not finite in {len(bad)} rows, the first of "
            f"them row {bad[0]} (from 0)."
        )
    return matrix, names


def _check_probabilities(matrix: np.ndarray, path: Path) -> None:
    total = matrix.sum(axis=1)
    # Files hold rounded figures: two decimals are enough.
    wrong = (abs(total - 1) > 0.01) | (matrix < -1e-6).any(axis=1)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise Unusable(
            f"{path} holds no probabilities: row {row} (from 0) sums to "
            f"{total[row]:.4g}, its lowest value is {matrix[row].min():.4g}. Each row "
            "must be at least 0 and sum to 1, one column a class; of logits take the "
            "softmax first."
        )


def read_probabilities(path: Path, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities from a file, and where in it each row's label is.

    Parameters
    ----------
    path : Path
        Of n rows, one column a class: named by the classes, else in their
        sorted order.
    labels : ndarray of shape (n,)
        Labels of the data.

    Returns
    -------
    probabilities : ndarray of shape (n, C)
    codes : ndarray of shape (n,), int
        Column of each row's label.

    Raises
    ------
    Unusable
        If the file cannot be used or a class has no column.
    """
    matrix, names = read_matrix(path, "probabilities", len(labels))
    classes, codes = np.unique(labels, return_inverse=True)
    texts = [str(each) for each in classes.tolist()]
    if names is None and matrix.shape[1] != len(classes):
        raise Unusable(
            f"{path} has {matrix.shape[1]} columns without names, and there are "
            f"{len(classes)} classes: {texts[:20]}. Name the columns by class."
        )
    missing = [] if names is None else [text for text in texts if text not in names]
    if missing:
        raise Unusable(
            f"{path} has no column named {missing[0]!r}: its columns are "
            f"{(names or [])[:20]}, the classes {texts[:20]}. Name them by class."
        )
    _check_probabilities(matrix, path)
    if names is not None:
        codes = np.array([names.index(text) for text in texts])[codes]
    return matrix, codes


def read_gradients(path: Path, n: int) -> np.ndarray:
    """Gradients from a file, shape (n, d)."""
    return read_matrix(path, "gradients", n)[0]
