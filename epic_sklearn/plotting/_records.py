"""Measured results of defences: columns, checks, confidence intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.stats import binomtest


def check_quantities(x: str, y: str) -> None:
    """Refuse a cost or an achievement that has no axis."""
    for name, given, accepted in (
        ("x", x, ("clean_accuracy", "clean_lost")),
        ("y", y, ("attack_success", "poisons_left")),
    ):
        if given not in accepted:
            raise ValueError(f"{name} is {given!r}; choose one of {accepted}.")


def as_columns(records: Any, needed: list[str]) -> dict[str, np.ndarray]:
    """Columns of equal length, at least one entry."""
    if not (isinstance(records, Mapping) or hasattr(records, "columns")):
        rows = list(records)
        names = [] if not rows else [k for k in rows[0] if all(k in r for r in rows)]
        records = {name: [row[name] for row in rows] for name in names}
    columns = {name: np.atleast_1d(np.asarray(records[name])) for name in records}
    missing = [name for name in needed if name not in columns]
    if missing:
        raise ValueError(
            f"records lacks {missing} for at least one defence; it has "
            f"{list(columns)}. Each defence needs {needed}."
        )
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise ValueError(
            f"records has columns of lengths {lengths}; give one entry a defence."
        )
    return columns


def check_fractions(values: np.ndarray, name: str) -> np.ndarray:
    """Return numbers in [0, 1]."""
    numbers = np.asarray(values, dtype=np.float64)
    bad = numbers[~((numbers >= 0) & (numbers <= 1))]
    if len(bad):
        raise ValueError(
            f"{name} contains {bad[0]:g}; it is a fraction in [0, 1]. Divide "
            "percentages by 100."
        )
    return numbers


def check_times(values: np.ndarray) -> np.ndarray:
    """Return seconds, finite and none below 0."""
    seconds = np.asarray(values, dtype=np.float64)
    if not (np.isfinite(seconds) & (seconds >= 0)).all():
        raise ValueError(f"seconds is {seconds.tolist()}; give finite numbers >= 0.")
    return seconds


def wilson_intervals(rates: np.ndarray, n_trials: np.ndarray, name: str) -> np.ndarray:
    """95% intervals (n_defences, 2) of proportions."""
    if n_trials.dtype.kind not in "iu" or (n_trials < 1).any():
        raise ValueError(
            f"n_trials is {n_trials.tolist()}; give the number of trials that {name} "
            "is a fraction of, an integer >= 1 a defence."
        )
    pairs = zip(rates, n_trials.tolist(), strict=True)
    tests = [binomtest(round(rate * n), n) for rate, n in pairs]
    return np.array([test.proportion_ci(method="wilson") for test in tests])
