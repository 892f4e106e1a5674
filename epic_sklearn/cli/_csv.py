"""Comma-separated files: columns read by type, kept lines copied as they are."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from ._columns import Column, as_numbers, counts_rows, text_column
from ._errors import Unusable, check_names

CHUNK = 10_000  # records parsed at a time


class CsvFile:
    """A CSV file with a header line.

    Parameters
    ----------
    path : Path
        UTF-8, with or without byte-order mark, any line ends.
    separator : str, optional
        One character; default: a comma, in ``.tsv`` files a tab.
    decimal : str, default="."
        What stands before the decimals.

    Attributes
    ----------
    names : list of str
        The columns.
    """

    kind = "column"

    def __init__(
        self, path: Path, separator: str | None = None, decimal: str = "."
    ) -> None:
        self.path, self.decimal = path, decimal
        tab = path.suffix.lower() == ".tsv"
        self.separator = separator or ("\t" if tab else ",")
        if decimal == self.separator:
            raise Unusable(
                f"--decimal and the separator of {path} are both {decimal!r}; with "
                "decimal commas fields are mostly separated by --separator ';'."
            )
        with self._records() as records:
            self.names: list[str] = next(records, (0, [], ""))[1]
        if not self.names:
            raise Unusable(f"{path} is empty: there is no header line.")
        check_names(path, self.names, self.kind)

    @property
    def hint(self) -> str:
        """Say what may be wrong where a column is not found."""
        if len(self.names) > 1:
            return ""
        others = [c for c in ";\t|," if c in self.names[0] and c != self.separator]
        shown = (
            f" Is it separated by {others[0]!r}? Give --separator." if others else ""
        )
        return f" Split at {self.separator!r} the header is one column.{shown}"

    def place(self, row: int) -> str:
        """Line of the file on which a record ends."""
        with self._records() as records:
            found = next(itertools.islice(records, row + 1, None), None)
        return f"line {found[0]}" if found else f"row {row}"

    def read(self, label: str, features: list[str]) -> tuple[list[str], list[Column]]:
        """Read labels as text, and features as numbers or text.

        A column is text if one of its values is. That may show late, so text
        columns are read in a second pass: no more is held than is needed.
        """
        position = self.names.index(label)
        labels: list[str] = []
        numbers: dict[str, list[np.ndarray]] = {name: [] for name in features}
        where = {name: self.names.index(name) for name in features}
        for columns in self._chunks():
            labels += columns[position]
            for name in list(numbers):
                part = as_numbers(columns[where[name]], self.decimal)
                if part is None:
                    del numbers[name]
                else:
                    numbers[name].append(part)
        texts: dict[str, list[str]] = {n: [] for n in features if n not in numbers}
        for columns in self._chunks() if texts else ():
            for name, values in texts.items():
                values += columns[where[name]]
        if self.decimal != ".":
            self._check_decimals(texts)
        self._check_header(label in labels, list(numbers))
        return labels, [
            text_column(name, texts[name])
            if name in texts
            else Column(name, np.concatenate(numbers[name] or [np.empty(0)]))
            for name in features
        ]

    def _check_decimals(self, texts: dict[str, list[str]]) -> None:
        """Refuse columns that would be numbers if they were written with a point."""
        for name, values in texts.items():
            if as_numbers(values) is not None:
                example = next(value for value in values if "." in value)
                raise Unusable(
                    f"Column {name!r} of {self.path} holds {example!r}, and numbers "
                    f"have a decimal {self.decimal!r} by --decimal: is it a thousands "
                    "separator? Write plain numbers, or leave the column out with "
                    "--exclude."
                )

    def _check_header(self, label_is_a_class: bool, numbers: list[str]) -> None:
        """Refuse a first line that can be a row of data: its label is a class."""
        names = as_numbers(numbers) if label_is_a_class else None
        if names is None or len(names) == 0 or np.isnan(names).any():
            return
        if not counts_rows(names):
            raise Unusable(
                f"The first line of {self.path} looks like a row of data: "
                f"{', '.join(self.names[:20])}. Put a line with the columns' names "
                "above it."
            )

    def write_rows(
        self, keep: np.ndarray, path: Path, belonging: Collection[str]
    ) -> None:
        """Copy the header and the kept lines, byte for byte."""
        with open(self.path, "rb") as file:
            mark = file.read(3) == b"\xef\xbb\xbf"
        encoding = "utf-8-sig" if mark else "utf-8"
        with (
            self._records() as records,
            open(path, "w", newline="", encoding=encoding) as out,
        ):
            out.write(next(records)[2])
            for (_, _, text), kept in zip(records, keep, strict=True):
                if kept:
                    out.write(text)

    def _chunks(self) -> Iterator[list[tuple[str, ...]]]:
        """Columns of a number of records at a time."""
        with self._records() as records:
            next(records)
            while chunk := list(itertools.islice(records, CHUNK)):
                for line, fields, _ in chunk:
                    if len(fields) != len(self.names):
                        raise Unusable(
                            f"{self.path}, line {line}: {len(fields)} fields where the "
                            f"header has {len(self.names)} (separator "
                            f"{self.separator!r})."
                        )
                yield list(zip(*(fields for _, fields, _ in chunk), strict=True))

    @contextmanager
    def _records(self) -> Iterator[Iterator[tuple[int, list[str], str]]]:
        """Line number, fields and text of each record; blank lines are none."""
        with open(self.path, newline="", encoding="utf-8-sig") as file:
            yield self._parsed(file)

    def _parsed(self, file: TextIO) -> Iterator[tuple[int, list[str], str]]:
        lines: list[str] = []

        def remembered() -> Iterator[str]:
            for line in file:
                lines.append(line)
                yield line

        reader: Any = csv.reader(remembered(), delimiter=self.separator, strict=True)
        try:
            for fields in reader:
                if fields:
                    yield reader.line_num, fields, "".join(lines)
                lines.clear()
        except csv.Error as error:
            raise Unusable(
                f"{self.path}, line {reader.line_num}: {error}; is a quote left open?"
            ) from error
        except UnicodeDecodeError as error:
            raise Unusable(
                f"{self.path} is not UTF-8 text ({error.reason} near line "
                f"{reader.line_num + 1}); save it as UTF-8."
            ) from error
