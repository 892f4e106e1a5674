"""The module that TorchClassifier uses where it is given none."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn


class MultilayerPerceptron(nn.Module):
    """Standardise, one hidden layer, logits.

    Parameters
    ----------
    X : ndarray of shape (n, ...)
        Training examples; each feature is standardised by their mean and
        standard deviation, so that one learning rate suits any unit.
    n_classes : int
        Number of logits.
    n_hidden : int, default=100
        Width of the hidden layer.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, X: np.ndarray, n_classes: int, n_hidden: int = 100) -> None:
        super().__init__()
        flat = X.reshape(len(X), -1).astype(np.float64)
        scale = flat.std(axis=0)
        scale[scale <= 1e-12 * np.abs(flat).max(axis=0)] = 1.0  # constant features
        scale[scale == 0.0] = 1.0
        self.register_buffer("mean", torch.tensor(flat.mean(axis=0)))
        self.register_buffer("scale", torch.tensor(scale))
        self.layers = nn.Sequential(
            nn.Linear(flat.shape[1], n_hidden),
            nn.ReLU(),
            nn.Linear(n_hidden, n_classes),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of a batch, shape (n, n_classes)."""
        standard = (x.flatten(1).double() - self.mean) / self.scale
        return self.layers(standard.float())
