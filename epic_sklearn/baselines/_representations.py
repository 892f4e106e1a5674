"""What the rivals look at: a net's activations, or its probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import softmax

from ..gradients import GradientExtractor
from ..gradients.last_layer import last_layer, torch_module_of
from ..gradients.modules import forward


def _forward(
    model: Any, X: Any, batch_size: int, with_inputs: bool = False
) -> tuple[np.ndarray, np.ndarray | None]:
    """Logits and inputs of the last layer of a model that has a torch module."""
    module = torch_module_of(model)
    assert module is not None  # asked before
    data = getattr(model, "_module_input", lambda X: X)(X)
    logits, _, inputs = forward(module, data, batch_size, with_inputs)
    return logits, inputs


def _with_labels(values: np.ndarray, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Pair the values with what their number is checked against."""
    return values, values if y is None else np.asarray(y)


class LastLayerInputs(GradientExtractor):
    """Input of the last linear layer, (n, H): the penultimate activations.

    What spectral signatures, activation clustering and deep k-NN look at.

    Parameters
    ----------
    classifier : classifier, torch.nn.Module or None, default=None
        A torch module whose output is that of its last ``torch.nn.Linear``, a
        TorchClassifier, scikit-learn's MLPClassifier, or a linear classifier
        with ``coef_``, whose last layer's input is X itself. None takes
        logistic regression.
    batch_size : int, default=512
        Examples a forward pass of a torch module.

    Attributes
    ----------
    classifier_ : classifier or torch.nn.Module
        The fitted model.
    classes_ : ndarray of shape (C,)
        Labels, in the order of the model's columns.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neural_network import MLPClassifier
    >>> from epic_sklearn.baselines import LastLayerInputs
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier(20, max_iter=500, tol=0.01, random_state=0)
    >>> LastLayerInputs(net).fit(X, y).compute(X, y).shape
    (150, 20)
    """

    def _compute(self, model: Any, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        if torch_module_of(model) is None:
            return _with_labels(last_layer(model, X)[0], y)
        inputs = _forward(model, X, self.batch_size, with_inputs=True)[1]
        assert inputs is not None  # asked for
        return _with_labels(inputs, y)


class Probabilities(GradientExtractor):
    """Predicted probabilities, (n, C): for filters by loss or confidence.

    Parameters
    ----------
    classifier : classifier, torch.nn.Module or None, default=None
        A classifier with ``predict_proba``, or a torch module that returns
        logits. None takes logistic regression.
    batch_size : int, default=512
        Examples a forward pass of a torch module.

    Attributes
    ----------
    classifier_ : classifier or torch.nn.Module
        The fitted model.
    classes_ : ndarray of shape (C,)
        Labels, in the order of the model's columns.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from epic_sklearn.baselines import Probabilities
    >>> X, y = load_iris(return_X_y=True)
    >>> Probabilities().fit(X, y).compute(X, y).shape
    (150, 3)
    """

    def _compute(self, model: Any, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        if torch_module_of(model) is None:
            return _with_labels(np.asarray(model.predict_proba(X)), y)
        return _with_labels(softmax(_forward(model, X, self.batch_size)[0], axis=1), y)
