"""Feature collision: every poison by itself looks like the target to the model."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import torch
from sklearn.utils._param_validation import Interval

from .._utils import RandomState
from ._base import CleanLabelAttack


class FeatureCollision(CleanLabelAttack):
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
        The lowest and the highest value that a poison may take; None for no limits.
    random_state : int, RandomState instance or None, default=None
        Draws the base examples.
    verbose : int or bool, default=0
        Whether to show a progress bar.

    See Also
    --------
    BullseyePolytope : Puts the mean of all poisons onto the target.

    Notes
    -----
    The published attack has no ball and alternates gradient and proximal steps; the
    ball is here so that attacks can be compared at the same visibility. Several
    poisons that collide with one target lie close together, so they form a cluster
    of their own and are not isolated one by one.

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
    >>> X = np.linspace(0, 1, 20).reshape(10, 2)
    >>> y = np.repeat(["low", "high"], 5)
    >>> attack = FeatureCollision(eps=0.2, n_steps=50, random_state=0)
    >>> poisons = attack.craft(nn.Identity(), X, y, X[0], "high")
    >>> poisons.examples.shape, [str(label) for label in y[poisons.indices]]
    ((1, 2), ['high'])
    >>> bool(poisons.loss[-1] < poisons.loss[0])
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **CleanLabelAttack._parameter_constraints,
        "beta": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        n_poisons: int = 1,
        eps: float = 0.1,
        beta: float = 0.1,
        n_steps: int = 250,
        step_size: float | None = None,
        clip: tuple[float, float] | None = (0.0, 1.0),
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
        self.n_poisons = n_poisons
        self.eps = eps
        self.beta = beta
        self.n_steps = n_steps
        self.step_size = step_size
        self.clip = clip
        self.random_state = random_state
        self.verbose = verbose

    def _objective(
        self,
        features: torch.Tensor,
        target_features: torch.Tensor,
        perturbation: torch.Tensor,
    ) -> torch.Tensor:
        distance = (features - target_features).square().sum(1)
        return distance + self.beta * perturbation.square().flatten(1).sum(1)
