"""The work of ``epic-sklearn scan``: check, read, find, write."""

from __future__ import annotations

import ast
import json
import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from .. import rules
from .._utils import all_or_none
from ..filters import EPICFilter
from ..gradients import EXTRACTORS, PrecomputedGradients, TableModel, table_encoder
from ..reading.errors import Unusable, refuse_if, refusing, unknown
from ..reading.files import LINES, format_of
from ..reading.lines import open_table
from ..reading.values import as_number
from ..report import check_path, stand_out, write_page
from ..rules.base import Rule, preferred_gradients, refuse_what_lacks
from .drawing import beside, draw, draw_columns
from .rows import Rows, from_elsewhere, read

WAY_BACK = (
    "Run the same scan again with `--decisions FILE --out KEPT`: it writes the rows "
    "that are left, to train on."
)
N_SUSPICIOUS = 10
FORMULA = tuple("=+-@\t\r")  # with which one begins
FORMATS = {"mask": (".csv",), "report": (".html", ".htm")}


def check_options(o: SimpleNamespace) -> None:
    """Refuse options that do not go together, before anything is read."""
    # Of several arrays it has to be known which --out is to cut.
    is_cut = format_of(o.data) == ".npz" and o.out
    o.needs_features = not o.probabilities or is_cut
    given = {"exclude": o.exclude, "model": o.model, "gradient-of": o.gradient_of}
    given |= {"rounds": o.rounds > 1, "features": o.features and not is_cut}
    for name in given if o.probabilities else ():
        why = "is for a model fitted here; with --probabilities there is none to fit."
        refuse_if(given[name], f"--{name} {why}")


def check_files(o: SimpleNamespace) -> None:
    """Refuse what cannot be read as asked, or not be written, before any work."""
    o.separator = "\t" if o.separator in ("tab", "\\t") else o.separator
    is_one = len(o.separator or ",") == 1
    refuse_if(not is_one, f"--separator {o.separator!r}: give one character, or 'tab'.")
    is_same = o.decimal is not None and o.decimal == o.thousands
    refuse_if(is_same, "--decimal and --thousands are the same.")
    is_asked = o.separator or o.encoding or o.header
    refuse_if(
        is_asked and format_of(o.data) not in LINES,
        f"--separator, --encoding and --header are for text; {o.data} is none.",
    )
    names = ("data", "examples", "probabilities", "decisions")
    inputs = [getattr(o, name, None) for name in names]
    taken = {path.resolve(): f"the input {path}" for path in inputs if path}
    o.outputs = {
        k: getattr(o, k) for k in ("out", *FORMATS) if getattr(o, k, None) is not None
    }
    for name, path in o.outputs.items():
        real, what = path.resolve(), f"--{name}: {path}"
        ends, folder = FORMATS.get(name, (format_of(o.data),)), real.parent
        fits = format_of(path) in ends
        is_lost = path.is_symlink() and not real.exists()
        refuse_if(is_lost, f"{what} is a link to nothing.")
        refuse_if(not fits, f"{what}: give a name that ends in {', '.join(ends)}.")
        can_write = f"there is no folder {folder}, or no permission to write in it."
        refuse_if(not os.access(folder, os.W_OK), f"{what}: {can_write}")
        refuse_if(real in taken, f"{what} is {taken.get(real)} as well.")
        if real.exists():
            refuse_if(not real.is_file(), f"{what} is not a regular file.")
            refuse_if(not o.force, f"{what} exists; give --force to replace it.")
        taken[real] = f"the file of --{name}"
        if name == "report":
            with refusing():  # where a package is missing
                check_path(path, overwrite=True)


def make_rule(o: SimpleNamespace) -> Rule:
    """Make the rule of its name and of NAME=VALUE; choose gradients that it can use."""
    rule = getattr(rules, o.rule_name)()
    parameters = rule.get_params()
    shown = ", ".join(f"{k}={v}" for k, v in parameters.items()) or "none"
    takes = f" {o.rule_name} takes, with these defaults: {shown}."
    for setting in o.settings:
        key, is_assigned, text = setting.partition("=")
        refuse_if(not is_assigned, f"--set {setting}: give NAME=VALUE.{takes}")
        if key not in parameters:
            raise unknown(f"{o.rule_name} parameter", key, parameters)
        value: Any = text
        with suppress(ValueError, SyntaxError):
            value = ast.literal_eval(text)
        rule.set_params(**{key: value})
    with refusing(after=takes):
        rule = rules.resolve_rule(rule)
    kind = "logit" if o.probabilities else o.gradient_of or preferred_gradients(rule)
    with refusing():
        way_out = "Leave --gradient-of and --probabilities out, or use EPICFilter."
        refuse_what_lacks(rule, EXTRACTORS[kind].gives, way_out)
    o.gradient_of = kind
    return rule


def make_model(o: SimpleNamespace, rows: Rows) -> TableModel:
    """Make a classifier behind an encoder of the table."""
    data = rows.data
    nothing = f"No {data.kind} of features is left in {data.path} besides the label."
    refuse_if(rows.X is None, nothing + data.hint)
    classifier: Any = LogisticRegression(max_iter=1000, random_state=o.seed)
    if o.model == "mlp":
        classifier = MLPClassifier(random_state=o.seed, max_iter=500)
    has_missing = pd.DataFrame(rows.X).isna().to_numpy().any()
    encode = table_encoder(rows.X, o.seed, bool(has_missing))
    return TableModel([("encode", encode), ("classify", classifier)])


def make_filter(o: SimpleNamespace, rule: Rule, rows: Rows) -> EPICFilter:
    """Make the filter of gradients that are to be computed, or those in a file."""
    extractor: Any = PrecomputedGradients()
    if o.probabilities:
        from_elsewhere(o.probabilities, rows)
    else:
        extractor = EXTRACTORS[o.gradient_of](make_model(o, rows))
    how = {"rule": rule, "n_rounds": o.rounds, "n_jobs": o.jobs}
    return EPICFilter(extractor, random_state=o.seed, verbose=int(o.verbose), **how)


def as_cell(value: Any) -> Any:
    """Mark a text that a spreadsheet would take for a formula, as the page does."""
    is_formula = isinstance(value, str) and value.startswith(FORMULA)
    return f"'{value}" if is_formula and np.isnan(as_number(value)) else value


@dataclass
class Scan:
    """What was asked, what is in the file, and what was found."""

    options: SimpleNamespace
    rows: Rows
    detector: EPICFilter
    case: Any
    seconds: float

    @property
    def numbers(self) -> np.ndarray:
        """Numbers of the rows in the file, from 0."""
        data = self.rows.data
        return np.arange(data.n)[data.rows]

    @property
    def suspicious(self) -> list[int]:
        """The isolated rows of highest score."""
        rows, score = self.detector.isolated_indices_, self.detector.isolation_score_
        return rows[np.argsort(-score[rows], kind="stable")][:N_SUSPICIOUS].tolist()

    def as_json(self) -> str:
        """One line of JSON."""
        rule = self.detector.rule_
        *classes, in_all = self.case.counts(~self.detector.keep_)
        del in_all["label"]
        return json.dumps(
            {
                **in_all,
                "classes": classes,
                "suspicious": self.numbers[self.suspicious].tolist(),
                "suspicious_at": self.rows.called(self.suspicious),
                "rho": self.case.rho,
                "rounds": len(self.detector.rounds_),
                "gradients": self.case.settings["extractor"],
                "columns": dict(self.case.columns),
                "rule": type(rule).__name__,
                "parameters": rule.get_params(),
                "seconds": round(self.seconds, 3),
                "notes": self.case.notes,
                "warnings": self.case.warnings,
            }
        )

    def as_tables(self) -> str:
        """Draw tables for people."""
        case, detector = self.case, self.detector
        parts = [draw_columns(case.columns)]
        counts = case.counts(~detector.keep_)
        columns = {"class": [each["label"] for each in counts]}
        for name, form in (("rows", ","), ("isolated", ","), ("share", ".1%")):
            columns[name] = [format(each[name], form) for each in counts]
        parts.append(draw(columns, has_total=True))
        if self.suspicious:
            parts.append(self._draw_suspicious())
        rule = " ".join(repr(detector.rule_).split())
        parts += [f"Warning: {text}\n" for text in case.warnings]
        parts.append(
            f"Gradients: {case.settings['extractor']}. Rule: {rule}, "
            f"{len(detector.rounds_)} round(s), rho {case.rho:.3g}, "
            f"{self.seconds:.1f} s."
        )
        outputs = self.options.outputs.items()
        return "".join(parts + [f"\n{k.capitalize()}: {v}" for k, v in outputs])

    def _draw_suspicious(self) -> str:
        """Draw where rows stand, their class, score and what stands out in them."""
        rows = self.suspicious
        columns = {
            "most suspicious": self.rows.called(rows),
            "class": self.rows.labels[rows].tolist(),
            "score": [f"{self.detector.isolation_score_[row]:.4g}" for row in rows],
            "differs most (nearest kept)": stand_out(self.case, np.array(rows)),
        }
        return draw(beside(columns, self.rows.texts(rows)))

    def write(self) -> None:
        """Write all files that were asked for, or none."""
        o, rows, detector = self.options, self.rows, self.detector
        with all_or_none(o.outputs) as paths:
            if "out" in paths:
                rows.write(detector.keep_, paths["out"])
            if "mask" in paths:
                index = rows.data.index
                named = {} if index is None else {index.name.lower(): index}
                columns = {
                    "row": self.numbers,
                    **named,
                    "kept": detector.keep_,
                    "isolation_score": detector.isolation_score_,
                    **detector.details_,
                    "label": rows.labels,
                }
                frame = pd.DataFrame(beside(columns, rows.asides))
                for name in frame.columns[frame.dtypes.map(is_numeric_dtype) == 0]:
                    frame[name] = frame[name].map(as_cell)
                frame.columns = list(map(as_cell, frame.columns))
                # A label may hold half a character.
                frame.to_csv(paths["mask"], index=False, errors="backslashreplace")
            if "report" in paths:
                write_page(self.case, paths["report"])


def n_undecided(detector: EPICFilter) -> int:
    """Count rows that are isolated and on which no decision was given."""
    return int((~(detector.keep_ | detector._schedule.decided)).sum())


@contextmanager
def noting(notes: list[str]) -> Iterator[None]:
    """Refuse what fails; what is warned of and what is said of progress are notes."""
    with (
        refusing(),
        warnings.catch_warnings(record=True) as caught,
        redirect_stdout(sys.stderr),
    ):
        warnings.simplefilter("default")
        yield
    notes += dict.fromkeys(" ".join(str(w.message).split()) for w in caught)


def fit(o: SimpleNamespace, rows: Rows, detector: EPICFilter) -> Scan:
    """Fit the filter and look at the rows again; what is warned of becomes notes."""
    start, source = time.perf_counter(), f"probabilities in {o.probabilities}"
    if not o.probabilities:
        model = f"{o.model or 'logistic'} on {rows.X.shape[1]} features"
        source = f"{o.gradient_of} of {model}"
    said = list[str]()
    with noting(said):
        detector.fit(rows.X, rows.labels)
        if o.decisions is not None:
            detector.apply_decisions(o.decisions)
        case = detector._case(rows.X, rows.labels)
    settings = {**case.settings, "extractor": source}
    notes = rows.notes + [text for text in said if text not in case.warnings]
    n_classes = len(case.schedule.classes)
    reads_more = set(detector.rule_.needs) != {"errors"}  # where there is more
    if o.gradient_of == "logit" and n_classes <= 3 and reads_more:
        here = "" if o.probabilities else "--gradient-of last_layer, or "
        notes.append(
            f"With {n_classes} classes logit gradients lie close to a line or plane, "
            "where little is isolated. Gradients of a last layer tell more: "
            f"{here}EPICFilter in Python with your own model."
        )
    schedule = detector._schedule
    if o.decisions is not None and (n := n_undecided(detector)):
        notes.append(
            f"{int(schedule.decided.sum())} rows are decided; {n} others are isolated "
            "and not marked: they are left out, too. To keep them, mark them so."
        )
    shown = {"settings": settings, "remarks": notes, **rows.shown}
    if o.id and rows.data.index is not None:  # where rows stand, beside their names
        lines = {rows.data.index.name.lower(): rows.data.index}
        shown["asides"] = beside(lines, rows.shown["asides"])
    case = replace(case, way_back=WAY_BACK, **shown)
    return Scan(o, rows, detector, case, time.perf_counter() - start)


def scan(o: SimpleNamespace) -> Scan:
    """Run ``scan``, short of printing."""
    check_options(o)
    rule = make_rule(o)
    check_files(o)
    before = o.data.stat()
    if o.verbose:
        click.echo(f"Reading {o.data.name}", err=True)
    rows = read(o, open_table(o.data, o))
    found = fit(o, rows, make_filter(o, rule, rows))
    after = o.data.stat()
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise Unusable(f"{o.data} changed while it was looked at; try again.")
    found.write()
    return found
