"""What the attacks on features share: base examples and the projected descent."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval
from torch import nn
from tqdm import tqdm

from .._utils import DocLinks, RandomState, resolve_seed
from ..gradients.modules import evaluation_mode
from ._checks import ball, check_examples, check_target, draw_rows, rows_of_label
from ._poisons import Poisons


def _features(module: nn.Module, examples: torch.Tensor) -> torch.Tensor:
    # The examples stay float32, whatever precision the module computes in: rounding
    # to fewer digits could leave the ball.
    parameter = next(module.parameters(), examples)
    features = module(examples.to(parameter.dtype))
    if not isinstance(features, torch.Tensor) or len(features) != len(examples):
        got = tuple(features.shape) if isinstance(features, torch.Tensor) else features
        raise ValueError(
            f"feature_extractor turned a batch of shape {tuple(examples.shape)} into "
            f"{got!r}; it must return a tensor with one row of features an example."
        )
    return features.flatten(1).float()


def _projected_adam(
    objective: Callable[[torch.Tensor], torch.Tensor],
    start: torch.Tensor,
    lowest: torch.Tensor,
    highest: torch.Tensor,
    step_size: float,
    steps: Collection[int],
) -> tuple[torch.Tensor, npt.NDArray[np.float64]]:
    """Minimise by Adam, projecting after each step; the step size falls to zero.

    Returns the best examples met (each one's own best, if `objective` has a value
    for each) and the mean objective before the first and after every step.
    """
    examples = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([examples], lr=step_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(steps))
    value = objective(examples)
    best, best_value = start.clone(), value.detach()
    loss = [value.mean().item()]
    for _ in steps:
        # Only the examples' gradient: the module's own is left alone.
        (examples.grad,) = torch.autograd.grad(value.sum(), examples)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            examples.copy_(torch.clamp(examples, lowest, highest))
        value = objective(examples)
        improved = (value.detach() < best_value).expand(len(best))
        best[improved] = examples.detach()[improved]
        best_value = torch.minimum(value.detach(), best_value)
        loss.append(value.mean().item())
    return best, np.array(loss)


class CleanLabelAttack(DocLinks, BaseEstimator, ABC):
    """Base class of the attacks that perturb base examples towards a target.

    A subclass stores `n_poisons`, `eps`, `n_steps`, `step_size`, `clip`,
    `random_state` and `verbose`, and implements `_objective`.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_poisons": [Interval(Integral, 1, None, closed="left")],
        "eps": [Interval(Real, 0, None, closed="neither")],
        "n_steps": [Interval(Integral, 1, None, closed="left")],
        "step_size": [Interval(Real, 0, None, closed="neither"), None],
        "clip": [tuple, list, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    n_poisons: int
    eps: float
    n_steps: int
    step_size: float | None
    clip: tuple[float, float] | None
    random_state: RandomState
    verbose: int

    def craft(
        self,
        feature_extractor: nn.Module,
        X: npt.ArrayLike | torch.Tensor,
        y: npt.ArrayLike | torch.Tensor,
        target: npt.ArrayLike | torch.Tensor,
        adversarial_label: Any,
    ) -> Poisons:
        """Make the poisons for one target.

        Parameters
        ----------
        feature_extractor : torch.nn.Module
            Maps a batch (n, ...) to features (n, ...), which are flattened to (n, d).
            Used in evaluation mode; its modes, parameters and their gradients are
            as before afterwards.
        X : array-like or Tensor of shape (n, ...)
            Training examples.
        y : array-like or Tensor of shape (n,)
            Their labels, of any kind.
        target : array-like or Tensor of shape (...)
            One example of the shape of those in `X`, to be misclassified.
        adversarial_label : object
            One of the labels in `y`: the poisons are made of examples that bear it,
            drawn at random, and the target is to be taken for one of them.

        Returns
        -------
        Poisons
            The poisons with the lowest objective that was met on the way.

        Raises
        ------
        TypeError
            If `feature_extractor` is not a module, or the examples are not numbers.
        ValueError
            If a parameter is out of range, shapes do not fit, X or target contain
            NaN or infinity, or there are too few examples of `adversarial_label`.
        """
        self._validate_params()
        if not isinstance(feature_extractor, nn.Module):
            raise TypeError(
                f"feature_extractor is a {type(feature_extractor).__name__}; give a "
                "torch.nn.Module that maps examples to features."
            )
        X = check_examples(X)
        target = check_target(target, X)
        candidates = rows_of_label(y, adversarial_label, len(X))
        rng = np.random.default_rng(resolve_seed(self.random_state))
        indices = draw_rows(candidates, self.n_poisons, rng)
        lowest, highest = ball(X[indices], self.eps, self.clip)
        with evaluation_mode(feature_extractor), torch.enable_grad():
            examples, loss = self._descend(
                feature_extractor, X[indices], target, lowest, highest
            )
        return Poisons(
            examples=examples,
            indices=indices,
            target=target.copy(),
            adversarial_label=adversarial_label,
            loss=loss,
        )

    @abstractmethod
    def _objective(
        self,
        features: torch.Tensor,
        target_features: torch.Tensor,
        perturbation: torch.Tensor,
    ) -> torch.Tensor:
        """Return what to minimise, for all poisons together or for each.

        Parameters
        ----------
        features : Tensor of shape (n_poisons, d)
            The poisons' features.
        target_features : Tensor of shape (d,)
            The target's features.
        perturbation : Tensor of shape (n_poisons, ...)
            The poisons less their base examples.

        Returns
        -------
        Tensor of shape () or (n_poisons,)
            Of shape (n_poisons,) if each poison has an objective of its own.
        """

    def _descend(
        self,
        module: nn.Module,
        base_examples: npt.NDArray[Any],
        target: npt.NDArray[Any],
        lowest: npt.NDArray[np.float32],
        highest: npt.NDArray[np.float32],
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
        device = next(module.parameters(), torch.empty(0)).device

        def place(values: npt.NDArray[Any]) -> torch.Tensor:
            return torch.from_numpy(values.astype(np.float32)).to(device)

        bases = place(base_examples)
        with torch.no_grad():
            target_features = _features(module, place(target[None]))[0]

        def objective(examples: torch.Tensor) -> torch.Tensor:
            features = _features(module, examples)
            return self._objective(features, target_features, examples - bases)

        best, loss = _projected_adam(
            objective,
            bases,
            place(lowest),
            place(highest),
            step_size=0.3 * self.eps if self.step_size is None else self.step_size,
            steps=tqdm(
                range(self.n_steps), type(self).__name__, disable=not self.verbose
            ),
        )
        return best.cpu().numpy(), loss
