"""Files of rows: CSV, JSON lines, Parquet, NumPy; they are cut as they are."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .columns import are_names
from .values import Unusable, as_numbers, as_option, refuse_if, refusing

CHUNK = 10_000  # records held as Python strings at a time
LINES = [s + gz for s in (".csv", ".tsv", ".jsonl", ".ndjson") for gz in ("", ".gz")]
SEPARATOR = re.compile("sep=(.)")
GZIP = (zlib.error, gzip.BadGzipFile)
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
    hint = ""  # at what may be wrong where a column is not found

    def __init__(self, path: Path, names: list[str]) -> None:
        self.path, self.names = path, names
        self.known = names  # and columns to be shown only
        name, n = Counter(names).most_common(1)[0] if names else ("", 0)
        refuse_if(
            n > 1, f"{path} has several {self.kind}s named {name!r}; rename them."
        )

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


class LinesFile(Table):
    """A CSV file with a header line, or JSON lines; packed (``.gz``) or plain."""

    def __init__(self, path: Path, separator: str | None, encoding: str | None) -> None:
        self.path, suffix = path, format_of(path).removesuffix(".gz")
        self._separator = separator or ("\t" if suffix == ".tsv" else ",")
        self._encoding = encoding
        self._is_json = suffix in (".jsonl", ".ndjson")
        self._n_before = int(not self._is_json)  # records before the first row
        if self._is_json:
            names = list({name: 0 for _, record in self._records() for name in record})
        else:
            _, names = next(self._records(), (0, []))
            # What Excel writes, and reads, above the header.
            if said := SEPARATOR.fullmatch(self._separator.join(names)):
                self._separator, self._n_before = said[1], 2
                _, names = next(itertools.islice(self._records(), 1, None), (0, []))
        refuse_if(not names, f"{path} is empty: there is no header line.")
        super().__init__(path, names)
        if len(names) == 1 and not self._is_json:
            split = f"Split at {self._separator!r} the header is one column"
            self.hint = f" {split}: is that the --separator?"

    def read(self, names: Sequence[str]) -> Raw:
        """Read columns as text; rows are named by the line on which they begin."""
        lines = list[int]()
        parts = [pd.DataFrame(columns=self.names, dtype="str")]
        records = itertools.islice(self._records(), self._n_before, None)
        while chunk := list(itertools.islice(records, CHUNK)):
            rows = [self._fields(line, record) for line, record in chunk]
            if not lines:
                self._check_header(rows[0])
            if self.names in rows:
                line = chunk[rows.index(self.names)][0]
                again = "is the header again: remove it"
                raise Unusable(f"{self.path}, line {line} {again}.")
            lines += [line for line, _ in chunk]
            table = pd.DataFrame(rows, columns=self.names, dtype="str")
            parts.append(table[list(names)])
        self.index = pd.Index(lines, name="Line")
        table = pd.concat(parts, ignore_index=True)
        return {name: table[name] for name in names}

    def write_rows(self, keep: np.ndarray, path: Path, cut: Collection[str]) -> None:
        """Copy the lines of the header and of kept rows (up to the next) as is."""
        first = [1, *self.index]
        before_last = np.repeat([True, *keep[:-1]], np.diff(first)).tolist()
        is_kept = itertools.chain(before_last, itertools.repeat(keep[-1]))
        encoding = self._encoding or "utf-8"  # the mark at its start is copied, too
        files = self._open(self.path, "rt", encoding), self._open(path, "wt", encoding)
        with files[0] as file, files[1] as out:
            out.writelines(itertools.compress(file, is_kept))

    def _open(
        self, path: Path, mode: str, encoding: str, errors: str = "strict"
    ) -> Any:
        is_packed = self.path.suffix.lower() == ".gz"
        opened = gzip.open if is_packed else open
        return opened(path, mode, encoding=encoding, errors=errors, newline="")

    def _fields(self, line: int, record: Any) -> list[str]:
        if self._is_json:
            return [record.get(name, "") for name in self.names]
        if len(record) != len(self.names):
            raise Unusable(
                f"{self.path}, line {line}: {len(record)} fields where the header has "
                f"{len(self.names)} (separator {self._separator!r})."
            )
        for name, text in zip(self.names, record, strict=True):
            if "\n" in text and self._holds_rows(text, record):
                raise Unusable(
                    f"{self.path}, line {line}: the field {name!r} goes on for "
                    f"{text.count(chr(10)) + 1} lines that look like rows themselves: "
                    "mend the quote at its start, which was left open or is none. If "
                    "it is one text, give the file as .jsonl or .parquet."
                )
        return record

    def _holds_rows(self, text: str, record: list[str]) -> bool:
        """Whether the lines of a field are rows, but for a quote before and behind.

        Of such a field the first line has what follows the field in a row, and the
        last one what stands before it.
        """
        first, *inside, last = text.split("\n")
        n_marks, before = len(record) - 1, record.index(text)
        marks = [line.count(self._separator) for line in (last, *inside, first)]
        if marks != [before, *[n_marks] * len(inside), n_marks - before] or not inside:
            return False
        numbers = np.flatnonzero(~np.isnan(as_numbers(record)))
        rows = [line.split(self._separator) for line in inside]
        fields = [row[j].strip() for row in rows for j in numbers]
        return (
            n_marks > 0 and not np.isnan(as_numbers([x or "0" for x in fields])).any()
        )

    def _check_header(self, first: list[str]) -> None:
        """Refuse a first line that can be a row of data, such as the next one is."""
        is_number = ~np.isnan(as_numbers(first))
        found = list(itertools.compress(self.names, is_number))
        # A few small numbers may be either; pandas numbers nameless columns from 0.
        is_row = found and (not are_names(found) or found == ["0", "1"])
        refuse_if(
            is_row and found != self.names,
            f"The first line of {self.path} looks like a row of data: "
            f"{', '.join(self.names[:20])}. Put a line of names above it, or make "
            "names that are numbers ones that are none.",
        )

    def _records(self) -> Iterator[tuple[int, Any]]:
        """Line on which each record begins, and its fields; blank lines are none."""
        line = last = 0

        def counted() -> Iterator[str]:
            nonlocal last
            for last, text in enumerate(file, 1):  # noqa: B007, the record's end so far
                yield text

        reader: Any = map(_json_record, counted())
        if not self._is_json:
            reader = csv.reader(counted(), delimiter=self._separator, strict=True)
        try:
            with self._open(self.path, "rt", self._encoding or "utf-8-sig") as file:
                for record in reader:
                    if record:
                        yield line + 1, record
                    line = last
        except LookupError as error:
            raise Unusable(f"--encoding: {error}.") from error
        except UnicodeError as error:
            name = (self._encoding or "utf-8").upper()
            raise Unusable(
                f"{self.path}{self._undecodable()} is not {name} text: "
                f"{getattr(error, 'reason', error)}; give --encoding, such as latin-1, "
                "utf-16."
            ) from error
        except (csv.Error, ValueError, RecursionError, EOFError, *GZIP) as error:
            asks = " (is a quote left open)" * isinstance(error, csv.Error)
            raise Unusable(f"{self.path}, line {last}: {error}{asks}.") from error

    def _undecodable(self) -> str:
        """Tell the first line that cannot be decoded, if a codec can pass over it."""
        encoding = self._encoding or "utf-8-sig"
        with (
            suppress(UnicodeError),
            self._open(self.path, "rt", encoding, "surrogateescape") as file,
        ):
            for line, text in enumerate(file, 1):
                if any("\udc80" <= sign <= "\udcff" for sign in text):
                    return f", line {line},"
        return ""


def _json_record(line: str) -> dict[str, str]:
    """Read a line of JSON as texts, numbers as they are written."""
    if not line.strip():
        return {}
    record = json.loads(line, parse_int=str, parse_float=str, parse_constant=str)
    if not isinstance(record, dict):
        raise ValueError("a line of JSON must be an object, {...}")
    json.dumps(record, ensure_ascii=False).encode()  # fails on half a character
    if any(isinstance(value, dict | list) for value in record.values()):
        plain = json.loads(line)  # in which the numbers of lists are no texts
        record |= {k: plain[k] for k, v in record.items() if isinstance(v, dict | list)}
    return {
        name: v if isinstance(v, str) else "" if v is None else json.dumps(v)
        for name, v in record.items()
    }


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
        index = (schema.pandas_metadata or {}).get("index_columns", [])
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
        self._parquet.write_table(self._arrow.concat_tables(parts), path)

    def _raw(self, values: Any) -> Any:
        types, kind = self._arrow.types, values.type
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
                raw[name] = array
            elif array.dtype.kind == "U" and array.ndim == 1:
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


def open_table(path: Path, separator: str | None, encoding: str | None) -> Any:
    """Open a file of rows by its suffix."""
    suffix = check_format(path, [*LINES, ".parquet", ".npz"])
    if suffix in LINES:
        return LinesFile(path, separator, encoding)
    return ParquetFile(path) if suffix == ".parquet" else NpzFile(path)
