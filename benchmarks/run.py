"""One defence at work on one trial, and what comes of it."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.problem import Trial, Trials
from benchmarks.victim import Victim
from epic_sklearn import TorchClassifier

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
