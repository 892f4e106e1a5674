"""What the attacks on gradients share: checks, base examples, the descent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, StrOptions
from torch import nn
from tqdm import tqdm

from .._utils import DocLinks, RandomState, resolve_seed
from ._checks import (
    ball,
    check_clip,
    check_enough,
    check_examples,
    check_labels,
    draw_rows,
    rows_of_label,
)
from ._matching import (
    Matcher,
    SignedAdam,
    as_module,
    augmented,
    check_logits,
    column_of,
    gradient_norms,
    trained_parameters,
)


@contextmanager
def seeded_torch(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators for augmentation, and restore them."""
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        yield


@dataclass(frozen=True)
class Surrogate:
    """The model that an attack sees, and what it is to take the target for."""

    module: nn.Module
    column: int
    batch_size: int

    @property
    def device(self) -> torch.device:
        """Where its parameters are."""
        return next(self.module.parameters()).device

    def place(self, values: npt.NDArray[Any]) -> torch.Tensor:
        """Examples as float32 on that device."""
        return torch.from_numpy(values.astype(np.float32)).to(self.device)

    def matcher(self, targets: npt.NDArray[Any]) -> Matcher:
        """Objective for targets of shape (n_targets, ...)."""
        return Matcher.for_targets(self.module, targets, self.column, self.batch_size)


class GradientAttack(DocLinks, BaseEstimator):
    """Base class of the attacks that imitate a target's loss gradient.

    A subclass stores the parameters below, and implements ``craft``.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_poisons": [Interval(Integral, 1, None, closed="left")],
        "eps": [Interval(Real, 0, None, closed="neither")],
        "n_steps": [Interval(Integral, 1, None, closed="left")],
        "step_size": [Interval(Real, 0, None, closed="neither"), None],
        "base_selection": [StrOptions({"random", "gradient_norm"})],
        "augment": [callable, None],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "clip": [tuple, list, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    n_poisons: int
    eps: float
    n_steps: int
    step_size: float | None
    base_selection: str
    augment: Callable[[torch.Tensor], torch.Tensor] | None
    batch_size: int
    clip: tuple[float, float] | None
    random_state: RandomState
    verbose: int

    def _prepare(
        self, model: Any, X: Any, y: Any, adversarial_label: Any
    ) -> tuple[Surrogate, npt.NDArray[Any], npt.NDArray[np.int64]]:
        """Check what all these attacks are given; also the rows to choose from."""
        self._validate_params()
        X = check_examples(X)
        if self.clip is not None:
            check_clip(self.clip, X)
        candidates = rows_of_label(y, adversarial_label, len(X))
        check_enough(self.n_poisons, len(candidates))
        return self._surrogate(model, X, y, adversarial_label), X, candidates

    def _surrogate(
        self, model: Any, X: npt.NDArray[Any], y: Any, adversarial_label: Any
    ) -> Surrogate:
        module = as_module(model)
        trained_parameters(module)
        labels = check_labels(y, len(X))
        column, n_classes = column_of(model, labels, adversarial_label)
        check_logits(module, X, n_classes)
        return Surrogate(module, column, self.batch_size)

    def _choose_bases(
        self,
        surrogate: Surrogate,
        X: npt.NDArray[Any],
        candidates: npt.NDArray[np.int64],
        rng: np.random.Generator,
    ) -> npt.NDArray[np.int64]:
        """Rows to poison: drawn, or those of the largest loss gradients."""
        if self.base_selection == "random":
            return draw_rows(candidates, self.n_poisons, rng)
        norms = gradient_norms(surrogate.module, X[candidates], surrogate.column)
        largest = np.argsort(-norms, kind="stable")[: self.n_poisons]
        return candidates[largest]

    def _optimizer(
        self, surrogate: Surrogate, base_examples: npt.NDArray[Any]
    ) -> SignedAdam:
        lowest, highest = ball(base_examples, self.eps, self.clip)
        return SignedAdam(
            surrogate.place(base_examples),
            surrogate.place(lowest),
            surrogate.place(highest),
            step_size=0.3 * self.eps if self.step_size is None else self.step_size,
            n_steps=self.n_steps,
        )

    def _descend(
        self,
        optimizer: SignedAdam,
        matcher_at: Callable[[int, torch.Tensor], Matcher],
        progress: tqdm[Any],
    ) -> npt.NDArray[np.float64]:
        """Make all steps, and return the objective before each and at the end.

        ``matcher_at`` gives the objective of a step, from its number and the
        poisons so far. The first and the last value are of the poisons as they
        are, those between of what `augment` made of them.
        """
        matcher = matcher_at(0, optimizer.examples)
        loss = [matcher.value(optimizer.examples)]
        for step in range(self.n_steps):
            matcher = matcher_at(step, optimizer.examples)
            value, gradient = augmented(matcher, optimizer.examples, self.augment)
            if step > 0:
                loss.append(value)
            optimizer.step(gradient)
            progress.update()
        return np.array([*loss, matcher.value(optimizer.examples)])

    def _progress(self, n_steps: int) -> tqdm[Any]:
        return tqdm(total=n_steps, desc=type(self).__name__, disable=not self.verbose)

    def _seed(self) -> tuple[int, np.random.Generator]:
        seed = resolve_seed(self.random_state)
        return seed, np.random.default_rng(seed)
