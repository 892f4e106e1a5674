"""Files of rows: CSV, JSON lines, Parquet, NumPy; they are cut as they are."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..validation import is_missing
from .columns import (
    Place,
    Unusable,
    as_numbers,
    as_option,
    counts_rows,
    need,
    refuse_if,
    refusing,
    unknown,
)

CHUNK = 10_000  # records held as Python strings at a time
LINES = [s + gz for s in (".csv", ".tsv", ".jsonl", ".ndjson") for gz in ("", ".gz")]
GZIP = (zlib.error, gzip.BadGzipFile)
Raw = tuple[list[Any], dict[str, Any]]  # labels, and columns as a file holds them


def format_of(path: Path) -> str:
    """Return the suffix of a file, that of a packed one with its .gz."""
    n = 2 if path.suffix.lower() == ".gz" else 1
    return "".join(path.suffixes[-n:]).lower()


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

    kind, row_kind = "column", "Row"
    row_name: Any = None  # of a row number, what a person finds it by
    hint = ""  # at what may be wrong where a column is not found

    def __init__(self, path: Path, names: list[str]) -> None:
        self.path, self.names = path, names
        name, n = Counter(names).most_common(1)[0] if names else ("", 0)
        refuse_if(
            n > 1, f"{path} has several {self.kind}s named {name!r}; rename them."
        )

    def place(self, row: int) -> str:
        """Where a person finds a row."""
        number = self.row_name(row) if self.row_name else row
        return f"{self.row_kind.lower()} {number}"

    def columns(self, label: str) -> list[str]:
        """Name what has one entry for each label."""
        return self.names


class LinesFile(Table):
    """A CSV file with a header line, or JSON lines; packed (``.gz``) or plain."""

    row_kind = "Line"

    def __init__(self, path: Path, separator: str | None, encoding: str | None) -> None:
        self.path, suffix = path, format_of(path).removesuffix(".gz")
        self.separator = separator or ("\t" if suffix == ".tsv" else ",")
        self._encoding = encoding or "utf-8"
        self._is_json = suffix in (".jsonl", ".ndjson")
        if self._is_json:
            keys = (record for _, record, _ in self._records())
            names = list(dict.fromkeys(itertools.chain.from_iterable(keys)))
        else:
            names = next(self._records(), (0, [], ""))[1]
        if not names:
            raise Unusable(f"{path} is empty: there is no header line.")
        super().__init__(path, names)
        if len(names) == 1 and not self._is_json:
            marks = set(";\t|,") & set(names[0]) - {self.separator}
            other = next(iter(sorted(marks)), "")
            asks = f" Is it separated by {other!r}? Give --separator." if other else ""
            self.hint = f" Split at {self.separator!r} the header is one column.{asks}"

    def row_name(self, row: int) -> str:
        """Give the line of the file on which a record ends."""
        return str(self._lines[row])

    def read(self, label: str, names: Sequence[str]) -> Raw:
        """Read labels and columns, all as text."""
        self._lines: list[int] = []
        parts = [pd.DataFrame(columns=self.names, dtype="str")]
        records = itertools.islice(self._records(), int(not self._is_json), None)
        while chunk := list(itertools.islice(records, CHUNK)):
            rows = [self._fields(line, record) for line, record, _ in chunk]
            if not self._lines:
                self._check_header(rows[0])
            self._lines += [line for line, _, _ in chunk]
            table = pd.DataFrame(rows, columns=self.names, dtype="str")
            parts.append(table[list(dict.fromkeys([label, *names]))])
        table = pd.concat(parts, ignore_index=True)
        return table[label].tolist(), {name: table[name] for name in names}

    def write_rows(self, keep: np.ndarray, path: Path, cut: Collection[str]) -> None:
        """Copy the header and the kept lines as they are."""
        records, how = self._records(), {"newline": "", "encoding": self._encoding}
        with self._open(path, "wt", **how) as out:
            if not self._is_json:
                out.write(next(records)[2])
            for (_, _, text), kept in zip(records, keep, strict=True):
                if kept:
                    out.write(text)

    def _open(self, path: Path, mode: str, **how: Any) -> Any:
        is_packed = self.path.suffix.lower() == ".gz"
        return (gzip.open if is_packed else open)(path, mode, **how)

    def _fields(self, line: int, record: Any) -> list[str]:
        if self._is_json:
            return [record.get(name, "") for name in self.names]
        if len(record) != len(self.names):
            raise Unusable(
                f"{self.path}, line {line}: {len(record)} fields where the header has "
                f"{len(self.names)} (separator {self.separator!r})."
            )
        return record

    def _check_header(self, first: list[str]) -> None:
        """Refuse a first line that can be a row of data, such as the next one is."""
        pairs = zip(self.names, first, strict=True)
        found = [name for name, text in pairs if as_numbers([text]) is not None]
        numbers = as_numbers(found or ["none"])
        is_name = numbers is None or np.isnan(numbers).any() or counts_rows(numbers)
        if not is_name:
            raise Unusable(
                f"The first line of {self.path} looks like a row of data: "
                f"{', '.join(self.names[:20])}. Put a line of names above it."
            )

    def _records(self) -> Iterator[tuple[int, Any, str]]:
        """Line number, fields and text of each record; blank lines are none."""
        line, texts = 0, list[str]()

        def remembered() -> Iterator[str]:
            nonlocal line
            for text in file:
                line += 1
                texts.append(text)
                yield text if line > 1 else text.removeprefix("\ufeff")

        reader: Any = map(_json_record, remembered())
        if not self._is_json:
            reader = csv.reader(remembered(), delimiter=self.separator, strict=True)
        how = {"newline": "", "encoding": self._encoding}
        try:
            with self._open(self.path, "rt", **how) as file:
                for record in reader:
                    if record:
                        yield line, record, "".join(texts)
                    texts.clear()
        except LookupError as error:
            raise Unusable(f"--encoding: {error}.") from error
        except UnicodeError as error:
            name = self._encoding.upper()
            why = f"{error} after line {line}; give --encoding, such as latin-1, utf-16"
            raise Unusable(f"{self.path} is not {name} text: {why}.") from error
        except (csv.Error, ValueError, RecursionError, EOFError, *GZIP) as error:
            asks = " (is a quote left open)" * isinstance(error, csv.Error)
            raise Unusable(f"{self.path}, line {line}: {error}{asks}.") from error


def _json_record(line: str) -> dict[str, str]:
    """Read a line of JSON as texts, numbers as they are written."""
    if not line.strip():
        return {}
    record = json.loads(line, parse_int=str, parse_float=str, parse_constant=str)
    if not isinstance(record, dict):
        raise ValueError("a line of JSON must be an object, {...}")
    json.dumps(record, ensure_ascii=False).encode()  # fails on half a character
    return {
        name: v if isinstance(v, str) else "" if v is None else json.dumps(v)
        for name, v in record.items()
    }


class ParquetFile(Table):
    """A Parquet file of flat columns."""

    def __init__(self, path: Path) -> None:
        need("pyarrow", "parquet", "Parquet files need")
        import pyarrow
        import pyarrow.parquet

        self._arrow, self._parquet = pyarrow, pyarrow.parquet
        self._reading = partial(refusing, f"{path} is no Parquet file that is read: ")
        with self._reading():
            schema = self._parquet.read_schema(path)
        index = (schema.pandas_metadata or {}).get("index_columns", [])
        super().__init__(path, [name for name in schema.names if name not in index])

    def read(self, label: str, names: Sequence[str]) -> Raw:
        """Read labels, and columns as text or numbers."""
        with self._reading():
            wanted = list(dict.fromkeys([label, *names]))
            table = self._parquet.read_table(self.path, columns=wanted)
            return table[label].to_pylist(), {n: self._raw(table[n]) for n in names}

    def write_rows(self, keep: np.ndarray, path: Path, cut: Collection[str]) -> None:
        """Write the kept rows with the types and metadata of the original."""
        with self._reading():
            table = self._parquet.read_table(self.path)
        # Arrow has no filter for its view types: it gets each run of kept rows.
        edges = np.flatnonzero(np.diff(keep, prepend=False, append=False))
        runs = edges.reshape(-1, 2).tolist()
        parts = [table.slice(start, end - start) for start, end in runs]
        self._parquet.write_table(self._arrow.concat_tables(parts), path)

    def _raw(self, values: Any) -> Any:
        types, kind = self._arrow.types, values.type
        is_whole = types.is_integer(kind) and not values.null_count
        if types.is_floating(kind) or is_whole:
            return values.to_numpy()
        if types.is_boolean(kind):
            return values.cast("float64").to_numpy()
        is_category = types.is_dictionary(kind)
        if is_category:
            values = values.cast(kind.value_type)
        try:
            texts = values.cast("large_string").to_pandas().fillna("")
        except self._arrow.ArrowException:
            return f"is of type {kind}, which is neither number, date nor text"
        return texts.astype("category") if is_category else texts


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
            if array.dtype.kind in "fiub":
                raw[name] = array.reshape(len(array), -1) if array.ndim > 1 else array
            elif array.dtype.kind == "U" and array.ndim == 1:
                raw[name] = array.astype(object)
            else:
                wrong = "which is neither of numbers nor one text a row"
                raw[name] = f"is of type {array.dtype}, {array.ndim}-D, {wrong}"
        return labels.tolist(), raw

    def _decoded(self, name: str) -> np.ndarray:
        array = self.arrays[name]
        with refusing(f"Array {name!r} holds bytes, not UTF-8 text: "):
            return np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array

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
        # Unlike numpy.savez it takes any name.
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, array in self.arrays.items():
                array = array[keep] if name in cut else array
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, array, allow_pickle=False)


def _joined(first: Any, more: Any) -> Any:
    """Put a column of examples behind that of the data, or say why it cannot be."""
    for part in (first, more):
        if isinstance(part, str):
            return part
    parts, shapes = [first, more], [part.shape[1:] for part in (first, more)]
    if shapes[0] != shapes[1]:
        return f"has rows of shape {shapes[0]}, and {shapes[1]} in the examples"
    if all(isinstance(part, np.ndarray) for part in parts):
        return np.concatenate(parts)
    # Text in one file, numbers in the other: typed again as text.
    texts = (
        pd.Series(part).map(lambda value: "" if is_missing(value) else f"{value:.17g}")
        if isinstance(part, np.ndarray) and part.dtype.kind in "fiub"
        else pd.Series(part).astype("str")
        for part in parts
    )
    return pd.concat(texts, ignore_index=True)


def read_together(
    data: Any, examples: Any, label: str, names: Sequence[str]
) -> tuple[list[Any], dict[str, Any], Place, int]:
    """Labels and columns of a file, behind them examples of another; place and n.

    Examples without labels get one for now.
    """
    known = examples.names
    refuse_if(not names, f"{data.path} has no {data.kind} of features.{data.hint}")
    for name in names:
        if name not in known:
            raise unknown(f"{data.kind} of the examples", name, known)
    labels, raw = data.read(label, names)
    n, has_labels = len(labels), label in known
    if isinstance(examples, NpzFile) and not has_labels:
        n_examples = len(examples.arrays[names[0]])
        examples.arrays[label] = np.full(n_examples, labels[0])
    counted = label if has_labels or isinstance(examples, NpzFile) else names[0]
    of_examples, more = examples.read(counted, names)
    for path, n_rows in ((data.path, n), (examples.path, len(of_examples))):
        refuse_if(not n_rows, f"{path} has no rows.")
    raw = {name: _joined(first, more[name]) for name, first in raw.items()}

    def place(row: int) -> str:
        if row < n:
            return data.place(row)
        return f"{examples.place(row - n)} of {examples.path.name}"

    of_examples = of_examples if has_labels else labels[:1] * len(of_examples)
    return labels + of_examples, raw, place, n
