"""Save a training run after each epoch, and go on from what was saved."""

from __future__ import annotations

import json
import re
from functools import partial
from inspect import isroutine
from numbers import Integral
from pathlib import Path
from types import CellType, CodeType, FunctionType
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback, EarlyStopping, LRScheduler
from skorch.history import History
from torch import nn
from torch.utils._pytree import tree_map, tree_map_only

from .._utils import all_or_none
from ..gradients.items import n_items
from ..gradients.labels import varies
from ..validation import digest, plain
from .batches import CodedItems

# Settings that a resumed run may change without becoming another run.
FREE_TO_CHANGE = {
    "max_epochs",
    "warmup",  # these, where they follow from max_epochs: the schedule compares them
    "every",
    "stop",
    "callbacks",
    "device",
    "checkpoint",
    "verbose",
    "n_jobs",
}


def to_tensors(state: Any) -> Any:
    """Replace arrays in nested dicts, lists and tuples by tensors, numbers by plain.

    ``torch.load`` refuses to unpickle anything but tensors and plain values unless
    told to trust the file. States are kept in that form, so nobody has to.
    """

    def safe(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            is_text = value.dtype.kind == "U"  # a rule's detail; no tensor holds it
            return value.tolist() if is_text else torch.from_numpy(value.copy())
        return value.item() if isinstance(value, np.generic) else value

    return tree_map(safe, state)


def to_arrays(state: Any) -> Any:
    """Replace tensors in nested dicts and lists by arrays."""
    return tree_map_only(torch.Tensor, lambda tensor: tensor.cpu().numpy(), state)


def _those(callbacks: list[tuple[str, Any]], kind: type[Callback]) -> list[Any]:
    return [callback for _, callback in callbacks if isinstance(callback, kind)]


def contents(cell: CellType) -> Any:
    """Give what a closure's cell holds, None while it holds nothing."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def told(value: Any) -> str:
    """Tell a setting by what it does, as far as that can be told in another process.

    A function by its name, code, defaults and what it encloses, a partial by what it
    holds, any other callable by its type and public attributes.
    """
    if isinstance(value, partial):
        parts: list[Any] = [value.func, *value.args, *sorted(value.keywords.items())]
    elif isinstance(value, FunctionType):
        cells = [contents(cell) for cell in value.__closure__ or ()]
        code, named = value.__code__, sorted((value.__kwdefaults__ or {}).items())
        held = [*(value.__defaults__ or ()), *named, *cells]
        parts = [code.co_code.hex(), code.co_names, *code.co_consts, *held]
        parts = [part for part in parts if not isinstance(part, CodeType)]
    elif callable(value) and hasattr(value, "__dict__") and not isroutine(value):
        public = {} if isinstance(value, type) else vars(value)
        names = sorted(k for k in public if not k.startswith("_") and k != "training")
        parts = [part for name in names for part in (name, public[name])]
    else:
        return repr(plain(value))
    # What these hold goes by its name: it may hold them in turn. Addresses and the
    # order of sets are another process's.
    parts = [sorted(map(repr, p)) if isinstance(p, frozenset) else p for p in parts]
    texts = (re.sub(r" at 0x[0-9a-fA-F]+", "", repr(plain(part))) for part in parts)
    return f"{plain(value)}({', '.join(texts)})"


def describe_run(
    estimator: Any,
    net: Any,
    sampler: Any,
    X: Any,
    codes: np.ndarray,
    weights: np.ndarray | None,
) -> dict[str, str]:
    """Describe what a run that goes on must share with the one that was saved.

    Settings, also those of the rule and of schedulers; the module's structure, and
    its weights where they were given; the data. Of a random state only an integer.
    """
    settings = estimator.get_params(deep=False)
    given = settings.pop("module")
    initial = given.state_dict().values() if isinstance(given, nn.Module) else ()
    seed = settings.pop("random_state")
    loss = settings.pop("criterion") or nn.CrossEntropyLoss()
    drops = sampler.state_dict().get("schedule", {"settings": {}})
    settings.update(drops["settings"])
    schedulers = [cb.get_params() for cb in _those(net.callbacks, LRScheduler)]
    return {
        "estimator": type(estimator).__name__,
        "module": str(net.module),
        "attributes": digest(np.array(list(map(told, net.module.modules())))),
        "forward": digest(np.array(list(map(_told_forward, net.module.modules())))),
        "initial weights": digest(*initial),
        "criterion": f"{told(loss)}, {loss.weight}",
        "random_state": str(seed) if isinstance(seed, Integral) else "not fixed",
        **{k: told(v) for k, v in settings.items() if k not in FREE_TO_CHANGE},
        "learning rates": repr(
            [{k: told(v) for k, v in given.items()} for given in schedulers]
        ),
        "X": _told_items(X.items, estimator._digest)
        if isinstance(X, CodedItems)
        else digest(X),
        "y": digest(codes),
        "sample_weight": "none" if weights is None else digest(weights),
    }


def _told_forward(module: nn.Module) -> str:
    """Tell what a module of the user's own does; torch's are what they are called."""
    is_theirs = not type(module).__module__.startswith("torch.")
    return told(type(module).forward) if is_theirs else ""


def _told_items(data: Any, seen: str | None) -> str:
    """Tell a data set by the digest of its items, where these stay what they are."""
    is_known = seen is not None and not varies(data)
    return str(seen) if is_known else f"{n_items(data)} items"


def read_checkpoint(
    path: Path, run: dict[str, str], max_epochs: int
) -> dict[str, Any] | None:
    """Read a saved run, or None without a file; ValueError if it is of another run."""
    if not path.exists():
        return None
    advice = (
        "Give another checkpoint path, or delete the file to start anew. (In "
        "cross-validation leave checkpoint at None: each fold is a run of its own.)"
    )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        saved, n_trained = state["run"], len(json.loads(state["history"]))
    except Exception as error:
        raise ValueError(f"{path} is not a checkpoint of a run. {advice}") from error
    other = [name for name in {**saved, **run} if saved.get(name) != run.get(name)]
    if other:
        raise ValueError(
            f"{path} was saved by another run; it differs in: {', '.join(other)}. "
            f"{advice}"
        )
    if n_trained > max_epochs:
        raise ValueError(
            f"{path} holds a run of {n_trained} epochs and max_epochs is {max_epochs}. "
            f"{advice}"
        )
    return state


def has_stopped(net: Any) -> bool:
    """Whether one of skorch's EarlyStopping callbacks has ended training."""
    stoppers = _those(net.callbacks_, EarlyStopping)
    return any(stopper.misses_ >= stopper.patience for stopper in stoppers)


class RunCheckpoint(Callback):
    """Go on from a saved run, and save this one after each epoch.

    Comes after all other callbacks, so that it saves what they did, and restores
    what they begin with. skorch's own Checkpoint keeps neither random numbers, drops,
    order nor schedulers, and would go on with other data: resuming would not be exact.
    """

    def __init__(self, path: Path, sampler: Any, run: dict[str, str]) -> None:
        self.path, self.sampler, self.run = path, sampler, run
        self._n_saved = 0

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Put a freshly initialized net and sampler where the saved run was."""
        state = read_checkpoint(self.path, self.run, net.max_epochs)
        if state is None:
            return
        self.sampler.load_state_dict(state["sampler"])
        net.module_.load_state_dict(state["module"])
        for name, weight in net.module_.named_parameters():
            weight.requires_grad_(state["trained"][name])  # skorch's Freezer acts once
        net.optimizer_.load_state_dict(state["optimizer"])
        net.history_ = History(json.loads(state["history"]))
        self._n_saved = len(net.history)
        torch.random.set_rng_state(state["random"])
        if state["cuda_random"] and _on_cuda(net):
            torch.cuda.set_rng_state_all(state["cuda_random"])
        schedulers = _those(net.callbacks_, LRScheduler)
        for callback, saved in zip(schedulers, state["schedulers"], strict=True):
            callback.lr_scheduler_.load_state_dict(to_arrays(saved))
        stoppers = _those(net.callbacks_, EarlyStopping)
        for callback, saved in zip(stoppers, state["stoppers"], strict=False):
            vars(callback).update(saved)
        if hasattr(net, "remembered_"):  # see RememberStates
            net.remembered_ = state["remembered"]

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Write the run's state; an interrupted write leaves the last one whole."""
        state = {
            "run": self.run,
            "module": net.module_.state_dict(),
            "trained": {k: w.requires_grad for k, w in net.module_.named_parameters()},
            # A learning rate from numpy would make the file unreadable.
            "optimizer": to_tensors(net.optimizer_.state_dict()),
            "history": json.dumps(net.history.to_list(), default=float),
            "random": torch.random.get_rng_state(),
            "cuda_random": torch.cuda.get_rng_state_all() if _on_cuda(net) else [],
            "sampler": self.sampler.state_dict(),
            "schedulers": [
                to_tensors(callback.lr_scheduler_.state_dict())
                for callback in _those(net.callbacks_, LRScheduler)
            ],
            "remembered": getattr(net, "remembered_", []),
            "stoppers": [
                {k: to_tensors(v) for k, v in vars(callback).items() if k[-1] == "_"}
                for callback in _those(net.callbacks_, EarlyStopping)
            ],
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with all_or_none({"checkpoint": self.path}) as made:
            torch.save(state, made["checkpoint"])
        self._n_saved = len(net.history)

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Save an epoch whose end EarlyStopping broke off, and no other again.

        It may have put the best weights in place of the last ones.
        """
        if self._n_saved < len(net.history):
            self.on_epoch_end(net)


def _on_cuda(net: Any) -> bool:
    return torch.device(net.device).type == "cuda"
