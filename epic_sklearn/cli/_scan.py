"""The work of ``epic-sklearn scan``: read, find isolated rows, write."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ..filter import EPICFilter
from ..gradients import PrecomputedGradients, logit_gradients
from ..report import write_report
from ..report._learned import learned_nothing, model_warnings
from ._columns import check_columns, check_labels
from ._data import DataFile, check_label, choose_features, open_data
from ._errors import Unusable
from ._matrix import read_gradients, read_probabilities
from ._model import join, make_extractor, notes_on
from ._npz import NpzFile
from ._options import ScanOptions, check_options
from ._outputs import AtomicFiles
from ._summary import Findings, write_mask

Stage = Callable[[str], None]


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


@contextmanager
def progress() -> Iterator[Stage]:
    """Show the stage of the work on stderr, if that is a terminal."""
    shown = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    with shown:
        task = shown.add_task("", total=None)
        yield lambda text: shown.update(task, description=text)


def read_problem(options: ScanOptions) -> Problem:
    """Read and check the data and what gradients come from."""
    data = open_data(options.data, options.separator)
    check_label(data, options.label)
    if options.probabilities is None and options.gradients is None:
        problem = _with_model(options, data)
    else:
        problem = _from_elsewhere(options, data)
    if options.images is None:
        return problem
    if not isinstance(data, NpzFile):
        raise Unusable("--images names an array; it needs data in an .npz file.")
    images = data.images(options.images, len(problem.labels))
    return replace(problem, images=images)


def _with_model(options: ScanOptions, data: DataFile) -> Problem:
    """Features, and a model to be fitted on them."""
    chosen = choose_features(data, options.label, options.features, options.exclude)
    values, columns = data.read(options.label, chosen)
    labels = check_labels(options.label, values, data.place)
    check_columns(columns, data.place)
    notes = notes_on(columns)
    model, gradient = options.model or "logistic", options.gradient_of or "logit"
    n_classes = len(set(labels.tolist()))
    if gradient == "logit" and n_classes <= 3:
        notes.append(_few_classes(n_classes))
    categories = [column.categories for column in columns for _ in column.names]
    is_text = [texts is not None for texts in categories]
    source = f"{gradient} of {model} on {len(is_text)} features"
    if isinstance(data, NpzFile):
        source += f" of {', '.join(map(repr, chosen))}"
    return Problem(
        X=join(columns),
        names=[name for column in columns for name in column.names],
        labels=labels,
        extractor=make_extractor(model, gradient, options.seed, is_text),
        source=source,
        notes=notes,
        categories=categories,
    )


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
        X = read_gradients(options.gradients, len(labels))
        source = str(options.gradients)
    names = [f"gradient {j}" for j in range(X.shape[1])]
    warnings = [] if warning is None else [warning]
    return Problem(X, names, labels, PrecomputedGradients(), source, notes, warnings)


def _few_classes(n_classes: int) -> str:
    return (
        f"With {n_classes} classes logit gradients lie close to a line or plane, where "
        "little is isolated. Gradients of a last layer tell more: --gradient-of "
        "last-layer with --model logistic or mlp, or --gradients."
    )


def find_isolated(options: ScanOptions, problem: Problem) -> Findings:
    """Fit the filter; its warnings become notes."""
    detector = EPICFilter(
        problem.extractor,
        subset_size=options.subset_size,
        threshold=options.threshold,
        rule=options.rule,
        cutoff=options.cutoff,
        n_rounds=options.rounds,
        n_jobs=options.jobs,
        random_state=options.seed,
    )
    start = time.perf_counter()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            detector.fit(problem.X, problem.labels)
            if options.decisions is not None:
                detector.apply_decisions(options.decisions)
    except (ValueError, MemoryError) as error:
        raise Unusable(str(error) or "Not enough memory.") from error
    seconds = time.perf_counter() - start
    said = dict.fromkeys(" ".join(str(each.message).split()) for each in caught)
    return Findings(
        data=options.data,
        labels=problem.labels,
        detector=detector,
        source=problem.source,
        seconds=seconds,
        notes=[*problem.notes, *said],
        warnings=[*problem.warnings, *model_warnings(detector, problem.X)],
        outputs=options.outputs,
    )


def write_outputs(options: ScanOptions, problem: Problem, findings: Findings) -> None:
    """Write all files that were asked for, or none."""
    with AtomicFiles() as files:
        if options.out is not None:
            data = open_data(options.data, options.separator)
            data.write_rows(findings.detector.keep_, files.temporary(options.out))
        if options.mask is not None:
            write_mask(findings, files.temporary(options.mask))
        if options.report is not None:
            write_report(
                findings.detector,
                problem.X,
                problem.labels,
                files.temporary(options.report),
                images=problem.images,
                feature_names=problem.names,
                title=options.data.name,
                overwrite=True,
                categories=problem.categories,
                warnings=findings.warnings,
            )


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def scan(options: ScanOptions) -> Findings:
    """Run the whole command, short of printing.

    Parameters
    ----------
    options : ScanOptions
        From the command line.

    Returns
    -------
    Findings

    Raises
    ------
    Unusable
        If an option or a file cannot be used; nothing is written then.
    """
    check_options(options)
    before = _state(options.data)
    with progress() as stage:
        stage(f"Reading {options.data.name}")
        problem = read_problem(options)
        stage(f"Looking at the gradients of {len(problem.labels):,} rows")
        findings = find_isolated(options, problem)
        if _state(options.data) != before:
            raise Unusable(f"{options.data} changed while it was looked at; try again.")
        stage("Writing")
        write_outputs(options, problem, findings)
    return findings
