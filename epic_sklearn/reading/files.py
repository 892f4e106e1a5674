"""Files of rows: tables, Parquet and NumPy; they are cut as they are."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from collections.abc import Collection, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .errors import Unusable, as_option, refuse_if, refusing

LINES = [s + gz for s in (".csv", ".tsv", ".jsonl", ".ndjson") for gz in ("", ".gz")]
# Columns (n, ...) by name: an array of numbers, a pandas series of texts, or an
# error that says why neither can be read.
Raw = dict[str, Any]


def format_of(path: Path) -> str:
    """Return the suffix of a file, that of a packed one with its .gz."""
    n = 2 if path.suffix.lower() == ".gz" else 1
    return "".join(path.suffixes[-n:]).lower()


def check_format(path: Path, known: Sequence[str]) -> str:
    """Return the suffix of a file; refuse other formats, and empty files."""
    suffix = format_of(path)
    refuse_if(
        suffix not in known,
        f"{path} ends in {suffix!r}; the formats read are {', '.join(known)}.",
    )
    refuse_if(path.stat().st_size == 0, f"{path} is empty.")
    return suffix


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Load the arrays of an archive by name, or one; never unpickles."""
    name, arrays = "", {}
    try:
        with open(path, "rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {path.stem: loaded}
            for name in loaded.files:
                arrays[name] = np.asarray(loaded[name])
    except Exception as error:  # NumPy and zipfile raise all kinds on broken bytes
        why = f"cannot be read: {str(error) or type(error).__name__}"
        if "pickle" in why:
            why = (
                "holds Python objects, which are never unpickled: they could run any "
                "code. Save text or numbers, with array.astype(str) for example."
            )
        raise Unusable(f"{f'Array {name!r} in ' * bool(name)}{path} {why}") from error
    return arrays


class Table:
    """Rows with named columns, in a file."""

    kind = "column"
    index: Any = None  # by what a person finds rows, if not by their numbers
    n: int  # rows in the file, once it is read
    rows: Any = slice(None)  # which of them are looked at
    plain: Collection[str] = ()  # columns of numbers that are no texts
    nested: Collection[str] = ()  # columns of lists or objects
    remark = ""  # what other readers of a kept file must be told
    hint = ""  # at what may be wrong where a column is not found

    def __init__(self, path: Path, names: list[str]) -> None:
        self.path, self.names = path, names
        self.known = names  # and columns to be shown only
        name, n = Counter(names).most_common(1)[0] if names else ("", 0)
        refuse_if(
            n > 1, f"{path} has several {self.kind}s named {name!r}; rename them."
        )

    def look_at(self, is_asked: np.ndarray) -> None:
        """Look at some rows (n,) only; the others are not written either."""
        self.rows = np.flatnonzero(is_asked)
        index = pd.Index(np.arange(self.n), name="Row")
        self.index = (index if self.index is None else self.index)[self.rows]

    def place(self, row: int) -> str:
        """Where a person finds a row."""
        if self.index is None:
            return f"row {row}"
        return f"{self.index.name.lower()} {self.index[row]}"

    def features(self, label: str, chosen: Sequence[str], beside: Any) -> list[str]:
        """Name the columns of features: those chosen, or all but the label."""
        names = [name for name in chosen or self.names if name not in beside]
        return [name for name in names if name != label]

    def left_whole(self, label: str, cut: Collection[str]) -> list[str]:
        """Name what is as long as the label and not cut."""
        return []


class ParquetFile(Table):
    """A Parquet file of flat columns."""

    def __init__(self, path: Path) -> None:
        install = "pip install 'epic-sklearn[parquet]'."
        refuse_if(not find_spec("pyarrow"), f"Parquet files need pyarrow: {install}")
        import pyarrow
        import pyarrow.parquet

        self._arrow, self._parquet = pyarrow, pyarrow.parquet
        self._refusing = f"{path} is no Parquet file that is read: "
        with refusing(self._refusing):
            schema = self._parquet.read_schema(path)
            index = _of_pandas(schema).get("index_columns", [])
        super().__init__(path, [name for name in schema.names if name not in index])
        self.known = schema.names

    def read(self, names: Sequence[str]) -> Raw:
        """Read columns as numbers or text."""
        with refusing(self._refusing):
            table = self._parquet.read_table(self.path, columns=list(names))
            return {name: self._raw(table[name]) for name in names}

    def write_rows(self, keep: np.ndarray, path: Path, cut: Collection[str]) -> None:
        """Write the kept rows with the types and metadata of the original."""
        with refusing(self._refusing):
            table = self._parquet.read_table(self.path)
        # Arrow has no filter for its view types: it gets each run of kept rows.
        edges = np.flatnonzero(np.diff(keep, prepend=False, append=False))
        runs = edges.reshape(-1, 2).tolist()
        parts = [table.slice(start, end - start) for start, end in runs]
        kept = self._arrow.concat_tables(parts)
        self._parquet.write_table(self._with_index(kept, keep), path)

    def _with_index(self, kept: Any, keep: np.ndarray) -> Any:
        """Write the labels of kept rows, where pandas stored only how they count."""
        about = _of_pandas(kept.schema)
        counts: Any = about.get("index_columns", [])
        if len(counts) != 1 or not isinstance(counts[0], dict):
            return kept
        ends: list[Any]
        name, *ends = (counts[0].get(key) for key in ("name", "start", "stop", "step"))
        if name is None and ends[::2] == [0, 1]:  # numbers of rows, which are new ones
            return kept
        is_range = all(isinstance(end, int) for end in ends) and ends[2] != 0
        is_range &= name is None or isinstance(name, str)
        if not is_range or len(range(*ends)) != len(keep):  # for pandas, too, no index
            return kept
        field = name if name and name not in kept.column_names else "__index_level_0__"
        labels = np.arange(*ends)[keep]
        about["index_columns"] = [field]
        kind = {"pandas_type": "int64", "numpy_type": "int64", "metadata": None}
        columns = about.get("columns", [])
        about["columns"] = [*columns, {"name": name, "field_name": field, **kind}]
        kept = kept.append_column(field, self._arrow.array(labels))
        metadata = {**kept.schema.metadata, b"pandas": json.dumps(about).encode()}
        return kept.replace_schema_metadata(metadata)

    def _raw(self, values: Any) -> Any:
        types, kind = self._arrow.types, values.type
        if types.is_duration(kind):
            return values.to_pandas().dt.total_seconds().to_numpy()
        is_whole = types.is_integer(kind) or types.is_boolean(kind)
        if types.is_floating(kind) or (is_whole and not values.null_count):
            return values.to_numpy()
        is_category = types.is_dictionary(kind)
        if is_category:
            values = values.cast(kind.value_type)
        try:
            texts = values.cast("large_string").to_pandas().fillna("")
        except self._arrow.ArrowException:
            return Unusable(
                f"is of type {kind}, which is neither number, date nor text"
            )
        return texts.astype("category") if is_category else texts


def _of_pandas(schema: Any) -> dict[str, Any]:
    """Read what pandas noted of the index; refuse what it would not write."""
    try:
        about = schema.pandas_metadata or {}
        lists = [about.get(key, []) for key in ("index_columns", "columns")]
        if all(isinstance(each, list) for each in lists):
            return dict(about)
    except (ValueError, AttributeError, RecursionError):
        pass
    raise ValueError(
        "its pandas metadata are broken; write it again, with pyarrow "
        "table.replace_schema_metadata() for example."
    )


class NpzFile(Table):
    """An archive as ``numpy.savez`` writes it: arrays with one row an example."""

    kind = "array"

    def __init__(self, path: Path) -> None:
        self._arrays = load_arrays(path)
        super().__init__(path, list(self._arrays))

    def read(self, names: Sequence[str]) -> Raw:
        """Read arrays of numbers as they are, and columns of text."""
        raw: Raw = {}
        for name in names:
            array = self._arrays[name]
            if array.dtype.kind == "S":
                with refusing(f"Array {name!r} holds bytes, not UTF-8 text: "):
                    array = np.char.decode(array, "utf-8")
            elif array.dtype.kind == "M":
                array = array.astype(str)
            if array.dtype.kind in "fiub" and array.ndim:
                # In the machine's order of bytes, of at most eight of them.
                native = f"{array.dtype.kind}{min(array.dtype.itemsize, 8)}"
                with np.errstate(over="ignore"):  # infinite ones are refused
                    raw[name] = array.astype(native, copy=False)
            elif array.dtype.kind == "U" and array.ndim == 1:
                _refuse_half_characters(name, array)
                raw[name] = pd.Series(array, dtype=object)
            else:
                raw[name] = Unusable(
                    f"is of type {array.dtype}, {array.ndim}-D, which is neither of "
                    "numbers nor one text a row (of a table of texts give .csv or "
                    ".parquet, or an array a column)"
                )
        return raw

    def features(self, label: str, chosen: Sequence[str], beside: Any) -> list[str]:
        """Name the array of features, or those chosen; all have one row a label."""
        names, arrays = super().features(label, chosen, beside), self._arrays
        if len(names) > 1 and not chosen:
            shapes = "; ".join(f"{k!r} of shape {arrays[k].shape}" for k in names)
            likely = max(names, key=lambda k: (self._fits(k, label), arrays[k].ndim))
            raise Unusable(
                f"{self.path} holds several arrays besides the label {label!r}: "
                f"{shapes}. Say which are the examples, for instance with --features "
                f"{as_option([likely])}; several are put side by side."
            )
        for name in names:
            refuse_if(
                not self._fits(name, label),
                f"Array {name!r} has shape {arrays[name].shape} and the label "
                f"{label!r} {arrays[label].shape}; choose arrays with one row a label "
                "by --features, or leave this one out with --exclude.",
            )
        return names

    def left_whole(self, label: str, cut: Collection[str]) -> list[str]:
        """Name what is as long as the label and not cut."""
        return sorted(k for k in self.names if self._fits(k, label) and k not in cut)

    def write_rows(self, keep: np.ndarray, path: Path, cut: Collection[str]) -> None:
        """Write the kept rows of the arrays to cut, the rest whole."""
        # Unlike numpy.savez it takes any name.
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, array in self._arrays.items():
                array = array[keep] if name in cut else array
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, array, allow_pickle=False)

    def _fits(self, name: str, label: str) -> bool:
        arrays = self._arrays
        return arrays[name].shape[:1] == arrays[label].shape[:1]


def _refuse_half_characters(name: str, texts: np.ndarray) -> None:
    """Refuse an array of texts that holds what is no text."""
    try:
        np.char.encode(texts, "utf-8")
    except (ValueError, SystemError) as error:  # of code points beyond all
        raise Unusable(f"Array {name!r} holds half characters: {error}.") from error
