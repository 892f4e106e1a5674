"""One row a training example: what was found of each, to be joined to a frame."""

from __future__ import annotations

from typing import Any

from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted


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


class RowsToFrame:
    """Mixin of what has dropped training rows: a frame of them."""

    _schedule: Any  # a DropSchedule

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
