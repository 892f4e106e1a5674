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


def model_probabilities(
    gradients: Gradients, codes: np.ndarray, n_classes: int
) -> np.ndarray | None:
    """Probabilities (n, C) that a model gave, of gradients that hold them, or None.

    Softmax minus one-hot does: a row sums to 0 and is negative in its label's column
    alone.
    """
    outer = isinstance(gradients, OuterProductGradients)
    errors: Any = gradients.errors if outer else gradients  # type: ignore[union-attr]
    if errors.shape[1] != n_classes:
        return None
    probabilities = np.array(errors, dtype=np.float64)
    probabilities[np.arange(len(codes)), codes] += 1
    sums = probabilities.sum(axis=1)
    is_right = probabilities.min() >= -1e-6 and np.allclose(sums, 1, rtol=0, atol=1e-3)
    return probabilities if is_right else None


class RowsToFrame:
    """Mixin of what has dropped training rows: a frame of them."""

    _schedule: Any  # a DropSchedule

    @property
    def _seen_(self) -> str | None:
        """Digest of the rows that it dropped from, where that is known."""
        return self._schedule.seen

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
        schedule = self._schedule
        columns = {
            "label": schedule.classes[schedule.codes],
            "keep": schedule.keep,
            f"dropped_at_{schedule.clock}": schedule.dropped_at_epoch,
            "isolation_score": schedule.isolation_score,
        }
        if schedule.predictions is not None:
            predicted, probability = schedule.predictions
            columns["predicted"] = schedule.classes[predicted]
            columns["probability"] = probability
        return as_frame(columns | schedule.details, schedule.index)
