"""Run a torch module over data, and tell which linear layer gives its logits."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.utils import assert_all_finite, check_array
from torch import nn

from .._utils import warn_user
from ..validation import label_array
from .head import Head, LastLayer, Rows
from .items import (
    LABEL_NAMES,
    inputs_and_labels,
    is_dataset,
    kept_random,
    ordered_batches,
    sizes_of,
    without_texts,
)

# Rows from which the spread of a feature can be told.
FEWEST_TO_TELL = 10


# Multiplications in a pass over a batch. Up to so many one thread of torch is fastest;
# up to so many one core is left to others: where it is busy, threads wait at every
# operation for the one that shares it, and small nets become ten times slower and more.
TINY, SMALL = 2**24, 2**28


@contextmanager
def torch_threads(n_threads: int) -> Iterator[None]:
    """Let torch compute on so many threads, and as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def threads_for(module: nn.Module, batch_size: int, shape: tuple[int, ...]) -> int:
    """Threads of torch for steps of training, by the work that they are at the most.

    `shape` is that of an example, () where it is of several parts and not known. A
    parameter is multiplied at most once at each of its places: pixels, or times.
    """
    n_threads = torch.get_num_threads()
    n_parameters = sum(part.numel() for part in module.parameters())
    work = batch_size * n_parameters * math.prod(sorted(shape)[1:])
    if not shape or work > SMALL:
        return n_threads
    return 1 if work <= TINY else max(1, n_threads - 1)


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Put every submodule in evaluation mode, and back as it was after.

    By their own ``train`` where they have one: it may do more, merge weights say.
    """
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            if type(part).train is not nn.Module.train:
                part.train(training)
        for part, training in modes:
            part.training = training


def input_dtype(module: nn.Module) -> torch.dtype:
    """Precision of a module's input: its ``input_dtype`` or that of its weights."""
    # A single number, such as CLIP's temperature, may be of another.
    weights = (weight.dtype for weight in module.parameters() if weight.ndim)
    return getattr(module, "input_dtype", next(weights, torch.float32))


def to_module(module: nn.Module, x: Any) -> Any:
    """Move a batch to the module's device, and real numbers to its precision."""
    if isinstance(x, Mapping):
        return {name: to_module(module, part) for name, part in x.items()}
    if type(x) in (list, tuple):
        return [to_module(module, part) for part in x]
    if not isinstance(x, torch.Tensor):
        return x
    parameter = next(module.parameters(), None)
    device = x.device if parameter is None else parameter.device
    return x.to(device, input_dtype(module) if x.is_floating_point() else None)


def logits_of(output: Any) -> Any:
    """Give the logits that a module returned: its output, or what it names so.

    As an entry ``"logits"`` of a dictionary or as an attribute, as transformers do.
    """
    if isinstance(output, Mapping):
        return output.get("logits", output)
    return getattr(output, "logits", output)


def apply(module: nn.Module, x: Any) -> torch.Tensor:
    """Call the module on a batch; a dictionary is its keyword arguments.

    But for texts of a name that the module doesn't know. Where only one entry is left
    and it doesn't know that, either, it is its input.
    """
    x = to_module(module, x)
    names = list(x)[:10] if isinstance(x, Mapping) else []
    if isinstance(x, Mapping):
        known = inspect.signature(module.forward).parameters
        for name in LABEL_NAMES:
            if name in known and known[name].default is inspect.Parameter.empty:
                raise TypeError(
                    f"{type(module).__name__} asks for {name!r}, and gradients are "
                    f"taken of its logits, without labels: let its forward have {name}="
                    "None, and give the loss only where there are some."
                )
        x = without_texts(x, known)
        if len(x) == 1 and not set(x) & set(known):
            (x,) = x.values()
    try:
        return logits_of(module(**x) if isinstance(x, Mapping) else module(x))
    except Exception as error:
        if names:
            unknown = [name for name in names if name not in known]
            error.add_note(
                f"Items are dictionaries: their entries but the label, {names}, are "
                f"keyword arguments of {type(module).__name__}.forward, a single one "
                "its argument."
                + f" It does not name {unknown}: leave them out, or let it take them."
                * bool(unknown)
            )
        elif isinstance(x, list | tuple):
            error.add_note(
                f"The input of an item is a {type(x).__name__} of {len(x)} parts, and "
                f"{type(module).__name__}.forward gets that as its argument. To pass "
                "them by name let items be dictionaries, with a label each."
            )
        raise


def cast_for(module: nn.Module, X: Any) -> np.ndarray:
    """Cast an array or dataframe to what a module takes, float32 as a rule.

    Refused where that takes from a feature what tells its values apart: its steps are
    then more than a tenth of the range of the middle half of the values.
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


class Body(nn.Module):
    """What a module gives the linear layer that gives its logits; see `Head`."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        Head(module)  # refuses a module without one
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Input (n, H) of the last layer, of a batch (n, ...)."""
        with Head(self.module) as head:
            return head.take(apply(self.module, x))


def forward(
    module: nn.Module, data: Any, batch_size: int = 512, with_inputs: bool = False
) -> tuple[np.ndarray, np.ndarray | None, LastLayer | None]:
    """Logits of every example, in example order, in evaluation mode.

    Of an array, tensor, Dataset or DataLoader. Returns logits (n, C), float64; the
    labels (n,) that the data set gives, or None; and, asked for `with_inputs`, the
    last layer's inputs and weight, float32 unless they are float64, else None.
    """
    if not (isinstance(data, torch.Tensor) or is_dataset(data)):
        data = torch.from_numpy(cast_for(module, data))
    logits, labels = Rows(), list[Any]()
    head = Head(module) if with_inputs else None
    with (
        torch.inference_mode(False),  # there no tensor says that it was changed
        torch.no_grad(),
        evaluation_mode(module),
        kept_random(waits=False),  # another thread may train for hours
        head or nullcontext(),
    ):
        for batch in ordered_batches(data, batch_size):
            x, y = inputs_and_labels(batch)
            output = apply(module, x)
            _check_logits(module, output, sizes_of(x) if y is None else {len(y)})
            if head is not None:
                _check_finite(module, output)
                head.take(output)
            logits.add(output.double().cpu())
            if y is not None:
                labels += y.tolist() if hasattr(y, "tolist") else y
        if not logits.memory:
            raise ValueError("There are no examples to take gradients of.")
        # A parametrised weight is made anew where it is read.
        layer = None if head is None else head.last_layer()
    return logits.take(), label_array(labels) if labels else None, layer


def looks_like_probabilities(output: torch.Tensor) -> bool:
    """Whether every row is non-negative and sums to 1."""
    sums = output.detach().double().sum(dim=1)
    return bool((output >= 0).all()) and bool(((sums - 1).abs() < 1e-3).all())


class LogOf(nn.Module):
    """Logits of a module that gives probabilities: their logarithm."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Run the module and take the logarithm."""
        probabilities = self.module(*args, **kwargs)
        if not looks_like_probabilities(probabilities):
            raise ValueError(
                "The net's criterion is torch.nn.NLLLoss, for which skorch takes the "
                "module's output as probabilities, but its rows are negative or don't "
                "sum to 1. If the module gives logits, set "
                "criterion=torch.nn.CrossEntropyLoss."
            )
        return probabilities.clamp_min(torch.finfo(torch.float32).tiny).log()


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
    predicted = probabilities.argmax(axis=1)
    own, first, rows = np.unique(codes, return_index=True, return_inverse=True)
    columns = np.union1d(own, predicted)  # of many there may be few
    counts = np.zeros((len(own), len(columns)), dtype=np.int64)
    np.add.at(counts, (rows, np.searchsorted(columns, predicted)), 1)
    at, sizes = linear_sum_assignment(counts, maximize=True)[1], counts.sum(axis=1)
    n_fit, fits = counts[np.arange(len(own)), at], columns[at]
    is_moved = fits != own
    if is_moved.sum() < 2 or (2 * n_fit <= sizes)[is_moved].any():
        return
    moved = np.flatnonzero(is_moved)[:10]
    triples = zip(labels[first[moved]].tolist(), own[moved], fits[moved], strict=True)
    pairs = ", ".join(
        f"label {label!r} taken for column {column} fits {other}"
        for label, column, other in triples
    )
    warn_user(
        f"The module's columns fit the labels better in another order: {pairs}. "
        "Columns must be in the order of the sorted labels: then gradients are right. "
        "Give labels that number the module's columns, or reorder its outputs."
    )


def warn_of_batch_statistics(module: nn.Module) -> None:
    """Warn where a module's output for an example depends on its batch."""
    for name, part in module.named_modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and not (
            part.track_running_stats
        ):
            warn_user(
                f"{type(module).__name__} has {type(part).__name__} {name!r} without "
                "running statistics (track_running_stats=False): an example's gradient "
                "depends on which others are in its batch. Track them, or normalise by "
                "example (GroupNorm, LayerNorm)."
            )
            return


def _check_logits(module: nn.Module, output: Any, sizes: set[int]) -> None:
    shape = tuple(getattr(output, "shape", ()))
    if len(shape) != 2 or shape[0] not in sizes or shape[1] < 2:
        n = " or ".join(map(str, sorted(sizes)))
        of_shape = f" of shape {shape}" if hasattr(output, "shape") else ""
        raise ValueError(
            f"{type(module).__name__} gave a {type(output).__name__}{of_shape} for "
            f"{n} examples; it must give logits, shape (n, n_classes) with at "
            "least 2 columns, or name them so: an entry or attribute 'logits'. Of two "
            "classes, too, each has its own: let the last layer have two outputs."
        )


def _check_finite(module: nn.Module, output: torch.Tensor) -> None:
    bad = int((~output.isfinite().all(dim=1)).sum())
    if bad:
        raise ValueError(
            f"{type(module).__name__} gave NaN or infinity for {bad} of {len(output)} "
            "examples: they have NaN or infinity, or the module diverged; then lower "
            "its learning rate or scale its input."
        )
