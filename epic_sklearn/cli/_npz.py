"""NumPy archives. Nothing in them is ever unpickled."""

from __future__ import annotations

import zipfile
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..report import check_images
from ._columns import Column, text_column
from ._errors import Unusable, as_option, check_names, unknown


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
                arrays[name] = loaded[name]
    except Unusable:
        raise
    except Exception as error:  # NumPy and zipfile raise all kinds on broken bytes
        if "pickle" not in str(error):
            what = str(error) or type(error).__name__
            raise Unusable(f"{path} cannot be read: {what}") from error
        if name:
            raise Unusable(
                f"Array {name!r} in {path} holds Python objects, which are never "
                "unpickled: a file of unknown origin could run any code. Save it as "
                "text or numbers, with array.astype(str) for example."
            ) from error
        raise Unusable(
            f"{path} is no NumPy file of plain numbers or text; pickles are never "
            "loaded."
        ) from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise Unusable(f"{name!r} in {path} is not an array.")
    return arrays


class NpzFile:
    """An archive as ``numpy.savez`` writes it: arrays with one row an example."""

    kind, hint = "array", ""

    def __init__(self, path: Path) -> None:
        self.path = path
        loaded = load_arrays(path)
        if isinstance(loaded, np.ndarray):
            raise Unusable(
                f"{path} is one array; an .npz archive of several is needed."
            )
        self._arrays = loaded
        self.names = list(loaded)

    def place(self, row: int) -> str:
        """Row number, from 0."""
        return f"row {row}"

    def read(self, label: str, features: list[str]) -> tuple[np.ndarray, list[Column]]:
        """Read the label array, and the others as blocks of numbers or text."""
        labels = self._arrays[label]
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        if labels.ndim != 1:
            raise Unusable(
                f"Label array {label!r} has shape {labels.shape}; it must be (n,), "
                "one label a row."
            )
        return _decoded(label, labels), [
            column
            for name in features
            for column in self._columns(name, label, len(labels))
        ]

    def several(self, label: str, names: Sequence[str]) -> Unusable:
        """Error that asks which of several arrays are the examples."""
        seen = {f"the label {label!r}": self._arrays[label]}
        shown = []
        for name in names:
            array = self._arrays[name]
            same = next((k for k, a in seen.items() if _is_same(array, a)), None)
            shape = f"{name!r} of shape {array.shape}"
            shown.append(shape if same is None else f"{shape}, the same as {same}")
            seen.setdefault(repr(name), array)
        n = len(self._arrays[label]) if self._arrays[label].ndim else 0
        blocks = [k for k in names if self._arrays[k].shape[:1] == (n,)] or names
        likely = max(blocks, key=lambda k: self._arrays[k].ndim)
        return Unusable(
            f"{self.path} holds several arrays besides the label {label!r}: "
            f"{'; '.join(shown)}. Say which are the examples, for instance with "
            f"--features {as_option([likely])}; several are put side by side."
        )

    def images(self, name: str, n: int) -> np.ndarray:
        """Return an array of n pictures, for the audit page."""
        if name not in self.names:
            raise unknown(self.kind, name, self.names)
        try:
            check_images(self._arrays[name], n)
        except ValueError as error:
            raise Unusable(f"Array {name!r} is not of pictures: {error}") from error
        return self._arrays[name]

    def with_as_many_rows(self, label: str) -> list[str]:
        """Name the other arrays that are as long as the label."""
        n = self._arrays[label].shape[:1]
        return [k for k, a in self._arrays.items() if a.shape[:1] == n and k != label]

    def write_rows(
        self, keep: np.ndarray, path: Path, belonging: Collection[str]
    ) -> None:
        """Write the kept rows of the arrays that belong to the rows, the rest whole."""
        with zipfile.ZipFile(self.path) as archive:
            compression = max(part.compress_type for part in archive.infolist())
        arrays = {
            name: array[keep] if name in belonging else array
            for name, array in self._arrays.items()
        }
        write_arrays(arrays, path, compression)

    def _columns(self, name: str, label: str, n: int) -> list[Column]:
        array = self._arrays[name]
        if array.shape[:1] != (n,):
            raise Unusable(
                f"Array {name!r} has shape {array.shape} and {label!r} {n} labels; "
                "choose arrays with one row a label by --features, or leave this one "
                "out with --exclude."
            )
        flat = array.reshape(n, -1) if array.ndim > 1 else array
        if array.dtype.kind in "fiub":
            return [Column(name, flat)]
        if array.dtype.kind in "SU":
            blocks = _decoded(name, flat).reshape(n, -1).T
            names = Column(name, flat).names
            return [
                replace(text_column(each, block.tolist()), array=name)
                for each, block in zip(names, blocks, strict=True)
            ]
        raise Unusable(
            f"Array {name!r} is of type {array.dtype}, which is neither number nor "
            "text; leave it out with --exclude."
        )


def _is_same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays hold the same values; NaN is like NaN."""
    numbers = a.dtype.kind == b.dtype.kind == "f"
    return a.shape == b.shape and np.array_equal(a, b, equal_nan=numbers)


def _decoded(name: str, array: np.ndarray) -> np.ndarray:
    """Text of an array of bytes; other arrays as they are."""
    if array.dtype.kind != "S":
        return array
    try:
        return np.char.decode(array, "utf-8")
    except UnicodeDecodeError as error:
        raise Unusable(
            f"Array {name!r} holds bytes that are not UTF-8 text; decode it first."
        ) from error


def write_arrays(
    arrays: dict[str, np.ndarray], path: Path, compression: int = zipfile.ZIP_DEFLATED
) -> None:
    """Write an archive; unlike ``numpy.savez`` it takes any array name."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
