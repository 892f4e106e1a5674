"""Which linear layer of a module gives its logits, and what goes into it."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import nn


class LastLayer(NamedTuple):
    """Inputs (n, H) and weight (C, H) of the layer that gives the logits.

    Float32, or float64 where they are.
    """

    inputs: np.ndarray
    weight: np.ndarray


class Head:
    """Watch a module's linear layers, to tell the one that gives its logits.

    That one need not be registered last. Of a layer with an output for each token,
    of which the module takes one, as decoders do, it is the input of that token.

    Raises
    ------
    ValueError
        If the module has no linear layer, or none whose output is the module's.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.layers = [part for part in module.modules() if isinstance(part, nn.Linear)]
        if not self.layers:
            raise ValueError(
                f"{type(module).__name__} has no torch.nn.Linear layer, so it has no "
                "last-layer gradients; use LogitGradients."
            )
        self._layer = self.layers[-1]
        self._inputs: list[torch.Tensor] = []
        self._calls: dict[Any, tuple[nn.Linear, torch.Tensor, torch.Tensor]] = {}

    def __enter__(self) -> Self:
        self._hooks = [layer.register_forward_hook(self._note) for layer in self.layers]
        return self

    def __exit__(self, *error: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _note(self, layer: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        assert isinstance(layer, nn.Linear)
        # Outputs for each token are large: one of each width, the last, is held.
        key = layer if output.ndim == 2 else layer.out_features
        self._calls[key] = (layer, args[0], output)

    def take(self, logits: torch.Tensor) -> torch.Tensor:
        """Keep and give the inputs of the layer that gave these logits (n, C)."""
        calls, self._calls = self._calls, {}
        for layer, x, output in calls.values():
            if output.shape[-1] != logits.shape[1] or len(output) != len(logits):
                continue
            given = output.to(logits.dtype).reshape(len(output), -1, logits.shape[1])
            is_taken = (given == logits[:, None]).all(dim=2)
            if is_taken.any(dim=1).all():
                rows = torch.arange(len(x), device=x.device)
                places = is_taken.int().argmax(dim=1).to(x.device)
                of_all = x.reshape(len(x), -1, x.shape[-1])
                inputs = of_all[rows, places]
                self._inputs.append(_single(inputs))
                self._layer = layer
                return inputs
        raise ValueError(
            f"No torch.nn.Linear of {type(self.module).__name__} gives its output: "
            "something comes after the last one, such as a softmax. Let the module "
            "return logits, or use LogitGradients."
        )

    def last_layer(self) -> LastLayer:
        """Give the layer's inputs of all batches, and its weight."""
        weight = _single(self._layer.weight).numpy()
        return LastLayer(torch.cat(self._inputs).numpy(), weight)


def _single(values: torch.Tensor) -> torch.Tensor:
    """Values on the CPU as float32, unless they are float64."""
    values = values.detach().cpu()
    return values if values.dtype is torch.float64 else values.float()
