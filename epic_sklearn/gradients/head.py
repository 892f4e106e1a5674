"""Tell which linear layer of a torch module gives its logits, and read its input."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import nn

# exp(-87) is the smallest normal number of float32, nearly.
UNDERFLOW = 87.0


class Rows:
    """Rows of batches in one piece of memory, which grows.

    Kept one by one they would lie between the batches that are read and freed: no
    batch would fit into the memory of an earlier one, and all data be held by holes.
    """

    def __init__(self) -> None:
        self.memory, self.last = bytearray(), np.empty((0, 0))

    def add(self, rows: torch.Tensor) -> None:
        """Copy the rows (b, d) behind those that are there."""
        self.last = np.ascontiguousarray(rows.numpy())
        self.memory += self.last.data

    def take(self) -> np.ndarray:
        """Give the array of all rows (n, d)."""
        values = np.frombuffer(self.memory, self.last.dtype)
        return values.reshape(-1, self.last.shape[1])


class NoLastLayer(ValueError):
    """A module has no linear layer that gives its logits."""


class LastLayer(NamedTuple):
    """Inputs (n, H), weight (C, H) and whether there is a bias, of the last layer.

    That is the one that gives the logits. Float32, or float64 where they are.
    """

    inputs: np.ndarray
    weight: np.ndarray
    has_bias: bool


class Head:
    """Watch a module's linear layers, to tell the one that gives its logits.

    That one need not be registered last. A logarithm of the softmax may follow, which
    is other logits of the same probabilities. Of a layer with an output for each token,
    of which the module takes one, as decoders do, it is the input of that token.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.layers = [part for part in module.modules() if isinstance(part, nn.Linear)]
        if not self.layers:
            raise NoLastLayer(
                f"{type(module).__name__} has no torch.nn.Linear layer, so it has no "
                "last-layer gradients; use LogitGradients."
            )
        self._layer = self.layers[-1]
        self._inputs = Rows()
        self._is_plain: dict[nn.Linear, bool] = {}
        self._calls = dict[Any, tuple[nn.Linear, torch.Tensor, torch.Tensor, int]]()

    def __enter__(self) -> Self:
        self._hooks = ExitStack()
        self._hooks.enter_context(_eagerly(self.module))
        for layer in self.layers:
            hook = layer.register_forward_hook(self._note, with_kwargs=True)
            self._hooks.enter_context(hook)
        return self

    def __exit__(self, *error: Any) -> None:
        self._hooks.close()

    def _note(
        self, layer: nn.Module, args: tuple[Any, ...], named: Any, output: Any
    ) -> None:
        assert isinstance(layer, nn.Linear)
        x = args[0] if args else named["input"]
        if output.is_nested:  # of texts without their padding, inside a transformer
            return
        # Outputs for each token are large: one of each width, the last, is held.
        key = layer if output.ndim == 2 else layer.out_features
        # A copy: what comes after may change it in place.
        self._calls[key] = (layer, x.clone(), output, output._version)

    def take(self, logits: torch.Tensor) -> torch.Tensor:
        """Keep and give the inputs of the layer that gave these logits (n, C)."""
        calls, self._calls = self._calls, {}
        for layer, x, output, version in calls.values():
            if output.shape[-1] != logits.shape[1] or len(output) != len(logits):
                continue
            if output._version != version:  # something after it changed it in place
                continue
            given = output.to(logits.dtype).reshape(len(output), -1, logits.shape[1])
            is_taken = _are_of_the_same_softmax(given, logits[:, None])
            if is_taken.any(dim=1).all():
                rows = torch.arange(len(x), device=x.device)
                places = is_taken.int().argmax(dim=1).to(x.device)
                of_all = x.reshape(len(x), -1, x.shape[-1])
                inputs = of_all[rows, places]
                if layer not in self._is_plain:
                    rows, places = rows.to(output.device), places.to(output.device)
                    own = output.reshape(given.shape)[rows, places]
                    self._is_plain[layer] = _multiplies(layer, inputs, own)
                if not self._is_plain[layer]:
                    continue
                self._inputs.add(_single(inputs))
                self._layer = layer
                return inputs
        raise NoLastLayer(
            f"No torch.nn.Linear of {type(self.module).__name__} gives its output: "
            "something comes after the last one, a division for example, or it does "
            "more than to multiply its input. Take the "
            "gradients of the logits: LogitGradients(module), or gradients='logit' of "
            "what trains. For a rule that looks at the layer's inputs, let the module "
            "end in it."
        )

    def last_layer(self) -> LastLayer:
        """Give the layer's inputs of all batches, and its weight."""
        weight, has_bias = self._layer.weight, self._layer.bias is not None
        return LastLayer(self._inputs.take(), _single(weight).numpy(), has_bias)


def _are_of_the_same_softmax(some: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Whether rows (..., C) are those of logits but for a shift of each row.

    Entries of which nothing is left in a softmax need not be.
    """
    is_seen = logits > logits.amax(dim=-1, keepdim=True) - UNDERFLOW
    away = (some - logits).double()
    highest = away.masked_fill(~is_seen, -torch.inf).amax(dim=-1)
    lowest = away.masked_fill(~is_seen, torch.inf).amin(dim=-1)
    is_double = logits.dtype is torch.float64
    eps = torch.finfo(torch.float64 if is_double else torch.float32).eps
    size = (some.abs() + logits.abs()).amax(dim=-1).double()
    return highest - lowest <= 16 * eps * size


def _multiplies(layer: nn.Linear, inputs: torch.Tensor, output: torch.Tensor) -> bool:
    """Whether a layer's output is input times weight: a subclass may do otherwise."""
    x, weight, given = (
        values.detach().cpu().double() for values in (inputs, layer.weight, output)
    )
    bias = 0.0 if layer.bias is None else layer.bias.detach().cpu().double()
    away = x @ weight.T + bias - given
    size = x.abs() @ weight.abs().T + abs(bias)
    eps = max(1e-3, 4 * torch.finfo(output.dtype).eps)
    return bool((away.abs() <= eps * size.amax(dim=1, keepdim=True)).all())


def _eagerly(module: nn.Module) -> AbstractContextManager[Any]:
    """Run what is compiled as it was written: a graph may have no place for hooks."""
    is_compiled = any(
        hasattr(part, "_orig_mod") or part._compiled_call_impl is not None
        for part in module.modules()
    )
    if is_compiled and hasattr(torch.compiler, "set_stance"):  # torch 2.6
        return torch.compiler.set_stance("force_eager")
    return nullcontext()


def _single(values: torch.Tensor) -> torch.Tensor:
    """Values on the CPU as float32, unless they are float64."""
    values = values.detach().cpu()
    return values if values.dtype is torch.float64 else values.float()
