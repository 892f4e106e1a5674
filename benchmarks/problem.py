"""From a scenario to poisoned training sets; what is expensive is kept on disk."""

from __future__ import annotations

import copy
import functools
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from benchmarks.cifar10 import CIFAR10, split_cifar10
from benchmarks.nets import extract
from benchmarks.scenarios import BACKDOOR, FINE_TUNING, SCRATCH, TRANSFER, Scenario
from benchmarks.victim import Victim

Arrays = dict[str, np.ndarray]


def save_arrays(path: Path, arrays: Arrays) -> None:
    """Write an npz file; an interrupted write leaves none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".tmp.npz")
    np.savez_compressed(unfinished, **arrays)  # type: ignore[arg-type]
    os.replace(unfinished, path)


def load_arrays(path: Path) -> Arrays:
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


@dataclass(frozen=True, eq=False)
class Trial:
    """One poisoned training set and what the attack wants.

    Attributes
    ----------
    images : ndarray of shape (n, 3, 32, 32), float32, or None
        The training set, poisons included; None if only features are known.
    inputs : ndarray of shape (n, ...), float32
        The same as the victim sees it.
    labels : ndarray of shape (n,)
        Its labels.
    poison_index : ndarray of int
        Rows that are poisons.
    targets : ndarray of shape (m, 3, 32, 32), float32
        What is to be misclassified: one image (or its features, if `images` is
        None), or many with the trigger.
    true_label, adversarial_label : int
        The targets' class, and the one that the attack wants.
    """

    images: np.ndarray | None
    inputs: np.ndarray
    labels: np.ndarray
    poison_index: np.ndarray
    targets: np.ndarray
    true_label: int
    adversarial_label: int


class Trials(ABC):
    """The trials of a scenario and what they share.

    Attributes
    ----------
    scenario : Scenario
        What is attacked and how.
    victim : Victim
        What is trained.
    cache : Path
        Folder for what is expensive to make.
    clean_inputs : ndarray of shape (n, ...)
        The training set without poisons, as the victim sees it.
    test_inputs, test_labels : ndarray
        For clean accuracy, as the victim sees them.
    test_images : ndarray or None
        The same as images, None if only features are known.
    """

    scenario: Scenario
    victim: Victim
    cache: Path
    clean_inputs: np.ndarray
    test_inputs: np.ndarray
    test_labels: np.ndarray
    test_images: np.ndarray | None = None

    @abstractmethod
    def trial(self, number: int) -> Trial:
        """Make or read one trial."""


class Problem(Trials):
    """Trials made from CIFAR-10, or whose poisons come from a file.

    Parameters
    ----------
    name : str
        The scenario's, for file names.
    scenario : Scenario
        What is attacked and how.
    data : CIFAR10
        All images; those of the scenario's classes are used.
    seed : int
        Draws the parts, the targets and all else.
    cache : Path
        Folder for trained nets and poisons; what is not there is made.
    trials_file : Path, optional
        Ready trials in place of crafted ones, an npz file with `train_index` (n,),
        the training set as row numbers among the images of the scenario's classes
        that are not for tests, and, for each of t trials, `poison_index` (t, p),
        `poison_image` (t, p, 3, 32, 32) in [0, 1], `target_image` (t, 3, 32, 32),
        `true_label` (t,) and `adversarial_label` (t,).
    """

    def __init__(
        self,
        name: str,
        scenario: Scenario,
        data: CIFAR10,
        seed: int,
        cache: Path,
        trials_file: Path | None = None,
    ) -> None:
        self.name, self.scenario, self.seed, self.cache = name, scenario, seed, cache
        data = data.only(scenario.classes)
        self.split = split_cifar10(
            data, scenario.n_pretrain, scenario.n_per_class, scenario.n_test, seed
        )
        self.images, self.labels = self.split.victim
        self._ready = load_arrays(trials_file) if trials_file else None
        if self._ready is not None:
            rows = np.flatnonzero(~data.is_test)[self._ready["train_index"]]
            self.images, self.labels = data.examples(rows)
        self.victim = self._make_victim()
        self.clean_inputs = self.victim.inputs(self.images)
        self.test_images = self.split.test[0]
        self.test_inputs = self.victim.inputs(self.test_images)
        self.test_labels = self.split.test[1]

    def trial(self, number: int) -> Trial:
        """Make or read one trial.

        Raises
        ------
        ValueError
            If the file of ready trials has no trial of this number.
        """
        if self._ready is None:
            path = self.cache / f"{self.name}_seed{self.seed}_trial{number}.npz"
            if not path.exists():
                save_arrays(path, self._craft(number))
            return self._trial(load_arrays(path))
        n_trials = len(self._ready["poison_index"])
        if number >= n_trials:
            raise ValueError(
                f"Trial {number} was asked for, but the file of ready trials holds "
                f"{n_trials}; lower --trials."
            )
        per_trial = {k: v[number] for k, v in self._ready.items() if k != "train_index"}
        return self._trial(
            {**per_trial, "target_image": per_trial["target_image"][None]}
        )

    def _trial(self, arrays: Arrays) -> Trial:
        """Put poisons into the training set."""
        rows = arrays["poison_index"]
        poisons = arrays["poison_image"].astype(np.float32)
        images, inputs = self.images.copy(), self.clean_inputs.copy()
        images[rows], inputs[rows] = poisons, self.victim.inputs(poisons)
        targets = arrays["target_image"].astype(np.float32)
        return Trial(
            images=images,
            inputs=inputs,
            labels=self.labels,
            poison_index=rows,
            targets=targets,
            true_label=int(arrays["true_label"]),
            adversarial_label=int(arrays["adversarial_label"]),
        )

    # ------------------------------------------------------------------------ nets

    def _fit(
        self, victim: Victim, images: np.ndarray, labels: np.ndarray, name: str
    ) -> nn.Module:
        """Train a clean net, or take it from the cache."""
        # The checkpoint holds the whole run: once trained, it only loads.
        checkpoint = self.cache / f"{name}_seed{self.seed}.pt"
        estimator = victim.classifier(
            random_state=self.seed, checkpoint=checkpoint, verbose=1
        )
        return estimator.fit(images, labels).module_.eval()

    def _new_net(self) -> nn.Sequential:
        return nn.Sequential(self.scenario.body(), self._new_head())

    def _new_head(self) -> nn.Linear:
        return nn.Linear(self.scenario.n_features, len(self.scenario.classes))

    @functools.cached_property
    def _body(self) -> nn.Module:
        """The feature extractor, trained on clean images."""
        assert self.scenario.pretraining is not None
        victim = Victim(self._new_net, self.scenario.pretraining)
        scenario = self.scenario
        name = (
            f"pretrained_{scenario.pretraining.max_epochs}_epochs_"
            f"{scenario.n_pretrain}_images_{len(scenario.classes)}_classes"
        )
        net = self._fit(victim, *self.split.pretrain, name)
        assert isinstance(net, nn.Sequential)
        return net[0]

    def _pretrained_net(self) -> nn.Sequential:
        return nn.Sequential(copy.deepcopy(self._body).cpu(), self._new_head())

    def _make_victim(self) -> Victim:
        kind, training = self.scenario.kind, self.scenario.training
        if kind == TRANSFER:
            return Victim(self._new_head, training, extractor=self._body)
        if kind == FINE_TUNING:
            return Victim(self._pretrained_net, training)
        return Victim(self._new_net, training)

    @functools.cached_property
    def _clean_net(self) -> nn.Module:
        """The victim, trained on clean data."""
        return self._fit(
            self.victim, self.clean_inputs, self.labels, f"{self.name}_clean"
        )

    # ---------------------------------------------------------------------- attack

    @functools.cached_property
    def _candidates(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Images that the clean net gets right, their labels and its second guesses."""
        images, labels = self.split.candidates
        logits = extract(self._clean_net, self.victim.inputs(images))
        second, first = logits.argsort(axis=1)[:, -2:].T
        right = first == labels
        return images[right], labels[right], second[right]

    def _craft(self, number: int) -> Arrays:
        """Draw a target and an adversarial label, and make the poisons."""
        images, labels, second_guesses = self._candidates
        rng = np.random.default_rng([self.seed, 1, number])
        i = rng.integers(len(images))
        true_label = labels[i]
        n_classes = len(self.scenario.classes)
        adversarial_label = (true_label + rng.integers(1, n_classes)) % n_classes
        if self.scenario.second_guess:
            adversarial_label = second_guesses[i]
        attack, training_set = self.scenario.attack, (self.images, self.labels)
        if self.scenario.kind == BACKDOOR:
            retrain = self.victim.classifier(random_state=self.seed)
            poisons = attack(random_state=number, retrain=retrain, verbose=1).craft(
                self._clean_net, *training_set, true_label, adversarial_label
            )
            sources = self.split.candidates[0][self.split.candidates[1] == true_label]
            targets = poisons.apply_trigger(sources)
        else:
            crafted_on = (
                self._clean_net if self.scenario.kind == SCRATCH else self._body
            )
            poisons = attack(random_state=number, verbose=1).craft(
                crafted_on, *training_set, images[i], adversarial_label
            )
            targets = images[i : i + 1]
        return {
            "poison_index": poisons.indices,
            "poison_image": poisons.examples,
            "target_image": targets,
            "true_label": true_label,
            "adversarial_label": adversarial_label,
        }
