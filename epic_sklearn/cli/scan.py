"""The work of ``epic-sklearn scan`` and ``trace``: check, read, find, write."""

from __future__ import annotations

import ast
import csv
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from .. import gradients, report, rules
from ..base import take_rows
from ..filters import EPICFilter
from ..gradients import EXTRACTORS, LogitGradients, TableModel
from ..gradients.last_layer import has_last_layer
from ..report import all_or_none
from ..rules.base import Rule, preferred_gradients, refuse_what_lacks
from ..tracing import Trace, trace
from . import columns, tables
from .columns import Unusable, refuse_if, refusing, unknown
from .commands import RULES
from .elsewhere import read_gradients, read_probabilities
from .output import Scan, check_outputs
from .tables import NpzFile, format_of, open_by

WAY_BACK = (
    "Run the same scan again with `--decisions FILE --out KEPT`: it writes the rows "
    "that are left, to train on."
)


def make_rule(name: str | None, settings: Sequence[str]) -> Rule:
    """Make a rule of its name and of NAME=VALUE."""
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
        value: Any = text
        with suppress(ValueError, SyntaxError):
            value = ast.literal_eval(text)
        rule.set_params(**{key: value})
    with refusing(after=takes):
        return rules.resolve_rule(rule)


def make_model(name: str, seed: int) -> TableModel:
    """Make a classifier behind an encoder, which is chosen when the data are known."""
    classifier: Any = {
        "logistic": LogisticRegression(max_iter=1000, random_state=seed),
        "mlp": MLPClassifier(random_state=seed, max_iter=500),
        "forest": RandomForestClassifier(random_state=seed),
        "boosting": HistGradientBoostingClassifier(random_state=seed),
    }[name]
    return TableModel([("encode", "passthrough"), ("classify", classifier)])


def make_filter(o: SimpleNamespace) -> EPICFilter:
    """Make the filter; refuse gradients that the model lacks or the rule cannot use."""
    rule, given = make_rule(o.rule_name, o.settings), gradients.PrecomputedGradients()
    if not o.elsewhere:
        given = make_model(o.model or "logistic", o.seed)
    kind = o.gradient_of or preferred_gradients(rule)
    may_fall_back = o.gradient_of is None and "inputs" not in rule.needs
    extractor = gradients.as_extractor(given, kind, may_fall_back)
    needs_layer = not o.elsewhere and not isinstance(extractor, LogitGradients)
    if needs_layer and not has_last_layer(given):
        raise Unusable(
            f"A model {o.model!r} has no last linear layer to take gradients from, "
            "which --gradient-of or --rule asks for: --model logistic or mlp has."
        )
    with refusing():
        # What is in a file of gradients, it tells when it is read.
        gives = ("errors",) if o.probabilities else extractor.gives
        way_out = "Leave --gradient-of out, and give --model logistic or mlp."
        if o.probabilities:
            way_out = "Give --gradients of a last layer in place of --probabilities."
        refuse_what_lacks(rule, gives, way_out)
    how = {"rule": rule, "n_rounds": o.rounds, "n_jobs": o.jobs}
    return EPICFilter(extractor, random_state=o.seed, verbose=int(o.verbose), **how)


def check_options(o: SimpleNamespace) -> None:
    """Refuse options that do not go together, before anything is read."""
    both = o.probabilities and o.gradients
    refuse_if(both, "Give either --probabilities or --gradients.")
    refuse_if(o.id == o.label, f"--id and --label are both {o.id!r}.")
    o.elsewhere = o.probabilities or o.gradients
    is_cut = format_of(o.data) == ".npz" and o.out is not None
    given = {"exclude": o.exclude, "model": o.model, "gradient-of": o.gradient_of}
    given |= {"rounds": o.rounds > 1, "features": o.features and not is_cut}
    for name in given if o.elsewhere else ():
        why = f"is for a model fitted here; of {o.elsewhere} there is none to fit."
        refuse_if(given[name], f"--{name} {why}")


def check_reading(o: SimpleNamespace) -> None:
    """Refuse ways of reading that cannot be meant."""
    o.separator = "\t" if o.separator in ("tab", "\\t") else o.separator
    is_one = len(o.separator or ",") == 1
    refuse_if(not is_one, f"--separator {o.separator!r}: give one character, or 'tab'.")
    suffix = format_of(o.data)
    separator = o.separator or ("," if suffix.startswith(".csv") else "")
    refuse_if(o.decimal == o.thousands, "--decimal and --thousands are the same.")
    refuse_if(
        o.decimal == separator,
        f"--decimal and the separator are both {o.decimal!r}; with decimal commas "
        "fields are mostly separated by --separator ';'.",
    )
    unused = (o.separator or o.encoding) and suffix not in tables.LINES
    refuse_if(unused, f"--separator and --encoding are for text; {o.data} is none.")


def open_data(o: SimpleNamespace, path: Path, needs_label: bool = True) -> Any:
    """Open a data file by its suffix."""
    lines = partial(tables.LinesFile, separator=o.separator, encoding=o.encoding)
    readers = {**dict.fromkeys(tables.LINES, lines), ".parquet": tables.ParquetFile}
    data = open_by(path, {**readers, ".npz": NpzFile})
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


def names_beside(o: SimpleNamespace, data: Any) -> dict[str, str]:
    """Columns that are shown and no features, and the option that says so."""
    given = {"--exclude": o.exclude, "--show": o.show, "--id": [o.id][: bool(o.id)]}
    found = {k: way for way in given for k in split_names(given[way], data)}
    return {name: way for name, way in found.items() if name != o.label}


def choose_features(o: SimpleNamespace, data: Any) -> list[str]:
    """Names of the feature columns: those asked for, or all but the label."""
    chosen = split_names(o.features, data)
    is_label = o.label in chosen
    refuse_if(is_label, f"{o.label!r} is the label; it cannot be a feature as well.")
    left_out = {*names_beside(o, data), o.label}
    names = [name for name in chosen or data.names if name not in left_out]
    if isinstance(data, NpzFile) and len(names) > 1 and not chosen:
        raise data.several(o.label, names)
    return names


def read(
    o: SimpleNamespace, data: Any, chosen: Sequence[str], examples: Any = None
) -> Scan:
    """Read labels, the features typed as a table, and what is shown beside."""
    beside, place = names_beside(o, data), data.place
    names = [*chosen, *(name for name in beside if name in data.columns(o.label))]
    if examples is None:
        (given, raw), n = data.read(o.label, names), 0
    else:
        given, raw, place, n = tables.read_together(data, examples, o.label, names)
    labels = columns.check_labels(o.label, given, place)
    done, images = _left_out(data, beside, raw, len(labels))
    named = split_names(o.as_text, data), split_names(o.features, data)
    how = columns.Reading(o.decimal, o.thousands, o.missing, o.date_format, *named)
    done += columns.type_columns(raw, how, place)
    used = [column for column in done if column.values is not None]
    X, names = _join(used)
    asides = {each.name: each.aside for each in done if each.aside is not None}
    shown = {
        "title": data.path.name,
        "images": images,
        "feature_names": names,
        "row_kind": o.id or data.row_kind,
        "row_name": np.asarray(asides[o.id]).__getitem__ if o.id else data.row_name,
        "asides": asides,
        "columns": [(column.name, column.what) for column in done],
    }
    notes = [
        f"Column {column.name!r} counts the rows; if it is no feature: --exclude."
        for column in used
        if columns.counts_rows(column.values)
    ]
    return Scan(o, data, labels, X, shown, notes, beside, n)


def _left_out(
    data: Any, beside: dict[str, str], raw: dict[str, Any], n: int
) -> tuple[list[columns.Column], Any]:
    """Take columns out of `raw` that are shown only; and pictures that are."""
    found, images = [], None
    for name, option in beside.items():
        texts = raw.pop(name, None)
        texts = texts if np.ndim(texts) == 1 else None
        if texts is None and option == "--show" and isinstance(data, NpzFile):
            with refusing(f"Array {name!r} is not of pictures: "):
                images = report.check_images(data.arrays[name], n)
        else:
            is_shown = texts is not None or option == "--exclude"
            why = "it has not one text or number a row."
            refuse_if(not is_shown, f"{option} {name}: {why}")
        found.append(columns.Column(name, None, f"left out: {option}", texts))
    return found, images


def _join(used: Sequence[columns.Column]) -> tuple[Any, list[str]]:
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


def with_encoder(model: TableModel, found: Scan) -> TableModel:
    """Put the encoder of the table in front of the model."""
    data = found.data
    nothing = f"No {data.kind} of features is left in {data.path} besides the label."
    refuse_if(found.X is None, nothing + data.hint)
    has_missing = any(what.endswith("missing") for _, what in found.shown["columns"])
    encode = gradients.table_encoder(found.X, found.options.seed, has_missing)
    return model.set_params(encode=encode)


def with_model(found: Scan, extractor: Any) -> None:
    """Let a model be fitted on the table; an array of pictures is shown as such."""
    o, data = found.options, found.data
    with_encoder(extractor.classifier, found)
    kind = next(k for k, each in EXTRACTORS.items() if type(extractor) is each)
    n_features = f"{found.X.shape[1]} features"
    found.source = f"{kind} of {o.model or 'logistic'} on {n_features}"
    if isinstance(data, NpzFile):
        chosen = choose_features(o, data)
        found.source += f" of {', '.join(map(repr, chosen))}"
        pictures = [data.arrays[k] for k in chosen if data.arrays[k].ndim == 4]
        if pictures and found.shown["images"] is None:
            found.shown |= {"X": pictures[0], "feature_names": None}


def from_elsewhere(found: Scan) -> None:
    """Let gradients that are computed already be the table."""
    o = found.options
    if o.probabilities is not None:
        found.source = f"probabilities in {o.probabilities}"
        found.X, probabilities = read_probabilities(o.probabilities, found.labels)
        found.shown["probabilities"] = probabilities
    else:
        found.source = str(o.gradients)
        found.X, is_proved = read_gradients(o.gradients, found.labels)
        found.notes += [
            f"Nothing in {o.gradients} says which row a gradient is of: they are taken "
            "to be in the order of the data."
        ] * (not is_proved)
    names = [f"gradient {j}" for j in range(found.X.shape[1])]
    found.shown["feature_names"] = names


def choose_cut(found: Scan) -> None:
    """Choose which arrays --out cuts: those that were named; others are noted."""
    o, data = found.options, found.data
    shown = [k for k, way in names_beside(o, data).items() if way != "--exclude"]
    found.cut = {o.label, *choose_features(o, data), *shown}
    long = data.as_long_as(o.label)
    wrong = sorted(found.cut - {o.label, *long})
    refuse_if(wrong, f"Array {wrong[:1]} has not one row a label: --out cannot cut it.")
    others = sorted(set(long) - found.cut)
    found.notes += [
        f"--out writes {', '.join(map(repr, others))} whole: nothing says that their "
        "rows are the examples'. If they are, name them with --show."
    ] * bool(others)


def fit(found: Scan, detector: EPICFilter) -> None:
    """Fit the filter and look at the rows again; what is warned of becomes notes."""
    o, start = found.options, time.perf_counter()
    # What the filter says of its progress is no result.
    with (
        refusing(),
        warnings.catch_warnings(record=True) as caught,
        redirect_stdout(sys.stderr),
    ):
        warnings.simplefilter("default")
        detector.fit(found.X, found.labels)
        if o.decisions is not None:
            detector.apply_decisions(o.decisions)
        case = detector._case(found.X, found.labels)
    settings = {**case.settings, "extractor": found.source}
    case = replace(case, settings=settings, way_back=WAY_BACK, **found.shown)
    found.detector, found.case = detector, case
    said = dict.fromkeys(" ".join(str(w.message).split()) for w in caught)
    found.notes += [text for text in said if text not in case.warnings]
    found.notes += columns.notes_of_gaps(found.X, case.feature_names, ~detector.keep_)
    is_logit = o.probabilities or isinstance(detector.extractor_, LogitGradients)
    n_classes = len(case.schedule.classes)
    if is_logit and n_classes <= 3:
        found.notes.append(
            f"With {n_classes} classes logit gradients lie close to a line or plane, "
            "where little is isolated. Gradients of a last layer tell more: "
            "--gradient-of last_layer with --model logistic or mlp, or --gradients."
        )
    found.seconds = time.perf_counter() - start


def say_if(is_wanted: Any, what: str) -> None:
    """Say what is begun, beside the results."""
    if is_wanted:
        click.echo(what, err=True)


def scan(o: SimpleNamespace) -> Scan:
    """Run ``scan``, short of printing."""
    check_options(o)
    check_reading(o)
    detector = make_filter(o)
    check_outputs(o)
    before = o.data.stat()
    say_if(o.verbose, f"Reading {o.data.name}")
    data = open_data(o, o.data)
    found = read(o, data, [] if o.elsewhere else choose_features(o, data))
    if o.elsewhere:
        from_elsewhere(found)
    else:
        with_model(found, detector.extractor)
    if isinstance(data, NpzFile) and o.out is not None:
        choose_cut(found)
    say_if(o.verbose, f"Looking at the gradients of {len(found.labels):,} rows")
    fit(found, detector)
    after = o.data.stat()
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise Unusable(f"{o.data} changed while it was looked at; try again.")
    say_if(o.verbose and o.outputs, "Writing")
    found.write()
    return found


def trace_files(o: SimpleNamespace) -> tuple[Trace, Callable[[int], str]]:
    """Run ``trace``, short of printing; what was found, and place of a row."""
    o.show, o.id = (), None
    check_reading(o)
    check_outputs(o)
    data, examples = open_data(o, o.data), open_data(o, o.examples, False)
    chosen, o.exclude = choose_features(o, data), ()  # examples need not have these
    both = read(o, data, chosen, examples)
    model = with_encoder(make_model(o.model, o.seed), both)
    rows, asked = np.split(np.arange(len(both.labels)), [both.n])
    X, y = take_rows(both.X, rows), both.labels[rows]
    given = both.labels[asked] if o.label in examples.names else None
    how = {"score": o.score, "n_top": o.top, "all_labels": o.all_labels}
    with refusing():
        found = trace(model.fit(X, y), X, y, take_rows(both.X, asked), given, **how)
    table = pd.DataFrame(both.X, columns=both.shown["feature_names"])
    with all_or_none(o.outputs) as paths:
        if "ranks" in paths:
            found.to_frame().to_csv(paths["ranks"], index=False)
        if "report" in paths:
            parts = table.iloc[rows], table.iloc[asked], paths["report"]
            title = data.path.name
            found.report(*parts, n_top=o.top, title=title, overwrite=True)
    return found, data.place
