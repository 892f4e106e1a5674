"""Find the last layer of a model: its torch module, or its input and weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from sklearn import clone, get_config
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import ParameterGrid
from sklearn.model_selection._search import BaseSearchCV
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter
from torch import nn

from .modules import LastLayer, forward
from .tables import TableModel


def torch_module_of(model: Any) -> nn.Module | None:
    """Return the torch module that gives a model's logits, or None.

    A :class:`TorchClassifier` has one in ``module_``. So has a skorch net, but
    what that gives depends on the net's criterion; its ``predict_proba`` knows.
    """
    if isinstance(model, nn.Module):
        return model
    return model.module_ if hasattr(model, "_module_input") else None


def thawed(given: Any) -> Any:
    """Take an estimator out of a FrozenEstimator, if it is in one."""
    return given.estimator if isinstance(given, FrozenEstimator) else given


def unwrapped(model: Any) -> Any:
    """Give the last model of frozen estimators, searches and pipelines."""
    while isinstance(model, FrozenEstimator | BaseSearchCV | Pipeline):
        model = model[-1] if isinstance(model, Pipeline) else model.estimator
    return model


def tells_when_fitted(model: Any) -> bool:
    """Whether a model has its methods only then: a stack with its default end."""
    return getattr(unwrapped(model), "final_estimator", False) is None


def final_model(model: Any, X: Any) -> tuple[Any, Any]:
    """Unwrap what is fitted, frozen, searched or a pipeline: last model and input."""
    while isinstance(model, FrozenEstimator | BaseSearchCV | Pipeline):
        if isinstance(model, FrozenEstimator):
            model = model.estimator
        elif isinstance(model, BaseSearchCV):
            model = model.best_estimator_
        else:
            # imbalanced-learn's samplers change no new rows.
            steps = [s for s in model.steps[:-1] if not hasattr(s[1], "fit_resample")]
            kind = TableModel if isinstance(model, TableModel) else Pipeline
            X = kind(steps).transform(X) if steps else X
            model = model[-1]
    return model, X


def candidates(model: Any) -> Iterator[Any]:
    """Give the last model of frozen estimators and pipelines; of a search all kinds.

    Those are its estimator with the texts, a loss say, and estimators of its grid.
    """
    if isinstance(model, FrozenEstimator):
        found = model.estimator
        yield from candidates(getattr(found, "best_estimator_", found))
    elif isinstance(model, Pipeline):
        yield from candidates(model[-1])
    elif isinstance(model, BaseSearchCV):
        grids = getattr(model, "param_grid", getattr(model, "param_distributions", {}))
        for grid in [grids] if isinstance(grids, Mapping) else grids:
            lists = {k: v for k, v in grid.items() if isinstance(v, list | tuple)}
            kinds = {
                name: [v for v in values if isinstance(v, str) or hasattr(v, "fit")]
                for name, values in lists.items()
            }
            for params in ParameterGrid({k: v for k, v in kinds.items() if v}):
                one = model.estimator
                if params:
                    one = clone(one).set_params(**clone(params, safe=False))
                yield from candidates(one)
    else:
        yield model


def has_last_layer(model: Any, few: Any = None) -> bool:
    """Say whether a model, fitted or not, has a last linear layer that can be read.

    Of a search, whether it has one whatever is chosen. Of a torch module a `few`
    examples tell surely: something may come after it.
    """
    return all(_has_last_layer(each, few) for each in candidates(model))


def _has_last_layer(model: Any, few: Any) -> bool:
    if not isinstance(model, nn.Module):
        known = LogisticRegression | SGDClassifier | MLPClassifier
        # What has `_module_input` is a TorchClassifier.
        return isinstance(model, known) or hasattr(model, "_module_input")
    has_linear = any(isinstance(part, nn.Linear) for part in model.modules())
    if few is None or not has_linear:
        return has_linear
    try:
        forward(model, few, with_inputs=True)
    except ValueError:
        return False
    return True


def last_layer(model: Any, X: Any) -> LastLayer:
    """Read the last layer of a scikit-learn model."""
    inputs = X.toarray() if hasattr(X, "toarray") else np.asarray(X)
    if inputs.dtype not in (np.float32, np.float64):
        inputs = inputs.astype(np.float64)
    if isinstance(model, MLPClassifier):
        layers = [inputs, *[None] * (model.n_layers_ - 1)]
        inputs, weight = model._forward_pass(layers)[-2], model.coefs_[-1].T
    elif hasattr(model, "coef_"):
        weight = model.coef_
        weight = weight.toarray() if hasattr(weight, "toarray") else np.asarray(weight)
        _check_rows_are_classes(model, weight, X, inputs)
    else:
        raise TypeError(
            f"{type(model).__name__} has no last linear layer that this library can "
            "read: give a torch module, a TorchClassifier, an MLPClassifier or a "
            "linear classifier with coef_, or use LogitGradients: of a fitted model "
            "LogitGradients(FrozenEstimator(model))."
        )
    if len(weight) == 1:  # one logit z for two classes is logits -z/2 and z/2
        weight = np.vstack([-weight, weight]) / 2.0
    return LastLayer(inputs, weight, getattr(model, "fit_intercept", True))


def _check_rows_are_classes(
    model: Any, weight: np.ndarray, X: Any, inputs: np.ndarray
) -> None:
    """Refuse coefficients whose rows are not one logit a class.

    Those of a linear SVC are pairs of classes, of which three classes have three.
    """
    n_classes = len(model.classes_)
    is_layer = len(weight) == n_classes or (len(weight) == 1 and n_classes == 2)
    if is_layer and hasattr(model, "decision_function"):
        some = slice(0, 50)
        scores = np.asarray(model.decision_function(X[some]))
        expected = inputs[some] @ weight.T + np.asarray(model.intercept_)
        is_layer = scores.size == expected.size and np.allclose(
            scores.reshape(expected.shape), expected, 1e-3, 1e-6, equal_nan=True
        )
    if not is_layer:
        raise TypeError(
            f"The coef_ of {type(model).__name__}, of shape {weight.shape}, are not "
            f"the weights of one logit for each of {n_classes} classes (those of an "
            "SVC are of pairs of classes); use LogitGradients."
        )


def refuse_fit_params(what: str, fit_params: dict[str, Any]) -> None:
    """Refuse weights for what is not trained: they would be ignored."""
    if fit_params:
        raise TypeError(
            f"Gradients are those of {what}, which is not trained here and takes no "
            f"{', '.join(fit_params)}; leave it out."
        )


def weights_to_last_step(classifier: Any, fit_params: dict[str, Any]) -> dict[str, Any]:
    """Address weights, which a plain Pipeline does not take, to its last step."""
    routes = get_config()["enable_metadata_routing"]
    takes_none = isinstance(classifier, Pipeline) and not has_fit_parameter(
        classifier, "sample_weight"
    )
    if not takes_none or routes or "sample_weight" not in fit_params:
        return fit_params
    others = {k: v for k, v in fit_params.items() if k != "sample_weight"}
    last, _ = classifier.steps[-1]
    return {**others, f"{last}__sample_weight": fit_params["sample_weight"]}
