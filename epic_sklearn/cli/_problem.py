"""What a scan is given: rows, labels, and what their gradients come from."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from .._utils import learned_nothing
from ..gradients import LogitGradients, PrecomputedGradients, logit_gradients
from ._columns import (
    MAX_CATEGORIES,
    NAMELESS,
    Column,
    check_columns,
    check_labels,
    counts_rows,
    spelled_alike,
)
from ._csv import CsvFile
from ._errors import Unusable, as_option, check_format, unknown
from ._matrix import read_gradients, read_probabilities
from ._npz import NpzFile
from ._options import ScanOptions
from ._parquet import ParquetFile

DataFile = CsvFile | ParquetFile | NpzFile
SUFFIXES = (".csv", ".tsv", ".parquet", ".npz")


@dataclass(frozen=True)
class Problem:
    """What the filter is given, and what is said of it."""

    X: np.ndarray
    names: list[str]
    labels: np.ndarray
    extractor: Any
    source: str
    notes: list[str]
    warnings: list[str] = field(default_factory=list)
    categories: list[list[str] | None] | None = None
    images: np.ndarray | None = None
    belonging: frozenset[str] = frozenset()


def open_data(options: ScanOptions) -> DataFile:
    """Open a data file by its suffix."""
    path = options.data
    suffix = check_format(path, SUFFIXES)
    if suffix in (".csv", ".tsv"):
        return CsvFile(path, options.separator, options.decimal)
    if options.separator is not None or options.decimal != ".":
        raise Unusable(f"--separator and --decimal are for CSV files; {path} is none.")
    return ParquetFile(path) if suffix == ".parquet" else NpzFile(path)


def split_names(given: Sequence[str], known: Sequence[str], kind: str) -> list[str]:
    """Names from a comma-separated option that may be given several times.

    A name that itself holds a comma is given alone, or quoted as in a CSV file.

    Examples
    --------
    >>> from epic_sklearn.cli._problem import split_names
    >>> split_names(["a,b", "x,y"], ["a", "b", "x,y"], "column")
    ['a', 'b', 'x,y']
    """
    names: list[str] = []
    for text in given:
        names += [text] if text in known else next(csv.reader([text]), [""])
    for name in names:
        if name not in known:
            raise unknown(kind, name, known)
    return list(dict.fromkeys(names))


def choose_features(data: DataFile, options: ScanOptions) -> list[str]:
    """Names of the feature columns: those asked for, or all but the label."""
    label = options.label
    left_out = split_names(options.exclude, data.names, data.kind)
    chosen = split_names(options.features, data.names, data.kind)
    if label in chosen:
        raise Unusable(f"{label!r} is the label; it cannot be a feature as well.")
    if not chosen:
        chosen = [name for name in data.names if name != label]
    chosen = [name for name in chosen if name not in left_out]
    if not chosen:
        raise _no_features(data, label)
    if isinstance(data, NpzFile) and len(chosen) > 1 and not options.features:
        raise data.several(label, chosen)
    return chosen


def _no_features(data: DataFile, label: str) -> Unusable:
    return Unusable(
        f"No {data.kind} of features is left in {data.path} besides the label "
        f"{label!r}.{data.hint}"
    )


def make_model(name: str, seed: int, is_text: Sequence[bool]) -> Pipeline:
    """Scale numbers, indicate the values of text columns, classify."""
    classifier: Any = {
        "logistic": LogisticRegression(max_iter=1000, random_state=seed),
        "mlp": MLPClassifier(random_state=seed, max_iter=500),
        "forest": RandomForestClassifier(random_state=seed),
        "boosting": HistGradientBoostingClassifier(random_state=seed),
    }[name]
    text = np.flatnonzero(is_text)
    prepare: Any = StandardScaler()
    if len(text):
        rare = "infrequent_if_exist"
        indicate = OneHotEncoder(
            max_categories=MAX_CATEGORIES, handle_unknown=rare, sparse_output=False
        )
        prepare = ColumnTransformer(
            [("text", indicate, text)], remainder=StandardScaler()
        )
    return make_pipeline(prepare, classifier)


def read_problem(options: ScanOptions) -> Problem:
    """Read and check the data and what gradients come from."""
    data = open_data(options)
    if options.label not in data.names:
        raise unknown(data.kind, options.label, data.names, data.hint)
    features: list[str] = []
    if options.is_from_elsewhere:
        problem = _from_elsewhere(options, data)
    else:
        features = choose_features(data, options)
        problem = _with_model(options, data, features)
    if options.images is not None:
        if not isinstance(data, NpzFile):
            raise Unusable("--images names an array; it needs data in an .npz file.")
        images = data.images(options.images, len(problem.labels))
        problem = replace(problem, images=images)
    belonging, notes = _belonging(options, data, features)
    return replace(
        problem,
        belonging=belonging,
        notes=problem.notes + notes,
        warnings=problem.warnings + spelled_alike(problem.labels),
    )


def _with_model(options: ScanOptions, data: DataFile, chosen: list[str]) -> Problem:
    """Features, and a model to be fitted on them."""
    values, columns = data.read(options.label, chosen)
    labels = check_labels(options.label, values, data.place)
    index = [c for c in columns if NAMELESS.fullmatch(c.name) and counts_rows(c.values)]
    columns = [column for column in columns if column not in index]
    if not columns:
        raise _no_features(data, options.label)
    check_columns(columns, data.place)
    categories = [column.categories for column in columns for _ in column.names]
    is_text = [texts is not None for texts in categories]
    extractor = options.extractor(make_model(options.model_name, options.seed, is_text))
    notes = [f"Column {c.name!r} counts the rows: left out, an index." for c in index]
    notes += _notes_on(columns)
    n_classes = len(set(labels.tolist()))
    if isinstance(extractor, LogitGradients) and n_classes <= 3:
        notes.append(_few_classes(n_classes))
    gradient = options.gradient_name(extractor)
    source = f"{gradient} of {options.model_name} on {len(is_text)} features"
    if isinstance(data, NpzFile):
        source += f" of {', '.join(map(repr, chosen))}"
    return Problem(
        X=_join(columns),
        names=[name for column in columns for name in column.names],
        labels=labels,
        extractor=extractor,
        source=source,
        notes=notes,
        categories=categories,
    )


def _join(columns: Sequence[Column]) -> np.ndarray:
    """All columns side by side, shape (n, d); a single block as it is."""
    if len(columns) == 1 and columns[0].values.ndim == 2:
        return columns[0].values
    return np.column_stack([column.values for column in columns])


def _notes_on(columns: Sequence[Column]) -> list[str]:
    """Tell what a user should know of how the columns are read."""
    notes = []
    for column in columns:
        if column.categories is not None:
            found = len(column.categories)
            rare = f", the rarer ones as one (of {found})"
            notes.append(
                f"Column {column.name!r} is text: one indicator for each of "
                f"{min(found, MAX_CATEGORIES)} values{rare * (found > MAX_CATEGORIES)}."
            )
        elif counts_rows(column.values):
            notes.append(
                f"Column {column.name!r} counts the rows; if it is no feature, leave "
                "it out with --exclude."
            )
    return notes


def _from_elsewhere(options: ScanOptions, data: DataFile) -> Problem:
    """Labels, with gradients that are computed already."""
    labels = check_labels(options.label, data.read(options.label, [])[0], data.place)
    notes: list[str] = []
    warning = None
    if options.probabilities is not None:
        probabilities, codes = read_probabilities(options.probabilities, labels)
        X = logit_gradients(probabilities, codes)
        warning = learned_nothing(probabilities, codes)
        source = f"probabilities in {options.probabilities}"
        if X.shape[1] <= 3:
            notes.append(_few_classes(X.shape[1]))
    else:
        assert options.gradients is not None  # one of the two is given
        X, is_proved = read_gradients(options.gradients, labels)
        source = str(options.gradients)
        if not is_proved:
            notes.append(
                f"Nothing in {source} says which row a gradient is of: they are taken "
                "to be in the order of the data."
            )
    names = [f"gradient {j}" for j in range(X.shape[1])]
    warnings = [] if warning is None else [warning]
    return Problem(X, names, labels, PrecomputedGradients(), source, notes, warnings)


def _few_classes(n_classes: int) -> str:
    return (
        f"With {n_classes} classes logit gradients lie close to a line or plane, where "
        "little is isolated. Gradients of a last layer tell more: --gradient-of "
        "last_layer with --model logistic or mlp, or --gradients."
    )


def _belonging(
    options: ScanOptions, data: DataFile, features: list[str]
) -> tuple[frozenset[str], list[str]]:
    """Which arrays of an archive --out cuts: those that were declared, and no other."""
    if options.cut and not (isinstance(data, NpzFile) and options.out is not None):
        raise Unusable("--cut is for --out of data in an .npz file.")
    if not isinstance(data, NpzFile) or options.out is None:
        return frozenset(), []
    declared = {*features, *split_names(options.cut, data.names, data.kind)}
    if options.images is not None:
        declared.add(options.images)
    as_long = set(data.with_as_many_rows(options.label))
    if not declared and len(data.names) == 2:
        declared = as_long
    wrong = sorted(declared - as_long - {options.label})
    if wrong:
        raise Unusable(f"--cut: array {wrong[0]!r} has not one row a label.")
    others = sorted(as_long - declared)
    if others and not declared:
        raise Unusable(
            f"Which arrays of {data.path} have one row an example is not said, and "
            f"--out cuts no other: name them, for instance --cut {as_option(others)}."
        )
    notes = [
        f"--out writes {', '.join(map(repr, others))} whole: nothing says that their "
        "rows are the examples'. If they are, name them with --cut."
    ]
    return frozenset(declared | {options.label}), notes if others else []
