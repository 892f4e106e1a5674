"""Gradient-feature extractors: what an example's gradient is.

All take a model, scikit-learn's or torch's, and give one row an example, in
the order of the examples. None needs a backward pass: at the last layer the
gradients of the cross-entropy loss have closed forms.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import issparse
from scipy.special import softmax
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.model_selection._search import BaseSearchCV
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted
from torch import nn

from .._utils import DocLinks, Parts
from ..validation import label_array
from .features import Gradients, OuterProductGradients, check_gradients
from .last_layer import (
    final_model,
    last_layer,
    refuse_fit_params,
    tells_when_fitted,
    thawed,
    torch_module_of,
    unwrapped,
    weights_to_last_step,
)
from .modules import (
    LastLayer,
    forward,
    refuse_probabilities,
    warn_of_batch_statistics,
    warn_of_column_order,
)
from .tables import default_classifier, warn_of_columns


def logit_gradients(probabilities: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Gradient of the cross-entropy loss with respect to the logits.

    Softmax minus one-hot, what the paper's published code clusters.

    Parameters
    ----------
    probabilities : ndarray of shape (n, C)
        Predicted probabilities.
    codes : ndarray of shape (n,), int
        Column of each example's label.

    Returns
    -------
    ndarray of shape (n, C)

    Raises
    ------
    ValueError
        If rows are no probabilities (they don't sum to 1), or codes no columns.

    Examples
    --------
    >>> import numpy as np
    >>> from epic_sklearn import logit_gradients
    >>> logit_gradients(np.array([[0.75, 0.25]]), np.array([1]))
    array([[ 0.75, -0.75]])
    """
    errors, codes = np.array(probabilities, dtype=np.float64), np.asarray(codes)
    _check_probabilities(errors, codes)
    # Not p - 1: softmax rounds 1 - p to 0 long before the other columns vanish. The sum
    # of the row is 0, so the label's column is minus the sum of the others.
    own, others = (np.arange(len(codes)), codes), errors.copy()
    others[own] = 0.0
    errors[own] = -others.sum(axis=1)
    return errors


def _check_probabilities(probabilities: np.ndarray, codes: np.ndarray) -> None:
    if probabilities.ndim != 2 or probabilities.shape[1] < 2:
        raise ValueError(
            f"probabilities have shape {probabilities.shape}; give (n, n_classes), of "
            "two classes np.c_[1 - p, p]."
        )
    n, n_columns = probabilities.shape
    is_column = codes.shape == (n,) and codes.dtype.kind in "iu"
    if not is_column or (n and not 0 <= codes.min() <= codes.max() < n_columns):
        raise ValueError(
            f"codes have shape {codes.shape} and dtype {codes.dtype}; give the column, "
            f"from 0 to {n_columns - 1}, of each of {n} examples' labels: of labels y "
            "np.searchsorted(model.classes_, y)."
        )
    if n_bad := int((~np.isfinite(probabilities).all(axis=1)).sum()):
        raise ValueError(
            f"probabilities contain NaN or infinity in {n_bad} of {n} rows. The input "
            "does, or the model diverged: lower its learning rate, or scale its input."
        )
    is_off = np.abs(probabilities.sum(axis=1) - 1) > 0.01
    is_off |= (probabilities < -0.01).any(axis=1)
    if is_off.any():
        raise ValueError(
            f"{int(is_off.sum())} of {n} rows of probabilities have a negative value "
            "or don't sum to 1; give probabilities of the classes, of logits their "
            "softmax."
        )


def _checked_labels(y: Any, of_items: np.ndarray | None) -> Any:
    """Refuse labels that are not those which a data set's items give."""
    given = np.asarray(y)
    if of_items is not None and given.shape == of_items.shape:
        are_comparable = all(a.dtype.kind in "iub" for a in (given, of_items))
        n_other = int((given != of_items).sum()) if are_comparable else 0
        if n_other:
            raise ValueError(
                f"{n_other} of {len(given)} labels are not those in the data set's "
                "batches: y is of other rows, or a collate function changes labels. "
                "Leave y out, and let the items hold the labels that the model gets."
            )
    return y


class GradientExtractor(Parts, DocLinks, BaseEstimator):
    """Base of the extractors that take gradients from a model: `LogitGradients`."""

    #: What rules may read of the gradients: "errors", "inputs", both or neither.
    gives: ClassVar[tuple[str, ...] | None] = ()
    _needs_layer: ClassVar[bool] = True

    classifier_: Any
    classes_: np.ndarray

    def __init__(
        self, classifier: BaseEstimator | nn.Module | None = None, batch_size: int = 512
    ) -> None:
        self.classifier = classifier
        self.batch_size = batch_size

    def fit(self, X: Any, y: ArrayLike, **fit_params: Any) -> GradientExtractor:
        """Fit a clone of the classifier; a torch module is taken as it is.

        Parameters
        ----------
        X : array-like or dataframe of shape (n, ...)
            Training examples, whatever the classifier takes.
        y : array-like of shape (n,)
            Labels.
        **fit_params : dict
            Passed to the classifier's ``fit``, ``sample_weight`` for example.

        Returns
        -------
        self : GradientExtractor

        Raises
        ------
        TypeError
            If the classifier is neither a torch module nor has
            ``predict_proba``.
        """
        if isinstance(self.classifier, nn.Module):
            refuse_fit_params("a torch module", fit_params)
            warn_of_batch_statistics(self.classifier)
            self.classifier_, self.classes_ = self.classifier, np.unique(y)
            return self
        classifier = self.classifier
        if classifier is None:
            classifier = default_classifier(X)
        self._check_classifier(classifier)
        params = weights_to_last_step(classifier, fit_params)
        self.classifier_ = clone(classifier).fit(X, y, **params)
        self.classes_ = self.classifier_.classes_
        return self

    def compute(self, X: Any, y: ArrayLike | None = None) -> Gradients:
        """Gradient features of examples, in their order.

        Parameters
        ----------
        X : array-like, torch Dataset or DataLoader
            Examples. Of a DataLoader only the data set, the batch size and the
            collate function are used: never its shuffling.
        y : array-like of shape (n,), optional
            Labels; may be left out for a data set that gives (x, label).

        Returns
        -------
        ndarray of shape (n, d) or OuterProductGradients

        Raises
        ------
        ValueError
            If a label was not seen in ``fit`` or a gradient is not finite.
        sklearn.exceptions.NotFittedError
            If `fit` has not been called and the classifier is no torch module.
        """
        if not hasattr(self, "classes_"):  # never fitted
            if not isinstance(self.classifier, nn.Module):
                check_is_fitted(self, "classifier_")
            self.classifier_ = self.classifier
        errors, layer = self._errors(*final_model(self.classifier_, X), y)
        return check_gradients(self._gradients(errors, layer), len(errors))

    def __call__(self, X: Any, y: ArrayLike | None = None) -> Gradients:
        """Compute them without `fit`, of a torch module; see :meth:`compute`."""
        if isinstance(self.classifier, nn.Module):
            warn_of_batch_statistics(self.classifier)
        return self.compute(X, y)

    _none_stands_for: ClassVar[dict[str, str]] = {
        "classifier": "LogisticRegression(max_iter=1000)"
    }

    def _check_classifier(self, classifier: Any) -> None:
        if not hasattr(classifier, "fit"):
            raise TypeError(
                f"{type(self).__name__} got {classifier!r} as classifier; give a "
                "scikit-learn classifier or a torch.nn.Module."
            )
        if not (hasattr(classifier, "predict_proba") or tells_when_fitted(classifier)):
            if isinstance(classifier, BaseSearchCV) and not classifier.refit:
                raise TypeError(f"{classifier!r} keeps no model; give refit=True.")
            inner = unwrapped(classifier)
            way_out = "Give a classifier that has it"
            if is_classifier(classifier) and hasattr(inner, "decision_function"):
                way_out = "Wrap it in sklearn.calibration.CalibratedClassifierCV"
                way_out += ", of which take LogitGradients" * self._needs_layer
            raise TypeError(
                f"{type(inner).__name__} has no predict_proba, which gradients "
                f"are computed from. {way_out}."
            )

    def _gradients(self, errors: np.ndarray, layer: Any) -> Gradients:
        """Gradients of errors (n, C), and the last layer where it is needed."""
        raise NotImplementedError

    def _codes(self, y: ArrayLike, n_columns: int) -> np.ndarray:
        """Column of each label."""
        labels, never_fitted = np.asarray(y), not hasattr(self, "classes_")
        classes = np.unique(labels) if never_fitted else self.classes_
        is_module = isinstance(self.classifier_, nn.Module)
        if is_module and (never_fitted or len(classes) != n_columns):
            # Not every class that the net knows need be there.
            numbered = np.issubdtype(classes.dtype, np.integer)
            classes = np.arange(n_columns) if numbered else classes
        if len(classes) != n_columns:
            raise ValueError(
                f"The model gives {n_columns} columns and there are {len(classes)} "
                f"labels ({classes[:10].tolist()}...); they must be the same. With a "
                "torch module, give integer labels that number its columns."
            )
        order = np.argsort(classes)  # a model's columns need not be sorted
        places = np.searchsorted(classes, labels, sorter=order)
        codes = order[places.clip(max=n_columns - 1)]
        unseen = np.unique(labels[classes[codes] != labels])
        if len(unseen):
            raise ValueError(
                f"y contains labels that the model doesn't know: {unseen.tolist()}; "
                f"it knows {np.asarray(classes).tolist()}."
            )
        return codes

    def _errors(
        self, model: Any, X: Any, y: Any
    ) -> tuple[np.ndarray, LastLayer | None]:
        """Logit gradients, and the last layer where it is needed."""
        module, with_inputs = torch_module_of(model), self._needs_layer
        if module is None:
            probabilities, labels = model.predict_proba(X), y
            layer = last_layer(model, X) if with_inputs else None
            if layer is not None and hasattr(model, "coef_") and not issparse(X):
                warn_of_columns(thawed(self.classifier_), layer.inputs)
        else:
            data = getattr(model, "_module_input", lambda X: X)(X)
            logits, labels, layer = forward(module, data, self.batch_size, with_inputs)
            refuse_probabilities(module, logits)
            probabilities = softmax(logits, axis=1)
            labels = labels if y is None else _checked_labels(y, labels)
        if labels is None:
            raise ValueError("y is missing: gradients depend on the labels.")
        labels = column_or_1d(label_array(labels))
        check_classification_targets(labels)
        if len(labels) != len(probabilities):
            raise ValueError(
                f"X has {len(probabilities)} examples and y {len(labels)} labels."
            )
        codes = self._codes(labels, probabilities.shape[1])
        if module is not None:
            warn_of_column_order(probabilities, codes, labels)
        return logit_gradients(probabilities, codes), layer


class LogitGradients(GradientExtractor):
    """Gradient with respect to the logits: softmax minus one-hot, (n, C).

    What the paper's published code clusters. Needs only probabilities, so any
    classifier with ``predict_proba`` serves.

    Parameters
    ----------
    classifier : classifier, torch.nn.Module or None, default=None
        A scikit-learn classifier with ``predict_proba`` is fitted in
        :meth:`fit` (wrap one that is trained already in
        ``sklearn.frozen.FrozenEstimator``). A torch module is used as it is,
        in evaluation mode; it must return logits, with columns in the order of
        the sorted labels. None takes logistic regression, of missing numbers and
        mixed columns behind an encoder; see :class:`EPICFilter`.
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
    >>> from epic_sklearn import LogitGradients
    >>> X, y = load_iris(return_X_y=True)
    >>> LogitGradients().fit(X, y).compute(X, y).shape
    (150, 3)
    """

    gives = ("errors",)
    _needs_layer = False

    def _gradients(self, errors: np.ndarray, layer: Any) -> Gradients:
        return errors


class LastLayerInputGradients(GradientExtractor):
    """Gradient with respect to the input of the last layer, (n, H).

    The paper's definition (section 3.1): (softmax - one-hot) times the last
    layer's weight matrix.

    Parameters
    ----------
    classifier : classifier, torch.nn.Module or None, default=None
        A torch module whose output is that of one of its ``torch.nn.Linear``, a
        TorchClassifier, scikit-learn's MLPClassifier, or a linear classifier
        with ``coef_``. None takes logistic regression.
    batch_size : see LogitGradients

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from epic_sklearn import LastLayerInputGradients
    >>> X, y = load_iris(return_X_y=True)
    >>> LastLayerInputGradients().fit(X, y).compute(X, y).shape
    (150, 4)
    """

    def _gradients(self, errors: np.ndarray, layer: Any) -> Gradients:
        return errors.astype(layer.weight.dtype) @ layer.weight


class LastLayerGradients(GradientExtractor):
    """Gradient with respect to the last layer's weights and bias.

    The outer product of softmax - one-hot (C) and the layer's input, with a 1 for
    the bias where it has one (H + 1), kept as :class:`OuterProductGradients`: the
    array of width C * (H + 1) is never built.

    Parameters
    ----------
    classifier, batch_size : see LastLayerInputGradients

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from epic_sklearn import LastLayerGradients
    >>> X, y = load_iris(return_X_y=True)
    >>> LastLayerGradients().fit(X, y).compute(X, y).shape
    (150, 15)
    """

    gives = ("errors", "inputs")

    def _gradients(self, errors: np.ndarray, layer: Any) -> Gradients:
        if not layer.has_bias:
            return OuterProductGradients(errors, layer.inputs)
        ones = np.ones((len(errors), 1), layer.inputs.dtype)
        return OuterProductGradients(errors, np.hstack([layer.inputs, ones]))
