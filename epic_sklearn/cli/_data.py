"""Data files of any kind, behind one interface."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ._columns import Column
from ._csv import CsvFile
from ._errors import Unusable, unknown
from ._npz import NpzFile
from ._parquet import ParquetFile

SUFFIXES = (".csv", ".tsv", ".parquet", ".npz")


class DataFile(Protocol):
    """A file of labelled rows."""

    kind: str
    path: Path
    names: list[str]

    def hint(self) -> str:
        """Say what may be wrong where a name is not found."""

    def place(self, row: int) -> str:
        """Say where a row stands in the file."""

    def read(self, label: str, features: list[str]) -> tuple[Any, list[Column]]:
        """Labels (n,) and the columns of features."""

    def write_rows(self, keep: np.ndarray, path: Path) -> None:
        """Write the rows where `keep` (n,) is true, in the same format."""


def open_data(path: Path, separator: str | None = None) -> DataFile:
    """Open a data file by its suffix."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise Unusable(
            f"{path} ends in {suffix!r}; the formats read are {', '.join(SUFFIXES)}."
        )
    if path.stat().st_size == 0:
        raise Unusable(f"{path} is empty.")
    if suffix in (".csv", ".tsv"):
        return CsvFile(path, separator)
    if separator is not None:
        raise Unusable(f"--separator is for CSV files; {path} is none.")
    return ParquetFile(path) if suffix == ".parquet" else NpzFile(path)


def split_names(given: Sequence[str], known: Sequence[str], kind: str) -> list[str]:
    """Names from a comma-separated option that may be given several times.

    A name that itself holds a comma is given alone, or quoted as in a CSV file.

    Examples
    --------
    >>> from epic_sklearn.cli._data import split_names
    >>> split_names(["a,b", "x,y"], ["a", "b", "x,y"], "column")
    ['a', 'b', 'x,y']
    """
    names: list[str] = []
    for text in given:
        names += [text] if text in known else next(csv.reader([text]), [""])
    for name in names:
        if name not in known:
            raise unknown(kind, name, known)
    return list(dict.fromkeys(names))


def check_label(data: DataFile, label: str) -> None:
    """Refuse a label column that is not there."""
    if label not in data.names:
        raise unknown(data.kind, label, data.names, data.hint())


def choose_features(
    data: DataFile, label: str, features: Sequence[str], exclude: Sequence[str]
) -> list[str]:
    """Names of the feature columns: those asked for, or all but the label.

    Raises
    ------
    Unusable
        If a name is not there, the label is among the features, none is left,
        or an archive has several arrays that may or may not be features.
    """
    left_out = split_names(exclude, data.names, data.kind)
    chosen = split_names(features, data.names, data.kind)
    if label in chosen:
        raise Unusable(f"{label!r} is the label; it cannot be a feature as well.")
    if not features:
        chosen = [name for name in data.names if name != label]
    chosen = [name for name in chosen if name not in left_out]
    if not chosen:
        raise Unusable(
            f"No {data.kind} of features is left in {data.path} besides the label "
            f"{label!r}.{data.hint()}"
        )
    if isinstance(data, NpzFile) and len(chosen) > 1 and not features:
        raise data.several(label, chosen)
    return chosen
