"""After which epochs of a training a round comes, when it drops, and what it did."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Self

from sklearn.utils import check_scalar

from .rules import Rule

# Share of the training before the first drop, where nobody says when: the paper's.
BEGINS = 0.25
# Rounds from the first one to the end of training, where nobody says how often; the
# published code has 13 in each of its schedules.
N_ROUNDS = 13


@dataclass(frozen=True)
class Epochs:
    """The epochs after which rounds come.

    Attributes
    ----------
    warmup : int
        Epochs trained before the first round that drops; 0 is before training.
    every : int
        Epochs from round to round.
    stop : int or None
        Last epoch after which a round may come; None: no end.
    watches : float
        Share of the warmup after which rounds come that drop nothing yet.
    """

    warmup: int
    every: int
    stop: int | None
    watches: float = 1.0

    @classmethod
    def of(
        cls,
        rule: Rule,
        warmup: int | None,
        every: int | None,
        stop: int | None,
        max_epochs: int | None,
    ) -> Self:
        """Fill in what is None from the length of the training, where that is known.

        Raises
        ------
        ValueError
            If something is missing, or no round would come before the end.
        """
        if warmup is None:
            if max_epochs is None:
                raise ValueError(
                    "When the first round comes is not known: give warmup, the epochs "
                    "before it, or max_epochs, the length of the training, from which "
                    "it follows."
                )
            warmup = max(1, math.ceil(BEGINS * max_epochs))
            warmup = warmup if stop is None else min(warmup, stop)
        if stop is not None and stop < warmup:
            raise ValueError(
                f"stop is {stop} and warmup {warmup}: the last epoch after which "
                "examples may be dropped comes before the first. Give a stop >= "
                "warmup, or None."
            )
        if max_epochs is not None and warmup >= max_epochs:
            raise ValueError(
                f"warmup is {warmup} and max_epochs {max_epochs}: training would end "
                "before anything is dropped. Train longer, or give a smaller warmup; 0 "
                "judges by the net as it is before training, which must know the "
                "classes then."
            )
        epochs = cls(warmup, every or 1, stop, rule.watches)
        if every is None and max_epochs is not None:
            every = max(1, (max_epochs - epochs.first) // N_ROUNDS)
            epochs = replace(epochs, every=every)
        return epochs

    @property
    def first(self) -> int:
        """Epochs trained before the first round may come; not before training."""
        return max(min(1, self.warmup), math.ceil(self.watches * self.warmup))

    def is_due(self, epoch: int) -> bool:
        """Say whether a round comes after `epoch` epochs, an integer from 0."""
        check_scalar(epoch, "epoch", Integral, min_val=0)
        if epoch < self.first or (self.stop is not None and epoch > self.stop):
            return False
        return (epoch - self.warmup) % self.every == 0


@dataclass(frozen=True)
class Round:
    """What one round of dropping did.

    Attributes
    ----------
    epoch : int
        Epochs trained before the round; for the filter the round's number,
        from 1.
    n_kept : int
        Examples kept after it.
    n_dropped : int
        Examples that it dropped.
    seconds : float
        Time for judging and dropping, gradients not included.
    rho : float
        ``abs(norm(mean gradient of the kept) - norm(mean gradient of all))``
        after it, with the round's gradients (Theorem 3.1).
    """

    epoch: int
    n_kept: int
    n_dropped: int
    seconds: float
    rho: float
