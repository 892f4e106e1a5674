"""Saved state without arbitrary objects: arrays as tensors and back.

``torch.load`` refuses to unpickle anything but tensors and plain values unless
told to trust the file. States are kept in that form, so nobody has to.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


def to_tensors(state: Any) -> Any:
    """Replace arrays in nested dicts, lists and tuples by tensors, numbers by plain."""
    if isinstance(state, dict):
        return {name: to_tensors(value) for name, value in state.items()}
    if isinstance(state, list):
        return [to_tensors(value) for value in state]
    if isinstance(state, tuple):
        return tuple(map(to_tensors, state))
    if isinstance(state, np.ndarray):
        return torch.from_numpy(state.copy())
    return state.item() if isinstance(state, np.generic) else state


def to_arrays(state: Any) -> Any:
    """Replace tensors in nested dicts and lists by arrays."""
    if isinstance(state, dict):
        return {name: to_arrays(value) for name, value in state.items()}
    if isinstance(state, list):
        return [to_arrays(value) for value in state]
    if isinstance(state, torch.Tensor):
        return state.cpu().numpy()
    return state
