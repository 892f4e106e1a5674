"""Files of lines: CSV and JSON lines, packed or plain; lines are cut as they are."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import re
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .columns import are_names
from .errors import Unusable, refuse_if
from .files import LINES, NpzFile, ParquetFile, Raw, Table, check_format, format_of
from .values import as_numbers

CHUNK = 10_000  # records held as Python strings at a time
SEPARATOR = re.compile("sep=(.)")
LOWER = "; if the names of the columns stand lower, give --header LINE"
GZIP = (zlib.error, gzip.BadGzipFile)


class LinesFile(Table):
    """A CSV file with a header line, or JSON lines; packed (``.gz``) or plain."""

    def __init__(
        self,
        path: Path,
        separator: str | None,
        encoding: str | None,
        header: int | None,
    ) -> None:
        self.path, suffix = path, format_of(path).removesuffix(".gz")
        self._separator = separator or ("\t" if suffix == ".tsv" else ",")
        self._encoding, self._header, self._skips_blanks = encoding, header or 1, False
        self._is_json = suffix in (".jsonl", ".ndjson")
        self._texts, self._lists = set[str](), set[str]()  # of JSON, columns with some
        self._n_before = int(not self._is_json)  # records before the first row
        if self._is_json:
            names = list({name: 0 for _, record in self._records() for name in record})
            self.plain = set(names) - self._texts - self._lists
            self.nested = self._lists
        else:
            names = self._names()
            # What Excel writes, and reads, above the header.
            if said := SEPARATOR.fullmatch(self._separator.join(names)):
                self._separator, self._n_before = said[1], 2
                names = self._names()
            if any(name.startswith(' "') for name in names):  # "a", "b"
                self._skips_blanks = True
                names = self._names()
        refuse_if(not names, f"{path} is empty: there is no header line.")
        is_above = names.count("") > 1
        refuse_if(is_above, f"{path} has columns without a name{LOWER}.")
        super().__init__(path, names)
        if self._n_before == 2:
            self.remark = (
                f"The first line of {path.name} tells spreadsheets the separator; for "
                "other readers it has to go, as by skiprows=1 of pandas."
            )
        if self._skips_blanks:
            self.remark += (
                f" Blanks before the fields of {path.name} are left out, since quotes "
                "follow them in its header: read the file of --out so, too, with "
                "skipinitialspace=True of pandas."
            )
        if len(names) == 1 and not self._is_json:
            split = f"Split at {self._separator!r} the header is one column"
            lower = "If the names stand lower, give --header LINE."
            self.hint = f" {split}: is that the --separator? {lower}"

    def _names(self) -> list[str]:
        """Fields of the header."""
        records = itertools.islice(self._records(), self._n_before - 1, None)
        return next(records, (0, list[str]()))[1]

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
        self.index = self._lines = pd.Index(lines, name="Line")
        table = pd.concat(parts, ignore_index=True)
        return {name: table[name] for name in names}

    def write_rows(self, keep: np.ndarray, path: Path, cut: Collection[str]) -> None:
        """Copy the lines of the header and of kept rows (up to the next) as is."""
        first = [1, *self._lines]
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
                f"{len(self.names)} (separator {self._separator!r})"
                + LOWER * (len(record) > len(self.names))
                + "."
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
            for last, text in enumerate(file, 1):  # the record's end so far
                if last >= self._header:
                    yield text

        reader: Any = map(self._json_record, counted())
        if not self._is_json:
            how: Any = {"strict": True, "skipinitialspace": self._skips_blanks}
            reader = csv.reader(counted(), delimiter=self._separator, **how)
        try:
            with self._open(self.path, "rt", self._encoding or "utf-8-sig") as file:
                for record in reader:
                    if record or isinstance(record, dict):
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
            asks, at = "", last
            if isinstance(error, csv.Error):  # of the record that begins there
                asks, at = " (is a quote left open)", line + 1
            raise Unusable(f"{self.path}, line {at}: {error}{asks}.") from error

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

    def _json_record(self, line: str) -> dict[str, str] | None:
        """Read a line of JSON as texts, numbers as they are written."""
        if not line.strip():
            return None
        if line.lstrip().startswith("[{"):
            raise ValueError("this is a JSON array; give one object, {...}, a line")
        record = json.loads(
            line,
            parse_int=_Written,
            parse_float=_Written,
            parse_constant=_Written,
            object_pairs_hook=_named_once,
        )
        if not isinstance(record, dict):
            raise ValueError("a line of JSON must be an object, {...}")
        json.dumps(record, ensure_ascii=False).encode()  # fails on half a character
        for name, value in record.items():
            if isinstance(value, dict | list):
                self._lists.add(name)
                record[name] = json.dumps(json.loads(line)[name])
            elif value is None:
                record[name] = ""
            elif not isinstance(value, _Written):
                self._texts.add(name)
                record[name] = value if isinstance(value, str) else json.dumps(value)
        return record


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of JSON; a name that comes twice is refused, as in a header."""
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        again = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {again!r} comes twice")
    return record


class _Written(str):
    """A number of JSON as it is written."""

    __slots__ = ()


def open_table(path: Path, o: Any) -> Any:
    """Open a file of rows by its suffix, lines as the options say."""
    suffix = check_format(path, [*LINES, ".parquet", ".npz"])
    if suffix in LINES:
        return LinesFile(path, o.separator, o.encoding, o.header)
    return ParquetFile(path) if suffix == ".parquet" else NpzFile(path)
