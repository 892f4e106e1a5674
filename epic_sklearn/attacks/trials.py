"""The same attack on several targets, and what it did with and without defences."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import scipy.sparse
import torch
from tqdm import tqdm

from .._utils import RandomState, resolve_seed
from ..base import take_rows
from ..frames import as_frame
from ..metrics import clean_retention, equal_labels, poison_recall, wilson_interval
from ..validation import to_numpy
from .arms import (
    AT_RANDOM,
    ORACLE,
    UNDEFENDED,
    arms_of,
    as_many_at_random,
    fit_copy,
    kept,
    trained_by,
)
from .poisons import Poisons

NOTHING_SHOWN = (
    "The attack succeeds on no target without a defence either, so this says nothing "
    "of defences: give it more poisons, a larger eps, or more targets."
)
SHARES = ("clean_accuracy", "poisons_left", "clean_lost")


@dataclass(frozen=True, eq=False)
class AttackReport:
    """What an attack on several targets did, with and without defences.

    Made by :func:`attack_report`. Printed, it is a table; `TradeoffDisplay.from_report`
    draws it.

    Parameters
    ----------
    outcomes : dict of str to list of dict
        By name, one dict a target: the label ``"predicted"`` for it, whether that is
        ``"attack_success"``, ``"clean_accuracy"`` on the test set, the shares of
        ``"poisons_left"`` and ``"clean_lost"``, and ``"seconds"`` of training.
    keep : dict of str to ndarray of shape (n_targets, n), bool
        By name, the training rows that were kept.
    poisons : list of Poisons
        One attack a target.
    rows : ndarray of shape (n,), int
        Which rows of the data that were given were trained on; `keep` and the
        poisons' `indices` count these. All rows, if there was a test set.
    """

    outcomes: dict[str, list[dict[str, Any]]]
    keep: dict[str, np.ndarray]
    poisons: list[Poisons]
    rows: np.ndarray

    @property
    def records(self) -> list[dict[str, Any]]:
        """One dict a row of the table.

        ``"name"``, the number of targets as ``"n_trials"`` and of attacks that
        succeeded as ``"n_success"``, ``"attack_success"``, their ratio, with the ends
        ``"low"`` and ``"high"`` of Wilson's 95% interval, the means of the outcomes
        and the sum of their ``"seconds"``.
        """
        records = []
        for name, rows in self.outcomes.items():
            n_success = sum(row["attack_success"] for row in rows)
            low, high = wilson_interval(n_success, len(rows))
            record = {
                "name": name,
                "n_trials": len(rows),
                "n_success": n_success,
                "attack_success": n_success / len(rows),
                "low": low,
                "high": high,
                **{key: float(np.mean([row[key] for row in rows])) for key in SHARES},
                "seconds": sum(row["seconds"] for row in rows),
            }
            records.append(record)
        return records

    def to_frame(self) -> Any:
        """Give the table as a pandas DataFrame, with the names as its index."""
        return as_frame(self.records).set_index("name")

    def __str__(self) -> str:
        """Lay the table out for reading."""
        rows = [("", "success", "95%", "accuracy", "poisons left", "clean lost")]
        for r in self.records:
            success = f"{r['n_success']} of {r['n_trials']}"
            shares = (f"{r[key]:.1%}" for key in SHARES)
            rows.append(
                (r["name"], success, f"{r['low']:.0%}-{r['high']:.0%}", *shares)
            )
        width, wide = (max(len(row[column]) for row in rows) for column in (0, 1))
        lines = [
            f"{name:<{width}}{a:>{max(10, wide + 2)}}{b:>10}{c:>10}{d:>14}{e:>12}"
            for name, a, b, c, d, e in rows
        ]
        if not any(row["attack_success"] for row in self.outcomes[UNDEFENDED]):
            lines.append(NOTHING_SHOWN)
        return "\n".join(lines)


def _flat(target: Any) -> np.ndarray:
    """Values of one example, whatever its shape."""
    dense = target.toarray() if scipy.sparse.issparse(target) else to_numpy(target)
    return np.asarray(dense).ravel()


@dataclass(frozen=True, eq=False)
class AttackTrials:
    """A clean problem, and one attack on each of several targets.

    Parameters
    ----------
    X, y : array, dataframe or sparse matrix of shape (n, ...), ndarray of shape (n,)
        The clean training set, as models take it.
    X_test, y_test : the same, of m rows
        What accuracy is measured on.
    poisons : list of Poisons
        One attack a target.
    examples : list
        The poisons' rows as models take them; None where an attack only changes
        labels.
    targets : list
        Each target as models take it, one row.
    rows : ndarray of shape (n,), int, or None, default=None
        Numbers of the training rows, where they are some of others. None: 0, 1, ...

    Raises
    ------
    ValueError
        If these lists do not fit together, or a trial changes nothing.
    """

    X: Any
    y: np.ndarray
    X_test: Any
    y_test: np.ndarray
    poisons: list[Poisons]
    examples: list[Any]
    targets: list[Any]
    rows: np.ndarray | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        """Refuse lists of other lengths, in other orders, and poisons that are none."""
        lengths = [len(part) for part in (self.poisons, self.examples, self.targets)]
        if len(set(lengths)) > 1 or not self.poisons:
            names = "poisons, examples and targets"
            raise ValueError(f"{names} have the lengths {lengths}; give one a target.")
        own = [_flat(poisons.target) for poisons in self.poisons]
        for i, target in enumerate(self.targets):
            flat, shape = _flat(target), np.shape(target)
            if shape[:1] != (1,):
                raise ValueError(f"targets[{i}] has shape {shape}; give X_test[[row]].")
            same = [j for j, other in enumerate(own) if np.array_equal(flat, other)]
            if same and i not in same:
                raise ValueError(f"targets[{i}] is the target of poisons[{same[0]}].")
            is_same = np.array_equal(self.poisons[i].relabel(self.y), self.y)
            if self.examples[i] is None and is_same:
                raise ValueError(
                    f"examples[{i}] is None, and poisons[{i}] changes no label, so "
                    "nothing would be poisoned; give the poisons' examples."
                )

    def poisoned(self, trial: int) -> tuple[Any, np.ndarray]:
        """Training set (X, y) with the poisons of one trial in place."""
        poisons, examples = self.poisons[trial], self.examples[trial]
        y = poisons.relabel(self.y)
        if examples is None:
            return self.X, y
        return replace(poisons, examples=examples).insert_into(self.X), y

    @torch.random.fork_rng()
    def report(
        self,
        model: Any,
        defences: Mapping[str, Any] | None = None,
        *,
        controls: bool = True,
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> AttackReport:
        """Train on every poisoned set, with and without defences.

        Parameters
        ----------
        model, defences, random_state, verbose : see :func:`attack_report`
        controls : bool, default=True
            Whether to train on as many rows dropped at random as each defence
            dropped, and on all but the poisons. Trained on the first is what a
            FilteredClassifier or EPICClassifier trains itself, else `model`.

        Returns
        -------
        AttackReport
        """
        seed, arms = resolve_seed(random_state), arms_of(model, defences)
        trials = tqdm(range(len(self.poisons)), desc="train", disable=not verbose)
        done = [self._trial(trial, arms, controls, seed) for trial in trials]
        keep = {name: np.array([each[name][1] for each in done]) for name in done[0]}
        for name in arms:  # of what never drops, nothing is there to be compared
            if keep[name].all():
                keep.pop(AT_RANDOM.format(name), None)
        outcomes = {name: [each[name][0] for each in done] for name in keep}
        rows = np.arange(len(self.y)) if self.rows is None else self.rows
        return AttackReport(outcomes, keep, self.poisons, rows)

    def _trial(
        self, trial: int, arms: dict[str, Any], controls: bool, seed: int
    ) -> dict[str, tuple[dict[str, Any], np.ndarray]]:
        """Outcome and rows kept of every arm, then control, against one target."""
        X, y = self.poisoned(trial)

        def run(name: str, arm: Any, given: np.ndarray | None = None) -> Any:
            start, some = time.perf_counter(), (X, y)
            if given is not None:
                some = take_rows(X, np.flatnonzero(given)), y[given]
            try:
                fitted = fit_copy(arm, *some, seed)
            except Exception as error:
                error.add_note(f"In attack_report, while fitting {name!r}: {arm!r}.")
                raise
            seconds = time.perf_counter() - start
            keep = kept(fitted, len(y)) if given is None else given
            return self._judge(trial, fitted, keep, seconds), keep

        done = {name: run(name, arm) for name, arm in arms.items()}
        if not controls:
            return done
        plain = arms[UNDEFENDED]
        for name in [name for name in arms if name != UNDEFENDED]:
            control, keep = AT_RANDOM.format(name), done[name][1]
            trained = trained_by(arms[name], plain, X)
            if keep.all():  # what is trained on all rows is known
                done[control] = done[UNDEFENDED if trained is plain else name]
            else:
                rng = np.random.default_rng([seed, trial])  # whatever comes before
                done[control] = run(control, trained, as_many_at_random(keep, y, rng))
        is_poison = np.isin(np.arange(len(y)), self.poisons[trial].indices)
        done[ORACLE] = run(ORACLE, plain, ~is_poison)
        return done

    def _judge(
        self, trial: int, fitted: Any, keep: np.ndarray, seconds: float
    ) -> dict[str, Any]:
        poisons, wanted = self.poisons[trial], self.poisons[trial].adversarial_label
        read = np.asarray(fitted.predict(self.targets[trial]))
        right = equal_labels(
            fitted.predict(self.X_test), self.y_test, "predicted", "y_test"
        )
        return {
            "predicted": read[0],
            "attack_success": bool(
                equal_labels(read, wanted, "predicted", "adversarial_label")[0]
            ),
            "clean_accuracy": float(right.mean()),
            "poisons_left": 1 - poison_recall(keep, poisons.indices),
            "clean_lost": 1 - clean_retention(keep, poisons.indices),
            "seconds": seconds,
        }
