"""A scikit-learn classifier round a torch module, trained by skorch."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted, validate_data
from skorch import NeuralNetClassifier
from torch import nn
from torch.utils.data import default_convert

from .._utils import (
    DocLinks,
    RandomState,
    keeps_last_fit,
    resolve_seed,
    warn_user,
)
from ..base import refuse_lazy
from ..gradients.items import is_dataset, kept_random, refuse_items
from ..gradients.labels import labels_and_digest
from ..gradients.modules import cast_for, forward
from ..validation import (
    check_labels,
    label_array,
    refuse_other_order,
    spelled_alike,
    to_numpy,
)
from .batches import (
    CodedItems,
    TrainingCollate,
    refuse_loaders_sampler,
    training_loader,
    weights_of,
)
from .checkpoint import RunCheckpoint, describe_run, has_stopped
from .distributed import each_for_itself
from .net import (
    EpochStart,
    LogitNet,
    check_criterion,
    dtype_of_input,
    make_module,
    own_criterion,
    refuse_validation,
)
from .sampler import EpochOrder


class TorchClassifier(ClassifierMixin, DocLinks, BaseEstimator):
    """Train a torch module as a scikit-learn classifier.

    Any labels, images as arrays of shape (n, channels, height, width). Input is cast to
    the precision of the module's weights, or to what it names as an attribute,
    ``input_dtype = torch.float64`` for example. The given module is never changed.
    The training itself is skorch's.

    Parameters
    ----------
    module : torch.nn.Module, class, callable or None, default=None
        An instance is copied, with its weights, as the beginning of training. A
        class or function is called with those of the keyword arguments
        ``n_features``, ``n_classes`` and ``input_shape`` that it takes. None
        gives a multilayer perceptron with 100 hidden units that standardises
        its input, in float64.
    max_epochs : int, default=40
        Passes over the kept examples.
    lr : float, default=0.1
        Learning rate.
    batch_size : int, default=128
        Examples a gradient step. A lone last example joins the batch before.
    optimizer : type of torch.optim.Optimizer, default=torch.optim.SGD
        Its class.
    optimizer_params : dict or None, default=None
        Its keyword arguments. None: Nesterov momentum 0.9 for SGD, nothing
        else for others.
    augment : callable or None, default=None
        Function of a batch (a float tensor) that gives the batch to train on.
        Not used for gradients or prediction. Random numbers it draws from torch
        follow `random_state`.
    criterion : torch.nn.CrossEntropyLoss or None, default=None
        The loss on the module's logits, with class weights, in the order of the sorted
        labels, or label smoothing of your own; copied. None: plain cross-entropy.
        Rules judge the gradients of plain cross-entropy whatever it is.
    callbacks : list or None, default=None
        Further skorch callbacks. An ``LRScheduler`` changes the learning rate:
        ``LRScheduler("MultiStepLR", milestones=[20, 30])`` divides it by 10 after
        these epochs; where it steps with each batch, epochs keep their length, whatever
        is dropped. ``EarlyStopping("train_loss")`` ends training; Ctrl-C, and any
        other KeyboardInterrupt, goes through.
    device : str, default="auto"
        "auto" takes a CUDA device where there is one, else the CPU.
    checkpoint : str, path or None, default=None
        File to which the run is saved after each epoch, by atomic replacement.
        If it exists, ``fit`` goes on from it, and ends as if never interrupted;
        a file of other data or settings is refused. `max_epochs` may grow: epochs of
        rounds that followed from it stay those of the saved run.
    random_state : int, RandomState instance or None, default=None
        Decides initial weights, order of examples, dropout, and augmentation by
        torch's random numbers (of a data set's items only those).
    verbose : int, default=0
        Above 0, skorch's line an epoch.

    Attributes
    ----------
    net_ : skorch.NeuralNetClassifier
        What was trained.
    module_ : torch.nn.Module
        The trained module.
    history_ : list of dict
        skorch's record of each epoch.
    classes_ : ndarray of shape (n_classes,)
        Labels, in the order of the module's columns.
    n_features_in_ : int
        Features of 2-D input; the first axis behind the examples otherwise.

    See Also
    --------
    EPICClassifier : Drops isolated examples while it trains.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from epic_sklearn import TorchClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> TorchClassifier(max_epochs=20, random_state=0).fit(X, y).score(X, y) > 0.9
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "module": [nn.Module, callable, None],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "optimizer": [type],
        "optimizer_params": [dict, None],
        "augment": [callable, None],
        "criterion": [nn.CrossEntropyLoss, None],
        "callbacks": [list, None],
        "device": [str, torch.device],
        "checkpoint": [str, os.PathLike, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        module: nn.Module | Callable[..., nn.Module] | None = None,
        *,
        max_epochs: int = 40,
        lr: float = 0.1,
        batch_size: int = 128,
        optimizer: type[torch.optim.Optimizer] = torch.optim.SGD,
        optimizer_params: dict[str, Any] | None = None,
        augment: Callable[[torch.Tensor], torch.Tensor] | None = None,
        criterion: nn.CrossEntropyLoss | None = None,
        callbacks: list[Any] | None = None,
        device: str = "auto",
        checkpoint: str | os.PathLike[str] | None = None,
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
        self.module = module
        self.max_epochs = max_epochs
        self.lr = lr
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.optimizer_params = optimizer_params
        self.augment = augment
        self.criterion = criterion
        self.callbacks = callbacks
        self.device = device
        self.checkpoint = checkpoint
        self.random_state = random_state
        self.verbose = verbose

    @keeps_last_fit
    def fit(
        self,
        X: Any,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train.

        Parameters
        ----------
        X : array-like of shape (n, ...), Dataset, DataLoader or datasets.Dataset
            Training examples, finite. The items of a data set are (x, label) or
            dictionaries with ``labels``, ``label`` or ``label_ids``, whose other
            entries are the module's keyword arguments; they are read when they are
            needed. Of a DataLoader the workers, pinned memory and collate function
            are used; one with a sampler of its own is refused.
        y : array-like of shape (n,), optional
            Labels: strings, integers or bools, at least two classes; in place of those
            of a data set's items, which None reads.
        sample_weight : array-like of shape (n,), optional
            How much each example's loss counts, 0 or more, in the order of the
            examples, a data set's, too. A step follows the weighted mean of its
            batch's losses, as in scikit-learn's MLPClassifier; a batch whose weights
            are all 0 gives no gradient. None: all count the same.

        Returns
        -------
        self : TorchClassifier

        Raises
        ------
        ValueError
            If a parameter is out of range, the data cannot be used, the module
            does not fit them, or training diverges.
        """
        self._check_parameters()
        data, classes, codes = self._check_X_y(X, y)
        weights = weights_of(sample_weight, to_numpy(X), classes, codes)
        if is_dataset(X):
            of_items = classes[codes] if y is None else None
            data = CodedItems(X, of_items, codes, weights)
            with kept_random():
                self._input_shape = data.shape[1:]
                data.warn_of_more_parts()
        seed = resolve_seed(self.random_state)
        device = str(self.device)
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        cuda = [torch.cuda.current_device()] if device.startswith("cuda") else []
        with kept_random(cuda), each_for_itself():
            torch.manual_seed(seed)
            module = make_module(self.module, data, len(classes), weights)
            check_criterion(self.criterion, len(classes), weights is not None)
            if isinstance(data, np.ndarray):
                data = cast_for(module, data)
            start = self._epoch_start(classes[codes], seed, module, data)
            # A data set's items go through its own loader's options.
            options = getattr(data, "options", {"of_arrays": True, "weights": weights})
            net = self._make_net(module, start, device, options)
            self._train(net, start.sampler, data, codes, weights)
        self._dtype, self._start = dtype_of_input(module, data), start
        self.net_, self.classes_ = net, classes
        return self

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Predict probabilities, shape (n, n_classes), of examples of shape (n, ...).

        The softmax of the logits, columns as in ``classes_``.
        """
        check_is_fitted(self)
        logits, _, _ = forward(self.module_, self._module_input(X))
        return softmax(logits, axis=1)

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Predict labels, shape (n,), of examples of shape (n, ...)."""
        columns = self.predict_proba(X).argmax(axis=1)
        return self.classes_[columns]

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Give the accuracy on examples (n, ...); y None: on a data set's labels."""
        y = labels_and_digest(X)[0] if y is None and is_dataset(X) else y
        return super().score(X, y, sample_weight)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "net_")

    def _module_input(self, X: Any) -> Any:
        """Validate new examples and cast them to what the module takes."""
        check_is_fitted(self)
        if is_dataset(X):
            return X
        refuse_lazy(X=X)
        X, is_flat = to_numpy(X), len(self._input_shape) == 1  # which is validated
        shape = self._input_shape if is_flat else np.shape(X)[1:]
        if shape != self._input_shape:
            raise ValueError(
                f"Examples have shape {shape}; the classifier was fitted on "
                f"examples of shape {self._input_shape}."
            )
        data = validate_data(self, X, reset=False, dtype=self._dtype, allow_nd=True)
        return torch.as_tensor(data) if self._dtype == "numeric" else data

    @property
    def module_(self) -> nn.Module:
        """The trained module."""
        return self.net_.module_

    @property
    def history_(self) -> list[dict[str, Any]]:
        """Skorch's record of each epoch."""
        return self.net_.history

    def _check_parameters(self) -> None:
        self._validate_params()
        if "lr" in (self.optimizer_params or {}):
            raise ValueError(
                f"optimizer_params has an 'lr', which would hold in place of lr="
                f"{self.lr}; give the learning rate as lr."
            )
        refuse_validation(self.callbacks)

    def _check_X_y(self, X: Any, y: Any) -> tuple[Any, np.ndarray, np.ndarray]:
        """Validate; examples, classes and codes of the labels, read where not given."""
        if is_dataset(X):
            refuse_loaders_sampler(X, type(self).__name__)
            labels, self._digest = labels_and_digest(X, y)
            return X, *check_labels(labels)
        refuse_items(X)
        refuse_lazy(X=X, y=y)
        refuse_other_order(X=X, y=y)
        if y is not None:
            y = label_array(y)
        # Not yet cast: the module decides how precise its input must be.
        data, labels = validate_data(
            self, to_numpy(X), y, allow_nd=True, ensure_min_samples=2
        )
        self._input_shape = data.shape[1:]
        return data, *check_labels(labels)

    def _epoch_start(
        self, labels: np.ndarray, seed: int, module: nn.Module, data: Any
    ) -> EpochStart:
        """Make what begins each epoch."""
        if (alike := spelled_alike(labels)) is not None:
            warn_user(alike)
        return EpochStart(EpochOrder(len(labels), seed))

    def _make_net(
        self, module: nn.Module, start: EpochStart, device: str, options: dict[str, Any]
    ) -> NeuralNetClassifier:
        params = self.optimizer_params
        if params is None and self.optimizer is torch.optim.SGD:
            params = {"momentum": 0.9, "nesterov": True}
        collate = options.get("collate_fn", default_convert)
        how = {**options, "collate_fn": TrainingCollate(self.augment, collate)}
        callbacks = [
            callback if isinstance(callback, tuple) else (f"user{i}", callback)
            for i, callback in enumerate(self.callbacks or [])
        ]
        return LogitNet(
            module,
            criterion=own_criterion(self.criterion, module),
            optimizer=self.optimizer,
            lr=self.lr,
            max_epochs=self.max_epochs,
            batch_size=self.batch_size,
            train_split=None,
            iterator_train=partial(training_loader, **how),
            iterator_train__sampler=start.sampler,
            callbacks=[("epic_epoch_start", start), *callbacks],
            device=device,
            verbose=int(self.verbose),
            **{f"optimizer__{k}": v for k, v in (params or {}).items()},
        )

    def _train(
        self,
        net: NeuralNetClassifier,
        sampler: EpochOrder,
        X: Any,
        codes: np.ndarray,
        weights: np.ndarray | None,
    ) -> None:
        if self.checkpoint is not None:
            run = describe_run(self, net, sampler, X, codes, weights)
            saver = RunCheckpoint(Path(self.checkpoint), sampler, run)
            net.callbacks.append(("epic_checkpoint", saver))
        net.initialize()
        net.notify("on_train_begin", X=X, y=codes)
        is_over = len(net.history) > 0 and has_stopped(net)
        n_epochs = 0 if is_over else self.max_epochs - len(net.history)
        # Not net.partial_fit, which takes any interrupt for the end of training:
        # Ctrl-C would leave a half-trained model that looks like a finished one.
        try:
            net.fit_loop(X, codes, epochs=n_epochs)
        except KeyboardInterrupt:
            if not has_stopped(net):
                raise
        net.notify("on_train_end", X=X, y=codes)
        net.iterator_train = training_loader  # or a fitted model would hold the data
        net.module_.eval()  # whoever calls it wants what predict gives

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.non_deterministic = self.random_state is None
        return tags
