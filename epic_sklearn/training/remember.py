"""States along a training: remembered, and what gives their gradients."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from skorch import NeuralNet
from skorch.callbacks import Callback
from torch import nn

from ..filtered_classifier import FilteredClassifier
from ..gradients import GradientExtractor, as_extractor
from .batches import logits_of_net
from .torch_classifier import TorchClassifier


class RememberStates(Callback):
    """Remember a net's weights along its training, for :func:`epic_sklearn.trace`.

    For the `callbacks` of an :class:`EPICClassifier`, a :class:`TorchClassifier` or
    your own skorch net. The weights are kept on the CPU, as the net's `remembered_`,
    and are saved in a run's `checkpoint`: each state takes as much memory as they do.
    The learning rate of each is that of the module's last ``nn.Linear``.

    Parameters
    ----------
    every : int, default=5
        Epochs from one state to the next. The last epoch's is remembered, too.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from epic_sklearn import RememberStates, TorchClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = TorchClassifier(max_epochs=12, callbacks=[RememberStates()])
    >>> [state["epoch"] for state in model.fit(X, y).net_.remembered_]
    [5, 10, 12]
    """

    def __init__(self, every: int = 5) -> None:
        self.every = every

    def initialize(self) -> RememberStates:
        """Check the parameter."""
        if not (isinstance(self.every, int) and self.every >= 1):
            raise ValueError(
                f"every is {self.every!r}; give a whole number, 1 or more."
            )
        return self

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Forget another training's states."""
        # They are the net's: this callback may be given to several.
        if len(net.history) == 0 or not hasattr(net, "remembered_"):
            net.remembered_ = []

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Find the group of parameters of the last linear layer, or the first one."""
        layers = [p for p in net.module_.modules() if isinstance(p, nn.Linear)]
        groups = net.optimizer_.param_groups
        has_it = [
            any(p is x.weight for x in layers[-1:] for p in g["params"]) for g in groups
        ]
        self.group_ = has_it.index(True) if any(has_it) else 0

    def on_batch_begin(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        """Note the learning rate before a scheduler changes it."""
        if training:
            self.lr_ = float(net.optimizer_.param_groups[self.group_]["lr"])

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Remember the state after every so many epochs."""
        if len(net.history) % self.every == 0:
            self._remember(net)

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Remember the last one."""
        last = net.remembered_[-1]["epoch"] if net.remembered_ else 0
        if last < len(net.history):
            self._remember(net)

    def _remember(self, net: Any) -> None:
        weights = net.module_.state_dict()
        copied = {k: v.detach().to("cpu", copy=True) for k, v in weights.items()}
        state = {"epoch": len(net.history), "lr": self.lr_, "weights": copied}
        net.remembered_.append(state)


def states_of(model: Any, y: np.ndarray, rates: Any) -> tuple[np.ndarray, list[Any]]:
    """Learning rates (n_states,) and extractors of a model's states; see trace."""
    models = model if isinstance(model, list | tuple) else [model]
    states = [state for each in models for state in _remembered(each)]
    rates = np.array([rate for rate, _ in states] if rates is None else rates, float)
    if not states or rates.shape != (len(states),) or not (rates >= 0).all():
        raise ValueError(
            f"model gives {len(states)} states and learning_rates are {rates}; give "
            "at least one state, and one number, 0 or more, for each."
        )
    return rates, [_extractor(state, y) for _, state in states]


def _remembered(model: Any) -> list[tuple[float, Any]]:
    """Give what a model was, with learning rates; of a skorch net modules."""
    if isinstance(model, FilteredClassifier):
        return _remembered(model.classifier_)
    if isinstance(model, BaseSearchCV) and hasattr(model, "best_estimator_"):
        return _remembered(model.best_estimator_)
    if isinstance(model, Pipeline):
        return [
            (rate, Pipeline([*model.steps[:-1], ("state", state)]))
            for rate, state in _remembered(model[-1])
        ]
    net = getattr(model, "net_", model)
    if not isinstance(net, NeuralNet):
        return [(1.0, model)]
    if not net.initialized_:
        raise NotFittedError(f"This {type(net).__name__} is not fitted; fit it first.")
    remembered = getattr(net, "remembered_", [])
    states = [(state["lr"], _module_at(net, state)) for state in remembered]
    states = states or [(1.0, net.module_)]
    if net is model:
        return [(rate, logits_of_net(net, module)) for rate, module in states]
    return [(rate, _classifier_of(model, module)) for rate, module in states]


def _module_at(net: NeuralNet, state: dict[str, Any]) -> nn.Module:
    module = copy.deepcopy(net.module_)
    module.load_state_dict(state["weights"])
    return module


def _classifier_of(model: TorchClassifier, module: nn.Module) -> TorchClassifier:
    """Make the fitted classifier of a module of another time."""
    model = copy.copy(model)
    model.net_ = SimpleNamespace(module_=module)
    return model


def _extractor(given: Any, y: np.ndarray) -> Any:
    if isinstance(given, Mapping):
        raise TypeError(
            f"model holds weights ({type(given).__name__}); give modules, copies that "
            "have loaded them."
        )
    if isinstance(given, BaseEstimator) and not hasattr(given, "compute"):
        given = FrozenEstimator(given)
    extractor = as_extractor(given, "last_layer")
    is_ours = isinstance(extractor, GradientExtractor)
    if is_ours and isinstance(extractor.classifier, nn.Module | FrozenEstimator):
        # By all labels: those of some rows need not be all that there are.
        extractor = copy.copy(extractor).fit(None, y)
    return extractor
