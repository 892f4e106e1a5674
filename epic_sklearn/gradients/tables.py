"""Tables as they come: skrub makes numbers of texts, dates, categories and gaps."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Self

import numpy as np
from scipy.sparse import issparse
from sklearn import config_context, get_config
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from .._utils import warn_user
from ..validation import NUMBERS

# A column's spread over the median of all, from which it decides alone.
MUCH_WIDER = 100
N_SPREAD = 10_000  # rows that tell it
# Spreads from the median up to which a value counts as it is.
FAR = 10
NESTED = (list, tuple, dict, set, np.ndarray)
SKRUB_FOLDER, ITS_OLD_NAME = "SKB_DATA_DIRECTORY", "SKRUB_DATA_DIRECTORY"


class TableModel(Pipeline):
    """A pipeline that fills in missing numbers itself.

    Its encoders' parts give arrays to each other, whatever `transform_output` says.
    """

    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Fit the encoder, then the classifier."""
        with config_context(transform_output="default"):
            return super().fit(X, y, **params)

    def transform(self, X: Any, **params: Any) -> Any:
        """Encode rows; of the encoder alone, without the classifier."""
        with config_context(transform_output="default"):
            return super().transform(X, **params)

    def predict(self, X: Any, **params: Any) -> Any:
        """Predict labels."""
        with config_context(transform_output="default"):
            return super().predict(X, **params)

    def predict_proba(self, X: Any, **params: Any) -> Any:
        """Predict probabilities."""
        with config_context(transform_output="default"):
            return super().predict_proba(X, **params)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


class LimitFar(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Move values far from the rest of their column to where far begins.

    Standardised as they are, a few huge ones decide the scale, and all other rows
    look alike to the model. Far is beyond ten times the median deviation from the
    median, of the values that differ from it: a column may be 0 nearly everywhere.
    """

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from where to where each column's values count as they are."""
        X = validate_data(self, X, dtype=np.float64, ensure_all_finite="allow-nan")
        self.low_, self.high_ = np.array([_limits(column) for column in X.T]).T
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Limit the values (n, d); missing ones stay so."""
        check_is_fitted(self)
        how: Any = {"dtype": np.float64, "ensure_all_finite": "allow-nan"}
        return np.clip(
            validate_data(self, X, reset=False, **how), self.low_, self.high_
        )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def _limits(values: np.ndarray) -> tuple[float, float]:
    """Least and largest of a column's values (n,) that count as they are."""
    values = values[~np.isnan(values)]
    middle = np.median(values) if len(values) else 0.0
    away = np.abs(values - middle)
    away = away[away > 0]
    # Of two values the lower one: the other may be the hostile one.
    reach = FAR * np.quantile(away, 0.5, method="lower") if len(away) else np.inf
    return middle - reach, middle + reach


def _standardised() -> Any:
    """Standardise numbers, of which few cannot decide how."""
    return make_pipeline(LimitFar(), StandardScaler())


def _with_bools_as_floats(X: Any) -> Any:
    """Bools among numbers, which MissingIndicator refuses; frames stay frames."""
    return X.cast(float) if hasattr(X, "cast") else X.astype(np.float64)


def _with_gaps() -> Any:
    """Fill missing numbers by the median, standardise, and indicate them beside.

    Indicators stay 0 and 1: standardised, a rare gap would outweigh all numbers.
    """
    fill = SimpleImputer(strategy="median", keep_empty_features=True)
    gaps = MissingIndicator(error_on_new=False)
    floats = FunctionTransformer(_with_bools_as_floats).set_output(transform="default")
    return make_pipeline(floats, make_union(make_pipeline(fill, _standardised()), gaps))


@contextmanager
def _folder_of_skrub() -> Iterator[None]:
    """Let its import make no folder in the home directory; one that is there stays."""
    is_named = any(name in os.environ for name in (SKRUB_FOLDER, ITS_OLD_NAME))
    if is_named or (Path.home() / "skrub_data").is_dir():
        yield
        return
    os.environ[SKRUB_FOLDER] = gettempdir()
    try:
        yield
    finally:
        del os.environ[SKRUB_FOLDER]


def table_encoder(X: Any, seed: int = 0, has_missing: bool = True) -> Any:
    """Make an encoder of a table: numbers are standardised, gaps filled and indicated.

    A dataframe's other columns are encoded by skrub's ``TableVectorizer``, free texts
    with this seed. ImportError if it is missing.
    """
    numbers = _with_gaps() if has_missing else _standardised()
    if not hasattr(X, "columns"):
        return numbers
    try:
        with _folder_of_skrub():
            from skrub import DatetimeEncoder, StringEncoder, TableVectorizer
    except ImportError as error:
        raise ImportError(
            "X has columns that are no plain numbers, which skrub would encode: pip "
            "install 'epic-sklearn[cli]', or give a pipeline that encodes them."
        ) from error
    plain = [str(c) for c in X.columns if np.asarray(X[c]).dtype.kind in NUMBERS]
    return TableVectorizer(
        numeric=_with_gaps(),
        high_cardinality=StringEncoder(random_state=seed),
        datetime=make_pipeline(DatetimeEncoder(), SimpleImputer(), _standardised()),
        # As float64, and not parsed again.
        specific_transformers=[(numbers, plain)],
    )


def _checked_columns(X: Any) -> list[np.ndarray]:
    """Columns of a dataframe; nested ones are refused."""
    columns = [np.asarray(X[name]) for name in X.columns]
    for name, column in zip(X.columns, columns, strict=True):
        are_objects = column.ndim == 1 and column.dtype.kind == "O"
        is_nested = any(isinstance(v, NESTED) for v in column) if are_objects else False
        if is_nested or column.ndim > 1 or column.dtype.names:
            raise ValueError(
                f"Column {name!r} of X holds lists or objects; give a column for each "
                "of their parts."
            )
    return columns


def _refuse_texts(X: np.ndarray) -> None:
    """Refuse an array of which some values are texts and no numbers."""
    if X.dtype.kind not in "OUS":
        return
    try:
        X.astype(np.float64)
    except ValueError as error:
        raise ValueError(
            f"X is an array that holds texts: {error}. Give a DataFrame, whose columns "
            "are encoded."
        ) from error
    except TypeError:  # which scikit-learn refuses
        pass


def default_classifier(X: Any) -> Any:
    """Make logistic regression, behind an encoder where X is a table that needs one."""
    logistic = LogisticRegression(max_iter=1000)
    if get_config()["enable_metadata_routing"]:
        logistic.set_fit_request(sample_weight=True)
    if hasattr(X, "columns"):
        columns = _checked_columns(X)
        is_plain = all(
            c.dtype.kind in NUMBERS and np.isfinite(c).all() for c in columns
        )
    else:  # of numbers, or refused
        values = np.asarray(None if issparse(X) else X)
        if values.dtype.kind in "mM":
            raise TypeError(
                f"X has dtype {values.dtype}; give a DataFrame, whose dates are "
                "encoded, or numbers."
            )
        if values.ndim == 1 and values.dtype.kind in "OUS":
            raise TypeError(
                "X holds one text a row, which logistic regression cannot take; give "
                "what encodes them, make_pipeline(TfidfVectorizer(), "
                "LogisticRegression()) for example."
            )
        if values.ndim > 2:
            raise ValueError(
                f"X has shape {values.shape}, and logistic regression takes rows of "
                "numbers; give a net that takes X, EPICFilter(net), or X.reshape(len(X)"
                ", -1)."
            )
        _refuse_texts(values)
        is_plain = values.dtype.kind != "f" or not np.isnan(values).any()
    if is_plain:  # new rows may have gaps
        return make_pipeline(SimpleImputer(keep_empty_features=True), logistic)
    return TableModel([("encode", table_encoder(X)), ("classify", logistic)])


def warn_of_columns(classifier: Any, X: np.ndarray) -> None:
    """Say so where few columns, or few rows, of (n, d) numbers outweigh the others.

    The numbers are what the classifier makes of its input; an encoder of tables sees
    to both.
    """
    if isinstance(classifier, TableModel):
        return
    some = X[:: max(1, len(X) // N_SPREAD)]
    limit = LimitFar().fit(some)
    spread = limit.transform(some).std(axis=0)
    widest, usual = spread.max(), np.median(spread[spread > 0]) if spread.any() else 0
    if widest > MUCH_WIDER * usual > 0:
        warn_user(
            f"Column {spread.argmax()} of X varies {widest / usual:.0f} times as much "
            "as most do: distances are those of this one alone. Standardise: fit the "
            "model behind a StandardScaler, make_pipeline(StandardScaler(), model)."
        )
    steps = [step for _, step in getattr(classifier, "steps", ())]
    if any(isinstance(step, StandardScaler) for step in steps):
        _warn_of_far_rows(X, limit)


def _warn_of_far_rows(X: np.ndarray, limit: LimitFar) -> None:
    """Say so where one row of standardised numbers decided a column's scale."""
    columns, ends = np.arange(X.shape[1]), (X.argmin(axis=0), X.argmax(axis=0))
    below, above = limit.low_ - X[ends[0], columns], X[ends[1], columns] - limit.high_
    spread = (limit.high_ - limit.low_) / (2 * FAR)
    # Alone it makes the standard deviation three times the spread, or more.
    decides = np.maximum(below, above) > 3 * np.sqrt(len(X)) * spread
    if n := int(decides.sum()):
        column = int(decides.argmax())
        row = ends[int(above[column] > below[column])][column]
        more = f" (and {n - 1} more)" if n > 1 else ""
        warn_user(
            f"Row {row} lies so far from the others that it alone decides the scale "
            f"which StandardScaler gives column {column}{more}: the others look alike "
            "there, and poisons with them. Look at the row; RobustScaler in its place "
            "lets no few rows decide."
        )
