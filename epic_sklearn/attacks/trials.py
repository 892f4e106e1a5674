"""The same attack on several targets, and what it did with and without defences."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from tqdm import tqdm

from .._utils import RandomState, resolve_seed
from ..base import BaseDetector, take_rows
from ..filtered_classifier import FilteredClassifier
from ..frames import as_frame
from ..gradients import default_classifier
from ..metrics import clean_retention, equal_labels, poison_recall, wilson_interval
from ..training import EPICCallback, EPICClassifier
from .poisons import Poisons

UNDEFENDED, ORACLE = "undefended", "poisons alone dropped"
AT_RANDOM = "as many as {}, at random"
NOTHING_SHOWN = (
    "The attack succeeds on no target without a defence either, so this says nothing "
    "of defences: give it more poisons, a larger eps, or more targets."
)
SHARES = ("clean_accuracy", "poisons_left", "clean_lost")
DROPS = (BaseDetector, FilteredClassifier, EPICClassifier, EPICCallback)


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
    """

    outcomes: dict[str, list[dict[str, Any]]]
    keep: dict[str, np.ndarray]
    poisons: list[Poisons]

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
        width = max(len(row[0]) for row in rows)
        lines = [
            f"{name:<{width}}{a:>10}{b:>10}{c:>10}{d:>14}{e:>12}"
            for name, a, b, c, d, e in rows
        ]
        if not any(row["attack_success"] for row in self.outcomes[UNDEFENDED]):
            lines.append(NOTHING_SHOWN)
        return "\n".join(lines)


def _callbacks_of(model: Any) -> list[Any]:
    """Callbacks that a skorch net was given, without their names."""
    given = getattr(model, "callbacks", None)
    entries = given if isinstance(given, list) else []
    return [entry[1] if isinstance(entry, tuple) else entry for entry in entries]


def fit_copy(estimator: Any, X: Any, y: np.ndarray, seed: int) -> Any:
    """Fit a clone; whatever has no `random_state` of its own follows `seed`.

    So does torch's global generator, from which skorch's nets draw: fork it before.
    """
    estimator = clone(estimator)
    # A net that is not initialised does not tell its callbacks' parameters.
    for part in (estimator, *_callbacks_of(estimator)):
        params = part.get_params() if hasattr(part, "get_params") else {}
        for name, value in params.items():
            if value is None and name.rpartition("__")[2] == "random_state":
                part.set_params(**{name: seed})
    torch.manual_seed(seed)
    return estimator.fit(X, y)


def arms_of(model: Any, defences: Any) -> dict[str, Any]:
    """Name the estimators to fit: the one without a defence, and those with one."""
    if part := _what_drops(model):
        raise TypeError(
            f"model is or holds {part}, which drops rows: there would be no undefended "
            "model to compare with. Give the model without it, and the whole as one of "
            "the defences."
        )
    if not isinstance(defences, Mapping | None):
        raise TypeError(
            f"defences is {defences!r}; give a dict of filters and classifiers by name."
        )
    names = [str(name) for name in defences or {}]
    taken = {UNDEFENDED, ORACLE, *map(AT_RANDOM.format, names)} & set(names)
    taken |= {name for name in names if names.count(name) > 1}
    if taken:
        raise ValueError(
            f"two rows of the report would have the same name, {taken}; give these "
            "defences other names."
        )
    _refuse_frozen("model", model)
    arms = {UNDEFENDED: model}
    for name, given in zip(names, (defences or {}).values(), strict=True):
        is_estimator = hasattr(given, "fit") and not isinstance(given, type)
        if hasattr(given, "judge") or not is_estimator:
            raise TypeError(
                f"the defence {name!r} is {given!r}; give a filter, such as "
                "EPICFilter(rule=...), or a classifier that defends itself."
            )
        predicts = hasattr(given, "predict") and not hasattr(given, "fit_predict")
        if predicts:
            _refuse_frozen(f"the defence {name!r}", given)
        arms[name] = given if predicts else FilteredClassifier(model, given)
    return arms


def _refuse_frozen(what: str, estimator: Any) -> None:
    """Refuse a classifier that would not be trained, so never see a poison."""
    part = estimator
    while part is not None:
        if isinstance(part, FrozenEstimator):
            raise TypeError(
                f"{what} predicts by {part!r}, which is not trained again: no poison "
                "could change it. Give it without FrozenEstimator."
            )
        inside = getattr(part, "classifier", getattr(part, "estimator", None))
        part = part.steps[-1][1] if isinstance(part, Pipeline) else inside


def _what_drops(estimator: Any) -> str | None:
    """Name what drops rows, be it the estimator or one of its parts."""
    has_parts = hasattr(estimator, "get_params")
    parts = [estimator, *(estimator.get_params().values() if has_parts else ())]
    parts += [callback for part in parts for callback in _callbacks_of(part)]
    return next(
        (type(part).__name__ for part in parts if isinstance(part, DROPS)), None
    )


def _kept(fitted: Any, n: int) -> np.ndarray:
    """Rows (n,) that a fitted estimator kept: all, if nothing in it drops any."""
    fitted = getattr(fitted, "best_estimator_", fitted)
    parts = [fitted]
    if isinstance(fitted, Pipeline):
        parts += fitted.named_steps.values()
    parts += [entry for part in parts for _, entry in getattr(part, "callbacks_", ())]
    for part in parts:
        keep = getattr(part, "keep_", None)
        if keep is not None and np.shape(keep) == (n,):
            return np.asarray(keep)
    if dropping := _what_drops(fitted):
        raise TypeError(
            f"{type(fitted).__name__} holds {dropping} and does not say which rows it "
            f"kept, so that nothing could be counted; give the {dropping} itself as "
            "the defence, in a pipeline or search if need be."
        )
    return np.ones(n, dtype=bool)


def _trained_by(defence: Any, model: Any, X: Any) -> Any:
    """Give what a defence trains in the end, without what it drops; else the model."""
    if isinstance(defence, FilteredClassifier):
        given = defence.classifier
        return default_classifier(X) if given is None else given
    return defence.undefended() if isinstance(defence, EPICClassifier) else model


def _as_many_at_random(
    keep: np.ndarray, y: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Mask (n,) that drops as many rows of each class, drawn at random."""
    other = np.ones_like(keep)
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        other[rng.choice(rows, int((~keep[rows]).sum()), replace=False)] = False
    return other


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
    """

    X: Any
    y: np.ndarray
    X_test: Any
    y_test: np.ndarray
    poisons: list[Poisons]
    examples: list[Any]
    targets: list[Any]

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
        outcomes: dict[str, list[dict[str, Any]]] = defaultdict(list)
        keeps: dict[str, list[np.ndarray]] = defaultdict(list)
        trials = range(len(self.poisons))
        for trial in tqdm(trials, desc="train", disable=not verbose):
            for name, outcome, keep in self._trial(trial, arms, controls, seed):
                outcomes[name].append(outcome)
                keeps[name].append(keep)
        order = sorted(outcomes, key=[*arms, *outcomes].index)
        return AttackReport(
            {name: outcomes[name] for name in order},
            {name: np.array(keeps[name]) for name in order},
            self.poisons,
        )

    def _trial(
        self, trial: int, arms: dict[str, Any], controls: bool, seed: int
    ) -> Iterator[tuple[str, dict[str, Any], np.ndarray]]:
        """Name, outcome and rows kept of every arm against one target."""
        X, y = self.poisoned(trial)
        plain, rng = arms[UNDEFENDED], np.random.default_rng([seed, trial])

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
            keep = _kept(fitted, len(y)) if given is None else given
            return name, self._judge(trial, fitted, keep, seconds), keep

        for name, arm in arms.items():
            done = run(name, arm)
            yield done
            if controls and name != UNDEFENDED and not done[-1].all():
                other = _as_many_at_random(done[-1], y, rng)
                yield run(AT_RANDOM.format(name), _trained_by(arm, plain, X), other)
        if controls:
            is_poison = np.isin(np.arange(len(y)), self.poisons[trial].indices)
            yield run(ORACLE, plain, ~is_poison)

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
