"""What the filter and the resampler share: data in, keep mask out."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, clone
from sklearn.utils import Tags, _safe_indexing, check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, validate_data
from tqdm import tqdm

from ._doc_links import DocLinks
from ._features import Gradients, check_gradients
from ._random import RandomState, resolve_seed
from ._rounds import DropRounds, Round, RoundOptions, check_labels
from .gradients import LogitGradients


class CallableGradients(BaseEstimator):
    """A user's function (X, y) -> (n, d), with the extractors' methods."""

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        self.function = function

    def fit(self, X: Any, y: Any, **fit_params: Any) -> CallableGradients:
        """Do nothing."""
        return self

    def compute(self, X: Any, y: Any) -> Any:
        """Call the function."""
        return self.function(X, y)


def as_extractor(given: Any) -> Any:
    """Turn what a user may give as `extractor` into one; rounds fit clones."""
    if given is None:
        return LogitGradients()
    if isinstance(given, type):
        raise TypeError(
            f"extractor is the class {given.__name__}; give an instance of it."
        )
    if hasattr(given, "compute") and hasattr(given, "fit"):
        return given
    if hasattr(given, "predict_proba") or isinstance(given, BaseEstimator):
        return LogitGradients(given)
    if hasattr(given, "named_parameters"):  # a torch module, also callable
        return LogitGradients(given)
    if callable(given):
        return CallableGradients(given)
    raise TypeError(
        f"extractor is {given!r}; give an extractor such as "
        "LogitGradients(classifier), a classifier with predict_proba, a torch "
        "module, or a function (X, y) -> array of shape (n, d)."
    )


def is_dataframe(X: Any) -> bool:
    """Pandas, polars and their like."""
    return hasattr(X, "columns") and hasattr(X, "shape")


class Detector(DocLinks, BaseEstimator):
    """Finds isolated examples; base of EPICFilter and EPICResampler."""

    rounds_: list[Round]
    keep_: np.ndarray

    def __init__(
        self,
        extractor: Any = None,
        *,
        subset_size: float = 0.2,
        threshold: int = 1,
        cluster_on: str = "all",
        rule: str = "medoids",
        cutoff: float = 2.0,
        n_rounds: int = 1,
        metric: str = "euclidean",
        optimizer: str = "lazy",
        min_class_fraction: float = 0.5,
        n_jobs: int | None = None,
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
        self.extractor = extractor
        self.subset_size = subset_size
        self.threshold = threshold
        self.cluster_on = cluster_on
        self.rule = rule
        self.cutoff = cutoff
        self.n_rounds = n_rounds
        self.metric = metric
        self.optimizer = optimizer
        self.min_class_fraction = min_class_fraction
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def _options(self) -> RoundOptions:
        """Check all parameters before any work."""
        n_rounds = self.n_rounds
        is_integer = isinstance(n_rounds, Integral) and not isinstance(n_rounds, bool)
        if not is_integer or n_rounds < 1:
            raise ValueError(f"n_rounds is {n_rounds!r}; it must be an integer >= 1.")
        return RoundOptions(
            subset_size=self.subset_size,
            threshold=self.threshold,
            cluster_on=self.cluster_on,
            rule=self.rule,
            cutoff=self.cutoff,
            metric=self.metric,
            optimizer=self.optimizer,
            min_class_fraction=self.min_class_fraction,
            n_jobs=self.n_jobs,
        )

    def _check_X_y(self, X: Any, y: ArrayLike) -> tuple[Any, np.ndarray]:
        """Validate; dataframes and sparse matrices stay what they are."""
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is "
                "None: isolation is judged inside each class."
            )
        X = self._check_X(X, reset=True)
        labels = column_or_1d(y, warn=True)
        check_consistent_length(X, labels)
        check_labels(labels)
        check_classification_targets(labels)
        return X, labels

    def _check_X(self, X: Any, reset: bool) -> Any:
        if is_dataframe(X):
            validate_data(self, X, reset=reset, skip_check_array=True)
            if X.shape[1] == 0:
                raise ValueError("Found 0 feature(s): the dataframe X has no columns.")
            _check_finite_columns(X)
            return X
        return validate_data(
            self,
            X,
            reset=reset,
            accept_sparse="csr",
            allow_nd=True,
            ensure_min_samples=2 if reset else 1,
        )

    def _detect(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> tuple[Any, Any]:
        """Run all rounds, set the fitted attributes, return X and gradients."""
        options = self._options()
        extractor = as_extractor(self.extractor)
        seed = resolve_seed(self.random_state)
        X, labels = self._check_X_y(X, y)
        weights = check_weights(sample_weight, X)
        rounds = DropRounds(labels, options, seed)
        numbers = range(1, self.n_rounds + 1)
        one_round = self.n_rounds == 1
        for number in tqdm(
            numbers, desc="rounds", disable=one_round or not self.verbose
        ):
            gradients = self._gradients(
                clone(extractor), X, labels, rounds.keep, weights
            )
            record = rounds.run(number, gradients)
            if self.verbose:
                tqdm.write(
                    f"round {number}: dropped {record.n_dropped} of {len(labels)} "
                    f"examples, kept {record.n_kept}, rho {record.rho:.3g}"
                )
        self._set_results(rounds)
        return X, gradients

    def _gradients(
        self,
        extractor: Any,
        X: Any,
        labels: np.ndarray,
        keep: np.ndarray,
        sample_weight: np.ndarray | None,
    ) -> Gradients:
        """Fit a model on what is kept; gradients of all examples."""
        rows = np.flatnonzero(keep)
        weights = (
            {} if sample_weight is None else {"sample_weight": sample_weight[rows]}
        )
        if len(rows) == len(keep):
            extractor.fit(X, labels, **weights)
        else:
            extractor.fit(_safe_indexing(X, rows), labels[rows], **weights)
        self.extractor_ = extractor
        return check_gradients(extractor.compute(X, labels), len(labels))

    def _set_results(self, rounds: DropRounds) -> None:
        self.classes_ = rounds.classes
        self.keep_ = rounds.keep
        self.isolated_indices_ = np.flatnonzero(~rounds.keep)
        self.medoid_indices_ = rounds.medoid_indices
        self.cluster_sizes_ = rounds.cluster_size
        self.isolation_score_ = rounds.score
        self.rounds_ = rounds.rounds
        self.rho_ = rounds.rounds[-1].rho
        self.dropped_at_round_ = rounds.dropped_at
        self._codes = rounds.codes

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.input_tags.sparse = True
        tags.input_tags.three_d_array = True
        return tags


def check_weights(weights: ArrayLike | None, X: Any) -> np.ndarray | None:
    """Refuse weights that are not one finite number >= 0 a row, or all zero."""
    if weights is None:
        return None
    checked = _check_sample_weight(weights, X, ensure_non_negative=True)
    if not np.any(checked):
        raise ValueError("sample_weight is zero for every example.")
    return checked


def _check_finite_columns(X: Any) -> None:
    """Refuse NaN and infinity in a dataframe's number columns.

    Other columns are the model's business: a ColumnTransformer takes strings.
    """
    bad = []
    for name in X.columns:
        column = np.asarray(X[name])
        if column.dtype.kind == "f" and not np.isfinite(column).all():
            bad.append(name)
    if bad:
        raise ValueError(
            f"Input X contains NaN or infinity in the columns {bad}; impute or drop "
            "them before filtering."
        )


def take_rows(X: Any, rows: np.ndarray) -> Any:
    """Rows of an array, dataframe or sparse matrix."""
    return X.tocsr()[rows] if scipy.sparse.issparse(X) else _safe_indexing(X, rows)
