"""Parquet files, by pyarrow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ._columns import Column, text_column
from ._errors import Unusable, unusable_columns


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
    """

    kind = "column"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pyarrow, self._parquet = import_pyarrow()
        try:
            schema = self._parquet.read_schema(path)
        except self._pyarrow.ArrowInvalid as error:
            raise Unusable(f"{path} is no Parquet file: {error}") from error
        index = (schema.pandas_metadata or {}).get("index_columns", [])
        self.names = [name for name in schema.names if name not in index]
        twice = {name for name in self.names if self.names.count(name) > 1}
        if twice:
            raise Unusable(
                f"{path} has several columns named {sorted(twice)[0]!r}; give each "
                "its own name."
            )

    def hint(self) -> str:
        """Nothing more to say where a column is not found."""
        return ""

    def place(self, row: int) -> str:
        """Row number, from 0."""
        return f"row {row}"

    def read(self, label: str, features: list[str]) -> tuple[list[Any], list[Column]]:
        """Read labels, and features as numbers or text."""
        table = self._read(columns=list(dict.fromkeys([label, *features])))
        self._check_types({name: table[name].type for name in features})
        return table[label].to_pylist(), [
            self._column(name, table[name]) for name in features
        ]

    def write_rows(self, keep: np.ndarray, path: Path) -> None:
        """Write the kept rows with the types and metadata of the original."""
        table = self._read().filter(self._pyarrow.array(keep))
        self._parquet.write_table(table, path)

    def _read(self, columns: list[str] | None = None) -> Any:
        try:
            return self._parquet.read_table(self.path, columns=columns)
        except self._pyarrow.ArrowException as error:
            raise Unusable(f"{self.path} cannot be read: {error}") from error

    def _is_text(self, kind: Any) -> bool:
        types = self._pyarrow.types
        kind = kind.value_type if types.is_dictionary(kind) else kind
        return types.is_string(kind) or types.is_large_string(kind)

    def _is_number(self, kind: Any) -> bool:
        types = self._pyarrow.types
        kind = kind.value_type if types.is_dictionary(kind) else kind
        is_whole = types.is_integer(kind) or types.is_boolean(kind)
        return is_whole or types.is_floating(kind)

    def _check_types(self, kinds: dict[str, Any]) -> None:
        problems = [
            (name, f"is of type {kind}, which is neither number nor text", name)
            for name, kind in kinds.items()
            if not self._is_text(kind) and not self._is_number(kind)
        ]
        if problems:
            raise unusable_columns(problems)

    def _column(self, name: str, values: Any) -> Column:
        if self._is_text(values.type):
            # A missing text is a category of its own, as in a CSV file.
            return text_column(name, [value or "" for value in values.to_pylist()])
        return Column(name, values.cast("float64").to_numpy())
