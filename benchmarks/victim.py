"""The victim: a net, how it is trained, and what it sees of an image."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from skorch.callbacks import LRScheduler
from torch import nn

from benchmarks.nets import SGD, Frozen, OneCycle, extract
from epic_sklearn import TorchClassifier
from epic_sklearn.attacks import RandomShiftFlip


@dataclass(frozen=True)
class Training:
    """How a net is trained; the rest is the paper's (`SGD`).

    Attributes
    ----------
    max_epochs : int
        Passes over the data.
    lr : float
        Learning rate, the highest of it if `one_cycle`.
    milestones : tuple of int
        Epochs after which it is divided by 10.
    one_cycle : bool
        Whether it rises and falls along two cosines instead.
    augment : bool
        Whether images are flipped and shifted.
    max_shift : int
        By how many pixels at most.
    batch_size : int
        Images a step, the paper's if not said otherwise.
    """

    max_epochs: int
    lr: float
    milestones: tuple[int, ...] = ()
    one_cycle: bool = False
    augment: bool = True
    max_shift: int = 4
    batch_size: int = 128


@dataclass(frozen=True, eq=False)
class Victim:
    """What is trained on the poisoned set.

    Attributes
    ----------
    module : torch.nn.Module or callable
        The net on top of `extractor`, or a function that makes it.
    training : Training
        How it is trained.
    extractor : torch.nn.Module or None
        The frozen part, in transfer learning.
    """

    module: nn.Module | Callable[[], nn.Module]
    training: Training
    extractor: nn.Module | None = None

    def inputs(self, images: np.ndarray) -> np.ndarray:
        """Give what the net is trained on: a frozen extractor's features, or images."""
        return images if self.extractor is None else extract(self.extractor, images)

    def on_images(self) -> Victim:
        """Return the same victim with the frozen extractor inside its net."""
        if self.extractor is None:
            return self
        assert not isinstance(self.module, nn.Module)
        make_head, extractor = self.module, self.extractor

        def module() -> nn.Module:
            return nn.Sequential(Frozen(copy.deepcopy(extractor).cpu()), make_head())

        return dataclasses.replace(self, module=module, extractor=None)

    def classifier(
        self,
        kind: type[TorchClassifier] = TorchClassifier,
        *,
        random_state: int,
        checkpoint: Path | None = None,
        epochs: tuple[int, int] | None = None,
        callbacks: list[Any] | None = None,
        **options: Any,
    ) -> TorchClassifier:
        """Make the estimator that trains this victim.

        Parameters
        ----------
        kind : type of TorchClassifier
            Its class.
        random_state : int
            Seed of weights, order and augmentation.
        checkpoint : Path, optional
            Where to save each epoch and go on from.
        epochs : tuple of (int, int), optional
            Train only these of the training's epochs.
        callbacks : list, optional
            Further skorch callbacks.
        **options : dict
            Further parameters, some in place of the victim's own.
        """
        begin, end = epochs or (0, self.training.max_epochs)
        callbacks = list(callbacks or [])
        if self.training.one_cycle:
            callbacks.append(OneCycle(self.training.max_epochs, begin))
        if self.training.milestones:
            left = [m - begin for m in self.training.milestones]
            callbacks.append(LRScheduler("MultiStepLR", milestones=left))
        augment = RandomShiftFlip(self.training.max_shift)
        settings = {
            "module": self.module,
            "max_epochs": end - begin,
            "lr": self.training.lr,
            "batch_size": self.training.batch_size,
            "optimizer_params": SGD,
            "augment": augment if self.training.augment else None,
            "callbacks": callbacks,
            "checkpoint": checkpoint,
            "random_state": random_state,
        }
        return kind(**{**settings, **options})
