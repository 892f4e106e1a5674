"""The classifiers that a scan can take gradients from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from ..gradients import LastLayerGradients, LastLayerInputGradients, LogitGradients
from ._columns import MAX_CATEGORIES, Column
from ._errors import Unusable

EXTRACTORS = {
    "logit": LogitGradients,
    "last-layer-input": LastLayerInputGradients,
    "last-layer": LastLayerGradients,
}
HAVE_LAST_LAYER = ("logistic", "mlp")


def _classifier(name: str, seed: int) -> Any:
    if name == "mlp":
        return MLPClassifier(random_state=seed, max_iter=500)
    if name == "forest":
        return RandomForestClassifier(random_state=seed)
    if name == "boosting":
        return HistGradientBoostingClassifier(random_state=seed)
    return LogisticRegression(max_iter=1000, random_state=seed)


def make_model(name: str, seed: int, is_text: Sequence[bool]) -> Pipeline:
    """Scale numbers, indicate the values of text columns, classify.

    Parameters
    ----------
    name : {"logistic", "mlp", "forest", "boosting"}
        The classifier.
    seed : int
        Its random state.
    is_text : sequence of bool
        Which features number the values of a text column.

    Returns
    -------
    Pipeline
    """
    text = np.flatnonzero(is_text)
    prepare: Any = StandardScaler()
    if len(text):
        indicate = OneHotEncoder(
            max_categories=MAX_CATEGORIES,
            handle_unknown="infrequent_if_exist",
            sparse_output=False,
        )
        prepare = ColumnTransformer(
            [("text", indicate, text)], remainder=StandardScaler()
        )
    return make_pipeline(prepare, _classifier(name, seed))


def make_extractor(name: str, gradient: str, seed: int, is_text: Sequence[bool]) -> Any:
    """Gradient extractor round :func:`make_model`."""
    return EXTRACTORS[gradient](make_model(name, seed, is_text))


def check_model(name: str, gradient: str) -> None:
    """Refuse a gradient that the model does not have."""
    if gradient != "logit" and name not in HAVE_LAST_LAYER:
        raise Unusable(
            f"A model {name!r} has no last linear layer to take {gradient!r} gradients "
            f"from; choose --model {' or '.join(HAVE_LAST_LAYER)}, or --gradient-of "
            "logit."
        )


def join(columns: Sequence[Column]) -> np.ndarray:
    """All columns side by side, shape (n, d); a single block as it is."""
    if len(columns) == 1 and columns[0].values.ndim == 2:
        return columns[0].values
    return np.column_stack([column.values for column in columns])


def notes_on(columns: Sequence[Column]) -> list[str]:
    """Tell what a user should know of how the columns are read."""
    notes = []
    for column in columns:
        if column.categories is not None:
            found = len(column.categories)
            rare = f", the rarer ones as one (of {found})"
            notes.append(
                f"Column {column.name!r} is text: one indicator for each of "
                f"{min(found, MAX_CATEGORIES)} values{rare * (found > MAX_CATEGORIES)}."
            )
        elif column.values.ndim == 1 and _is_count(column.values):
            notes.append(
                f"Column {column.name!r} counts the rows; if it is no feature, leave "
                "it out with --exclude."
            )
    return notes


def _is_count(values: np.ndarray) -> bool:
    steps = np.diff(values.astype(np.float64))
    return len(steps) > 1 and bool((steps == 1).all())
