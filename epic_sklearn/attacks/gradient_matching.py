"""Gradient matching: poisons that teach the target by their gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor, nn

from .._utils import resolve_seed
from ..gradients.modules import apply, evaluation_mode, torch_threads
from ..metrics import equal_labels
from ..validation import to_numpy
from .base import (
    Array,
    Constraints,
    Crafted,
    Given,
    PerturbingAttack,
    Rows,
    check_target,
    draw_rows,
    place,
)
from .poisons import Poisons


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


@dataclass(eq=False, repr=False)
class GradientAttack(PerturbingAttack):
    """Base class of the attacks that imitate a target's loss gradient."""

    _parameter_constraints: ClassVar[Constraints] = {
        **PerturbingAttack._parameter_constraints,
        "base_selection": [StrOptions({"random", "gradient_norm"})],
        "augment": [callable, None],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
    }
    _signed = True
    sees = "model"

    n_poisons: int = 50
    eps: float = 16 / 255
    _: KW_ONLY
    base_selection: str = "random"
    augment: Callable[[Tensor], Tensor] | None = None
    batch_size: int = 256

    def _choose_bases(
        self, mismatch: Mismatch, X: Array, rows: Rows, rng: np.random.Generator
    ) -> Rows:
        """Rows to poison: drawn, or those of the largest loss gradients."""
        if self.base_selection == "random":
            return draw_rows(rows, self.n_poisons, rng)
        order = np.argsort(-mismatch.norms(X[rows]), kind="stable")
        return rows[order[: self.n_poisons]]

    def _match(
        self,
        mismatch_at: Callable[[int, Tensor], Mismatch],
        bases: Tensor,
        seed: int,
        rng: np.random.Generator,
        n_restarts: int = 1,
    ) -> Crafted:
        """Descend the objective that ``mismatch_at`` gives for a step."""

        def objective(examples: Tensor, step: int) -> tuple[Tensor, Tensor]:
            mismatch = mismatch_at(step, examples)
            # The first and the last loss are of the poisons before augmentation.
            if step == self.n_steps:
                return mismatch.value(examples), torch.zeros_like(examples)
            value, gradient = mismatch.augmented(examples, self.augment)
            return (mismatch.value(examples) if step == 0 else value), gradient

        cuda = [bases.device] if bases.device.type == "cuda" else []
        # Augmentation draws from torch's global generators.
        with torch.random.fork_rng(devices=cuda):
            torch.manual_seed(seed)
            return self._descend(objective, bases, rng, n_restarts)


@dataclass(eq=False, repr=False)
class GradientMatching(GradientAttack):
    r"""Clean-label poisons whose gradient is the target's: Witches' Brew.

    With :math:`\theta` the parameters of a model trained on clean data, :math:`t`
    the target, :math:`y_{adv}` the adversarial label, which the base examples
    bear, too, and :math:`\ell` the cross-entropy, the poisons
    :math:`x_1, ..., x_k` minimise

    .. math::
        1 - \cos\Big(\nabla_\theta \ell(t, y_{adv}),
        \sum_i \nabla_\theta \ell(x_i, y_{adv})\Big)

    within `eps` of their base examples in every coordinate [1]_. A model trained
    from scratch that descends the poisons' loss then descends the target's, too.
    The published attack can match several models at once; this one takes one.

    Parameters
    ----------
    n_poisons : int, default=50
        Number of poisons; the paper takes 1% of the training set.
    eps, n_steps, clip, verbose
        See :class:`FeatureCollision`; `eps` is 16/255 by default, and only the signs
        of gradients count.
    n_restarts : int, default=1
        Number of descents, of which the best result is kept; the paper makes 8.
        The first begins at the base examples, others at random in the ball.
    step_size : float or None, default=None
        Step size at the start, in the units of `X`; divided by 10 after 3/8, 5/8
        and 7/8 of the steps. None takes ``0.3 * eps``.
    base_selection : {"random", "gradient_norm"}, default="random"
        Whether base examples are drawn, or are those of the adversarial class whose
        loss gradients are the largest.
    augment : callable or None, default=None
        What the victim does to its batches, such as `RandomShiftFlip`: a
        differentiable function of a batch. Random numbers that it draws from torch
        follow `random_state`.
    batch_size : int, default=256
        Poisons that are differentiated at once. It bounds memory and does not
        change the result.
    random_state : int, RandomState instance or None, default=None
        Draws the base examples, restarts and augmentation.

    See Also
    --------
    SleeperAgent : The same for a trigger in place of one target.
    BullseyePolytope : For a victim that trains only a linear head.

    References
    ----------
    .. [1] J. Geiping, L. Fowl, W. R. Huang, W. Czaja, G. Taylor, M. Moeller,
       T. Goldstein: "Witches' Brew: Industrial Scale Data Poisoning via Gradient
       Matching", ICLR, 2021. Algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> from epic_sklearn import TorchClassifier
    >>> from epic_sklearn.attacks import GradientMatching
    >>> X, y = np.linspace(0, 1, 40).reshape(20, 2), np.repeat(["low", "high"], 10)
    >>> model = TorchClassifier(max_epochs=10, random_state=0).fit(X, y)
    >>> attack = GradientMatching(n_poisons=3, eps=0.2, n_steps=20, random_state=0)
    >>> poisons = attack.craft(model, X, y, X[0], "high")
    >>> poisons.examples.shape, [str(label) for label in y[poisons.indices]]
    ((3, 2), ['high', 'high', 'high'])
    >>> bool(poisons.loss[-1] < poisons.loss[0])
    True
    """

    _parameter_constraints: ClassVar[Constraints] = {
        **GradientAttack._parameter_constraints,
        "n_restarts": [Interval(Integral, 1, None, closed="left")],
    }

    _: KW_ONLY
    n_restarts: int = 1

    def craft(
        self,
        model: nn.Module | Any,
        X: Given,
        y: Given,
        target: Given,
        adversarial_label: Any,
        *,
        target_label: Any = None,
    ) -> Poisons:
        """Make the poisons for one target.

        Where all poisons together have at most 65,536 values, torch computes on one
        thread meanwhile, in the whole process, because more are slower; afterwards on
        as many as before.

        Parameters
        ----------
        model : torch.nn.Module or fitted TorchClassifier
            Trained on clean data of the victim's kind. A module maps a batch
            (n, ...) to logits (n, n_classes), its columns in the order of the sorted
            labels in `y`. Used in evaluation mode; its modes, parameters and their
            gradients are as before afterwards. Only parameters that require
            gradients count.
        X : array-like or Tensor of shape (n, ...)
            Training examples.
        y : array-like or Tensor of shape (n,)
            Their labels, of any kind.
        target : array-like or Tensor of shape (...)
            One example of the shape of those in `X`, to be misclassified.
        adversarial_label : object
            One of the labels in `y`: the poisons are made of examples that bear it,
            and the target is to be taken for one of them.
        target_label : object, default=None
            The target's true label, which must be another. None only compares the
            target with the examples of the adversarial label.

        Returns
        -------
        Poisons
            The last step's, of the best restart. The values of `loss` between the
            first and the last are those of augmented poisons.

        Raises
        ------
        TypeError
            If `model` is neither, or the examples are not numbers.
        ValueError
            If a parameter is out of range, shapes do not fit, X or target contain
            NaN or infinity, X leaves `clip`, there are too few examples of
            `adversarial_label`, the target bears it already, or the target's
            gradient is zero.
        """
        X, candidates = self._check(X, y, adversarial_label)
        target = check_target(target, target_label, X, adversarial_label, candidates)
        seed = resolve_seed(self.random_state)
        rng = np.random.default_rng(seed)
        with torch_threads(self._threads(X)):
            module, column = module_and_column(model, X, y, adversarial_label)
            mismatch = Mismatch(module, column, target[None], self.batch_size)
            indices = self._choose_bases(mismatch, X, candidates, rng)
            bases = place(X[indices], module)
            examples, loss = self._match(
                lambda *_: mismatch, bases, seed, rng, self.n_restarts
            )
        return Poisons(examples, indices, target, adversarial_label, loss)
