"""The work of ``epic-sklearn scan``: read, find isolated rows, write."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ..filters import EPICFilter
from ..report import write_report
from ..report._learned import model_warnings
from ._errors import Unusable
from ._options import ScanOptions, check_options
from ._outputs import AtomicFiles, Findings, write_mask
from ._problem import Problem, open_data, read_problem

Stage = Callable[[str], None]


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
            open_data(options).write_rows(
                findings.detector.keep_,
                files.temporary(options.out),
                problem.belonging,
            )
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
