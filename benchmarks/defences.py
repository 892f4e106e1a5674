"""All defences under one roof: train a victim on a poisoned set, somehow defended.

A defence is named by a word and options, such as ``EPIC threshold=5``; the options
go to the estimator behind the word.
"""

from __future__ import annotations

import ast
import inspect
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator

from benchmarks.dp_sgd import private_module, private_sgd
from benchmarks.perturbations import (
    AdversarialPoisoning,
    BernoulliNoise,
    friendly_noise,
    jpeg,
)
from benchmarks.problem import Trial, Trials
from benchmarks.scenarios import Scenario
from benchmarks.victim import Victim
from epic_sklearn import EPICClassifier, TorchClassifier
from epic_sklearn.baselines import (
    ActivationClustering,
    DeepKNN,
    HighLoss,
    LastLayerInputs,
    LowConfidence,
    Probabilities,
    RandomDrop,
    SpectralSignatures,
)

NONE, ORACLE, EPIC = "none", "Oracle", "EPIC"
# On a CPU processor time: what else the machine does then does not count.
clock = time.perf_counter if torch.cuda.is_available() else time.process_time


class Impossible(Exception):
    """A defence lacks what it needs: images, or the record of another defence."""


@dataclass(frozen=True, eq=False)
class Run:
    """One defence at work on one trial.

    Attributes
    ----------
    problem, trial : Trials, Trial
        What is trained on.
    seed : int
        Of the victim's training.
    defence : str
        Its name.
    folder : Path or None
        For checkpoints of this trial, None for no checkpoints.
    records : mapping of str to dict
        What has been measured of other defences in this trial.
    memory : dict
        What defences of this trial share.
    """

    problem: Trials
    trial: Trial
    seed: int
    defence: str
    folder: Path | None
    records: Mapping[str, dict[str, Any]]
    memory: dict[str, TorchClassifier]

    def fit(
        self,
        name: str,
        X: np.ndarray,
        y: np.ndarray,
        kind: type[TorchClassifier] = TorchClassifier,
        victim: Victim | None = None,
        **options: Any,
    ) -> TorchClassifier:
        """Train a victim, or go on with its checkpoint."""
        owner = NONE if name == NONE else self.defence
        checkpoint = self._own_folder(owner) / f"{name}.pt" if self.folder else None
        classifier = (victim or self.problem.victim).classifier(
            kind, random_state=self.seed, checkpoint=checkpoint, **options
        )
        return classifier.fit(X, y)

    def _own_folder(self, defence: str) -> Path:
        """Where a defence's checkpoints are; all share the undefended net's."""
        assert self.folder is not None
        return self.folder / re.sub(r"[^\w.=-]+", "_", defence)

    def has_begun(self) -> bool:
        """Whether an earlier process began this defence and was killed."""
        return self.folder is not None and self._own_folder(self.defence).exists()

    def undefended(self) -> TorchClassifier:
        """Train as if nothing were known, once a trial."""
        if NONE not in self.memory:
            trained = self.fit(NONE, self.trial.inputs, self.trial.labels)
            self.memory[NONE] = trained
        return self.memory[NONE]

    def images(self) -> np.ndarray:
        """Give the poisoned training images."""
        if self.trial.images is None:
            raise Impossible("the trial has no images, only features")
        return self.trial.images

    def record(self, defence: str) -> dict[str, Any]:
        """Give what was measured of another defence in this trial."""
        if defence not in self.records:
            raise Impossible(f"run the defence {defence!r} on this trial first")
        return self.records[defence]


@dataclass(frozen=True, eq=False)
class Defended:
    """A trained victim.

    Attributes
    ----------
    classifier : TorchClassifier
        Fitted.
    victim : Victim
        Says what the classifier sees of an image.
    keep : ndarray of shape (n,), bool
        Training examples that it was trained on to the end.
    earlier_seconds : float
        Time that the defence needs but that another record was measured with.
    """

    classifier: TorchClassifier
    victim: Victim
    keep: np.ndarray
    earlier_seconds: float = 0.0


def everything(trial: Trial) -> np.ndarray:
    return np.ones(len(trial.labels), dtype=bool)


# ----------------------------------------------------------------------- selection


def no_defence(run: Run) -> Defended:
    return Defended(run.undefended(), run.problem.victim, everything(run.trial))


def epic_options(scenario: Scenario, **options: Any) -> dict[str, Any]:
    """Complete EPIC's options by what the scenario says of its rounds."""
    subset_size = options.get("subset_size", scenario.subset_size)
    return {"subset_size": subset_size, **scenario.rounds(subset_size), **options}


def epic(run: Run, **options: Any) -> Defended:
    options, trial = epic_options(run.problem.scenario, **options), run.trial
    classifier = run.fit(
        "defended", trial.inputs, trial.labels, EPICClassifier, **options
    )
    assert isinstance(classifier, EPICClassifier)
    return Defended(classifier, run.problem.victim, classifier.keep_)


def retrained(run: Run, keep: np.ndarray, earlier_seconds: float) -> Defended:
    """Train anew on what a filter keeps."""
    X, y = run.trial.inputs[keep], run.trial.labels[keep]
    classifier = run.fit("defended", X, y)
    return Defended(classifier, run.problem.victim, keep, earlier_seconds)


def rival(kind: Callable[..., Any]) -> Callable[..., Defended]:
    """Train undefended, filter by the trained net, train anew."""

    def defend(run: Run, **options: Any) -> Defended:
        trial, filter_ = run.trial, kind(**options)
        extractor = {"features": LastLayerInputs, "probabilities": Probabilities}
        start = clock()
        net = run.undefended().module_
        seconds = run.record(NONE)["seconds"] - (clock() - start)
        values = extractor[filter_.uses](net)(trial.inputs, trial.labels)
        return retrained(run, ~filter_.flag(values, trial.labels), seconds)

    return defend


def oracle(run: Run) -> Defended:
    """Drop the poisons and nothing else: what is left of the attack is chance."""
    keep = everything(run.trial)
    keep[run.trial.poison_index] = False
    return retrained(run, keep, 0.0)


def as_many_as_epic(kind: type[BaseEstimator]) -> Callable[..., Defended]:
    """Drop, of each class, the share that EPIC dropped of all examples of this trial.

    It is rounded down, so somewhat fewer where classes are small. What EPIC gains over
    this comes from which examples it drops, not how many. ``drop_fraction`` asks for
    another share, to compare with another defence.
    """

    def defend(run: Run, drop_fraction: float | None = None) -> Defended:
        if drop_fraction is None:
            drop_fraction = run.record(EPIC)["dropped"]
        share = {"drop_fraction": drop_fraction}
        if kind is not RandomDrop:
            return rival(kind)(run, **share)
        keep = ~RandomDrop(**share, random_state=run.seed).flag(None, run.trial.labels)
        return retrained(run, keep, 0.0)

    return defend


# ------------------------------------------------------------------------ training


def jpeg_compression(run: Run, quality: int = 50) -> Defended:
    trial, victim = run.trial, run.problem.victim
    inputs = victim.inputs(jpeg(run.images(), quality))
    classifier = run.fit("defended", inputs, trial.labels)
    return Defended(classifier, victim, everything(trial))


def friends(run: Run, begin: int | None = None, size: float = 8 / 255) -> Defended:
    """Friendly noise from an eighth of the training on, and Bernoulli noise."""
    images, labels = run.images(), run.trial.labels
    victim = run.problem.victim.on_images()
    end = victim.training.max_epochs
    begin = max(1, end // 8) if begin is None else begin
    first = run.fit("first", images, labels, victim=victim, epochs=(0, begin))
    noisy = images + friendly_noise(first.module_, images, seed=run.seed)
    augment = BernoulliNoise(size, first.augment)
    classifier = run.fit(
        "defended",
        noisy,
        labels,
        victim=victim,
        epochs=(begin, end),
        module=first.module_,
        augment=augment,
    )
    return Defended(classifier, victim, everything(run.trial))


def adversarial_poisoning(run: Run, share: float = 0.5, n_steps: int = 5) -> Defended:
    """Train against poisons as visible as the attack's: it knows their eps."""
    images, labels = run.images(), run.trial.labels
    victim = run.problem.victim.on_images()
    eps = run.problem.scenario.attack().eps
    callbacks = [AdversarialPoisoning(share, eps, n_steps)]
    classifier = run.fit("defended", images, labels, victim=victim, callbacks=callbacks)
    return Defended(classifier, victim, everything(run.trial))


def dp_sgd(run: Run, noise: float = 0.1, max_norm: float = 1.0) -> Defended:
    trial, victim = run.trial, run.problem.victim
    classifier = run.fit(
        "defended",
        trial.inputs,
        trial.labels,
        module=private_module(victim.module),
        optimizer=private_sgd(noise, max_norm, batch_size=128),
    )
    return Defended(classifier, victim, everything(trial))


# --------------------------------------------------------------------------- names

RIVALS: dict[str, type[BaseEstimator]] = {
    "SpectralSignatures": SpectralSignatures,
    "ActivationClustering": ActivationClustering,
    "DeepKNN": DeepKNN,
}
DEFENCES: dict[str, Callable[..., Defended]] = {
    NONE: no_defence,
    ORACLE: oracle,
    EPIC: epic,
    "RandomDrop": as_many_as_epic(RandomDrop),
    "HighLoss": as_many_as_epic(HighLoss),
    "LowConfidence": as_many_as_epic(LowConfidence),
    **{name: rival(kind) for name, kind in RIVALS.items()},
    "JPEG": jpeg_compression,
    "DP-SGD": dp_sgd,
    "FriendlyNoise": friends,
    "AdversarialPoisoning": adversarial_poisoning,
}
# What the table shows if nothing else is asked for, in order of what needs what.
TABLE = [
    NONE,
    ORACLE,
    EPIC,
    "EPIC subset_size=0.1",
    "EPIC subset_size=0.3",
    "EPIC threshold=5",
    "EPIC gradients=last_layer",
    "EPIC rule=neighbors gradients=last_layer",
    *(name for name in DEFENCES if name not in (NONE, ORACLE, EPIC)),
]


def options_of(defend: Callable[..., Defended], name: str) -> set[str]:
    """Names of a defence's options."""
    if name == EPIC:
        return set(EPICClassifier().get_params())
    if name in RIVALS:
        return set(RIVALS[name]().get_params())
    return set(inspect.signature(defend).parameters) - {"run"}


def parse_defence(text: str) -> tuple[Callable[..., Defended], dict[str, Any]]:
    """Split ``EPIC threshold=5`` into what defends and its options.

    Raises
    ------
    ValueError
        If there is no such defence or option, or one is not ``name=value``.
    """
    name, *options = text.split()
    if name not in DEFENCES:
        raise ValueError(
            f"There is no defence {name!r}; choose of {', '.join(DEFENCES)}, with "
            "options as in 'EPIC threshold=5'."
        )
    values: dict[str, Any] = {}
    for option in options:
        if not re.fullmatch(r"\w+=\S+", option):
            raise ValueError(f"{option!r} in {text!r} is not of the form name=value.")
        key, value = option.split("=", 1)
        try:
            values[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):  # a word
            values[key] = value
    known = options_of(DEFENCES[name], name)
    if unknown := set(values) - known:
        raise ValueError(
            f"{name} has no option {', '.join(sorted(unknown))}; it has "
            f"{', '.join(sorted(known)) or 'none'}."
        )
    if name == EPIC:
        try:  # its own errors, before any work; each scenario has its own epochs
            EPICClassifier(**{"max_epochs": 10**6, **values})._check_parameters()
        except ValueError as error:
            raise ValueError(f"{text}: {error}") from None
    return DEFENCES[name], values
