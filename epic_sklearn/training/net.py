"""Parts of the skorch net that our classifiers train: module, loss, epochs."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, EarlyStopping, LRScheduler
from torch import nn

from .._utils import warn_user
from ..gradients import EXTRACTORS, GradientExtractor, Gradients
from ..gradients.head import NoLastLayer
from ..gradients.items import take_items
from ..gradients.modules import (
    apply,
    forward,
    input_dtype,
    refuse_probabilities,
    threads_for,
    torch_threads,
    warn_of_batch_statistics,
)
from ..rules import Rule
from ..rules.base import preferred_gradients, refuse_what_lacks
from .batches import CodedItems, Weighted
from .distributed import place


def gradients_for(rule: Rule, gradients: str | None) -> str:
    """Which gradients to take while training: those asked for, or the rule's choice.

    Refuses a rule that can't use those asked for.
    """
    if gradients is None:
        return preferred_gradients(rule)
    advice = f"gradients is {gradients!r}; set gradients='last_layer', or None."
    refuse_what_lacks(rule, EXTRACTORS[gradients].gives, advice)
    return gradients


def unnamed(callbacks: Iterable[Any] | None) -> list[Any]:
    """Give skorch callbacks without their names, of classes instances."""
    given = [each[1] if isinstance(each, tuple) else each for each in callbacks or ()]
    return [each() if isinstance(each, type) else each for each in given]


def steps_by_batch(callbacks: Iterable[Any]) -> bool:
    """Whether a learning rate is planned by steps, of which epochs must keep theirs."""
    return any(
        isinstance(callback, LRScheduler) and callback.step_every == "batch"
        for callback in callbacks
    )


def refuse_validation(callbacks: list[Any] | None) -> None:
    """Refuse early stopping by examples that are set aside: there are none."""
    for callback in unnamed(callbacks):
        watched = getattr(callback, "monitor", None)
        if isinstance(callback, EarlyStopping) and str(watched).startswith("valid"):
            raise ValueError(
                f"EarlyStopping watches {watched!r}, and all examples are trained on; "
                "give EarlyStopping(monitor='train_loss')."
            )


N_HIDDEN = 100


class Extraction:
    """What takes a module's gradients while it trains, tried on a `few` examples.

    Those asked for, or the rule's choice; then, if the module has no last layer that
    can be read, or none any more, those of the logits, where the rule can do without.
    Warns of these, and where gradients depend on the batch.

    Attributes
    ----------
    name : str
        Which are taken now.
    """

    def __init__(
        self, rule: Rule, gradients: str | None, module: nn.Module, few: Any
    ) -> None:
        warn_of_batch_statistics(module)
        self.name = gradients_for(rule, gradients)
        self._must_stay = gradients is not None or "inputs" in rule.needs
        logits, _, _ = forward(module, few)
        refuse_probabilities(module, logits)
        try:
            forward(module, few, with_inputs=self.kind._needs_layer)
        except NoLastLayer:
            if self._must_stay:
                raise
            self.name = "logit"
            warn_user(
                f"No last layer of {type(module).__name__} can be read, so gradients "
                "of its logits are judged, which tell less. If you can, let it end in "
                "the nn.Linear that gives the logits; gradients='logit' takes these "
                "without this warning."
            )

    @property
    def kind(self) -> type[GradientExtractor]:
        """The extractor of that name."""
        return EXTRACTORS[self.name]

    def __call__(self, module: nn.Module, data: Any, labels: Any) -> Gradients:
        """Give the gradients of all examples, of the module as it is now."""
        try:
            return self.kind(module).compute(data, labels)
        except NoLastLayer as error:
            # Of several processes each sees some of the examples only.
            if self._must_stay or place()[1] > 1:
                raise
            warn_user(f"{error} From now on those are taken.")
        self.name = "logit"
        return self(module, data, labels)


class MultilayerPerceptron(nn.Module):
    """Standardise, one hidden layer, logits.

    Each feature is standardised by (weighted) mean and standard deviation of the
    training examples, so that one learning rate suits any unit.
    """

    # What tells large numbers apart may be gone in float32.
    input_dtype = torch.float64
    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(
        self, X: np.ndarray, n_classes: int, weights: np.ndarray | None = None
    ) -> None:
        super().__init__()
        flat = X.reshape(len(X), -1).astype(np.float64)
        mean = np.average(flat, axis=0, weights=weights)
        scale = np.sqrt(np.average((flat - mean) ** 2, axis=0, weights=weights))
        scale[scale <= 1e-12 * np.abs(flat).max(axis=0)] = 1.0  # constant features
        scale[scale == 0.0] = 1.0
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("scale", torch.tensor(scale))
        self.layers = nn.Sequential(
            nn.Linear(flat.shape[1], N_HIDDEN),
            nn.ReLU(),
            nn.Linear(N_HIDDEN, n_classes),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of a batch, shape (n, n_classes)."""
        standard = (x.flatten(1).double() - self.mean) / self.scale
        return self.layers(standard.to(next(self.layers.parameters()).dtype))


class LogitNet(NeuralNetClassifier):
    """skorch's net, which takes the logits out of whatever the module returns."""

    def infer(self, x: Any, **fit_params: Any) -> torch.Tensor:
        """Call the module on a batch, cast and moved to where it is."""
        output = apply(self.module_, x.x if isinstance(x, Weighted) else x)
        if not torch.is_tensor(output):
            raise TypeError(
                f"{type(self.module_).__name__} gave a {type(output).__name__} in "
                f"{'training' if self.module_.training else 'evaluation'} mode; it "
                "must give logits, or name them so: an entry or attribute 'logits'."
            )
        return output

    def fit_loop(self, X: Any, *args: Any, **kwargs: Any) -> Any:
        """Train on fewer threads of torch where more would be slower."""
        n_threads = threads_for(self.module_, self.batch_size, X.shape[1:])
        with torch_threads(n_threads):
            return super().fit_loop(X, *args, **kwargs)

    def _set_training(self, training: bool = True) -> None:
        # skorch asks before each batch, and all parts of a small net take as long to
        # tell as a twentieth of its step.
        if self.module_.training != training:
            super()._set_training(training)

    def get_loss(self, y_pred: Any, y_true: Any, X: Any = None, **kwargs: Any) -> Any:
        """Mean of the losses, weighted where the batch says how."""
        loss = self.criterion_
        if not isinstance(X, Weighted):
            if loss.weight is None and loss.ignore_index < 0:
                return super().get_loss(y_pred, y_true, X, **kwargs)
            X = Weighted(X, torch.ones(len(y_true)))  # some classes may weigh nothing
        codes, weights = y_true.to(y_pred.device), X.weights.to(y_pred)
        # As torch's own mean has it.
        total = weights * (codes != loss.ignore_index)
        if loss.weight is not None:
            total = total * loss.weight[codes]
        smallest = torch.finfo(total.dtype).tiny  # all may weigh nothing
        losses = losses_of(loss, y_pred, codes)
        return (weights * losses).sum() / total.sum().clamp_min(smallest)


def own_criterion(
    given: nn.CrossEntropyLoss | None, module: nn.Module
) -> nn.CrossEntropyLoss:
    """Copy the loss, in the precision of the module's weights."""
    loss = copy.deepcopy(given) or nn.CrossEntropyLoss()
    return loss.to(dtype=next(module.parameters()).dtype)


def losses_of(
    criterion: nn.CrossEntropyLoss, logits: torch.Tensor, codes: torch.Tensor
) -> torch.Tensor:
    """Loss of each example, shape (n,), of a criterion that gives their mean."""
    criterion = copy.copy(criterion)
    criterion.reduction = "none"
    return criterion(logits, codes)


def dtype_of_input(module: nn.Module, X: np.ndarray | CodedItems) -> Any:
    """Choose what new examples are cast to; integers stay where training had them."""
    if isinstance(X, CodedItems) and X.are_integers:
        return "numeric"
    return np.float64 if input_dtype(module) is torch.float64 else np.float32


def check_criterion(
    loss: nn.CrossEntropyLoss | None, n_classes: int, is_weighted: bool
) -> None:
    """Refuse class weights of other classes, and losses that can't be weighted."""
    if loss is None:
        return
    if loss.reduction != "mean":
        raise ValueError(
            f"criterion has reduction={loss.reduction!r}; give reduction='mean'."
        )
    if loss.weight is not None and len(loss.weight) != n_classes:
        raise ValueError(
            f"criterion has {len(loss.weight)} class weights; y has {n_classes} "
            "classes: give one weight a class, in the order of the sorted labels."
        )
    if not is_weighted:
        return
    of_classes = torch.ones(n_classes) if loss.weight is None else loss.weight
    codes = torch.arange(2, device=of_classes.device)
    shape = losses_of(loss, of_classes.expand(2, -1), codes).shape
    if shape != (2,):
        raise ValueError(
            f"sample_weight is given and criterion, {type(loss).__name__} with "
            f"reduction='none', gives shape {tuple(shape)} for two examples; let "
            "it give each example's loss, or leave sample_weight out."
        )


def make_module(
    given: Any,
    X: np.ndarray | CodedItems,
    n_classes: int,
    weights: np.ndarray | None = None,
) -> nn.Module:
    """Copy or make the module, as TorchClassifier says, and try it on two examples."""
    if given is None:
        if isinstance(X, CodedItems):
            raise TypeError(
                "module is None, which standardises features that lie in memory; give "
                "a module for a data set."
            )
        module: Any = MultilayerPerceptron(X, n_classes, weights)
    elif isinstance(given, nn.Module):
        module = _copy_of(given)
    else:
        module = _call_with_sizes(given, X, n_classes)
    if not isinstance(module, nn.Module):
        raise TypeError(f"module gave {module!r}, which is no torch.nn.Module.")
    _try_module(module, X, n_classes)
    if not any(weight.requires_grad for weight in module.parameters()):
        raise ValueError(
            f"{type(module).__name__} has no weights to train: none has requires_grad."
        )
    return module


def _copy_of(module: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(module)
    except Exception as error:
        raise TypeError(
            f"The module, an instance of {type(module).__name__}, cannot be copied, "
            f"and is never changed itself ({error}); give a function that makes it."
        ) from error


def _call_with_sizes(
    make: Callable[..., Any], X: np.ndarray | CodedItems, n_classes: int
) -> Any:
    """Call a class or function with those of the sizes that it takes by name."""
    offered: dict[str, Any] = {"n_classes": n_classes}
    shape = X.shape[1:]
    if shape:  # not of dictionaries
        offered |= {"n_features": int(np.prod(shape)), "input_shape": shape}
    bound = getattr(make, "keywords", {})  # of a functools.partial: they hold
    signature = inspect.signature(make)
    taken = {
        name: size
        for name, size in offered.items()
        if name in signature.parameters and name not in bound
    }
    try:
        signature.bind(**taken)
    except TypeError as error:
        raise TypeError(
            f"module: {error}; a class or function is given those of "
            f"{list(offered)} that it takes by name. Wrap it in a function or "
            "functools.partial."
        ) from error
    return make(**taken)


def first_two(X: np.ndarray | CodedItems) -> Any:
    """Take two examples, to try a module on."""
    if isinstance(X, CodedItems):
        return take_items(X.loader(2), np.arange(2))
    return X[:2]


def _try_module(module: nn.Module, X: np.ndarray | CodedItems, n_classes: int) -> None:
    """Refuse a module that does not give logits of these classes."""
    try:
        logits, _, _ = forward(module, first_two(X))
    except (RuntimeError, IndexError) as error:
        way_out = ""
        if isinstance(X, CodedItems) and X.are_integers:
            way_out = (
                " Whole numbers of a data set are not cast; if the module takes "
                "floats, let the items hold these."
            )
        elif isinstance(X, np.ndarray) and X.dtype.kind in "iu":
            way_out = (
                " Whole numbers of an array are cast to floats; if they are to stay, "
                "as for nn.Embedding, give a TensorDataset."
            )
        raise ValueError(
            f"The module cannot take examples of shape {X.shape[1:]}: {error}.{way_out}"
        ) from error
    if logits.shape[1] != n_classes:
        raise ValueError(
            f"The module gives {logits.shape[1]} logits and y has {n_classes} classes; "
            "give a module with one logit a class (a class or function is told "
            "n_classes)."
        )
    refuse_probabilities(module, logits)


class EpochStart(Callback):
    """Begin each epoch: drop if a round is due, set the order of examples.

    By an EpochOrder; or by an EPICSubsetSampler, with an Extraction of its gradients.
    """

    def __init__(self, sampler: Any, extraction: Any = None) -> None:
        self.sampler, self.extraction = sampler, extraction

    def on_epoch_begin(self, net: Any, dataset_train: Any, **kwargs: Any) -> None:
        """Step; record how many examples are kept for skorch's table of epochs.

        Then each part is in training mode by its own ``train``, which may leave some
        of its parts as they are.
        """

        def gradients() -> Any:
            X, y = dataset_train, None
            if isinstance(X, CodedItems):
                X = X.loader(net.batch_size)
            else:
                X, y = X.X, X.y
            return self.extraction(net.module_, X, y)

        self.sampler.step(len(net.history) - 1, gradients)
        if self.extraction is not None:
            net.history.record("n_kept", int(self.sampler.keep.sum()))
        net.module_.train()

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Stop a run that has diverged."""
        loss = net.history[-1, "train_loss"]
        if not math.isfinite(loss):
            raise ValueError(
                f"Training diverged: the loss is {loss} in epoch {len(net.history)}. "
                "Lower lr, or scale the input; of a data set look for items with NaN."
            )
