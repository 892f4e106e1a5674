"""Save a training run after each epoch, and go on from what was saved."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback
from skorch.history import History


def _to_tensors(state: Any) -> Any:
    """Arrays as tensors, which load without unpickling arbitrary objects."""
    if isinstance(state, dict):
        return {name: _to_tensors(value) for name, value in state.items()}
    if isinstance(state, list):
        return [_to_tensors(value) for value in state]
    if isinstance(state, np.ndarray):
        return torch.from_numpy(state.copy())
    return state


def _to_arrays(state: Any) -> Any:
    if isinstance(state, dict):
        return {name: _to_arrays(value) for name, value in state.items()}
    if isinstance(state, list):
        return [_to_arrays(value) for value in state]
    if isinstance(state, torch.Tensor):
        return state.cpu().numpy()
    return state


def save_checkpoint(
    path: Path, net: Any, sampler: Any, problem: dict[str, Any]
) -> None:
    """Write the run's state; an interrupted write leaves the last one whole.

    Parameters
    ----------
    path : Path
        File to write.
    net : NeuralNet
        The skorch net that trains.
    sampler : EpochOrder
        What decides the order of examples; its drops are saved if it drops.
    problem : dict
        What a run that goes on must have in common with this one.
    """
    state = {
        "problem": _to_tensors(problem),
        "module": net.module_.state_dict(),
        "optimizer": net.optimizer_.state_dict(),
        "history": json.dumps(net.history.to_list(), default=float),
        "random": torch.random.get_rng_state(),
        "cuda_random": torch.cuda.get_rng_state_all() if _on_cuda(net) else [],
        "sampler": _to_tensors(sampler.state_dict()),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".tmp")
    torch.save(state, unfinished)
    os.replace(unfinished, path)


def read_checkpoint(path: Path, problem: dict[str, Any]) -> dict[str, Any] | None:
    """Read a saved run, or None where there is no file.

    Raises
    ------
    ValueError
        If the file cannot be read or is of another problem.
    """
    if not path.exists():
        return None
    advice = "Give another checkpoint path, or delete the file to start anew."
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        saved = _to_arrays(state["problem"])
    except Exception as error:
        raise ValueError(
            f"{path} is not a checkpoint of a run: {error}. {advice}"
        ) from (error)
    for name, value in problem.items():
        if not np.array_equal(saved.get(name), value):
            raise ValueError(f"{path} was saved by a run with another {name}. {advice}")
    return state


def restore(state: dict[str, Any], net: Any, sampler: Any) -> None:
    """Put a freshly initialized net and sampler where the saved run was.

    Parameters
    ----------
    state : dict
        From :func:`read_checkpoint`.
    net : NeuralNet
        Initialized with the same parameters as the saved one.
    sampler : EpochOrder
        Made with the same options.
    """
    sampler.load_state_dict(_to_arrays(state["sampler"]))
    net.module_.load_state_dict(state["module"])
    net.optimizer_.load_state_dict(state["optimizer"])
    net.history_ = History(json.loads(state["history"]))
    torch.random.set_rng_state(state["random"])
    if state["cuda_random"] and _on_cuda(net):
        torch.cuda.set_rng_state_all(state["cuda_random"])


def _on_cuda(net: Any) -> bool:
    return torch.device(net.device).type == "cuda"


class SaveEachEpoch(Callback):
    """Write a checkpoint after each epoch."""

    def __init__(self, path: Path, sampler: Any, problem: dict[str, Any]) -> None:
        self.path, self.sampler, self.problem = path, sampler, problem

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Save the run."""
        save_checkpoint(self.path, net, self.sampler, self.problem)
