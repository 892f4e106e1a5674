"""Poisoned transfer learning on scikit-learn's bundled digits."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.utils._param_validation import Interval
from torch import nn
from tqdm import tqdm

from ._utils import RandomState, resolve_seed, validate_params
from .attacks import AttackTrials, BullseyePolytope
from .attacks.features import features_of
from .training import TorchClassifier

__all__ = ["DigitsNet", "PoisonedDigits", "make_poisoned_digits"]
N_PART = 700


class DigitsNet(nn.Module):
    """Three convolutions with batch norm, and a linear layer, on 8 x 8 digits."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for n_in, n_out in ((1, 32), (32, 32), (32, 64)):
            layers += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.BatchNorm2d(n_out)]
            layers += [nn.ReLU()]
        layers.insert(6, nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten())
        self.head = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (n, 10) of images (n, 1, 8, 8)."""
        return self.head(self.features(x))


@dataclass(frozen=True, eq=False)
class PoisonedDigits(AttackTrials):
    """Attacks on features of digits, on which a linear layer is to be trained.

    What :class:`~epic_sklearn.attacks.AttackTrials` has, `X` being features (n, H), and
    more. The `poisons` are images: put them into a copy of `images`.

    Parameters
    ----------
    feature_extractor : torch.nn.Module
        The frozen net's body: images (k, 1, 8, 8) to features (k, H).
    images : ndarray of shape (n, 1, 8, 8)
        The clean training digits, in [0, 1].
    """

    feature_extractor: nn.Module
    images: np.ndarray


@validate_params(
    {
        "n_targets": [Interval(Integral, 1, 198, closed="both")],  # of 397 test digits
        "n_poisons": BullseyePolytope._parameter_constraints["n_poisons"],
        "eps": BullseyePolytope._parameter_constraints["eps"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    },
    prefer_skip_nested_validation=False,
)
def make_poisoned_digits(
    n_targets: int = 10,
    *,
    n_poisons: int = 10,
    eps: float = 0.5,
    random_state: RandomState = None,
    verbose: int = 0,
) -> PoisonedDigits:
    """Train a small net on digits, freeze it, and craft poisons against it.

    The net learns from 700 digits; 700 others are the victim's training set and
    the remaining 397 are for testing. Targets are drawn from test digits that
    the net gets right; the adversarial label is the net's second guess, and the
    attack is :class:`epic_sklearn.attacks.BullseyePolytope`. Nothing is
    downloaded: the digits come with scikit-learn.

    Parameters
    ----------
    n_targets : int, default=10
        At most 198; each has poisons of its own.
    n_poisons : int, default=10
        Poisons a target.
    eps : float, default=0.5
        Largest change of a pixel, pixels being in [0, 1].
    random_state : int, RandomState instance or None, default=None
        Decides the split, the net, the targets and the poisons.
    verbose : int, default=0
        Above 0, progress bars.

    Returns
    -------
    PoisonedDigits

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Examples
    --------
    >>> from epic_sklearn.datasets import make_poisoned_digits
    >>> problem = make_poisoned_digits(n_targets=1, random_state=0)
    >>> X, y = problem.poisoned(0)
    >>> X.shape, len(problem.poisons[0].indices)
    ((700, 64), 10)
    """
    seed = resolve_seed(random_state)
    rng = np.random.default_rng(seed)
    images, labels = load_digits(return_X_y=True)
    images = (images / 16.0).astype(np.float32).reshape(-1, 1, 8, 8)
    order = rng.permutation(len(images))
    of_net, of_victim, of_test = np.split(order, [N_PART, 2 * N_PART])
    classifier = TorchClassifier(
        DigitsNet, max_epochs=30, lr=0.05, batch_size=64, random_state=seed
    ).fit(images[of_net], labels[of_net])
    probabilities = classifier.predict_proba(images[of_test])
    second_guess = probabilities.argsort(axis=1)[:, -2]
    is_right = probabilities.argmax(axis=1) == labels[of_test]
    targets = rng.choice(np.flatnonzero(is_right), n_targets, replace=False)
    extractor: Any = classifier.module_.features
    poisons = [
        BullseyePolytope(n_poisons, eps, random_state=seed + i).craft(
            extractor,
            images[of_victim],
            labels[of_victim],
            images[of_test[target]],
            second_guess[target],
            target_label=labels[of_test[target]],
        )
        for i, target in enumerate(tqdm(targets, desc="craft", disable=not verbose))
    ]
    features = features_of(extractor, images)
    return PoisonedDigits(
        X=features[of_victim],
        y=labels[of_victim],
        X_test=features[of_test],
        y_test=labels[of_test],
        poisons=poisons,
        examples=[features_of(extractor, each.examples) for each in poisons],
        targets=[features_of(extractor, each.target[None]) for each in poisons],
        feature_extractor=extractor.requires_grad_(False),
        images=images[of_victim],
    )
