"""The work of ``epic-sklearn scan``: check, read, find isolated rows, write."""

from __future__ import annotations

import ast
import csv
import os
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.text import Text
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from .. import rules
from .._utils import learned_nothing
from ..filters import EPICFilter
from ..gradients import (
    LastLayerGradients,
    LastLayerInputGradients,
    LogitGradients,
    PrecomputedGradients,
    as_extractor,
    logit_gradients,
)
from ..report import check_images, model_warnings, write_report
from ..rules.base import Rule, refuse_what_lacks
from .arrays import NpzFile, open_by, read_gradients, read_probabilities
from .columns import (
    Column,
    Reading,
    Unusable,
    as_option,
    check_labels,
    counts_rows,
    spelled_alike,
    type_columns,
    unknown,
)
from .output import Findings, all_or_none, write_mask
from .tables import LINES, LinesFile, ParquetFile, format_of, import_pyarrow

EXTRACTORS = {
    "logit": LogitGradients,
    "last_layer_input": LastLayerInputGradients,
    "last_layer": LastLayerGradients,
}
HAVE_LAST_LAYER = ("logistic", "mlp")
OUTPUTS = {
    "mask": (".csv", ".npz", ".parquet"),
    "report": (".html", ".htm"),
}


@dataclass
class Problem:
    """What the filter is given, and what is said of it."""

    labels: np.ndarray
    X: Any = None
    names: list[str] = field(default_factory=list)
    extractor: Any = None
    source: str = ""
    columns: list[Column] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def make_rule(name: str | None, settings: Sequence[str]) -> Rule:
    """Make a rule of its name and of NAME=VALUE.

    Examples
    --------
    >>> from epic_sklearn.cli.scan import make_rule
    >>> make_rule("IsolatedMedoids", ["threshold=2", "metric=cosine"])
    IsolatedMedoids(metric='cosine', threshold=2)
    """
    known = [each for each in rules.__all__ if each[0].isupper() and each != "Rule"]
    if name is not None and name not in known:
        raise unknown("rule", name, known)
    rule = rules.resolve_rule(None if name is None else getattr(rules, name)())
    parameters = rule.get_params()
    shown = ", ".join(f"{k}={v}" for k, v in parameters.items()) or "none"
    takes = f" {type(rule).__name__} takes, with these defaults: {shown}."
    for setting in settings:
        key, is_assigned, text = setting.partition("=")
        if not is_assigned:
            raise Unusable(f"--set {setting}: give NAME=VALUE.{takes}")
        if key not in parameters:
            raise unknown(f"{type(rule).__name__} parameter", key, parameters)
        try:
            words = ("true", "false", "none")
            value = ast.literal_eval(text.title() if text.lower() in words else text)
        except (ValueError, SyntaxError):
            value = text
        rule.set_params(**{key: value})
    try:
        return rules.resolve_rule(rule)
    except (ValueError, TypeError) as error:
        raise Unusable(f"{error}{takes}") from error


def check_options(o: SimpleNamespace) -> None:
    """Refuse options that do not go together, before anything is read."""
    elsewhere = [k for k in ("probabilities", "gradients") if getattr(o, k) is not None]
    if len(elsewhere) > 1:
        raise Unusable("Give either --probabilities or --gradients.")
    for source in elsewhere:
        for name in ("features", "exclude", "model", "gradient_of"):
            if getattr(o, name):
                raise Unusable(
                    f"--{name.replace('_', '-')} is for a model fitted here; with "
                    f"--{source} none is."
                )
        if o.rounds > 1:
            raise Unusable(
                f"--rounds above 1 fits a model again on what is left; with --{source} "
                "there is none to fit."
            )
    _check_gradients(o)
    is_lines = format_of(o.data).removesuffix(".gz") in LINES
    if o.separator is not None and (len(o.separator) != 1 or not is_lines):
        raise Unusable(
            f"--separator is {o.separator!r}; give one character, or 'tab', for CSV."
        )
    if is_lines and o.decimal == (o.separator or ",") and "csv" in format_of(o.data):
        raise Unusable(
            f"--decimal and the separator are both {o.decimal!r}; with decimal commas "
            "fields are mostly separated by --separator ';'."
        )
    if o.decimal == o.thousands:
        raise Unusable(f"--decimal and --thousands are both {o.decimal!r}.")
    if o.cut and (o.out is None or format_of(o.data) != ".npz"):
        raise Unusable("--cut is for --out of data in an .npz file.")
    if o.images is not None and (o.report is None or format_of(o.data) != ".npz"):
        raise Unusable(
            "--images is for --report, and an array of data in an .npz file."
        )
    if o.report is not None and find_spec("jinja2") is None:
        raise Unusable("--report needs jinja2: pip install 'epic-sklearn[report]'.")
    check_outputs(o)


def _check_gradients(o: SimpleNamespace) -> None:
    """Refuse gradients that the model does not have or the rule cannot use."""
    o.rule = make_rule(o.rule_name, o.settings)
    gives: Sequence[str] | None = None  # a file tells when it is read
    way_out = "Give a model: --model logistic or mlp."
    if o.probabilities is not None:
        gives = ("errors",)
    elif o.gradients is None and o.gradient_of is not None:
        gives = EXTRACTORS[o.gradient_of].gives
        way_out = "Leave --gradient-of out, or give --gradient-of last_layer."
    elif o.gradients is not None and len(o.rule.needs) > 1:
        gives = o.rule.needs[:1]  # an array is one or the other
    try:
        refuse_what_lacks(o.rule, gives, way_out)
    except ValueError as error:
        raise Unusable(str(error)) from error
    is_logit = set(o.rule.needs) <= {"errors"}
    if o.gradient_of is not None:
        is_logit = o.gradient_of == "logit"
    if not is_logit and (o.model or "logistic") not in HAVE_LAST_LAYER:
        raise Unusable(
            f"A model {o.model!r} has no last linear layer to take gradients from, "
            "which --gradient-of or --rule asks for; choose --model "
            f"{' or '.join(HAVE_LAST_LAYER)}."
        )


def check_outputs(o: SimpleNamespace) -> None:
    """Refuse outputs that cannot be written, before any work."""
    inputs = [o.data, o.probabilities, o.gradients, o.decisions]
    taken = {path.resolve(): f"the input {path}" for path in inputs if path is not None}
    o.outputs = {k: getattr(o, k) for k in ("out", "mask", "report") if getattr(o, k)}
    formats = {"out": (format_of(o.data),), **OUTPUTS}
    for name, path in o.outputs.items():
        real, option = path.resolve(), f"--{name}"
        if format_of(path) not in formats[name]:
            ends = ", ".join(map(repr, formats[name]))
            raise Unusable(f"{option} {path}: give a name that ends in {ends}.")
        if format_of(path) == ".parquet":
            import_pyarrow()
        if not real.parent.is_dir():
            raise Unusable(f"{option}: there is no folder {real.parent}.")
        for other, what in taken.items():
            if real == other or (
                real.exists() and other.exists() and real.samefile(other)
            ):
                raise Unusable(f"{option}: {path} is {what} as well.")
        if real.exists() and not real.is_file():
            raise Unusable(f"{option}: {path} is not a regular file.")
        if real.exists() and not o.force:
            raise Unusable(f"{option}: {path} exists; give --force to replace it.")
        if not os.access(real.parent, os.W_OK):
            raise Unusable(f"{option}: no permission to write in {real.parent}.")
        taken[real] = f"the file of {option}"


def open_data(o: SimpleNamespace) -> Any:
    """Open a data file by its suffix."""
    lines = [suffix + packed for packed in ("", ".gz") for suffix in LINES]
    readers: dict[str, Any] = {
        suffix: lambda: LinesFile(o.data, o.separator, o.encoding) for suffix in lines
    }
    readers[".parquet"] = lambda: ParquetFile(o.data)
    readers[".npz"] = lambda: NpzFile(o.data)
    return open_by(o.data, readers)


def split_names(given: Sequence[str], data: Any) -> tuple[str, ...]:
    """Names of a comma-separated option that may be given several times.

    A name that itself holds a comma is given alone, or quoted as in a CSV file.
    """
    names: list[str] = []
    for text in given:
        names += [text] if text in data.names else next(csv.reader([text]), [""])
    for name in names:
        if name not in data.names:
            raise unknown(data.kind, name, data.names)
    return tuple(dict.fromkeys(names))


def choose_features(data: Any, o: SimpleNamespace) -> list[str]:
    """Names of the feature columns: those asked for, or all but the label."""
    left_out = split_names(o.exclude, data)
    chosen = split_names(o.features, data)
    if o.label in chosen:
        raise Unusable(f"{o.label!r} is the label; it cannot be a feature as well.")
    names = [name for name in chosen or data.names if name not in (*left_out, o.label)]
    if isinstance(data, NpzFile) and len(names) > 1 and not chosen:
        raise data.several(o.label, names)
    return names


class TableModel(Pipeline):
    """A pipeline that fills in missing numbers itself, and says so."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def make_model(name: str, seed: int, X: Any, has_missing: bool = False) -> Pipeline:
    """Encode a table by skrub, scale numbers, classify."""
    classifier: Any = {
        "logistic": LogisticRegression(max_iter=1000, random_state=seed),
        "mlp": MLPClassifier(random_state=seed, max_iter=500),
        "forest": RandomForestClassifier(random_state=seed),
        "boosting": HistGradientBoostingClassifier(random_state=seed),
    }[name]
    fill = SimpleImputer(
        strategy="median", add_indicator=True, keep_empty_features=True
    )
    encode: Any = make_pipeline(*[fill] * has_missing, StandardScaler())
    if isinstance(X, pd.DataFrame):
        from skrub import DatetimeEncoder, StringEncoder, TableVectorizer

        dates = make_pipeline(
            DatetimeEncoder(add_weekday=True), SimpleImputer(), StandardScaler()
        )
        encode = TableVectorizer(
            high_cardinality=StringEncoder(random_state=seed),
            datetime=dates,
            # As float64, and not parsed again.
            specific_transformers=[(encode, list(X.select_dtypes("number")))],
        )
    return TableModel(make_pipeline(encode, classifier).steps)


def _with_model(o: SimpleNamespace, data: Any) -> Problem:
    """Features, and a model to be fitted on them."""
    chosen = choose_features(data, o)
    raw_labels, raw = data.read(o.label, chosen)
    problem = Problem(check_labels(o.label, raw_labels, data.place))
    asked_for = split_names(o.features, data)
    as_text = split_names(o.as_text, data)
    how = Reading(o.decimal, o.thousands, o.missing, o.date_format, as_text, asked_for)
    problem.columns = type_columns(raw, how, data.place, data.names)
    used = [column for column in problem.columns if column.values is not None]
    if not used:
        raise Unusable(
            f"No {data.kind} of features is left in {data.path} besides the label "
            f"{o.label!r}.{data.hint}"
        )
    problem.notes += [
        f"Column {column.name!r} counts the rows; if it is no feature, leave it out "
        "with --exclude."
        for column in used
        if counts_rows(column.values)
    ]
    problem.X, problem.names = _join(used)
    model = o.model or "logistic"
    has_missing = any(column.what.endswith("missing") for column in used)
    made = make_model(model, o.seed, problem.X, has_missing)
    if o.gradient_of is None:
        problem.extractor = as_extractor(made, o.rule.needs)
    else:
        problem.extractor = EXTRACTORS[o.gradient_of](made)
    kind = next(k for k, each in EXTRACTORS.items() if type(problem.extractor) is each)
    if kind == "logit":
        problem.notes += _few_classes(len(set(problem.labels.tolist())))
    problem.source = f"{kind} of {model} on {len(problem.names)} features"
    if isinstance(data, NpzFile):
        problem.source += f" of {', '.join(map(repr, chosen))}"
    return problem


def _join(columns: Sequence[Column]) -> tuple[Any, list[str]]:
    """All columns side by side, an array where all are numbers; and their names."""
    if len(columns) == 1 and np.ndim(columns[0].values) == 2:
        return columns[0].values, _names(columns[0])
    split = {}
    for each in columns:
        parts = each.values.T if np.ndim(each.values) == 2 else [each.values]
        split |= dict(zip(_names(each), parts, strict=True))
    is_number = (
        isinstance(v, np.ndarray) and v.dtype.kind != "M" for v in split.values()
    )
    X: Any = (
        np.column_stack(list(split.values())) if all(is_number) else pd.DataFrame(split)
    )
    return X, list(split)


def _names(column: Column) -> list[str]:
    if np.ndim(column.values) < 2:
        return [column.name]
    return [f"{column.name}[{j}]" for j in range(column.values.shape[1])]


def _from_elsewhere(o: SimpleNamespace, data: Any) -> Problem:
    """Labels, with gradients that are computed already."""
    labels = check_labels(o.label, data.read(o.label, [])[0], data.place)
    problem = Problem(labels, extractor=PrecomputedGradients())
    if o.probabilities is not None:
        probabilities, codes = read_probabilities(o.probabilities, labels)
        problem.X = logit_gradients(probabilities, codes)
        warning = learned_nothing(probabilities, codes)
        problem.warnings += [] if warning is None else [warning]
        problem.source = f"probabilities in {o.probabilities}"
        problem.notes += _few_classes(problem.X.shape[1])
    else:
        problem.X, is_proved = read_gradients(o.gradients, labels)
        problem.source = str(o.gradients)
        if not is_proved:
            problem.notes.append(
                f"Nothing in {o.gradients} says which row a gradient is of: they are "
                "taken to be in the order of the data."
            )
    problem.names = [f"gradient {j}" for j in range(problem.X.shape[1])]
    return problem


def _few_classes(n_classes: int) -> list[str]:
    return [
        f"With {n_classes} classes logit gradients lie close to a line or plane, where "
        "little is isolated. Gradients of a last layer tell more: --gradient-of "
        "last_layer with --model logistic or mlp, or --gradients."
    ] * (n_classes <= 3)


def _belonging(o: SimpleNamespace, data: Any) -> tuple[set[str], list[str]]:
    """Which arrays of an archive --out cuts: those that were declared, and no other."""
    if not isinstance(data, NpzFile) or o.out is None:
        return set(), []
    declared = {*split_names(o.cut, data), *([o.images] if o.images else [])}
    if o.probabilities is None and o.gradients is None:
        declared |= set(choose_features(data, o))
    as_long = data.with_as_many_rows(o.label, data.names)
    if not declared and len(data.names) == 2:
        declared = set(as_long)
    wrong = sorted(declared - {*as_long, o.label})
    if wrong:
        raise Unusable(f"--cut: array {wrong[0]!r} has not one row a label.")
    others = sorted(set(as_long) - declared)
    if others and not declared:
        raise Unusable(
            f"Which arrays of {data.path} have one row an example is not said, and "
            f"--out cuts no other: name them, for instance --cut {as_option(others)}."
        )
    notes = [
        f"--out writes {', '.join(map(repr, others))} whole: nothing says that their "
        "rows are the examples'. If they are, name them with --cut."
    ]
    return declared | {o.label}, notes if others else []


def find_isolated(o: SimpleNamespace, problem: Problem) -> tuple[EPICFilter, float]:
    """Fit the filter; its warnings become notes."""
    detector = EPICFilter(
        problem.extractor,
        rule=o.rule,
        n_rounds=o.rounds,
        n_jobs=o.jobs,
        random_state=o.seed,
        verbose=int(o.verbose),
    )
    start = time.perf_counter()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            detector.fit(problem.X, problem.labels)
            if o.decisions is not None:
                detector.apply_decisions(o.decisions)
            problem.warnings += model_warnings(detector, problem.X)
    except (ValueError, MemoryError) as error:
        raise Unusable(str(error) or "Not enough memory.") from error
    said = dict.fromkeys(" ".join(str(each.message).split()) for each in caught)
    problem.notes += said
    return detector, time.perf_counter() - start


def scan(o: SimpleNamespace) -> Findings:
    """Run the whole command, short of printing."""
    check_options(o)
    before = o.data.stat()
    # Text, not str: a name may hold rich's markup.
    console = Console(stderr=True, quiet=not o.verbose)
    with console.status(Text(f"Reading {o.data.name}")) as stage:
        data = open_data(o)
        if o.label not in data.names:
            raise unknown(data.kind, o.label, data.names, data.hint)
        elsewhere = o.probabilities is not None or o.gradients is not None
        problem = (_from_elsewhere if elsewhere else _with_model)(o, data)
        images = None if o.images is None else _images(o, data, len(problem.labels))
        belonging, notes = _belonging(o, data)
        problem.notes += notes
        problem.warnings += spelled_alike(problem.labels)
        stage.update(f"Looking at the gradients of {len(problem.labels):,} rows")
        detector, seconds = find_isolated(o, problem)
        findings = Findings(o, problem, detector, data.place, seconds)
        after = o.data.stat()
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise Unusable(f"{o.data} changed while it was looked at; try again.")
        stage.update("Writing")
        with all_or_none(o.outputs) as paths:
            if "out" in paths:
                data.write_rows(detector.keep_, paths["out"], belonging)
            if "mask" in paths:
                write_mask(findings, paths["mask"])
            if "report" in paths:
                _write_page(findings, paths["report"], images)
    return findings


def _images(o: SimpleNamespace, data: NpzFile, n: int) -> np.ndarray:
    (name,) = split_names([o.images], data)
    try:
        check_images(data.arrays[name], n)
    except ValueError as error:
        raise Unusable(f"Array {name!r} is not of pictures: {error}") from error
    return data.arrays[name]


def _write_page(findings: Findings, path: Path, images: np.ndarray | None) -> None:
    problem = findings.problem
    write_report(
        findings.detector,
        problem.X,
        problem.labels,
        path,
        images=images,
        feature_names=problem.names,
        title=findings.options.data.name,
        overwrite=True,
        warnings=problem.warnings,
    )
