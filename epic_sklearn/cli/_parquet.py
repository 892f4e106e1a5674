"""Parquet files, by pyarrow."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ._columns import Column, as_numbers, text_column
from ._errors import Unusable, check_names, unusable_columns


def import_pyarrow() -> tuple[Any, Any]:
    """Return pyarrow and its Parquet module, imported late."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise Unusable(
            "Parquet files need pyarrow: pip install 'epic-sklearn[parquet]'."
        ) from error
    return pyarrow, pyarrow.parquet


class ParquetFile:
    """A Parquet file of flat columns.

    Parameters
    ----------
    path : Path
        The file.

    Attributes
    ----------
    names : list of str
        The columns, without those that pandas keeps its index in.
    index : list of str or dict
        The columns that pandas keeps its index in, or how it counts.
    """

    kind, hint = "column", ""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pyarrow, self._parquet = import_pyarrow()
        with self._errors():
            schema = self._parquet.read_schema(path)
            metadata = schema.pandas_metadata or {}
        self.index: list[Any] = metadata.get("index_columns", [])
        self.names = [name for name in schema.names if name not in self.index]
        check_names(path, self.names, self.kind)

    def place(self, row: int) -> str:
        """Row number, from 0."""
        return f"row {row}"

    def read(self, label: str, features: list[str]) -> tuple[list[Any], list[Column]]:
        """Read labels, and features as numbers or text."""
        with self._errors():
            names = list(dict.fromkeys([label, *features]))
            table = self._parquet.read_table(self.path, columns=names)
            self._check_types({name: table[name].type for name in features})
            columns = [self._column(name, table[name]) for name in features]
            return table[label].to_pylist(), columns

    def write_rows(
        self, keep: np.ndarray, path: Path, belonging: Collection[str]
    ) -> None:
        """Write the kept rows with the types and metadata of the original."""
        arrow = self._pyarrow
        # Arrow has no filter for its view types.
        plain = {
            getattr(arrow, f"{kind}_view")(): getattr(arrow, f"large_{kind}")()
            for kind in ("string", "binary")
            if hasattr(arrow, f"{kind}_view")
        }
        with self._errors():
            table = self._parquet.read_table(self.path)
            fields = [f.with_type(plain.get(f.type, f.type)) for f in table.schema]
            kept = table.cast(arrow.schema(fields, table.schema.metadata)).filter(
                arrow.array(keep)
            )
            self._parquet.write_table(kept.cast(table.schema), path)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (self._pyarrow.ArrowException, ValueError) as error:
            raise Unusable(
                f"{self.path} is no Parquet file that can be read: {error}"
            ) from error

    def _kind(self, kind: Any) -> str | None:
        """Tell what a type is read as: text, whole, number, decimal, or nothing."""
        types = self._pyarrow.types
        if types.is_dictionary(kind):
            kind = kind.value_type
        if types.is_string(kind) or types.is_large_string(kind):
            return "text"
        if str(kind) == "string_view":  # later versions of pyarrow
            return "text"
        if types.is_integer(kind):
            return "whole"
        if types.is_boolean(kind) or types.is_floating(kind):
            return "number"
        return "decimal" if types.is_decimal(kind) else None

    def _check_types(self, kinds: dict[str, Any]) -> None:
        problems = [
            (name, f"is of type {kind}, which is neither number nor text", name)
            for name, kind in kinds.items()
            if self._kind(kind) is None
        ]
        if problems:
            raise unusable_columns(problems)

    def _column(self, name: str, values: Any) -> Column:
        kind = self._kind(values.type)
        if self._pyarrow.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        if kind in ("text", "decimal"):
            # A missing text is a category of its own, as in a CSV file.
            texts = [value or "" for value in values.cast("large_string").to_pylist()]
            numbers = as_numbers(texts) if kind == "decimal" else None
            return (
                text_column(name, texts) if numbers is None else Column(name, numbers)
            )
        if kind == "whole" and values.null_count == 0:
            return Column(name, values.to_numpy())  # what is too large is refused later
        return Column(name, values.cast("float64", safe=False).to_numpy())
