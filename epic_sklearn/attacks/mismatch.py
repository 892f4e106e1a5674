"""The objective of gradient matching, and its exact gradient in any batch size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..base import to_numpy
from ..gradients.modules import apply, evaluation_mode
from ..metrics import equal_labels
from .base import Array, place

Gradient = tuple[Tensor, ...]


def _dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    # In double: the squares of a converged model's gradients underflow float32.
    products = [(p.double() * q.double()).sum() for p, q in zip(a, b, strict=True)]
    return torch.stack(products).sum()


def _add(gradients: Sequence[Gradient]) -> Gradient:
    return tuple(torch.stack(parts).sum(0) for parts in zip(*gradients, strict=True))


def _scale(gradient: Gradient, factor: Tensor) -> Gradient:
    return tuple((part.double() * factor.item()).to(part) for part in gradient)


@dataclass(frozen=True)
class Surrogate:
    """The model that an attack sees, and its column for the adversarial label.

    `batch_size` is the most examples to hold the graph of at once.
    """

    module: nn.Module
    column: int
    batch_size: int

    @classmethod
    def of(
        cls, model: Any, X: Array, y: Any, adversarial_label: Any, batch_size: int
    ) -> Surrogate:
        """Take a module or a fitted classifier, and try it on one example."""
        is_module = isinstance(model, nn.Module)
        module = model if is_module else getattr(model, "module_", None)
        if not isinstance(module, nn.Module):
            raise TypeError(
                f"model is a {type(model).__name__}; give a torch.nn.Module that maps "
                "examples to logits, or a fitted TorchClassifier."
            )
        if not any(parameter.requires_grad for parameter in module.parameters()):
            raise ValueError(
                "every parameter of the model is frozen, so there are no gradients to "
                "match; set requires_grad on those that the victim trains."
            )
        classes = np.unique(to_numpy(y))
        classes = np.asarray(getattr(model, "classes_", classes))
        names = ("the model's classes", "adversarial_label")
        columns = np.flatnonzero(equal_labels(classes, adversarial_label, *names))
        if len(columns) == 0:
            raise ValueError(
                f"adversarial_label={adversarial_label!r} is none of the model's "
                f"classes; give one of {', '.join(map(repr, classes[:10].tolist()))}."
            )
        with evaluation_mode(module), torch.no_grad():
            logits = apply(module, torch.from_numpy(X[:1].astype(np.float32)))
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else logits
        if shape != (1, len(classes)):
            raise ValueError(
                f"the model turned one example into {shape!r}, and there are "
                f"{len(classes)} classes; it must return logits of shape (n, "
                "n_classes), its columns in the order of the sorted labels."
            )
        return cls(module, int(columns[0]), batch_size)

    def place(self, values: Array) -> Tensor:
        """Examples as float32 where the module's parameters are."""
        return place(values, next(self.module.parameters()).device)

    def gradient(self, x: Tensor, create_graph: bool = False) -> Gradient:
        """Gradient, in the trained parameters, of the summed cross-entropy of `x`."""
        logits = apply(self.module, x)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        labels = torch.full((len(x),), self.column, device=logits.device)
        loss = nn.functional.cross_entropy(logits, labels, reduction="sum")
        return torch.autograd.grad(
            loss,
            [p for p in self.module.parameters() if p.requires_grad],
            create_graph=create_graph,
            materialize_grads=True,
        )

    def total(self, examples: Tensor) -> Gradient:
        """Gradient of all examples together, in batches."""
        with evaluation_mode(self.module), torch.enable_grad():
            batches = examples.detach().split(self.batch_size)
            return _add([self.gradient(x) for x in batches])

    def norms(self, examples: Tensor) -> npt.NDArray[np.float64]:
        """Norm of each example's own gradient, shape (n,)."""
        gradients = (self.total(x[None]) for x in examples)
        return np.array([float(_dot(g, g) ** 0.5) for g in gradients])


@dataclass(frozen=True)
class Mismatch:
    """The objective: 1 - cosine of the poisons' gradient to the targets'.

    `direction` is the targets' gradient under the adversarial label, of norm 1.
    """

    surrogate: Surrogate
    direction: Gradient

    @classmethod
    def of(cls, surrogate: Surrogate, targets: Array) -> Mismatch:
        """Take the direction from one or more targets, shape (n_targets, ...)."""
        total = surrogate.total(surrogate.place(targets))
        norm = _dot(total, total).sqrt()
        if not 0 < norm < float("inf"):
            raise ValueError(
                f"the target's loss gradient has norm {norm:g}, so it has no direction "
                "to imitate; give a model that does not yet take the target for the "
                "adversarial class, and whose parameters are finite."
            )
        return cls(surrogate, _scale(total, 1 / norm))

    def __call__(self, examples: Tensor) -> tuple[Tensor, Tensor]:
        """Objective of poisons (n_poisons, ...), and its gradient, that shape."""
        surrogate = self.surrogate
        batches = examples.split(surrogate.batch_size)
        batches = tuple(x.detach().requires_grad_() for x in batches)
        with evaluation_mode(surrogate.module), torch.enable_grad():
            # The graph of a single batch is kept; of several, each is made again
            # when the direction of the sum is known.
            keep = len(batches) == 1
            gradients = [surrogate.gradient(x, create_graph=keep) for x in batches]
            total = _add([tuple(part.detach() for part in g) for g in gradients])
            value, along = self._towards(total)
            slopes = []
            for i, x in enumerate(batches):
                if not keep:
                    gradients[i] = surrogate.gradient(x, create_graph=True)
                slopes += torch.autograd.grad(gradients[i], x, along)
        return value, torch.cat(slopes)

    def value(self, examples: Tensor) -> Tensor:
        """Objective alone."""
        return self._towards(self.surrogate.total(examples))[0]

    def augmented(
        self, examples: Tensor, augment: Callable[[Tensor], Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        """Objective of an augmented copy of the poisons, and its gradient in them."""
        if augment is None:
            return self(examples)
        with torch.enable_grad():
            leaf = examples.detach().requires_grad_()
            batch = augment(leaf)
            value, slope = self(batch)
            (gradient,) = torch.autograd.grad(batch, leaf, slope)
        return value, gradient

    def _towards(self, total: Gradient) -> tuple[Tensor, Gradient]:
        """Objective, and its derivative in the poisons' summed gradient."""
        norm = _dot(total, total).sqrt()
        if norm == 0:
            return torch.ones_like(norm), _scale(total, norm)
        unit = _scale(total, 1 / norm)
        cosine = _dot(unit, self.direction)
        along = tuple(
            ((u.double() * cosine.item() - d.double()) / norm.item()).to(u)
            for u, d in zip(unit, self.direction, strict=True)
        )
        return 1 - cosine, along
