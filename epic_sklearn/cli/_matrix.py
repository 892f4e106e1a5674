"""Probabilities or gradients computed elsewhere: one row of numbers an example."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from ._columns import NAMELESS, as_numbers, counts_rows
from ._errors import Unusable, check_format, check_names
from ._npz import load_arrays
from ._parquet import ParquetFile

SUFFIXES = (".csv", ".tsv", ".parquet", ".npz", ".npy")
# Errors of a net sum to 0; files hold rounded figures.
ROUNDING = 0.01


def _from_csv(
    path: Path, expected: Sequence[str]
) -> tuple[np.ndarray, list[str] | None]:
    """Numbers of a CSV file, and the names in its first line if that is a header."""
    how: dict[str, Any] = {"quotechar": '"', "ndmin": 2, "comments": None}
    how |= {"encoding": "utf-8-sig"}
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            first = file.readline().strip("\r\n")
        separator = next((c for c in "\t;, " if c in first), ",")
        names = next(csv.reader([first], delimiter=separator), [])
        is_header = _is_header(names, expected)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "loadtxt: input contained no data")
            how |= {"delimiter": separator, "skiprows": int(is_header)}
            matrix = np.loadtxt(path, **how)
    except (ValueError, csv.Error) as error:
        raise Unusable(
            f"{path}: {error}. It must hold rows of numbers, one for each row of the "
            "data, under a header line of names or without one."
        ) from error
    return matrix, names if is_header else None


def _is_header(names: list[str], expected: Sequence[str]) -> bool:
    """Whether a line cannot be data: not all numbers, the classes, or 0, 1, 2, ..."""
    numbers = as_numbers([name.strip() for name in names])
    if numbers is None or np.isnan(numbers).any():
        return True
    if expected and set(expected) <= set(names):
        return True
    return len(names) > 1 and names == [str(j) for j in range(len(names))]


def _from_parquet(path: Path) -> tuple[np.ndarray, list[str]]:
    file = ParquetFile(path)
    index = [name for name in file.index if isinstance(name, str)]
    counts = [each for each in file.index if isinstance(each, dict)]
    if any(each.get("step", 1) != 1 for each in counts):
        raise _in_another_order(path)
    names = file.names + index
    if not file.names:
        raise Unusable(f"{path} has no columns.")
    _, columns = file.read(names[0], names)
    text = [column.name for column in columns if column.categories is not None]
    if text:
        raise Unusable(f"Column {text[0]!r} of {path} is text; it must be numbers.")
    matrix = np.column_stack([column.values for column in columns])
    return matrix, file.names + [""] * len(index)


def _from_numpy(path: Path, name: str) -> tuple[np.ndarray, list[str] | None]:
    """One array; of an archive's several the one called `name`."""
    loaded = load_arrays(path)
    if isinstance(loaded, np.ndarray):
        return loaded, None
    classes = loaded.pop("classes", None)
    if len(loaded) == 1:
        name = next(iter(loaded))
    if name not in loaded:
        raise Unusable(
            f"{path} holds the arrays {', '.join(loaded)}; call one of them {name!r}."
        )
    names = None if classes is None else [str(each) for each in classes.ravel()]
    return loaded[name], names


def _in_another_order(path: Path) -> Unusable:
    return Unusable(
        f"{path} has an index, and it does not count the rows: they are in another "
        "order than the data's, or some are missing. Sort them, then write the file "
        "without the index (of pandas: index=False)."
    )


def _without_index(
    path: Path, matrix: np.ndarray, names: list[str] | None
) -> tuple[np.ndarray, list[str] | None, bool]:
    """Leave out columns that only number the rows; they prove their order."""
    if names is None:
        return matrix, None, False
    is_index = np.array([bool(NAMELESS.fullmatch(name)) for name in names], bool)
    if not all(counts_rows(column) for column in matrix[:, is_index].T):
        raise _in_another_order(path)
    left = np.array(names, object)[~is_index].tolist()
    return matrix[:, ~is_index], left, bool(is_index.any())


def _load(
    path: Path, what: str, expected: Sequence[str]
) -> tuple[np.ndarray, list[str] | None]:
    suffix = check_format(path, SUFFIXES)
    if suffix in (".csv", ".tsv"):
        return _from_csv(path, expected)
    return _from_parquet(path) if suffix == ".parquet" else _from_numpy(path, what)


def _read_matrix(
    path: Path, what: str, n: int, expected: Sequence[str] = ()
) -> tuple[np.ndarray, list[str] | None, bool]:
    """Numbers (n, d), their columns' names, and whether an index counts the rows."""
    matrix, names = _load(path, what, expected)
    if matrix.dtype.kind not in "fiub" or matrix.ndim != 2 or matrix.shape[1] == 0:
        raise Unusable(
            f"The {what} in {path} have shape {matrix.shape} and type {matrix.dtype}; "
            f"they must be numbers in {n} rows, one for each row of the data."
        )
    if len(matrix) != n:
        raise Unusable(
            f"{path} has {len(matrix)} rows of {what}; the data have {n} rows. "
            "Give one row for each, in the same order"
            + ("." if names else ", under a header that is no row of numbers.")
        )
    if names is not None and len(names) != matrix.shape[1]:
        raise Unusable(
            f"{path} has {matrix.shape[1]} columns and names {len(names)}: "
            f"{names[:20]}."
        )
    matrix, names, has_index = _without_index(path, matrix, names)
    bad = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if len(bad):
        raise Unusable(
            f"The {what} in {path} are not finite in {len(bad)} rows, the first of "
            f"them row {bad[0]} (from 0)."
        )
    return matrix, names, has_index


def _check_probabilities(matrix: np.ndarray, path: Path) -> None:
    total = matrix.sum(axis=1)
    # Files hold rounded figures: two decimals are enough.
    wrong = (abs(total - 1) > ROUNDING) | (matrix < -1e-6).any(axis=1)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise Unusable(
            f"{path} holds no probabilities: row {row} (from 0) sums to "
            f"{total[row]:.4g}, its lowest value is {matrix[row].min():.4g}. Each row "
            "must be at least 0 and sum to 1, one column a class; of logits take the "
            "softmax first."
        )


def read_probabilities(path: Path, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities from a file, and where in it each row's label is."""
    classes, codes = np.unique(labels, return_inverse=True)
    texts = [str(each) for each in classes.tolist()]
    matrix, names, _ = _read_matrix(path, "probabilities", len(labels), texts)
    check_names(path, names or [], "column")
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
        return matrix, np.array([names.index(text) for text in texts])[codes]
    _check_order_of_columns(matrix, codes, texts, path)
    return matrix, codes


def _check_order_of_columns(
    matrix: np.ndarray, codes: np.ndarray, classes: list[str], path: Path
) -> None:
    """Refuse columns without names that fit the labels far better in another order."""
    given = np.zeros((len(classes), len(classes)))
    np.add.at(given, codes, matrix)
    rows, best = linear_sum_assignment(given, maximize=True)
    # Random probabilities gain less than that.
    if given[rows, best].sum() - np.trace(given) > 2 * np.sqrt(len(codes)):
        order = [classes[j] for j in np.argsort(best)]
        raise Unusable(
            f"The columns of {path} have no names, and fit the labels better in the "
            f"order {order[:20]} than in the sorted one, {classes[:20]}. Name them by "
            "class."
        )


def read_gradients(path: Path, labels: np.ndarray) -> tuple[np.ndarray, bool]:
    """Gradients from a file, and whether they prove to be in the order of the rows."""
    gradients, _, has_index = _read_matrix(path, "gradients", len(labels))
    classes, codes = np.unique(labels, return_inverse=True)
    is_error = abs(gradients.sum(axis=1)) < ROUNDING
    is_error &= (gradients < 0).sum(axis=1) <= 1
    if gradients.shape[1] < len(classes) or not is_error.all():
        return gradients, has_index
    lowest, column = gradients.min(axis=1), gradients.argmin(axis=1)
    surely = lowest < -ROUNDING
    pairs = np.unique(np.stack([codes[surely], column[surely]]), axis=1)
    if any(len(np.unique(side)) < len(side) for side in pairs):
        raise Unusable(
            f"{path} holds softmax minus one-hot, and of other labels than the data's: "
            "rows of one class are negative in several columns, or rows of several "
            "classes in one. Are the rows in another order?"
        )
    return gradients, has_index or pairs.shape[1] > 1
