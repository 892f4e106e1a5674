"""What commands look at: the rows of a file, or what a model elsewhere says of them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from .._utils import shortened
from ..gradients import logit_gradients
from ..reading import columns, files
from ..reading.columns import Column
from ..reading.errors import Unusable, as_option, every, refuse_if, refusing, unknown
from ..reading.files import Raw
from ..reading.values import MISSING, Place, Reading
from ..report import check_images

MATRICES = (".csv", ".tsv", ".parquet", ".npy")


@dataclass
class Rows:
    """What was read of a file, with examples behind its rows if there are any."""

    data: Any  # the table
    place: Place  # of rows, and of examples behind them
    n: int  # rows of the file
    labels: np.ndarray  # of the rows, and of examples if they have one
    X: Any  # what the model sees; None where no column is for it
    cut: list[str]  # arrays that --out cuts
    beside: dict[str, str]  # others that were named, and the option that says so
    asides: dict[str, Any]  # columns that are shown only
    shown: dict[str, Any]  # what pages show of the file: fields of a Case
    notes: list[str] = field(default_factory=list)

    def called(self, rows: Sequence[int]) -> list[str]:
        """Where rows stand, each behind its name of --id."""
        places = list(map(self.place, rows))
        if "--id" in self.beside.values():
            names = [str(self.shown["index"][row]) for row in rows]
            pairs = zip(names, places, strict=True)
            places = [a if a.endswith(at) else f"{a}, {at}" for a, at in pairs]
        return places

    def texts(self, rows: Sequence[int]) -> dict[str, list[str]]:
        """Give what --show names, of some rows."""
        asked = [k for k in self.asides if self.beside.get(k) == "--show"]
        return {k: [shortened(self.asides[k][row], 60) for row in rows] for k in asked}

    def write(self, keep: np.ndarray, path: Path) -> None:
        """Write the rows to keep, of those that are looked at, as they are."""
        keep_of_all = np.zeros(self.data.n, dtype=bool)
        keep_of_all[self.data.rows] = keep
        self.data.write_rows(keep_of_all, path, self.cut)

    def looks(self) -> Any:
        """Give what rows and examples look like: pictures, or a table."""
        for name in ("images", "X"):
            if self.shown.get(name) is not None:
                return self.shown[name]
        beside = [pd.Series(v, name=name) for name, v in self.shown["asides"].items()]
        table = pd.DataFrame(self.X, columns=self.shown["feature_names"])
        return pd.concat([*beside, table], axis=1)


def split_names(given: Sequence[str], data: Any) -> tuple[str, ...]:
    """Names of a comma-separated option that may be given several times.

    A name that itself holds a comma is given alone, or quoted as in a CSV file.
    """
    names: list[str] = []
    for text in given:
        names += [text] if text in data.known else next(csv.reader([text]), [""])
    for name in names:
        if name not in data.known:
            raise unknown(data.kind, name, data.known)
    return tuple(dict.fromkeys(names))


def names_chosen(
    o: SimpleNamespace, data: Any
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Features that are asked for; others, and the option that shows them."""
    if o.label not in data.names:
        raise unknown(data.kind, o.label, data.names, data.hint)
    given = {"--exclude": o.exclude, "--show": o.show, "--id": [o.id] * bool(o.id)}
    beside = {k: way for way in given for k in split_names(given[way], data)}
    chosen = split_names(o.features, data)
    is_both = o.label in (o.id, *chosen)
    refuse_if(is_both, f"{o.label!r} is the label; it cannot be a feature or id, too.")
    beside.pop(o.label, None)
    return chosen, beside


def n_rows(raw: Raw) -> int:
    """Count rows by the first column that can be read."""
    return next((len(v) for v in raw.values() if not isinstance(v, Unusable)), 0)


def labelled_rows(raw: Raw, data: Any, o: SimpleNamespace) -> Raw:
    """Leave out the rows without a label."""
    labels = raw[o.label]
    if isinstance(labels, Unusable) or np.shape(labels)[:1] != (data.n,):
        return raw  # which is refused
    has_label = np.array([not columns.is_no_label(v, o.missing) for v in labels])
    refuse_if(not has_label.any(), f"No row has a label in {o.label!r}.")
    data.look_at(has_label)
    cut = {k: v[has_label] for k, v in raw.items() if np.shape(v)[:1] == (data.n,)}
    texts = {k: v for k, v in cut.items() if isinstance(v, pd.Series)}
    return raw | cut | {k: v.reset_index(drop=True) for k, v in texts.items()}


def refuse_lacking(examples: Any, names: Iterable[str]) -> None:
    """Refuse examples without a column that the model uses."""
    for name in names:
        if name not in examples.known:
            way = f" To leave it out of the model: --exclude {as_option([name])}."
            kind, hint = f"{examples.kind} of the examples", examples.hint or way
            raise unknown(kind, name, examples.names, hint)


def with_examples(raw: Raw, examples: Any, label: str) -> Raw:
    """Put examples behind the rows of columns; a column that they lack is blank there.

    But for the label, which is left out, and arrays, whose rows cannot be blank.
    """
    more = examples.read([name for name in raw if name in examples.known])
    others = [name for name in raw if name != label]
    refuse_lacking(examples, [name for name in others if np.ndim(raw[name]) > 1])
    blank = pd.Series([""] * n_rows(more))
    more = {name: blank for name in others} | more
    return raw | {name: _one_behind(raw[name], more[name]) for name in more}


def _one_behind(first: Any, more: Any) -> Any:
    """Put one column behind another, or say why it cannot be."""
    for part in (first, more):
        if isinstance(part, Unusable):
            return part
    if first.shape[1:] != more.shape[1:]:
        shapes = f"{first.shape[1:]}, and {more.shape[1:]} in the examples"
        return Unusable(f"has rows of shape {shapes}")
    if isinstance(first, np.ndarray) and isinstance(more, np.ndarray):
        return np.concatenate([first, more])
    # Text in one file, maybe numbers in the other: typed again as text.
    return pd.Series([str(value) for value in (*first, *more)], dtype=object)


def read(o: SimpleNamespace, data: Any, examples: Any = None) -> Rows:
    """Read labels, the features typed as a table, and what is shown beside.

    Examples stand behind the rows, which alone decide how columns are read.
    """
    chosen, beside = names_chosen(o, data)
    used = data.features(o.label, chosen, beside) if o.needs_features else []
    raw = data.read([o.label, *([] if o.probabilities else used), *beside])
    data.n = n_rows(raw)
    refuse_if(not data.n, f"{data.path} has no rows.")
    if o.skip_unlabelled:
        raw = labelled_rows(raw, data, o)
    n = n_rows(raw)

    if examples is not None:
        raw = with_examples(raw, examples, o.label)
    how = _reading(o, data, examples, chosen, n)
    given, asides = raw.pop(o.label), {name: raw.pop(name) for name in beside}
    pictures = [values for values in raw.values() if np.ndim(values) == 4]
    labels, done = every(  # so one look is enough
        lambda: columns.check_labels(o.label, given, how),
        lambda: columns.type_columns(raw, how),
    )
    seen = [column for column in done if column.values is not None]
    if examples is not None:
        refuse_lacking(examples, [column.name for column in seen])
    X, names = _join(seen)
    more, images = _left_out(asides, beside, len(labels if X is None else X))
    more += _unused_indexes(data, {*chosen, *beside})
    asides = {c.name: c.aside for c in done + more if c.aside is not None}
    shown = {
        "title": data.path.name,
        "images": images,
        "feature_names": names,
        "index": names_of(asides[o.id], o.id, how) if o.id else data.index,
        "asides": {name: texts for name, texts in asides.items() if name != o.id},
        "columns": [(column.name, column.what) for column in done + more],
    }
    if pictures and images is None:
        shown |= {"X": pictures[0], "feature_names": None}
    cut = [o.label, *used, *(k for k, way in beside.items() if way != "--exclude")]
    rows = Rows(data, how.place, n, labels, X, cut, beside, asides, shown)
    rows.notes += notes_of(o, rows, how)
    return rows


def _reading(
    o: SimpleNamespace, data: Any, examples: Any, chosen: tuple[str, ...], n: int
) -> Reading:
    """How texts of the data are read, of which n rows decide; examples stand behind."""

    def place(row: int) -> str:
        if row < n:
            return data.place(row)
        return f"{examples.place(row - n)} of {examples.path.name}"

    numbers = o.decimal, o.thousands, o.missing, o.date_format
    kinds = {*data.plain, *split_names(o.plain, data)}, data.nested
    return Reading(*numbers, split_names(o.as_text, data), chosen, n, place, *kinds)


def notes_of(o: SimpleNamespace, rows: Rows, how: Reading) -> list[str]:
    """Say what is odd in the rows, and which options changed nothing."""
    n, labels, notes = rows.n, rows.labels, list[str]()
    if n_left := rows.data.n - n:
        notes.append(f"{n_left} rows without a label are left out.")
    if o.out and rows.data.remark:
        notes.append(rows.data.remark)
    if o.out and (whole := rows.data.left_whole(o.label, rows.cut)):
        notes.append(
            f"--out writes {', '.join(map(repr, whole))} whole: nothing says that "
            "their rows are the examples'. If they are, name them with --show."
        )
    if o.id and (n_again := int(pd.Index(rows.asides[o.id])[:n].duplicated().sum())):
        notes.append(
            f"{n_again} rows repeat the --id of another; the line stands behind."
        )
    unmet = [text for text in how.missing if text not in how.met]
    notes += [f"--missing {text} occurs in no column of the model." for text in unmet]
    seen = {name for name, _ in rows.shown["columns"]} - set(rows.beside)
    unseen = [name for name in how.as_text if name not in seen]
    notes += [f"--text {name!r} names no column of the model." for name in unseen]
    if how.date_format and how.date_format not in how.met:
        notes.append(f"--date-format {how.date_format} fits no column of the model.")
    notes += [
        f"Class {text!r} may be labels that are missing; --missing {text} refuses them."
        for text in sorted(set(map(str, labels.tolist())) & set(MISSING))
    ]
    return notes + how.notes


def names_of(ids: Any, name: str, how: Reading) -> pd.Index:
    """Names of rows by an id; by where they stand, too, where it is blank or again."""
    table = pd.DataFrame({"name": ids}, dtype=object).map(str)
    # Examples behind the data may be rows of it.
    table["is data"] = np.arange(len(table)) < len(table[: how.n])
    texts = table["name"].copy()
    # Again while a name is that of another with its place behind it.
    while (again := table.duplicated(keep=False) | (texts.str.strip() == "")).any():
        for row in np.flatnonzero(again).tolist():
            texts[row] = f"{texts[row]}, {how.place(row)}".removeprefix(", ")
        table["name"] = texts
    return pd.Index(texts, name=name, dtype=object)


def _left_out(
    raw: dict[str, Any], beside: dict[str, str], n: int
) -> tuple[list[Column], Any]:
    """Columns (n,) that are shown only; and pictures that are."""
    found, images = [], None
    for name, option in beside.items():
        texts = raw[name] if np.shape(raw[name]) == (n,) else None
        if texts is None and option == "--show":
            with refusing(f"{name!r} is not of pictures: "):
                images = check_images(raw[name], n)
        why = "it has not one text or number a row."
        refuse_if(texts is None and option == "--id", f"--id {name}: {why}")
        found.append(Column(name, None, f"left out: {option}", texts))
    return found, images


def _unused_indexes(data: Any, named: set[str]) -> list[Column]:
    """Columns by which a file indexes its rows, where nobody names them."""
    names = [name for name in data.known if name not in {*data.names, *named}]
    names = [name for name in names if not columns.NAMELESS.fullmatch(name)]
    what = "left out: the index (--id or --features)"
    return [Column(name, None, what) for name in names]


def _join(used: Sequence[Column]) -> tuple[Any, list[str]]:
    """All columns side by side, an array where all are numbers; and their names."""
    blocks, names = [column.values for column in used], list[str]()
    for name, block in zip((column.name for column in used), blocks, strict=True):
        n = int(np.prod(block.shape[1:]))
        names += [name] if block.ndim == 1 else [f"{name}[{j}]" for j in range(n)]
    if any(block.dtype.kind not in "fiub" for block in blocks):
        frame = pd.concat([pd.DataFrame(block) for block in blocks], axis=1)
        return frame.set_axis(names, axis=1), names
    if len(blocks) == 1:
        return blocks[0].reshape(len(blocks[0]), -1), names
    return np.column_stack(blocks) if blocks else None, names


def _read_frame(path: Path) -> pd.DataFrame:
    """Read columns of numbers, under names but for those of an array."""
    suffix = files.check_format(path, MATRICES)
    if suffix == ".npy":
        return pd.DataFrame(files.load_arrays(path)[path.stem])
    if suffix == ".parquet":
        files.ParquetFile(path)  # says why it cannot be read
        return pd.read_parquet(path)
    with open(path, encoding="utf-8-sig") as file:
        header = file.readline()
    sep = next((c for c in "\t;" if c in header), ",")
    return pd.read_csv(path, sep=sep, dtype=float, skipinitialspace=True)


def _read_matrix(path: Path, n: int) -> tuple[np.ndarray, list[str] | None]:
    """Numbers (n, d), and their columns' names if they have any."""
    with refusing(f"{path}: ", ". Give rows of numbers, one for each of the data's."):
        frame = _read_frame(path)
    names = None
    if not pd.api.types.is_integer_dtype(frame.columns):
        frame.columns = names = [str(name).strip() for name in frame.columns]
        if names and columns.NAMELESS.fullmatch(names[0]):  # an index, as a column
            frame, names = frame.set_index(names[0]), names[1:]
    matrix = frame.to_numpy()
    refuse_if(
        matrix.dtype.kind not in "fiub" or not matrix.size or len(matrix) != n,
        f"{path} has probabilities of shape {matrix.shape} and type {matrix.dtype}; "
        f"the data have {n} rows. Give numbers, one row for each, in the same order, "
        "under a header that names the classes.",
    )
    refuse_if(
        not columns.counts_rows(frame.index.to_numpy()),
        f"{path} has an index, and it does not count the rows: they are in another "
        "order than the data's, or some are missing. Sort them, then write the file "
        "without the index (of pandas: index=False).",
    )
    bad = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    where = f"{len(bad)} rows, the first of them row {bad[:1]} (from 0)"
    refuse_if(len(bad), f"{path} is not finite in {where}.")
    return matrix, names


def _refuse_other_order(
    path: Path, probabilities: np.ndarray, codes: np.ndarray, texts: list[str]
) -> None:
    """Refuse columns without names that fit the labels better in another order."""
    given = pd.DataFrame(probabilities).groupby(codes).sum().to_numpy()
    rows, best = linear_sum_assignment(given, maximize=True)
    # Random probabilities gain less than that.
    if given[rows, best].sum() - np.trace(given) > 2 * np.sqrt(len(codes)):
        order = [texts[j] for j in np.argsort(best)]
        raise Unusable(
            f"The columns of {path} have no names, and fit the labels better in the "
            f"order {order[:20]} than in the sorted one, {texts[:20]}. Name them."
        )


def from_elsewhere(path: Path, rows: Rows) -> None:
    """Let gradients by the probabilities in a file be the table."""
    classes, codes = np.unique(rows.labels, return_inverse=True)
    texts = [str(each) for each in classes.tolist()]
    matrix, given = _read_matrix(path, rows.data.n)
    matrix = matrix[rows.data.rows]  # some may have no label
    names = texts if given is None else given
    if not set(texts) <= set(names) or len(names) != matrix.shape[1]:
        how = "without names" if given is None else f"named {given[:20]}"
        raise Unusable(
            f"{path} has {matrix.shape[1]} columns {how}, and the {len(classes)} "
            f"classes are {texts[:20]}. Name the columns by class."
        )
    places = np.array([names.index(text) for text in texts])
    with refusing(f"{path}: "):
        rows.X = logit_gradients(matrix, places[codes])
    if given is None:
        _refuse_other_order(path, matrix, codes, texts)
    rows.shown["feature_names"] = [f"gradient {name}" for name in names]
