"""Attacks on features: poisons that look like the target, or surround it, to a net."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import KW_ONLY, dataclass
from numbers import Real
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from sklearn.utils._param_validation import Interval
from torch import Tensor, nn

from .._utils import resolve_seed
from ..gradients.modules import apply, evaluation_mode, torch_threads
from .base import (
    Array,
    Constraints,
    Given,
    PerturbingAttack,
    check_target,
    draw_rows,
    place,
)
from .poisons import Poisons

# Examples a forward pass.
BATCH = 512


def _features(module: nn.Module, examples: Tensor) -> Tensor:
    # The examples stay float32, whatever precision the module computes in: rounding
    # to fewer digits could leave the ball.
    features = apply(module, examples)
    if not isinstance(features, torch.Tensor) or len(features) != len(examples):
        got = tuple(features.shape) if isinstance(features, torch.Tensor) else features
        raise ValueError(
            f"feature_extractor turned a batch of shape {tuple(examples.shape)} into "
            f"{got!r}; it must return a tensor with one row of features an example."
        )
    return features.flatten(1).float()


def features_of(module: nn.Module, X: Array) -> npt.NDArray[np.float32]:
    """Features (n, H) of examples (n, ...), in evaluation mode, in batches."""
    batches = (X[i : i + BATCH] for i in range(0, len(X), BATCH))
    with evaluation_mode(module), torch.no_grad():
        parts = [_features(module, place(batch, module)) for batch in batches]
    return torch.cat(parts).cpu().numpy()


class FeatureAttack(PerturbingAttack, ABC):
    """Base class of the attacks that imitate a target's features, by `_loss`."""

    sees = "features"

    @abstractmethod
    def _loss(self, features: Tensor, target: Tensor, change: Tensor) -> Tensor:
        """Return what to minimise, for all poisons together or for each.

        `target` are the target's features; `change` is from the base examples.
        """

    def craft(
        self,
        feature_extractor: nn.Module,
        X: Given,
        y: Given,
        target: Given,
        adversarial_label: Any,
        *,
        target_label: Any = None,
    ) -> Poisons:
        """Make the poisons for one target.

        As :meth:`GradientMatching.craft`, but base examples are drawn, the poisons
        are those of the lowest objective met on the way, and in place of the model
        there is a torch module that maps a batch (n, ...) to features (n, ...), which
        are flattened. It, too, is used in evaluation mode and left as it was.
        """
        if not isinstance(feature_extractor, nn.Module):
            raise TypeError(
                f"feature_extractor is a {type(feature_extractor).__name__}; give a "
                "torch.nn.Module that maps examples to features."
            )
        X, candidates = self._check(X, y, adversarial_label)
        target = check_target(target, target_label, X, adversarial_label, candidates)
        rng = np.random.default_rng(resolve_seed(self.random_state))
        indices = draw_rows(candidates, self.n_poisons, rng)
        bases = place(X[indices], feature_extractor)

        def objective(examples: Tensor, step: int) -> tuple[Tensor, Tensor]:
            leaf = examples.detach().requires_grad_()
            with torch.enable_grad():
                features = _features(feature_extractor, leaf)
                loss = self._loss(features, aim, leaf - bases)
                # Only the examples' gradient: the module's own is left alone.
                (gradient,) = torch.autograd.grad(loss.sum(), leaf)
            return loss.detach(), gradient

        with torch_threads(self._threads(X)), evaluation_mode(feature_extractor):
            with torch.no_grad():
                aim = _features(
                    feature_extractor, place(target[None], feature_extractor)
                )[0]
            examples, loss = self._descend(objective, bases, rng)
        return Poisons(examples, indices, target, adversarial_label, loss)


@dataclass(eq=False, repr=False)
class FeatureCollision(FeatureAttack):
    r"""Clean-label poisons that collide with the target in feature space.

    Each poison :math:`x` minimises, with :math:`\phi` the feature extractor,
    :math:`t` the target and :math:`b` its base example,

    .. math::
        \|\phi(x) - \phi(t)\|^2 + \beta \|x - b\|^2

    within `eps` of the base example in every coordinate [1]_. A linear head that
    fits the poisons with their label takes the target along.

    Parameters
    ----------
    n_poisons : int, default=1
        Number of poisons.
    eps : float, default=0.1
        The largest change of any coordinate of a base example, in the units of `X`.
    beta : float, default=0.1
        Weight of the squared distance to the base example; 0 leaves only the ball
        of radius `eps` to keep the poison looking like it.
    n_steps : int, default=250
        Number of gradient steps.
    step_size : float or None, default=None
        Step size of Adam at the start, in the units of `X`; it falls to zero along
        half a cosine. None takes ``0.3 * eps``.
    clip : tuple of (float, float) or None, default=(0.0, 1.0)
        The lowest and the highest value in `X`, and that a poison may take; None
        for no limits.
    random_state : int, RandomState instance or None, default=None
        Draws the base examples.
    verbose : int or bool, default=0
        Whether to show a progress bar.

    Notes
    -----
    The published attack has no ball and alternates gradient and proximal steps; the
    ball lets attacks be compared at the same visibility. Several poisons of one
    target form a cluster of their own and are not isolated one by one.

    References
    ----------
    .. [1] A. Shafahi, W. R. Huang, M. Najibi, O. Suciu, C. Studer, T. Dumitras,
       T. Goldstein: "Poison Frogs! Targeted Clean-Label Poisoning Attacks on Neural
       Networks", NeurIPS, 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from torch import nn
    >>> from epic_sklearn.attacks import FeatureCollision
    >>> X, y = np.linspace(0, 1, 20).reshape(10, 2), np.repeat(["low", "high"], 5)
    >>> attack = FeatureCollision(eps=0.2, n_steps=50, random_state=0)
    >>> poisons = attack.craft(nn.Identity(), X, y, X[0], "high")
    >>> poisons.examples.shape, [str(label) for label in y[poisons.indices]]
    ((1, 2), ['high'])
    """

    _parameter_constraints: ClassVar[Constraints] = {
        **FeatureAttack._parameter_constraints,
        "beta": [Interval(Real, 0, None, closed="left")],
    }

    n_poisons: int = 1
    _: KW_ONLY
    beta: float = 0.1

    def _loss(self, features: Tensor, target: Tensor, change: Tensor) -> Tensor:
        distance = (features - target).square().sum(1)
        return distance + self.beta * change.square().flatten(1).sum(1)


class BullseyePolytope(FeatureAttack):
    r"""Clean-label poisons that surround the target in feature space.

    The poisons :math:`x_1, ..., x_k` minimise, with :math:`\phi` the feature
    extractor and :math:`t` the target,

    .. math::
        \frac{\|\phi(t) - \frac{1}{k} \sum_i \phi(x_i)\|^2}{\|\phi(t)\|^2}

    within `eps` of their base examples in every coordinate [1]_. A linear head that
    gives all of them their label tends to give it to their centre, the target, too.
    The published attack does so for several feature extractors at once; this one
    takes one, the one that the victim uses.

    Parameters
    ----------
    n_poisons : int, default=5
        Number of poisons.
    eps, n_steps, step_size, clip, random_state, verbose
        See :class:`FeatureCollision`.

    References
    ----------
    .. [1] H. Aghakhani, D. Meng, Y.-X. Wang, C. Kruegel, G. Vigna: "Bullseye
       Polytope: A Scalable Clean-Label Poisoning Attack with Improved
       Transferability", IEEE European Symposium on Security and Privacy, 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from torch import nn
    >>> from epic_sklearn.attacks import BullseyePolytope
    >>> X, y = np.linspace(0, 1, 20).reshape(10, 2), np.repeat(["low", "high"], 5)
    >>> attack = BullseyePolytope(n_poisons=2, eps=0.2, n_steps=50, random_state=0)
    >>> attack.craft(nn.Identity(), X, y, X[0], "high").examples.shape
    (2, 2)
    """

    def _loss(self, features: Tensor, target: Tensor, change: Tensor) -> Tensor:
        squared_length = target.square().sum()
        if squared_length == 0:
            raise ValueError(
                "feature_extractor maps the target to zeros, so there is no direction "
                "to imitate; give features that are not all zero for this target."
            )
        return (target - features.mean(0)).square().sum() / squared_length
