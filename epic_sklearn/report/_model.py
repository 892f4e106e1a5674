"""What the model of a fitted filter says of the rows that it was fitted on."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import softmax
from torch import nn

from ..gradients import GradientExtractor, Gradients
from ..gradients.modules import forward


def probabilities_of(
    extractor: Any, X: Any, labels: np.ndarray, gradients: Gradients
) -> tuple[np.ndarray, np.ndarray] | None:
    """Class probabilities (n, C) and the labels (C,) of their columns.

    Read from the gradients where these have the errors; X is not looked at then. None
    where an extractor's gradients come from no model that is known.
    """
    model: Any = getattr(extractor, "classifier_", None)
    if isinstance(extractor, GradientExtractor) and "errors" in (extractor.gives or ()):
        probabilities = np.array(getattr(gradients, "errors", gradients))
        columns = extractor._codes(labels, probabilities.shape[1])
        probabilities[np.arange(len(columns)), columns] += 1.0
        probabilities = probabilities.round(12)  # equal ones differ in the last bits
    elif isinstance(model, nn.Module):
        logits = np.asarray(forward(model, X, extractor.batch_size, False)[0])
        probabilities = softmax(logits, axis=1)
    elif hasattr(model, "predict_proba"):
        probabilities = np.asarray(model.predict_proba(X))
    else:
        return None
    n_columns = probabilities.shape[1]
    of_columns = np.asarray(getattr(extractor, "classes_", np.unique(labels)))
    # A net may know more classes than there are here: integers number its columns.
    is_all = len(of_columns) == n_columns
    return probabilities, of_columns if is_all else np.arange(n_columns)
