"""The objective of gradient matching, and its exact gradient in any batch size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ..gradients.modules import apply, evaluation_mode

Gradient = tuple[torch.Tensor, ...]


def as_module(model: Any) -> nn.Module:
    """Return the module of a fitted classifier, or the module given.

    Raises
    ------
    TypeError
        If there is none.
    """
    module = model if isinstance(model, nn.Module) else getattr(model, "module_", None)
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"model is a {type(model).__name__}; give a torch.nn.Module that maps "
            "examples to logits, or a fitted TorchClassifier."
        )
    return module


def trained_parameters(module: nn.Module) -> list[nn.Parameter]:
    """Parameters that gradients are taken of: those that are not frozen.

    Raises
    ------
    ValueError
        If all are.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError(
            "every parameter of the model is frozen, so there are no gradients to "
            "match; set requires_grad on those that the victim trains."
        )
    return parameters


def column_of(model: Any, y: npt.NDArray[Any], label: Any) -> tuple[int, int]:
    """Column of a label among the logits, and the number of columns."""
    classes = getattr(model, "classes_", None)
    if classes is None:
        classes = np.unique(y)
    columns = np.flatnonzero(np.asarray(classes).astype(object) == label)
    if len(columns) == 0:
        raise ValueError(
            f"adversarial_label={label!r} is none of the model's classes; give one of "
            f"{', '.join(map(repr, classes[:10]))}."
        )
    return int(columns[0]), len(classes)


def check_logits(module: nn.Module, X: npt.NDArray[Any], n_classes: int) -> None:
    """Try the model on one example.

    Raises
    ------
    ValueError
        If it does not give one logit a class.
    """
    with evaluation_mode(module), torch.no_grad():
        logits = apply(module, torch.from_numpy(X[:1].astype(np.float32)))
    shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else logits
    if shape != (1, n_classes):
        raise ValueError(
            f"the model turned one example into {shape!r}, and there are {n_classes} "
            "classes; it must return logits of shape (n, n_classes), its columns in "
            "the order of the sorted labels."
        )


def loss_gradient(
    module: nn.Module, x: torch.Tensor, column: int, create_graph: bool = False
) -> Gradient:
    """Gradient, in the trained parameters, of the summed cross-entropy.

    Parameters
    ----------
    module : torch.nn.Module
        Examples to logits, in evaluation mode.
    x : Tensor of shape (n, ...)
        Examples.
    column : int
        The class that all of them are labelled as.
    create_graph : bool, default=False
        Whether the gradient is to be differentiated in turn.
    """
    logits = apply(module, x)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    labels = torch.full((len(x),), column, device=logits.device)
    loss = nn.functional.cross_entropy(logits, labels, reduction="sum")
    return torch.autograd.grad(
        loss,
        trained_parameters(module),
        create_graph=create_graph,
        materialize_grads=True,
    )


def gradient_norms(
    module: nn.Module, examples: npt.NDArray[Any], column: int
) -> npt.NDArray[np.float64]:
    """Norm of each example's own loss gradient, shape (n,)."""
    with evaluation_mode(module), torch.enable_grad():
        gradients = (
            loss_gradient(module, x[None], column)
            for x in torch.from_numpy(examples.astype(np.float32))
        )
        norms = [float(_dot(g, g) ** 0.5) for g in gradients]
    return np.array(norms)


def _dot(a: Sequence[torch.Tensor], b: Sequence[torch.Tensor]) -> torch.Tensor:
    # In double: the squares of a converged model's gradients underflow float32.
    products = [(p.double() * q.double()).sum() for p, q in zip(a, b, strict=True)]
    return torch.stack(products).sum()


def _add(gradients: Sequence[Gradient]) -> Gradient:
    return tuple(torch.stack(parts).sum(0) for parts in zip(*gradients, strict=True))


def _scale(gradient: Gradient, factor: torch.Tensor) -> Gradient:
    return tuple((part.double() * factor.item()).to(part) for part in gradient)


@dataclass(frozen=True)
class Matcher:
    """One model's objective: 1 - cosine of the poisons' gradient to the target's.

    Parameters
    ----------
    module : torch.nn.Module
        Examples to logits.
    column : int
        The adversarial class.
    direction : tuple of Tensor
        The target's loss gradient under that class, of norm 1.
    batch_size : int
        The most examples to hold the graph of at once.
    """

    module: nn.Module
    column: int
    direction: Gradient
    batch_size: int

    @classmethod
    def for_targets(
        cls,
        module: nn.Module,
        targets: npt.NDArray[Any],
        column: int,
        batch_size: int,
    ) -> Matcher:
        """Take the direction from one or more targets, shape (n_targets, ...).

        Raises
        ------
        ValueError
            If their gradient is zero, so that it has no direction.
        """
        batches = torch.from_numpy(targets.astype(np.float32)).split(batch_size)
        with evaluation_mode(module), torch.enable_grad():
            total = _add([loss_gradient(module, x, column) for x in batches])
        norm = _dot(total, total).sqrt()
        if not 0 < norm < float("inf"):
            raise ValueError(
                f"the target's loss gradient has norm {norm:g}, so it has no direction "
                "to imitate; give a model that does not yet take the target for the "
                "adversarial class, and whose parameters are finite."
            )
        return cls(module, column, _scale(total, 1 / norm), batch_size)

    def __call__(self, examples: torch.Tensor) -> tuple[float, torch.Tensor]:
        """Objective of poisons (n_poisons, ...), and its gradient, that shape."""
        batches = [x.detach().requires_grad_() for x in examples.split(self.batch_size)]
        with evaluation_mode(self.module), torch.enable_grad():
            # The graph of a single batch is kept; of several, each is made again
            # when the direction of the sum is known.
            keep = len(batches) == 1
            gradients = [
                loss_gradient(self.module, x, self.column, create_graph=keep)
                for x in batches
            ]
            value, along = self._towards(
                _add([tuple(part.detach() for part in g) for g in gradients])
            )
            slopes = []
            for i, x in enumerate(batches):
                if not keep:
                    gradients[i] = loss_gradient(self.module, x, self.column, True)
                slopes += torch.autograd.grad(gradients[i], x, along)
        return value, torch.cat(slopes)

    def value(self, examples: torch.Tensor) -> float:
        """Objective alone."""
        with evaluation_mode(self.module), torch.enable_grad():
            total = _add(
                [
                    loss_gradient(self.module, x, self.column)
                    for x in examples.detach().split(self.batch_size)
                ]
            )
        return self._towards(total)[0]

    def _towards(self, total: Gradient) -> tuple[float, Gradient]:
        """Objective, and its derivative in the poisons' summed gradient."""
        norm = _dot(total, total).sqrt()
        if norm == 0:
            return 1.0, _scale(total, norm)
        unit = _scale(total, 1 / norm)
        cosine = _dot(unit, self.direction)
        along = tuple(
            ((u.double() * cosine.item() - d.double()) / norm.item()).to(u)
            for u, d in zip(unit, self.direction, strict=True)
        )
        return 1 - cosine.item(), along


class SignedAdam:
    """Adam on the signs of gradients, projected, with the paper's step decay.

    Parameters
    ----------
    start : Tensor of shape (n_poisons, ...)
        Where to begin.
    lowest, highest : Tensor of shape (n_poisons, ...)
        What to project onto.
    step_size : float
        Step size at the start; divided by 10 after 3/8, 5/8 and 7/8 of the steps.
    n_steps : int
        Number of steps that will be made.
    """

    def __init__(
        self,
        start: torch.Tensor,
        lowest: torch.Tensor,
        highest: torch.Tensor,
        step_size: float,
        n_steps: int,
    ) -> None:
        self.examples = start.clone()
        self.lowest, self.highest = lowest, highest
        self.optimizer = torch.optim.Adam([self.examples], lr=step_size)
        milestones = [int(n_steps * part / 8) for part in (3, 5, 7)]
        self.schedule = torch.optim.lr_scheduler.MultiStepLR(self.optimizer, milestones)

    def restart(self, rng: np.random.Generator) -> None:
        """Begin at random points within the limits instead."""
        part = torch.from_numpy(rng.uniform(size=self.examples.shape))
        part = part.to(self.examples)
        self.examples.copy_(self.lowest + part * (self.highest - self.lowest))

    def step(self, gradient: torch.Tensor) -> None:
        """Move the examples against the signs of `gradient`, within the limits."""
        self.examples.grad = gradient.sign()
        self.optimizer.step()
        self.schedule.step()
        with torch.no_grad():
            self.examples.copy_(torch.clamp(self.examples, self.lowest, self.highest))


def augmented(
    matcher: Matcher,
    examples: torch.Tensor,
    augment: Callable[[torch.Tensor], torch.Tensor] | None,
) -> tuple[float, torch.Tensor]:
    """Objective of an augmented copy of the poisons, and its gradient in them."""
    if augment is None:
        return matcher(examples)
    with torch.enable_grad():
        leaf = examples.detach().requires_grad_()
        batch = augment(leaf)
        value, slope = matcher(batch)
        (gradient,) = torch.autograd.grad(batch, leaf, slope)
    return value, gradient
