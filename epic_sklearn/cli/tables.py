"""Tables: CSV, JSON lines and Parquet files; kept rows are written as they were."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .columns import Unusable, as_numbers, check_names, counts_rows, need

CHUNK = 10_000  # records held as Python strings at a time
LINES = [s + gz for s in (".csv", ".tsv", ".jsonl", ".ndjson") for gz in ("", ".gz")]
Raw = tuple[list[Any], dict[str, Any]]  # labels, and columns as a file holds them


def format_of(path: Path) -> str:
    """Return the suffix of a file, that of a packed one with its .gz."""
    n = 2 if path.suffix.lower() == ".gz" else 1
    return "".join(path.suffixes[-n:]).lower()


class Table:
    """Rows with named columns, in a file."""

    kind, hint, row_kind = "column", "", "Row"

    def __init__(self, path: Path, names: list[str]) -> None:
        self.path, self.names = path, names
        check_names(path, names, self.kind)

    def row_name(self, row: int) -> str:
        """Give the number by which a person finds a row."""
        return str(row)

    def place(self, row: int) -> str:
        """Where a person finds a row."""
        return f"{self.row_kind.lower()} {self.row_name(row)}"

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

    @property
    def hint(self) -> str:
        """Say what may be wrong where a column is not found."""
        if len(self.names) > 1 or self._is_json:
            return ""
        others = [c for c in ";\t|," if c in self.names[0] and c != self.separator]
        ask = f" Is it separated by {others[0]!r}? Give --separator." if others else ""
        return f" Split at {self.separator!r} the header is one column.{ask}"

    def row_name(self, row: int) -> str:
        """Line of the file on which a record ends."""
        return str(self._lines[row])

    def read(self, label: str, names: Sequence[str]) -> Raw:
        """Read labels and columns, all as text."""
        self._lines: list[int] = []
        parts: list[pd.DataFrame] = []
        records = itertools.islice(self._records(), int(not self._is_json), None)
        while chunk := list(itertools.islice(records, CHUNK)):
            rows = [self._fields(line, record) for line, record, _ in chunk]
            if not parts:
                self._check_header(rows[0])
            self._lines += [line for line, _, _ in chunk]
            table = pd.DataFrame(rows, columns=self.names, dtype="str")
            parts.append(table[list(dict.fromkeys([label, *names]))])
        if not parts:
            raise Unusable("The data have no rows.")
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
        names = as_numbers(found or ["none"])
        if names is None or np.isnan(names).any():
            return
        if not counts_rows(names):
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
        except csv.Error as error:
            why = f"{error}; is a quote left open?"
            raise Unusable(f"{self.path}, line {line}: {why}") from error
        except (UnicodeError, LookupError) as error:
            name = self._encoding.upper()
            why = f"{error} after line {line}; give --encoding, such as latin-1, utf-16"
            raise Unusable(f"{self.path} is not {name} text: {why}.") from error
        except (ValueError, RecursionError, EOFError, zlib.error) as error:
            raise Unusable(f"{self.path}, line {line}: {error}.") from error


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

        self.path, self._arrow, self._parquet = path, pyarrow, pyarrow.parquet
        with self.errors():
            schema = self._parquet.read_schema(path)
            index = (schema.pandas_metadata or {}).get("index_columns", [])
        super().__init__(path, [name for name in schema.names if name not in index])

    def read(self, label: str, names: Sequence[str]) -> Raw:
        """Read labels, and columns as text or numbers."""
        with self.errors():
            wanted = list(dict.fromkeys([label, *names]))
            table = self._parquet.read_table(self.path, columns=wanted)
            return table[label].to_pylist(), {n: self._raw(table[n]) for n in names}

    def write_rows(self, keep: np.ndarray, path: Path, cut: Collection[str]) -> None:
        """Write the kept rows with the types and metadata of the original."""
        with self.errors():
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

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Say of what Arrow refuses that the file cannot be read."""
        try:
            yield
        except (self._arrow.ArrowException, ValueError) as error:
            why = f"is no Parquet file that can be read: {error}"
            raise Unusable(f"{self.path} {why}") from error
