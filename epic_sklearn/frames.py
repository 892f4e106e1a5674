"""One row a training example: what was found of each, to be joined to a frame."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from .gradients import Gradients, OuterProductGradients


def as_frame(columns: Any, index: Any = None) -> Any:
    """Make a pandas DataFrame; an ImportError says what to install."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError("A dataframe needs pandas: pip install pandas.") from error
    return pd.DataFrame(columns, index=index)


def index_of(*given: Any) -> Any:
    """Index of the first pandas object, or None."""
    return next((part.index for part in given if hasattr(part, "iloc")), None)


def predictions_of(
    gradients: Gradients, codes: np.ndarray, n_classes: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Predicted class (n,) and its probability (n,), of gradients that hold them.

    Softmax minus one-hot does: a row sums to 0 and is negative in its label's column
    alone. None for other gradients.

    Examples
    --------
    >>> import numpy as np
    >>> from epic_sklearn.frames import predictions_of
    >>> predictions_of(np.array([[0.75, -0.75], [0.25, -0.25]]), np.array([1, 1]), 2)
    (array([0, 1]), array([0.75, 0.75]))
    """
    outer = isinstance(gradients, OuterProductGradients)
    errors: Any = gradients.errors if outer else gradients  # type: ignore[union-attr]
    if errors.shape[1] != n_classes:
        return None
    rows = np.arange(len(codes))
    probabilities = np.array(errors, dtype=np.float64)
    probabilities[rows, codes] += 1
    sums = probabilities.sum(axis=1)
    if probabilities.min() < -1e-6 or not np.allclose(sums, 1, rtol=0, atol=1e-3):
        return None
    predicted = probabilities.argmax(axis=1)
    return predicted, probabilities[rows, predicted]


class RowsToFrame:
    """Mixin of what has dropped training rows: a frame of them."""

    _index: Any = None
    _predictions: tuple[np.ndarray, np.ndarray] | None = None

    def to_frame(self) -> Any:
        """Give one row a training example, to be joined to your own dataframe.

        Returns
        -------
        pandas.DataFrame
            With the index of the X or y that was fitted on, where that is a pandas
            object, else row numbers. Columns: ``label``; ``keep``;
            ``dropped_at_round``, or ``dropped_at_epoch`` of what trains, -1 where no
            round dropped the row; ``isolation_score``; ``predicted`` and
            ``probability``, what the model took the row for in the last round, where
            the gradients know; and what else the rule says, such as
            ``cluster_size``.

        Raises
        ------
        ImportError
            If pandas is missing.
        """
        if isinstance(self, BaseEstimator):
            check_is_fitted(self)
        given: Any = self
        end, codes = (
            ("_", given._codes) if hasattr(self, "classes_") else ("", given.codes)
        )
        rounds = hasattr(self, "dropped_at_round_")
        when = "dropped_at_round" if rounds else "dropped_at_epoch"
        classes = getattr(self, f"classes{end}")
        columns = {"label": classes[codes]}
        for name in ("keep", when, "isolation_score"):
            columns[name] = getattr(self, name + end)
        if self._predictions is not None:
            predicted, probability = self._predictions
            columns.update(predicted=classes[predicted], probability=probability)
        columns.update(getattr(self, f"details{end}"))
        return as_frame(columns, self._index)
