"""The work of ``epic-sklearn scan``: check, read, find isolated rows, write."""

from __future__ import annotations

import ast
import csv
import sys
import time
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.text import Text
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline

from .. import gradients, report, rules
from .._utils import learned_nothing
from ..filters import EPICFilter
from ..gradients import EXTRACTORS
from ..rules.base import Rule, preferred_gradients, refuse_what_lacks
from ..validation import class_warnings
from . import columns, tables
from .arrays import NpzFile, open_by, read_gradients, read_probabilities
from .columns import Unusable, refuse_if, unknown
from .commands import RULES
from .output import Findings, check_outputs, write_all
from .tables import format_of

HAVE_LAST_LAYER = ("logistic", "mlp")


@dataclass
class Problem:
    """What the filter is given, and what is said of it."""

    labels: np.ndarray
    X: Any = None
    names: list[str] = field(default_factory=list)
    extractor: Any = None
    source: str = ""
    columns: list[columns.Column] = field(default_factory=list)
    rows: tuple[str, Any] = ("Row", None)  # what rows are called: kind, and names
    images: Any = None  # of examples that are pictures
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
    if name is not None and name not in RULES:
        raise unknown("rule", name, RULES)
    rule = rules.resolve_rule(None if name is None else getattr(rules, name)())
    parameters = rule.get_params()
    shown = ", ".join(f"{k}={v}" for k, v in parameters.items()) or "none"
    takes = f" {type(rule).__name__} takes, with these defaults: {shown}."
    for setting in settings:
        key, is_assigned, text = setting.partition("=")
        refuse_if(not is_assigned, f"--set {setting}: give NAME=VALUE.{takes}")
        if key not in parameters:
            raise unknown(f"{type(rule).__name__} parameter", key, parameters)
        is_word = text.lower() in ("true", "false", "none")
        try:
            value = ast.literal_eval(text.title() if is_word else text)
        except (ValueError, SyntaxError):
            value = text
        rule.set_params(**{key: value})
    try:
        return rules.resolve_rule(rule)
    except (ValueError, TypeError) as error:
        raise Unusable(f"{error}{takes}") from error


def check_options(o: SimpleNamespace) -> None:
    """Refuse options that do not go together, before anything is read."""
    o.separator = "\t" if o.separator in ("tab", "\\t") else o.separator
    o.elsewhere = o.probabilities is not None or o.gradients is not None
    source = "--gradients" if o.probabilities is None else "--probabilities"
    of_model = {"features": o.features, "exclude": o.exclude, "model": o.model}
    of_model["gradient-of"] = o.gradient_of
    suffix = format_of(o.data)
    is_npz, no_model = suffix == ".npz", f"with {source} there is none to fit."
    both = o.probabilities is not None and o.gradients is not None
    refuse_if(both, "Give either --probabilities or --gradients.")
    if o.elsewhere:
        for name, given in of_model.items():
            refuse_if(given, f"--{name} is for a model fitted here; {no_model}")
        refuse_if(o.rounds > 1, f"--rounds above 1 fits a model again; {no_model}")
    is_one = len(o.separator or ",") == 1
    refuse_if(not is_one, f"--separator {o.separator!r}: give one character, or 'tab'.")
    refuse_if(
        suffix.startswith(".csv") and o.decimal == (o.separator or ","),
        f"--decimal and the separator are both {o.decimal!r}; with decimal commas "
        "fields are mostly separated by --separator ';'.",
    )
    is_lines = suffix.removesuffix(".gz") in tables.LINES
    of_lines = o.separator is not None or o.encoding is not None
    unused = of_lines and not is_lines
    refuse_if(unused, f"--separator and --encoding are for text; {o.data} is none.")
    refuse_if(o.decimal == o.thousands, "--decimal and --thousands are the same.")
    is_cut = o.out is not None and is_npz
    refuse_if(o.cut and not is_cut, "--cut is for --out of data in an .npz file.")
    is_seen = o.report is not None and is_npz
    refuse_if(o.images and not is_seen, "--images is for --report, of data in an .npz.")
    needs = "--report needs jinja2: pip install 'epic-sklearn[report]'."
    refuse_if(o.report is not None and find_spec("jinja2") is None, needs)
    _check_gradients(o)
    check_outputs(o)


def _check_gradients(o: SimpleNamespace) -> None:
    """Refuse gradients that the model does not have or the rule cannot use."""
    o.rule = make_rule(o.rule_name, o.settings)
    gives: Sequence[str] | None = None  # a file tells when it is read
    way_out = "Give a model: --model logistic or mlp."
    if o.gradient_of is not None:
        gives = EXTRACTORS[o.gradient_of].gives
        way_out = "Leave --gradient-of out, or give --gradient-of last_layer."
    elif o.probabilities is not None:
        gives = ("errors",)
    try:
        refuse_what_lacks(o.rule, gives, way_out)
    except ValueError as error:
        raise Unusable(str(error)) from error
    has_to = "inputs" in o.rule.needs
    if o.gradient_of is not None:
        has_to = o.gradient_of != "logit"
    if has_to and (o.model or "logistic") not in HAVE_LAST_LAYER:
        raise Unusable(
            f"A model {o.model!r} has no last linear layer to take gradients from, "
            "which --gradient-of or --rule asks for: --model logistic or mlp has."
        )


def open_data(o: SimpleNamespace, needs_label: bool = True) -> Any:
    """Open a data file by its suffix."""
    names = [suffix + packed for suffix in tables.LINES for packed in ("", ".gz")]
    lines = {
        k: lambda path: tables.LinesFile(path, o.separator, o.encoding) for k in names
    }
    data = open_by(o.data, {**lines, ".parquet": tables.ParquetFile, ".npz": NpzFile})
    if needs_label and o.label not in data.names:
        raise unknown(data.kind, o.label, data.names, data.hint)
    return data


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
    left_out, chosen = split_names(o.exclude, data), split_names(o.features, data)
    is_label = o.label in chosen
    refuse_if(is_label, f"{o.label!r} is the label; it cannot be a feature as well.")
    left_out = (*left_out, *names_beside(data, o), o.label)
    names = [name for name in chosen or data.names if name not in left_out]
    if isinstance(data, NpzFile) and len(names) > 1 and not chosen:
        raise data.several(o.label, names)
    return names


def names_beside(data: Any, o: SimpleNamespace) -> dict[str, str]:
    """Columns that are shown and no features, and the option that says so."""
    beside = {name: "--exclude" for name in split_names(o.exclude, data)}
    beside |= {name: "--show" for name in split_names(o.show, data)}
    beside |= {name: "--id" for name in split_names([o.id] if o.id else [], data)}
    beside.pop(o.label, None)
    return beside


def make_model(name: str, seed: int, X: Any, has_missing: bool = False) -> Pipeline:
    """Encode a table by skrub, scale numbers, classify."""
    classifier: Any = {
        "logistic": LogisticRegression(max_iter=1000, random_state=seed),
        "mlp": MLPClassifier(random_state=seed, max_iter=500),
        "forest": RandomForestClassifier(random_state=seed),
        "boosting": HistGradientBoostingClassifier(random_state=seed),
    }[name]
    encode = gradients.table_encoder(X, seed, has_missing)
    return gradients.TableModel([("encode", encode), ("classify", classifier)])


def _read(
    o: SimpleNamespace, data: Any, names: Sequence[str]
) -> tuple[Problem, dict[str, Any]]:
    """Labels, what is shown beside, and the features as the file has them."""
    beside = names_beside(data, o)
    shown = [n for n in beside if n in data.columns(o.label)]
    labels, raw = data.read(o.label, [*names, *shown])
    problem = Problem(columns.check_labels(o.label, labels, data.place))
    for name, option in beside.items():
        texts = raw.pop(name, None)
        aside = texts if np.ndim(texts) == 1 else None
        what = f"left out: {option}"
        problem.columns.append(columns.Column(name, None, what, aside))
        is_refused = aside is None and option != "--exclude"
        refuse_if(is_refused, f"{option} {name}: it has not one text or number a row.")
        if option == "--id":
            problem.rows = name, np.asarray(texts).__getitem__
    if o.id is None and isinstance(data, tables.LinesFile):
        problem.rows = "Line", lambda row: data.place(row).removeprefix("line ")
    return problem, raw


def with_model(o: SimpleNamespace, data: Any) -> Problem:
    """Features, and a model to be fitted on them."""
    chosen, model = choose_features(data, o), o.model or "logistic"
    problem, raw = _read(o, data, chosen)
    named = split_names(o.as_text, data), split_names(o.features, data)
    how = columns.Reading(o.decimal, o.thousands, o.missing, o.date_format, *named)
    problem.columns += columns.type_columns(raw, how, data.place, data.names)
    order = {name: place for place, name in enumerate(data.names)}
    problem.columns.sort(key=lambda each: order.get(each.name, len(order)))
    used = [column for column in problem.columns if column.values is not None]
    if not used:
        besides = f"is left in {data.path} besides the label {o.label!r}"
        raise Unusable(f"No {data.kind} of features {besides}.{data.hint}")
    problem.notes += [
        f"Column {each.name!r} counts the rows; if it is no feature: --exclude."
        for each in used
        if columns.counts_rows(each.values)
    ]
    problem.X, problem.names = _join(used)
    has_missing = any(column.what.endswith("missing") for column in used)
    made = make_model(model, o.seed, problem.X, has_missing)
    problem.extractor = gradients.as_extractor(
        made, preferred_gradients(o.rule), may_fall_back="inputs" not in o.rule.needs
    )
    if o.gradient_of is not None:
        problem.extractor = EXTRACTORS[o.gradient_of](made)
    kind = next(k for k, each in EXTRACTORS.items() if type(problem.extractor) is each)
    if kind == "logit":
        problem.notes += _few_classes(len(set(problem.labels.tolist())))
    problem.source = f"{kind} of {model} on {len(problem.names)} features"
    if isinstance(data, NpzFile):
        problem.source += f" of {', '.join(map(repr, chosen))}"
        arrays = [data.arrays[name] for name in chosen]
        problem.images = next((a for a in arrays if a.ndim == 4), None)
    return problem


def _join(used: Sequence[columns.Column]) -> tuple[Any, list[str]]:
    """All columns side by side, an array where all are numbers; and their names."""
    split: dict[str, Any] = {}
    for each in used:
        if np.ndim(each.values) == 2:
            split |= {f"{each.name}[{j}]": part for j, part in enumerate(each.values.T)}
        else:
            split[each.name] = each.values
    if len(used) == 1 and np.ndim(used[0].values) == 2:
        return used[0].values, list(split)
    if any(part.dtype.kind not in "fiub" for part in split.values()):
        return pd.DataFrame(split), list(split)
    return np.column_stack(list(split.values())), list(split)


def _from_elsewhere(o: SimpleNamespace, data: Any) -> Problem:
    """Labels, with gradients that are computed already."""
    problem, _ = _read(o, data, [])
    problem.extractor, labels = gradients.PrecomputedGradients(), problem.labels
    if o.probabilities is not None:
        probabilities, codes = read_probabilities(o.probabilities, labels)
        problem.X = gradients.logit_gradients(probabilities, codes)
        problem.warnings += filter(None, [learned_nothing(probabilities, codes)])
        problem.source = f"probabilities in {o.probabilities}"
        problem.notes += _few_classes(problem.X.shape[1])
    else:
        problem.X, is_proved = read_gradients(o.gradients, labels)
        problem.source = str(o.gradients)
        problem.notes += [
            f"Nothing in {o.gradients} says which row a gradient is of: they are taken "
            "to be in the order of the data."
        ] * (not is_proved)
    problem.names = [f"gradient {j}" for j in range(problem.X.shape[1])]
    return problem


def _few_classes(n_classes: int) -> list[str]:
    return [
        f"With {n_classes} classes logit gradients lie close to a line or plane, where "
        "little is isolated. Gradients of a last layer tell more: --gradient-of "
        "last_layer with --model logistic or mlp, or --gradients."
    ] * (n_classes <= 3)


def _arrays_to_cut(o: SimpleNamespace, data: NpzFile) -> tuple[set[str], list[str]]:
    """Which arrays --out cuts: those that were declared, and no other; and a note."""
    declared = {*split_names(o.cut, data), *([o.images] if o.images else [])}
    declared |= set() if o.elsewhere else set(choose_features(data, o))
    as_long = data.as_long_as(o.label)
    if not declared and len(data.names) == 2:
        declared = set(as_long)
    wrong = sorted(declared - {*as_long, o.label})
    if wrong:
        raise Unusable(f"--cut: array {wrong[0]!r} has not one row a label.")
    others = sorted(set(as_long) - declared)
    if others and not declared:
        raise Unusable(
            f"Which arrays of {data.path} have one row an example is not said, and "
            f"--out cuts no other: for instance --cut {columns.as_option(others)}."
        )
    note = (
        f"--out writes {', '.join(map(repr, others))} whole: nothing says that their "
        "rows are the examples'. If they are, name them with --cut."
    )
    return declared | {o.label}, [note] if others else []


def _fit(o: SimpleNamespace, problem: Problem) -> EPICFilter:
    """Fit the filter; its warnings become notes."""
    how = {"rule": o.rule, "n_rounds": o.rounds, "n_jobs": o.jobs}
    detector = EPICFilter(
        problem.extractor, random_state=o.seed, verbose=int(o.verbose), **how
    )
    try:
        # What the filter says of its progress is no result.
        with (
            warnings.catch_warnings(record=True) as caught,
            redirect_stdout(sys.stderr),
        ):
            warnings.simplefilter("default")
            detector.fit(problem.X, problem.labels)
            if o.decisions is not None:
                detector.apply_decisions(o.decisions)
            found = report.probabilities_of(detector.extractor_, problem.X)
            problem.warnings += report.model_warnings(detector._schedule, found)
    except (ValueError, MemoryError) as error:
        raise Unusable(str(error) or "Not enough memory.") from error
    said = dict.fromkeys(" ".join(str(w.message).split()) for w in caught)
    known = class_warnings(problem.labels)
    problem.warnings += known
    problem.notes += [text for text in said if text not in known]
    return detector


def _images(o: SimpleNamespace, data: NpzFile, n: int) -> np.ndarray:
    (name,) = split_names([o.images], data)
    try:
        report.check_images(data.arrays[name], n)
    except ValueError as error:
        raise Unusable(f"Array {name!r} is not of pictures: {error}") from error
    return data.arrays[name]


def scan(o: SimpleNamespace) -> Findings:
    """Run the whole command, short of printing."""
    check_options(o)
    before = o.data.stat()
    # Text, not str: a name may hold rich's markup.
    console = Console(stderr=True, quiet=not o.verbose)
    with console.status(Text(f"Reading {o.data.name}")) as stage:
        data = open_data(o)
        problem = (_from_elsewhere if o.elsewhere else with_model)(o, data)
        images = None if o.images is None else _images(o, data, len(problem.labels))
        cut, notes = set[str](), list[str]()
        if isinstance(data, NpzFile) and o.out is not None:
            cut, notes = _arrays_to_cut(o, data)
        problem.notes += notes
        stage.update(f"Looking at the gradients of {len(problem.labels):,} rows")
        start = time.perf_counter()
        detector = _fit(o, problem)
        seconds = time.perf_counter() - start
        after = o.data.stat()
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise Unusable(f"{o.data} changed while it was looked at; try again.")
        stage.update("Writing")
        findings = Findings(o, problem, detector, data.place, seconds, detector.rho_)
        if o.report is not None or o.decisions is not None:
            findings.look_again()
        write_all(findings, data, images, cut)
    return findings
