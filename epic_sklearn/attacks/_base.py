"""What the clean-label attacks share: checks, base examples, the projected descent."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval
from torch import nn
from tqdm import tqdm

from epic_sklearn._forward import evaluation_mode
from epic_sklearn._random import RandomState, resolve_seed

ArrayOrTensor = TypeVar("ArrayOrTensor", npt.NDArray[Any], torch.Tensor)


@dataclass(frozen=True, eq=False)
class Poisons:
    """Poisoned examples, and where in the training set they belong.

    Parameters
    ----------
    examples : ndarray of shape (n_poisons, ...), float32
        The poisons, in the units of the training examples that they replace.
    indices : ndarray of shape (n_poisons,), int64
        The rows of the training set that they replace. These rows' labels stay.
    target : ndarray of shape (...)
        The example that the poisoned model is to misclassify.
    adversarial_label : object
        The label that the attack wants for the target, and that every poison bears.
    loss : ndarray of shape (n_steps + 1,), float64
        The attack's objective: ``loss[0]`` is that of the unchanged base examples,
        ``loss[i]`` that after `i` steps.

    Examples
    --------
    >>> import numpy as np
    >>> from epic_sklearn.attacks import Poisons
    >>> poisons = Poisons(
    ...     examples=np.full((1, 2), 9, dtype=np.float32), indices=np.array([1]),
    ...     target=np.zeros(2), adversarial_label="a", loss=np.array([1.0]),
    ... )
    >>> poisons.insert_into(np.zeros((3, 2)))
    array([[0., 0.],
           [9., 9.],
           [0., 0.]])
    """

    examples: npt.NDArray[np.float32]
    indices: npt.NDArray[np.int64]
    target: npt.NDArray[Any]
    adversarial_label: Any
    loss: npt.NDArray[np.float64]

    def insert_into(self, X: ArrayOrTensor) -> ArrayOrTensor:
        """Copy a training set and replace the base examples by the poisons.

        Parameters
        ----------
        X : ndarray or Tensor of shape (n, ...)
            The training set that the poisons were made for. If it holds integers,
            the poisons are rounded to the nearest.

        Returns
        -------
        ndarray or Tensor of shape (n, ...)
            A new array of the kind and dtype of `X`.

        Raises
        ------
        ValueError
            If `X` does not have the poisons' shape, or has too few rows.
        """
        if tuple(X.shape[1:]) != self.examples.shape[1:]:
            raise ValueError(
                f"X has examples of shape {tuple(X.shape[1:])}, the poisons have "
                f"shape {self.examples.shape[1:]}; give the training set that they "
                "were made for."
            )
        if len(X) <= self.indices.max():
            raise ValueError(
                f"X has {len(X)} rows, the poisons replace rows up to "
                f"{self.indices.max()}; give the training set that they were made for."
            )
        if isinstance(X, torch.Tensor):
            examples = torch.from_numpy(self.examples)
            rows = torch.from_numpy(self.indices).to(X.device)
            if not X.is_floating_point():
                examples = examples.round()
            poisoned = X.detach().clone()
            poisoned[rows] = examples.to(poisoned)
            return poisoned
        copy = np.array(X)
        whole = np.issubdtype(copy.dtype, np.integer)
        copy[self.indices] = np.rint(self.examples) if whole else self.examples
        return copy


def _to_numpy(values: Any) -> npt.NDArray[Any]:
    if isinstance(values, torch.Tensor):
        return np.asarray(values.detach().cpu())
    return np.asarray(values)


def _check_examples(X: Any, target: Any) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    X, target = _to_numpy(X), _to_numpy(target)
    if X.ndim < 2 or len(X) == 0:
        raise ValueError(
            f"X has shape {X.shape}; give at least one training example and one "
            "axis of features, (n, ...)."
        )
    if target.shape != X.shape[1:]:
        raise ValueError(
            f"target has shape {target.shape}, the examples in X have shape "
            f"{X.shape[1:]}; give one example, without a batch axis."
        )
    for name, values in (("X", X), ("target", target)):
        if values.dtype.kind not in "fiu":
            raise TypeError(
                f"{name} has dtype {values.dtype}; give an array of numbers."
            )
        if not np.isfinite(values).all():
            raise ValueError(f"{name} contains NaN or infinity; remove or impute them.")
    return X, target


def _rows_of_label(
    y: Any, adversarial_label: Any, n_examples: int
) -> npt.NDArray[np.int64]:
    labels = _to_numpy(y)
    if labels.shape != (n_examples,):
        raise ValueError(
            f"y has shape {labels.shape}, X has {n_examples} examples; give one label "
            f"an example, shape ({n_examples},)."
        )
    # As objects: numpy would otherwise compare a number with strings as text.
    rows = np.flatnonzero(labels.astype(object) == adversarial_label)
    if len(rows) == 0:
        known = ", ".join(map(repr, sorted(set(labels.tolist()), key=str)[:10]))
        raise ValueError(
            f"adversarial_label={adversarial_label!r} does not occur in y; give one "
            f"of y's labels, such as {known}."
        )
    return rows


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


class CleanLabelAttack(BaseEstimator, ABC):
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
        X, target = _check_examples(X, target)
        candidates = _rows_of_label(y, adversarial_label, len(X))
        if self.n_poisons > len(candidates):
            raise ValueError(
                f"n_poisons={self.n_poisons}, but only {len(candidates)} examples bear "
                f"the label {adversarial_label!r}; give at most that many."
            )
        rng = np.random.default_rng(resolve_seed(self.random_state))
        indices = rng.choice(candidates, size=self.n_poisons, replace=False)
        lowest, highest = self._bounds(X[indices])
        with evaluation_mode(feature_extractor), torch.enable_grad():
            examples, loss = self._descend(
                feature_extractor, X[indices], target, lowest, highest
            )
        return Poisons(
            examples=examples,
            indices=indices.astype(np.int64),
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

    def _bounds(
        self, base_examples: npt.NDArray[Any]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return the lowest and the highest value of each coordinate."""
        bases = base_examples.astype(np.float32)
        lowest, highest = bases - np.float32(self.eps), bases + np.float32(self.eps)
        if self.clip is None:
            return lowest, highest
        if len(self.clip) != 2 or not self.clip[0] < self.clip[1]:
            raise ValueError(
                f"clip={self.clip!r}; give the lowest and the highest value that an "
                "example may take, such as (0.0, 1.0), or None."
            )
        low, high = self.clip
        if bases.min() < low or bases.max() > high:
            raise ValueError(
                f"X has values from {bases.min():g} to {bases.max():g}, outside "
                f"clip={self.clip}; scale X, or set clip to its range or None."
            )
        return lowest.clip(low, high), highest.clip(low, high)

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
