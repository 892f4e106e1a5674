"""NumPy archives, and gradients or probabilities computed elsewhere."""

from __future__ import annotations

import csv
import warnings
import zipfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from .. import rules
from .columns import (
    NAMELESS,
    Unusable,
    as_numbers,
    as_option,
    check_names,
    counts_rows,
    refuse_if,
)
from .tables import ParquetFile, Raw, Table, format_of

ROUNDING = 0.01  # of the figures in files: two decimals are enough


def open_by(path: Path, readers: dict[str, Any]) -> Any:
    """Read a file by its suffix; refuse other formats, and empty files."""
    suffix = format_of(path)
    if suffix not in readers:
        known = ", ".join(readers)
        raise Unusable(f"{path} ends in {suffix!r}; the formats read are {known}.")
    refuse_if(path.stat().st_size == 0, f"{path} is empty.")
    return readers[suffix](path)


def load_arrays(path: Path) -> np.ndarray | dict[str, np.ndarray]:
    """Load an array, or all of an archive's arrays by name; never unpickles."""
    name, arrays = "", {}
    try:
        with open(path, "rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return loaded
            check_names(path, loaded.files, "array")
            for name in loaded.files:
                arrays[name] = np.asarray(loaded[name])
    except Unusable:
        raise
    except Exception as error:  # NumPy and zipfile raise all kinds on broken bytes
        if "pickle" not in str(error):
            what = str(error) or type(error).__name__
            raise Unusable(f"{path} cannot be read: {what}") from error
        raise Unusable(
            f"{f'Array {name!r} in ' * bool(name)}{path} holds Python objects, which "
            "are never unpickled: they could run any code. Save text or numbers, with "
            "array.astype(str) for example."
        ) from error
    return arrays


def write_arrays(arrays: dict[str, np.ndarray], path: Path) -> None:
    """Write an archive; unlike ``numpy.savez`` it takes any array name."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


class NpzFile(Table):
    """An archive as ``numpy.savez`` writes it: arrays with one row an example."""

    kind = "array"

    def __init__(self, path: Path) -> None:
        loaded = load_arrays(path)
        if isinstance(loaded, np.ndarray):
            raise Unusable(f"{path} is one array; give an .npz archive of several.")
        self.arrays = loaded
        super().__init__(path, list(loaded))

    def read(self, label: str, names: Sequence[str]) -> Raw:
        """Read labels, and blocks of numbers (n, k) or columns of text."""
        labels, raw = self._decoded(label), dict[str, Any]()
        labels = labels[:, 0] if labels.shape[1:] == (1,) else labels
        shape = f"{labels.shape}; it must be (n,), one label a row"
        refuse_if(labels.ndim != 1, f"Label array {label!r} has shape {shape}.")
        for name in names:
            array = self._decoded(name)
            if array.shape[:1] != labels.shape:
                raise Unusable(
                    f"Array {name!r} has shape {array.shape} and {label!r} "
                    f"{len(labels)} labels; choose arrays with one row a label by "
                    "--features, or leave this one out with --exclude."
                )
            flat = array.reshape(len(array), -1) if array.ndim > 1 else array
            kind, texts = array.dtype.kind, flat.T.astype(object)
            if kind == "U" and array.ndim > 1:
                raw |= {f"{name}[{j}]": column for j, column in enumerate(texts)}
                continue
            wrong = f"is of type {array.dtype}, which is neither number nor text"
            raw[name] = flat if kind in "fiub" else texts if kind == "U" else wrong
        return labels.tolist(), raw

    def _decoded(self, name: str) -> np.ndarray:
        array = self.arrays[name]
        try:
            return np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array
        except UnicodeDecodeError as error:
            raise Unusable(f"Array {name!r} holds bytes, not UTF-8 text.") from error

    def several(self, label: str, names: Sequence[str]) -> Unusable:
        """Error that asks which of several arrays are the examples."""
        shapes = "; ".join(f"{k!r} of shape {self.arrays[k].shape}" for k in names)
        long, arrays = self.as_long_as(label), self.arrays
        likely = max(names, key=lambda k: (k in long, arrays[k].ndim))
        return Unusable(
            f"{self.path} holds several arrays besides the label {label!r}: {shapes}. "
            "Say which are the examples, for instance with --features "
            f"{as_option([likely])}; several are put side by side."
        )

    def as_long_as(self, label: str) -> list[str]:
        """Name the other arrays that are as long as the label."""
        n = self.arrays[label].shape[:1]
        return [k for k, a in self.arrays.items() if a.shape[:1] == n and k != label]

    def columns(self, label: str) -> list[str]:
        """Name those of them that have one entry a row."""
        return [k for k in self.as_long_as(label) if self.arrays[k].ndim == 1]

    def write_rows(self, keep: np.ndarray, path: Path, cut: Collection[str]) -> None:
        """Write the kept rows of the arrays to cut, the rest whole."""
        arrays = {k: a[keep] if k in cut else a for k, a in self.arrays.items()}
        write_arrays(arrays, path)


def _from_csv(path: Path, expected: Sequence[str]) -> tuple[np.ndarray, Any]:
    """Numbers, and the names in the first line if that cannot be data."""
    how: dict[str, Any] = {"quotechar": '"', "ndmin": 2, "comments": None}
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            first = file.readline().strip("\r\n")
        separator = next((c for c in "\t;, " if c in first), ",")
        names = next(csv.reader([first], delimiter=separator), [])
        numbers = as_numbers([name.strip() for name in names])
        is_header = numbers is None or np.isnan(numbers).any()
        is_header |= len(names) > 1 and names == [str(j) for j in range(len(names))]
        is_header |= bool(expected) and set(expected) <= set(names)
        how |= {"delimiter": separator, "encoding": "utf-8-sig"}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "loadtxt: input contained no data")
            matrix = np.loadtxt(path, skiprows=int(is_header), **how)
    except (ValueError, csv.Error) as error:
        must = "It must hold rows of numbers, one for each row of the data"
        raise Unusable(f"{path}: {error}. {must}.") from error
    return matrix, names if is_header else None


def _from_parquet(path: Path) -> tuple[np.ndarray, list[str]]:
    """Columns, and an index that pandas wrote under no name."""
    with ParquetFile(path).errors():
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
    if name not in loaded:
        names = ", ".join(loaded)
        raise Unusable(f"{path} holds the arrays {names}; call one of them {name!r}.")
    return loaded[name], None if classes is None else list(map(str, classes.ravel()))


def _read_matrix(
    path: Path, what: str, n: int, expected: Sequence[str] = ()
) -> tuple[np.ndarray, Any, bool]:
    """Numbers (n, d), their columns' names, and whether an index counts the rows."""
    readers: dict[str, Any] = {".parquet": _from_parquet}
    readers |= dict.fromkeys((".csv", ".tsv"), lambda path: _from_csv(path, expected))
    readers |= dict.fromkeys((".npz", ".npy"), lambda path: _from_numpy(path, what))
    matrix, names = open_by(path, readers)
    if matrix.dtype.kind not in "fiub" or matrix.ndim != 2 or matrix.shape[1] == 0:
        found = f"shape {matrix.shape} and type {matrix.dtype}"
        raise Unusable(f"The {what} in {path} have {found}, not of numbers (n, d).")
    if len(matrix) != n:
        raise Unusable(
            f"{path} has {len(matrix)} rows of {what}; the data have {n} rows. Give "
            "one for each, in the same order, under a header that is no row of numbers."
        )
    has_index = False
    if names is not None:
        if len(names) != matrix.shape[1]:
            found = f"{path} has {matrix.shape[1]} columns and names {len(names)}"
            raise Unusable(f"{found}: {names[:20]}.")
        is_index = np.array([bool(NAMELESS.fullmatch(name)) for name in names], bool)
        if not all(counts_rows(column) for column in matrix[:, is_index].T):
            raise Unusable(
                f"{path} has an index, and it does not count the rows: they are in "
                "another order than the data's, or some are missing. Sort them, then "
                "write the file without the index (of pandas: index=False)."
            )
        names = np.array(names, object)[~is_index].tolist()
        matrix, has_index = matrix[:, ~is_index], bool(is_index.any())
    bad = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if len(bad):
        where = f"{len(bad)} rows, the first of them row {bad[0]} (from 0)"
        raise Unusable(f"The {what} in {path} are not finite in {where}.")
    return matrix, names, has_index


def read_probabilities(path: Path, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities from a file, and where in it each row's label is."""
    classes, codes = np.unique(labels, return_inverse=True)
    texts = [str(each) for each in classes.tolist()]
    matrix, names, _ = _read_matrix(path, "probabilities", len(labels), texts)
    check_names(path, names or [], "column")
    wrong = ""
    if names is None and matrix.shape[1] != len(classes):
        wrong = f"has {matrix.shape[1]} columns without names"
    missing = [text for text in texts if text not in (names or texts)]
    if missing:
        wrong = f"has no column named {missing[0]!r}: its columns are {names[:20]}"
    if wrong:
        known = f"the {len(classes)} classes are {texts[:20]}"
        raise Unusable(f"{path} {wrong}, {known}. Name the columns by class.")
    total = matrix.sum(axis=1)
    is_wrong = (abs(total - 1) > ROUNDING) | (matrix < -1e-6).any(axis=1)
    if is_wrong.any():
        row = int(np.argmax(is_wrong))
        raise Unusable(
            f"{path} holds no probabilities: row {row} (from 0) sums to "
            f"{total[row]:.4g}, its lowest value is {matrix[row].min():.4g}. Of logits "
            "take the softmax first."
        )
    if names is not None:
        return matrix, np.array([names.index(text) for text in texts])[codes]
    given = np.zeros((len(classes), len(classes)))
    np.add.at(given, codes, matrix)
    rows, best = linear_sum_assignment(given, maximize=True)
    # Random probabilities gain less than that.
    if given[rows, best].sum() - np.trace(given) > 2 * np.sqrt(len(codes)):
        order = [texts[j] for j in np.argsort(best)]
        raise Unusable(
            f"The columns of {path} have no names, and fit the labels better in the "
            f"order {order[:20]} than in the sorted one, {texts[:20]}. Name them."
        )
    return matrix, codes


def read_gradients(path: Path, labels: np.ndarray) -> tuple[np.ndarray, bool]:
    """Gradients from a file, and whether they prove to be in the order of the rows.

    Softmax minus one-hot does: the filter refuses that of other labels.
    """
    gradients, _, has_index = _read_matrix(path, "gradients", len(labels))
    is_error = abs(gradients.sum(axis=1)) < rules.base.ROUNDING
    is_error &= (gradients < 0).sum(axis=1) <= 1
    n_negative = len(np.unique(gradients.argmin(axis=1)))
    return gradients, has_index or (bool(is_error.all()) and n_negative > 1)
