"""The report's warning of a model that learned nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import softmax
from torch import nn

from .._utils import accuracy_by_chance
from ..gradients.modules import forward


def probabilities_of(extractor: Any, X: Any) -> np.ndarray | None:
    """Class probabilities (n, C) by the extractor's model, if it has one."""
    model: Any = getattr(extractor, "classifier_", None)
    if isinstance(model, nn.Module):
        logits = np.asarray(forward(model, X, extractor.batch_size, False)[0])
        return softmax(logits, axis=1)
    if hasattr(model, "predict_proba"):
        return np.asarray(model.predict_proba(X))
    return None


def learned_nothing(probabilities: np.ndarray, codes: np.ndarray) -> str | None:
    """Say so where a model knows its training labels no better than by chance.

    Parameters
    ----------
    probabilities : ndarray of shape (n, C)
        Of the training rows.
    codes : ndarray of shape (n,), int
        Column of each row's label.

    Returns
    -------
    str or None
        The warning; None where the model has learned something.

    Examples
    --------
    >>> import numpy as np
    >>> from epic_sklearn.report._learned import learned_nothing
    >>> codes = np.arange(90) % 3
    >>> learned_nothing(np.eye(3)[codes], codes) is None
    True
    >>> learned_nothing(np.full((90, 3), 1 / 3), codes)[:34]
    'The model has learned next to noth'
    """
    found = accuracy_by_chance(probabilities, codes)
    if found is None:
        return None
    return (
        f"The model has learned next to nothing: it is right on {found[0]:.1%} of its "
        f"own training rows, and always naming the most frequent class is right on "
        f"{found[1]:.1%}. Then what is isolated says nothing about the rows: look for "
        "better features or a better model first."
    )


def model_warnings(detector: Any, X: Any) -> list[str]:
    """Warn where the model of a fitted filter has learned nothing.

    Parameters
    ----------
    detector : EPICFilter
        Fitted.
    X : array, sparse matrix or dataframe of shape (n, ...)
        The rows it was fitted on.

    Returns
    -------
    list of str
        None where its gradients come from no model that is known.
    """
    probabilities = probabilities_of(detector.extractor_, X)
    if probabilities is None:
        return []
    known = np.asarray(detector.extractor_.classes_).tolist()
    column = {label: i for i, label in enumerate(known)}
    labels = detector.classes_.tolist()
    codes = np.array([column[label] for label in labels])[detector._codes]
    warning = learned_nothing(probabilities, codes)
    return [] if warning is None else [warning]
