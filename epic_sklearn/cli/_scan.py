"""The work of ``epic-sklearn scan``: read, find isolated rows, write."""

from __future__ import annotations

import time
import warnings
from pathlib import Path

from rich.console import Console
from rich.text import Text

from ..filters import EPICFilter
from ..report import model_warnings, write_report
from ._errors import Unusable
from ._options import ScanOptions, check_options
from ._outputs import AtomicFiles, Findings, write_mask
from ._problem import Problem, open_data, read_problem


def find_isolated(options: ScanOptions, problem: Problem) -> Findings:
    """Fit the filter; its warnings become notes."""
    detector = EPICFilter(
        problem.extractor,
        rule=options.rule,
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
    problem.notes.extend(said)
    problem.warnings.extend(model_warnings(detector, problem.X))
    return Findings(options, problem, detector, seconds)


def write_outputs(findings: Findings) -> None:
    """Write all files that were asked for, or none."""
    options, problem = findings.options, findings.problem
    detector = findings.detector
    with AtomicFiles() as files:
        if options.out is not None:
            path = files.temporary(options.out)
            open_data(options).write_rows(detector.keep_, path, problem.belonging)
        if options.mask is not None:
            write_mask(findings, files.temporary(options.mask))
        if options.report is not None:
            write_report(
                detector,
                problem.X,
                problem.labels,
                files.temporary(options.report),
                images=problem.images,
                feature_names=problem.names,
                title=options.data.name,
                overwrite=True,
                categories=problem.categories,
                warnings=problem.warnings,
            )


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def scan(options: ScanOptions) -> Findings:
    """Run the whole command, short of printing."""
    check_options(options)
    before = _state(options.data)
    # Shown on a terminal only. Text, not str: a name may hold rich's markup.
    with Console(stderr=True).status(Text(f"Reading {options.data.name}")) as stage:
        problem = read_problem(options)
        stage.update(f"Looking at the gradients of {len(problem.labels):,} rows")
        findings = find_isolated(options, problem)
        if _state(options.data) != before:
            raise Unusable(f"{options.data} changed while it was looked at; try again.")
        stage.update("Writing")
        write_outputs(findings)
    return findings
