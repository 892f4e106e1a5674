"""The module to train: copied, made by a class or function, or the default one."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from ..gradients.modules import forward, looks_like_probabilities


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


def make_module(given: Any, X: np.ndarray, n_classes: int) -> nn.Module:
    """Copy or make the module, and try it on two examples.

    Parameters
    ----------
    given : torch.nn.Module, class, callable or None
        As for :class:`TorchClassifier`.
    X : ndarray of shape (n, ...)
        Training examples.
    n_classes : int
        Logits that it must give.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    TypeError
        If no module comes of it.
    ValueError
        If the module does not fit the data.
    """
    if given is None:
        module: Any = MultilayerPerceptron(X, n_classes)
    elif isinstance(given, nn.Module):
        module = copy.deepcopy(given)
    else:
        module = _call_with_sizes(given, X, n_classes)
    if not isinstance(module, nn.Module):
        raise TypeError(f"module gave {module!r}, which is no torch.nn.Module.")
    _try_module(module, X, n_classes)
    return module


def _call_with_sizes(make: Callable[..., Any], X: np.ndarray, n_classes: int) -> Any:
    """Call a class or function with those of the sizes that it takes by name."""
    offered = {
        "n_features": int(np.prod(X.shape[1:])),
        "n_classes": n_classes,
        "input_shape": X.shape[1:],
    }
    taken = inspect.signature(make).parameters
    needed = [
        name
        for name, parameter in taken.items()
        if parameter.default is parameter.empty
        and parameter.kind is not parameter.VAR_KEYWORD
        and parameter.kind is not parameter.VAR_POSITIONAL
    ]
    missing = [name for name in needed if name not in offered]
    if missing:
        raise TypeError(
            f"module needs the arguments {missing}; a class or function is given "
            f"those of {list(offered)} that it takes by name. Wrap it in a function "
            "or functools.partial."
        )
    return make(**{name: size for name, size in offered.items() if name in taken})


def _try_module(module: nn.Module, X: np.ndarray, n_classes: int) -> None:
    """Refuse a module that does not give logits of these classes."""
    try:
        logits, _, _ = forward(module, X[:2])
    except (RuntimeError, IndexError) as error:
        raise ValueError(
            f"The module cannot take examples of shape {X.shape[1:]}: {error}"
        ) from error
    if logits.shape[1] != n_classes:
        raise ValueError(
            f"The module gives {logits.shape[1]} logits and y has {n_classes} classes; "
            "give a module with one logit a class (a class or function is told "
            "n_classes)."
        )
    if looks_like_probabilities(torch.from_numpy(logits)):
        raise ValueError(
            "The module seems to give probabilities; let it return logits, without a "
            "softmax at its end."
        )
