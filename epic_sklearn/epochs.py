"""After which epochs of a training a round of dropping comes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Self

from sklearn.utils._param_validation import Interval

from .rules import Rule

EPOCH_CONSTRAINTS: dict[str, Any] = {
    "warmup": [Interval(Integral, 0, None, closed="left"), None],
    "every": [Interval(Integral, 1, None, closed="left"), None],
    "stop": [Interval(Integral, 0, None, closed="left"), None],
}
# Rounds from the first one to the end of training, where nobody says how often; the
# published code has 13 in each of its schedules.
N_ROUNDS = 13


@dataclass(frozen=True)
class Epochs:
    """The epochs after which rounds come.

    Attributes
    ----------
    warmup : int
        Epochs trained before the first round; 0 is before training.
    every : int
        Epochs from round to round.
    stop : int or None
        Last epoch after which a round may come; None: no end.
    """

    warmup: int
    every: int
    stop: int | None

    @classmethod
    def of(
        cls,
        rule: Rule,
        warmup: int | None,
        every: int | None,
        stop: int | None,
        max_epochs: int | None,
    ) -> Self:
        """Fill in what was not given, from the length of the training.

        Parameters
        ----------
        rule : Rule
            Says after which share of the training it `begins`.
        warmup, every, stop : int or None
            As given; None where it is to follow from `max_epochs`.
        max_epochs : int or None
            Epochs that the training will have, where that is known.

        Raises
        ------
        ValueError
            If something is missing, or no round would come before the end.
        """
        if warmup is None and max_epochs is None:
            raise ValueError(
                "When the first round comes is not known: give warmup, the epochs "
                "before it, or max_epochs, the length of the training, from which it "
                "follows."
            )
        if max_epochs is not None and warmup is None:
            warmup = max(1, math.ceil(rule.begins * max_epochs))
            warmup = warmup if stop is None else min(warmup, stop)
        assert warmup is not None
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
        if every is None:
            every = max(1, ((max_epochs or 0) - warmup) // N_ROUNDS)
        return cls(warmup, every, stop)

    def is_due(self, epoch: int) -> bool:
        """Say whether a round comes after `epoch` epochs."""
        if epoch < self.warmup or (self.stop is not None and epoch > self.stop):
            return False
        return (epoch - self.warmup) % self.every == 0
