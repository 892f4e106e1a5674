"""Gradients or probabilities that were computed elsewhere."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from ..gradients import logit_gradients
from ..rules.base import label_columns
from .columns import (
    NAMELESS,
    Unusable,
    are_names,
    counts_rows,
    refuse_if,
    refusing,
)
from .tables import ParquetFile, load_arrays, open_by


def _from_csv(path: Path, expected: Sequence[str]) -> tuple[np.ndarray, Any]:
    """Numbers, and the names in the first line if that cannot be data."""
    must = ". It must hold rows of numbers, one for each row of the data."
    with refusing(f"{path}: ", must), open(path, encoding="utf-8-sig") as file:
        line = file.readline().rstrip("\n")
        sep = next((c for c in "\t;, " if c in line), ",")
        names = [name.strip() for name in next(csv.reader([line], delimiter=sep), [])]
        is_header = are_names(names) or (bool(expected) and set(expected) <= set(names))
        file.seek(0)
        rows = pd.read_csv(
            file, header=None, skiprows=int(is_header), sep=sep, dtype=float
        )
    return rows.to_numpy(), names if is_header else None


def _from_parquet(path: Path) -> tuple[np.ndarray, list[str]]:
    """Columns, and an index that pandas wrote under no name."""
    ParquetFile(path)  # says why it cannot be read
    frame = pd.read_parquet(path)
    if not isinstance(frame.index, pd.RangeIndex) or frame.index.step != 1:
        frame.insert(0, "", frame.index)
    return frame.to_numpy(), list(map(str, frame.columns))


def _from_numpy(path: Path, name: str) -> tuple[np.ndarray, list[str] | None]:
    """One array; of an archive's several the one called `name`."""
    loaded = load_arrays(path)
    if isinstance(loaded, np.ndarray):
        return loaded, None
    classes = loaded.pop("classes", None)
    name = next(iter(loaded)) if len(loaded) == 1 else name
    call = f"call one of them {name!r}."
    refuse_if(name not in loaded, f"{path} holds arrays {', '.join(loaded)}; {call}")
    return loaded[name], None if classes is None else list(map(str, classes.ravel()))


def _read_matrix(
    path: Path, what: str, n: int, expected: Sequence[str] = ()
) -> tuple[np.ndarray, Any, bool]:
    """Numbers (n, d), their columns' names, and whether an index counts the rows."""
    readers: dict[str, Any] = {".parquet": _from_parquet}
    readers |= dict.fromkeys((".csv", ".tsv"), partial(_from_csv, expected=expected))
    readers |= dict.fromkeys((".npz", ".npy"), partial(_from_numpy, name=what))
    matrix, names = open_by(path, readers)
    is_matrix = matrix.dtype.kind in "fiub" and matrix.ndim == 2 and matrix.size
    if not is_matrix or len(matrix) != n:
        raise Unusable(
            f"{path} has {what} of shape {matrix.shape} and type {matrix.dtype}; the "
            f"data have {n} rows. Give numbers, one row for each, in the same order, "
            "under a header that is no row of numbers."
        )
    is_index = np.array([bool(NAMELESS.fullmatch(each)) for each in names or ()], bool)
    if has_index := bool(is_index.any()):
        if not all(counts_rows(column) for column in matrix[:, is_index].T):
            raise Unusable(
                f"{path} has an index, and it does not count the rows: they are in "
                "another order than the data's, or some are missing. Sort them, then "
                "write the file without the index (of pandas: index=False)."
            )
        names = np.array(names, object)[~is_index].tolist()
        matrix = matrix[:, ~is_index]
    bad = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    where = f"{len(bad)} rows, the first of them row {bad[:1]} (from 0)"
    refuse_if(len(bad), f"The {what} in {path} are not finite in {where}.")
    return matrix, names, has_index


def read_probabilities(path: Path, labels: np.ndarray) -> tuple[np.ndarray, Any]:
    """Gradients by probabilities from a file, and these with their columns' labels."""
    classes, codes = np.unique(labels, return_inverse=True)
    texts = [str(each) for each in classes.tolist()]
    matrix, names, _ = _read_matrix(path, "probabilities", len(labels), texts)
    is_named = names is not None
    how = f"named {names[:20]}" if is_named else "without names"
    names = names if is_named else texts
    if not set(texts) <= set(names) or len(names) != matrix.shape[1]:
        raise Unusable(
            f"{path} has {matrix.shape[1]} columns {how}, and the {len(classes)} "
            f"classes are {texts[:20]}. Name the columns by class."
        )
    places = np.array([names.index(text) for text in texts])
    with refusing(f"{path}: "):
        gradients = logit_gradients(matrix, places[codes])
    if not is_named:
        given = np.zeros((len(classes), len(classes)))
        np.add.at(given, codes, matrix)
        rows, best = linear_sum_assignment(given, maximize=True)
        # Random probabilities gain less than that.
        if given[rows, best].sum() - np.trace(given) > 2 * np.sqrt(len(codes)):
            order = [texts[j] for j in np.argsort(best)]
            raise Unusable(
                f"The columns of {path} have no names, and fit the labels better in "
                f"the order {order[:20]} than in the sorted one, {texts[:20]}. Name "
                "them."
            )
    of_columns = np.array(names, dtype=object)  # more than there are labels, maybe
    of_columns[places] = classes
    return gradients, (matrix, of_columns)


def read_gradients(path: Path, labels: np.ndarray) -> tuple[np.ndarray, bool]:
    """Gradients from a file, and whether they prove to be in the order of the rows.

    Softmax minus one-hot does: the filter refuses that of other labels.
    """
    gradients, _, has_index = _read_matrix(path, "gradients", len(labels))
    column, is_error, _ = label_columns(gradients)
    return gradients, has_index or (bool(is_error.all()) and len(set(column)) > 1)
