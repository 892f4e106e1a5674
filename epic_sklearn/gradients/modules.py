"""Run a torch module over data: evaluation mode, batches, example order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.utils import assert_all_finite, check_array
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from .._utils import warn_user

# Options of a user's DataLoader that say how batches are made, not of which examples.
LOADER_OPTIONS = (
    "num_workers",
    "collate_fn",
    "pin_memory",
    "timeout",
    "worker_init_fn",
    "multiprocessing_context",
    "prefetch_factor",
)
# Rows from which the spread of a feature can be told.
FEWEST_TO_TELL = 10


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Put every submodule in evaluation mode, and back as it was after."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def input_dtype(module: nn.Module) -> torch.dtype:
    """Precision of a module's input: its ``input_dtype`` or that of its weights."""
    parameter = next(module.parameters(), None)
    of_weights = torch.float32 if parameter is None else parameter.dtype
    return getattr(module, "input_dtype", of_weights)


def to_module(module: nn.Module, x: Any) -> Any:
    """Move a batch to the module's device, and real numbers to its precision."""
    if isinstance(x, dict):
        return {name: to_module(module, part) for name, part in x.items()}
    parameter = next(module.parameters(), None)
    device = x.device if parameter is None else parameter.device
    return x.to(device, input_dtype(module) if x.is_floating_point() else None)


def apply(module: nn.Module, x: Any) -> torch.Tensor:
    """Call the module on a batch; a dictionary is its keyword arguments."""
    x = to_module(module, x)
    return module(**x) if isinstance(x, dict) else module(x)


def size_of(x: Any) -> int:
    """Examples in a batch."""
    return len(next(iter(x.values())) if isinstance(x, dict) else x)


def cast_for(module: nn.Module, X: Any) -> np.ndarray:
    """Cast an array or dataframe to what a module takes, float32 as a rule.

    Raises
    ------
    ValueError
        If it does not hold real numbers, or the cast takes from a feature what
        tells its values apart: its steps are then more than a tenth of the range of
        the middle half of the values.
    """
    checks = {"allow_nd": True, "ensure_2d": False, "ensure_all_finite": False}
    X = check_array(X, input_name="X", **checks)
    if X.dtype.kind not in "fiub":
        raise ValueError(f"X has dtype {X.dtype}; a module takes real numbers.")
    dtype = np.float64 if input_dtype(module) is torch.float64 else np.float32
    with np.errstate(over="ignore"):  # refused below
        cast = np.require(X, dtype, ["C", "W"])  # torch warns of read-only arrays
    if np.can_cast(X.dtype, dtype):
        return cast
    if np.isfinite(X).all():
        assert_all_finite(cast, input_name="X")
    if len(X) >= FEWEST_TO_TELL:
        _check_told_apart(X)
    return cast


def _check_told_apart(X: np.ndarray) -> None:
    some = X[:: max(1, len(X) // 1000)].reshape(-1, int(np.prod(X.shape[1:])))
    low, middle, high = np.percentile(some.astype(np.float64), [25, 50, 75], axis=0)
    is_constant = high - low <= 1e-12 * np.abs(middle)
    steps = np.finfo(np.float32).eps * np.abs(middle)
    lost = np.flatnonzero(~is_constant & (steps > 0.1 * (high - low)))
    if len(lost):
        raise ValueError(
            f"The module takes float32, in which the values of the features "
            f"{lost[:10].tolist()} can hardly be told apart: half of those of the "
            f"first lie between {low[lost[0]]:.10g} and {high[lost[0]]:.10g}. "
            "Standardise the features first, with StandardScaler in a Pipeline, or "
            "take TorchClassifier(module=None), which does so itself."
        )


def ordered_batches(data: Any, batch_size: int) -> Iterable[Any]:
    """Batches of `data` in the order of its examples.

    A gradient belongs to the example with the same number. A loader that
    shuffles, samples or drops its last batch breaks that without any error, so
    of a `DataLoader` only the data set and how batches are made are used.

    Parameters
    ----------
    data : tensor, Dataset or DataLoader
        The examples.
    batch_size : int
        For everything but a DataLoader, which brings its own.

    Returns
    -------
    iterable of batches
    """
    if isinstance(data, DataLoader):
        options = {name: getattr(data, name) for name in LOADER_OPTIONS}
        if isinstance(data.dataset, IterableDataset):  # workers would mix the order
            options = {"collate_fn": data.collate_fn}
        gives_batches = data.batch_sampler is None  # the data set itself
        options["batch_size"] = None if gives_batches else data.batch_size or batch_size
        return DataLoader(
            data.dataset, shuffle=False, generator=torch.Generator(), **options
        )
    if not isinstance(data, Dataset):  # slices, not a collection of single items
        return data.split(batch_size)
    # A loader without a generator draws a seed from torch's global one.
    return DataLoader(
        data, batch_size=batch_size, shuffle=False, generator=torch.Generator()
    )


def inputs_and_labels(batch: Any) -> tuple[Any, Any]:
    """Split a batch into the module's input and, where there are any, labels."""
    if not isinstance(batch, list | tuple):
        return batch, None
    return batch[0], batch[1] if len(batch) > 1 else None


def last_linear(module: nn.Module) -> nn.Linear:
    """Find the last linear layer: the one that gives the logits.

    Raises
    ------
    ValueError
        If the module has none.
    """
    layers = [part for part in module.modules() if isinstance(part, nn.Linear)]
    if not layers:
        raise ValueError(
            f"{type(module).__name__} has no torch.nn.Linear layer, so it has no "
            "last-layer gradients; use LogitGradients."
        )
    return layers[-1]


class Body(nn.Module):
    """What a module gives its last linear layer, which must give the output."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        last_linear(module)
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Input (n, H) of the last layer, of a batch (n, ...)."""
        found: list[torch.Tensor] = []
        hook = last_linear(self.module).register_forward_hook(
            lambda _, args, output: found.extend([args[0], output])
        )
        try:
            output = apply(self.module, x)
        finally:
            hook.remove()
        _check_is_last(self.module, found[-1] if found else None, output)
        return found[0]


def forward(
    module: nn.Module, data: Any, batch_size: int = 512, with_inputs: bool = False
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Logits of every example, in example order, in evaluation mode.

    Of an array, tensor, Dataset or DataLoader. Returns logits (n, C), float64; the
    labels (n,) that the data set gives, or None; and, asked for `with_inputs`, the
    inputs (n, H) of the last linear layer, float64, else None.

    Raises
    ------
    ValueError
        If the output is not one row of at least two logits an example, or,
        asked for inputs, if it is not the last linear layer's output.
    """
    if not isinstance(data, torch.Tensor | Dataset | DataLoader):
        data = torch.from_numpy(cast_for(module, data))
    logits, labels, inputs = [], [], []
    captured: dict[str, torch.Tensor] = {}
    hook = None
    if with_inputs:

        def capture(_: nn.Module, args: tuple[Any, ...], output: torch.Tensor) -> None:
            captured.update(input=args[0], output=output)

        hook = last_linear(module).register_forward_hook(capture)
    try:
        with evaluation_mode(module), torch.no_grad():
            for batch in ordered_batches(data, batch_size):
                x, y = inputs_and_labels(batch)
                output = apply(module, x)
                _check_logits(module, output, size_of(x))
                if with_inputs:
                    _check_is_last(module, captured.get("output"), output)
                    inputs.append(captured["input"].double().cpu())
                logits.append(output.double().cpu())
                labels.append(y)
    finally:
        if hook is not None:
            hook.remove()
    if not logits:
        raise ValueError("There are no examples to take gradients of.")
    has_labels = all(label is not None for label in labels)
    return (
        torch.cat(logits).numpy(),
        np.concatenate([np.asarray(y) for y in labels]) if has_labels else None,
        torch.cat(inputs).numpy() if with_inputs else None,
    )


def looks_like_probabilities(output: torch.Tensor) -> bool:
    """Whether every row is non-negative and sums to 1."""
    sums = output.detach().double().sum(dim=1)
    return bool((output >= 0).all()) and bool(((sums - 1).abs() < 1e-3).all())


def refuse_probabilities(module: nn.Module, output: np.ndarray) -> None:
    """Refuse a module that ends in a softmax, which would be taken twice."""
    if looks_like_probabilities(torch.from_numpy(output)):
        raise ValueError(
            f"{type(module).__name__} seems to give probabilities; let it return "
            "logits, without a softmax at its end."
        )


def warn_of_column_order(
    probabilities: np.ndarray, codes: np.ndarray, labels: np.ndarray
) -> None:
    """Warn where a module's columns fit the labels in another order far better."""
    n_columns = probabilities.shape[1]
    counts = np.zeros((n_columns, n_columns), dtype=np.int64)
    np.add.at(counts, (codes, probabilities.argmax(axis=1)), 1)
    fits = linear_sum_assignment(counts, maximize=True)[1]
    sizes = counts.sum(axis=1)
    moved = np.flatnonzero((fits != np.arange(n_columns)) & (sizes > 0))
    if len(moved) < 2 or (2 * counts[moved, fits[moved]] <= sizes[moved]).any():
        return
    label_of = {code: labels[codes == code][0].item() for code in moved.tolist()}
    pairs = ", ".join(
        f"label {label_of[code]!r} taken for column {code} fits {fits[code]}"
        for code in moved[:10].tolist()
    )
    warn_user(
        f"The module's columns fit the labels better in another order: {pairs}. "
        "Columns must be in the order of the sorted labels: then gradients are right. "
        "Give labels that number the module's columns, or reorder its outputs."
    )


def _check_logits(module: nn.Module, output: Any, n: int) -> None:
    shape = tuple(getattr(output, "shape", ()))
    if len(shape) != 2 or shape[0] != n or shape[1] < 2:
        raise ValueError(
            f"{type(module).__name__} gave an output of shape {shape} for {n} "
            "examples; it must give logits, shape (n, n_classes) with at least 2 "
            "columns."
        )


def _check_is_last(
    module: nn.Module, of_linear: torch.Tensor | None, output: torch.Tensor
) -> None:
    if of_linear is None or not torch.equal(of_linear, output):
        raise ValueError(
            f"The torch.nn.Linear that {type(module).__name__} registers last does not "
            "give its output: something comes after it, such as a softmax, or another "
            "layer is the head. Let the module return logits and define the head last, "
            "or use LogitGradients."
        )
