"""The objective of gradient matching, and its exact gradient in any batch size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..gradients.modules import apply, evaluation_mode
from ..metrics import equal_labels
from ..validation import to_numpy
from .base import Array, place


def module_and_column(
    model: Any, X: Array, y: Any, adversarial_label: Any
) -> tuple[nn.Module, int]:
    """Take a module, or a fitted classifier's, and its column for the label."""
    module = model if isinstance(model, nn.Module) else getattr(model, "module_", None)
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
    classes = np.asarray(getattr(model, "classes_", np.unique(to_numpy(y))))
    names = ("the model's classes", "adversarial_label")
    columns = np.flatnonzero(equal_labels(classes, adversarial_label, *names))
    if len(columns) == 0:
        raise ValueError(
            f"adversarial_label={adversarial_label!r} is none of the model's "
            f"classes; give one of {', '.join(map(repr, classes[:10].tolist()))}."
        )
    with evaluation_mode(module), torch.no_grad():
        logits = apply(module, place(X[:1], module))
    shape = tuple(logits.shape) if isinstance(logits, Tensor) else logits
    if shape != (1, len(classes)):
        raise ValueError(
            f"the model turned one example into {shape!r}, and there are "
            f"{len(classes)} classes; it must return logits of shape (n, "
            "n_classes), its columns in the order of the sorted labels."
        )
    return module, int(columns[0])


class Mismatch:
    """The objective: 1 - cosine of the poisons' gradient to the targets'.

    Gradients are those of the summed cross-entropy, with the adversarial label, in the
    parameters that are trained: flat, and in double, since the squares of a converged
    model's gradients underflow float32.

    They are taken through `module`, whose output for the adversarial label is `column`,
    with the graph of at most `batch_size` examples at once.
    """

    def __init__(
        self, module: nn.Module, column: int, targets: Array, batch_size: int = 256
    ) -> None:
        self.module, self.column, self.batch_size = module, column, batch_size
        total = self._total(place(targets, module))
        norm = total.norm()
        if not 0 < norm < float("inf"):
            raise ValueError(
                f"the target's loss gradient has norm {norm:g}, so it has no direction "
                "to imitate; give a model that does not yet take the target for the "
                "adversarial class, and whose parameters are finite."
            )
        self._direction = total / norm

    def _gradient(self, x: Tensor, create_graph: bool = False) -> Tensor:
        logits = apply(self.module, x)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        labels = torch.full((len(x),), self.column, device=logits.device)
        loss = nn.functional.cross_entropy(logits, labels, reduction="sum")
        parts = torch.autograd.grad(
            loss,
            [p for p in self.module.parameters() if p.requires_grad],
            create_graph=create_graph,
            materialize_grads=True,
        )
        return torch.cat([part.flatten().double() for part in parts])

    def _total(self, examples: Tensor) -> Tensor:
        """Gradient of all examples together, in batches."""
        with evaluation_mode(self.module), torch.enable_grad():
            batches = examples.detach().split(self.batch_size)
            return torch.stack([self._gradient(x) for x in batches]).sum(0)

    def _towards(self, total: Tensor) -> tuple[Tensor, Tensor]:
        """Objective, and its derivative in the poisons' summed gradient."""
        norm = total.norm()
        if norm == 0:
            return torch.ones_like(norm), total
        cosine = total @ self._direction / norm
        return 1 - cosine, (cosine * total / norm - self._direction) / norm

    def norms(self, X: Array) -> np.ndarray:
        """Norm of each example's own gradient, shape (n,)."""
        totals = (self._total(x[None]) for x in place(X, self.module))
        return np.array([total.norm().item() for total in totals])

    def value(self, examples: Tensor) -> Tensor:
        """Objective alone."""
        return self._towards(self._total(examples))[0]

    def __call__(self, examples: Tensor) -> tuple[Tensor, Tensor]:
        """Objective of poisons (n_poisons, ...), and its gradient, that shape."""
        batches = [x.detach().requires_grad_() for x in examples.split(self.batch_size)]
        with evaluation_mode(self.module), torch.enable_grad():
            # The graph of a single batch is kept; of several, each is made again
            # when the direction of the sum is known.
            keep = len(batches) == 1
            gradients = [self._gradient(x, create_graph=keep) for x in batches]
            value, along = self._towards(torch.stack(gradients).sum(0).detach())
            slopes = []
            for x, gradient in zip(batches, gradients, strict=True):
                of_x = gradient if keep else self._gradient(x, create_graph=True)
                slopes += torch.autograd.grad(of_x, x, along)
        return value, torch.cat(slopes)

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
