"""What the polytope attacks share: parameters, and the target's length as unit."""

from __future__ import annotations

from abc import abstractmethod

import torch

from .._utils import RandomState
from ._base import CleanLabelAttack


class PolytopeAttack(CleanLabelAttack):
    """Base class of the attacks whose poisons surround the target together.

    A subclass implements `_distance`.
    """

    def __init__(
        self,
        n_poisons: int = 5,
        eps: float = 0.1,
        n_steps: int = 250,
        step_size: float | None = None,
        clip: tuple[float, float] | None = (0.0, 1.0),
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
        self.n_poisons = n_poisons
        self.eps = eps
        self.n_steps = n_steps
        self.step_size = step_size
        self.clip = clip
        self.random_state = random_state
        self.verbose = verbose

    @abstractmethod
    def _distance(
        self,
        features: torch.Tensor,
        target_features: torch.Tensor,
        squared_norm: torch.Tensor,
    ) -> torch.Tensor:
        """Return the polytope's squared distance to the target, a scalar.

        Parameters
        ----------
        features : Tensor of shape (n_poisons, d)
            The poisons' features.
        target_features : Tensor of shape (d,)
            The target's features.
        squared_norm : Tensor of shape ()
            Of the target's features, above 0: the unit of the distance.
        """

    def _objective(
        self,
        features: torch.Tensor,
        target_features: torch.Tensor,
        perturbation: torch.Tensor,
    ) -> torch.Tensor:
        squared_norm = target_features.square().sum()
        if squared_norm == 0:
            raise ValueError(
                "feature_extractor maps the target to zeros, so there is no direction "
                "to imitate; give features that are not all zero for this target."
            )
        return self._distance(features, target_features, squared_norm)
