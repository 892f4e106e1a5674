"""Save a training run after each epoch, and go on from what was saved."""

from __future__ import annotations

import hashlib
import json
import os
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback
from skorch.history import History
from torch import nn

from ._state import to_arrays, to_tensors

# Settings that a resumed run may change without becoming another run.
FREE_TO_CHANGE = {
    "max_epochs",
    "stop",
    "callbacks",
    "device",
    "checkpoint",
    "verbose",
    "n_jobs",
}


# Settings that runs saved by earlier versions lack, as those versions behaved.
ADDED_SINCE = {"rule": repr("medoids"), "cutoff": repr(2.0)}


def describe_run(
    estimator: Any, module: nn.Module, X: np.ndarray, codes: np.ndarray
) -> dict[str, str]:
    """Describe what a run that goes on must share with the one that was saved.

    Parameters
    ----------
    estimator : TorchClassifier
        Its class and settings; of a random state only a given integer counts.
    module : torch.nn.Module
        As training begins: its structure, and its weights if they were given.
    X, codes : ndarray
        The training data, by their digest.

    Returns
    -------
    dict of str
    """
    run = {"estimator": type(estimator).__name__, "module": str(module)}
    for name, value in estimator.get_params(deep=False).items():
        if name == "module":
            given = isinstance(value, nn.Module)
            weights = (
                [t.cpu().numpy() for t in value.state_dict().values()] if given else []
            )
            run["initial weights"] = _digest(*weights)
        elif name == "random_state":
            run[name] = str(value) if isinstance(value, Integral) else "not fixed"
        elif name not in FREE_TO_CHANGE:
            run[name] = _name_of(value)
    return {**run, "X": _digest(X), "y": _digest(codes)}


def _name_of(value: Any) -> str:
    if callable(value):
        return getattr(value, "__qualname__", type(value).__qualname__)
    if isinstance(value, np.generic):
        value = value.item()
    return repr(list(value) if isinstance(value, tuple) else value)


def _digest(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape} {array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def save_checkpoint(path: Path, net: Any, sampler: Any, run: dict[str, str]) -> None:
    """Write the run's state; an interrupted write leaves the last one whole.

    Parameters
    ----------
    path : Path
        File to write.
    net : NeuralNet
        The skorch net that trains.
    sampler : EpochOrder
        What decides the order of examples; its drops are saved if it drops.
    run : dict
        From :func:`describe_run`.
    """
    state = {
        "run": run,
        "module": net.module_.state_dict(),
        # A learning rate from numpy would make the file unreadable.
        "optimizer": to_tensors(net.optimizer_.state_dict()),
        "history": json.dumps(net.history.to_list(), default=float),
        "random": torch.random.get_rng_state(),
        "cuda_random": torch.cuda.get_rng_state_all() if _on_cuda(net) else [],
        "sampler": to_tensors(sampler.state_dict()),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".tmp")
    torch.save(state, unfinished)
    os.replace(unfinished, path)


def read_checkpoint(
    path: Path, run: dict[str, str], max_epochs: int
) -> dict[str, Any] | None:
    """Read a saved run, or None where there is no file.

    Raises
    ------
    ValueError
        If the file cannot be read, is of another run, or holds more epochs.
    """
    if not path.exists():
        return None
    advice = (
        "Give another checkpoint path, or delete the file to start anew. (In "
        "cross-validation leave checkpoint at None: each fold is a run of its own.)"
    )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        saved = {**{k: v for k, v in ADDED_SINCE.items() if k in run}, **state["run"]}
    except Exception as error:
        raise ValueError(f"{path} is not a checkpoint of a run. {advice}") from error
    other = [name for name in {**saved, **run} if saved.get(name) != run.get(name)]
    if other:
        raise ValueError(
            f"{path} was saved by another run; it differs in: {', '.join(other)}. "
            f"{advice}"
        )
    n_trained = len(json.loads(state["history"]))
    if n_trained > max_epochs:
        raise ValueError(
            f"{path} holds a run of {n_trained} epochs and max_epochs is {max_epochs}. "
            f"{advice}"
        )
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
    sampler.load_state_dict(to_arrays(state["sampler"]))
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

    def __init__(self, path: Path, sampler: Any, run: dict[str, str]) -> None:
        self.path, self.sampler, self.run = path, sampler, run

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Save the run."""
        save_checkpoint(self.path, net, self.sampler, self.run)
