"""What the filters share: the checks of what comes in, and the rounds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils import (
    Tags,
    _safe_indexing,
    check_consistent_length,
    column_or_1d,
    get_tags,
)
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import _check_sample_weight, validate_data
from tqdm import tqdm

from ._utils import DocLinks, Parts, RandomState, keeps_last_fit, warn_user
from .frames import index_of
from .gradients import (
    Gradients,
    OuterProductGradients,
    as_extractor,
    check_gradients,
)
from .gradients.items import is_dataset, n_items, take_items
from .gradients.labels import digest_of, labels_and_digest
from .medoids import distances_between
from .rules import Rule, resolve_rule
from .rules.base import preferred_gradients, refuse_what_lacks
from .schedule import DROP_CONSTRAINTS, DropSchedule
from .validation import (
    check_finite_columns,
    check_labels,
    label_array,
    refuse_masked,
    refuse_other_order,
    to_numpy,
)

CERTAIN = (
    "{:.0%} of the gradients are 0: the model is certain of these rows' own labels, as "
    "a tree grown to the end or one nearest neighbour is, so hardly any stands apart "
    "from its class. Limit it (min_samples_leaf=5), take another model, or give "
    "PrecomputedGradients of probabilities predicted out of fold (logit_gradients)."
)
NEARLY_ALL = 0.9  # share of gradients that are 0 from which it is said
# Rows whose distances to a class are held at a time.
ROWS_AT_A_TIME = 256


def is_dataframe(X: Any) -> bool:
    """Pandas, polars and their like."""
    return hasattr(X, "columns") and hasattr(X, "shape")


def is_text(X: Any) -> bool:
    """Whether X is a list, one-dimensional array, series or column of texts.

    ValueError if some of its items are and others are not.
    """
    is_list = isinstance(X, Sequence) and not isinstance(X, str | bytes)
    if not (is_list or len(getattr(X, "shape", ())) == 1):
        return False
    are_texts = [isinstance(item, str | bytes) for item in X]
    if any(are_texts) and not all(are_texts):
        row = are_texts.index(False)
        raise ValueError(f"X holds texts, and row {row} is {X[row]!r}; fill it in.")
    return any(are_texts)  # then all are


# How frames become ones whose rows can be taken, by their library.
INTO_MEMORY = {"dask": "compute()", "polars": "collect()", "pyarrow": "to_pandas()"}


def refuse_lazy(**given: Any) -> None:
    """Refuse masked arrays, and what gives no rows: lazy frames and Arrow tables."""
    refuse_masked(**given)
    for name, value in given.items():
        library, kind = type(value).__module__.partition(".")[0], type(value).__name__
        is_lazy = hasattr(value, "__dask_graph__") or kind == "LazyFrame"
        is_table = library == "pyarrow" and hasattr(value, "columns")
        if is_lazy or is_table:
            way = INTO_MEMORY.get(library, "compute()")
            raise TypeError(
                f"{name} is a {'lazy ' * is_lazy}{kind} of {library}, whose rows "
                f"cannot be taken one by one; give {name}.{way}."
            )


def refuse_unlabelled(name: str, X: Any, y: Any) -> None:
    """Refuse X without labels, of which `name` makes use, or not in their order."""
    if y is None:
        raise ValueError(
            f"{name} requires y to be passed, but the target y is None: isolation is "
            "judged inside each class."
        )
    refuse_lazy(X=X, y=y)
    refuse_other_order(X=X, y=y)


def is_pandas_array(X: Any) -> bool:
    """Whether X is an index, or a column's own array, which is not NumPy's."""
    return type(X).__module__.partition(".")[0] == "pandas" and not hasattr(X, "iloc")


def take_rows(X: Any, rows: np.ndarray) -> Any:
    """Rows of an array, frame, list, sparse matrix, data set or outer products."""
    if isinstance(X, OuterProductGradients):
        return X[rows]
    if is_dataset(X):
        return take_items(X, rows)
    if scipy.sparse.issparse(X):
        return X.tocsr()[rows].asformat(X.format)
    if is_pandas_array(X):
        return X.take(rows)
    return _safe_indexing(X, rows)


def check_weights(weights: ArrayLike | None, X: Any) -> np.ndarray | None:
    """Refuse weights that are not one finite number >= 0 a row, or all zero."""
    if weights is None:
        return None
    refuse_masked(sample_weight=weights)
    refuse_other_order(X=X, sample_weight=weights)
    rows = range(n_items(X)) if is_dataset(X) else X
    checked = _check_sample_weight(to_numpy(weights), rows, ensure_non_negative=True)
    if not np.any(checked):
        raise ValueError("sample_weight is zero for every example.")
    return checked


def refuse_lacking_params(had: Iterable[str], given: Iterable[str]) -> None:
    """Refuse to fit again without what the fit had: the model would be another."""
    if lacking := sorted(set(had) - set(given)):
        raise ValueError(
            f"The fit was given {', '.join(lacking)}; give it to refit, too, or fit "
            "anew without it."
        )


def nearest_kept(
    rows: np.ndarray,
    gradients: Gradients,
    codes: np.ndarray,
    keep: np.ndarray,
    metric: str,
) -> np.ndarray:
    """Find the nearest other kept row (m,) of its class, for each of `rows` (m,).

    Of all rows gradients, codes (n,) and `keep` (n,), which may be a neighbour, are
    given. A row itself where its class keeps no other.
    """
    nearest = rows.copy()
    for code in np.unique(codes[rows]):
        candidates = np.flatnonzero((codes == code) & keep)
        of_class = np.flatnonzero(codes[rows] == code)
        if len(candidates) == 0:
            continue
        for start in range(0, len(of_class), ROWS_AT_A_TIME):
            places = of_class[start : start + ROWS_AT_A_TIME]
            away = distances_between(gradients, rows[places], candidates, metric)
            away = np.where(rows[places][:, None] == candidates, np.inf, away)
            nearest[places] = candidates[away.argmin(axis=1)]
    return nearest


class BaseDetector(Parts, DocLinks, BaseEstimator):
    """Finds training rows to drop, by a rule; base of EPICFilter and EPICResampler."""

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **DROP_CONSTRAINTS,
        "extractor": "no_validation",
        "n_rounds": [Interval(Integral, 1, None, closed="left")],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        extractor: Any = None,
        *,
        rule: Rule | None = None,
        n_rounds: int = 1,
        min_class_fraction: float = 0.5,
        n_jobs: int | None = None,
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
        self.extractor = extractor
        self.rule = rule
        self.n_rounds = n_rounds
        self.min_class_fraction = min_class_fraction
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Find the examples to drop.

        Parameters
        ----------
        X : array-like, sparse matrix or dataframe of shape (n, ...)
            Training examples, finite.
        y : array-like of shape (n,)
            Labels: strings, integers or bools, at least two classes.
        sample_weight : array-like of shape (n,), optional
            Passed to the extractor's classifier. Rules judge all rows alike, those of
            weight 0, too.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If a parameter is out of range or the data cannot be used.
        TypeError
            If `extractor` is nothing that can be used as one.
        """
        self._detect(X, y, sample_weight)
        return self

    @keeps_last_fit
    def _detect(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> tuple[Any, Gradients]:
        """Run all rounds, set the fitted attributes, return X and gradients."""
        self._validate_params()
        rule = resolve_rule(self.rule)
        self._extractor(rule)  # refused before any work
        index = index_of(X, y)
        X, labels, seen = self._check_X_y(X, y)
        extractor = self._extractor(rule, take_rows(X, np.arange(2)))
        weights = check_weights(sample_weight, X)
        schedule = DropSchedule(
            labels,
            rule=rule,
            warmup=1,
            every=1,
            min_class_fraction=self.min_class_fraction,
            n_jobs=self.n_jobs,
            random_state=self.random_state,
            verbose=self.verbose,
        )
        schedule.index, schedule.clock, schedule.seen = index, "round", seen
        show = self.verbose and self.n_rounds > 1
        for number in tqdm(
            range(1, self.n_rounds + 1), desc="rounds", disable=not show
        ):
            gradients = self._gradients(
                clone(extractor), X, labels, schedule.keep, weights
            )
            record = schedule.step(number, gradients)
            assert record is not None  # each round is due
            if self.verbose:
                tqdm.write(
                    f"round {number}: dropped {record.n_dropped} of {len(labels)} "
                    f"examples, kept {record.n_kept}, rho {record.rho:.3g}"
                )
        self._set_results(schedule)
        if schedule.nothing_learned is not None:
            warn_user(schedule.nothing_learned)
        if isinstance(gradients, np.ndarray):
            is_zero = ~gradients.any(axis=1)
            if is_zero.mean() >= NEARLY_ALL:
                warn_user(CERTAIN.format(is_zero.mean()))
        return X, gradients

    def _extractor(self, rule: Rule, few: Any = None) -> Any:
        """Where gradients come from; refused if the rule could not use them."""
        extractor = as_extractor(
            self.extractor,
            preferred_gradients(rule),
            "inputs" not in rule.needs,
            few,
        )
        refuse_what_lacks(
            rule,
            getattr(extractor, "gives", None),
            f"extractor is {type(extractor).__name__}; give a classifier or torch "
            "module itself, or LastLayerGradients(classifier).",
        )
        return extractor

    def _gradients(
        self,
        extractor: Any,
        X: Any,
        labels: np.ndarray,
        keep: np.ndarray,
        sample_weight: np.ndarray | None,
    ) -> Gradients:
        """Fit a model on what is kept; gradients of all examples."""
        weights = {}
        if sample_weight is not None:
            weights["sample_weight"] = sample_weight[keep]
        kept = X if keep.all() else take_rows(X, np.flatnonzero(keep))
        extractor.fit(kept, labels[keep], **weights)
        self.extractor_ = extractor
        gradients = extractor.compute(X, labels)
        refuse_other_order(X=X, gradients=gradients)
        return check_gradients(gradients, len(labels))

    def _set_results(self, schedule: DropSchedule) -> None:
        self._params_of_fit = self.get_params(deep=False)
        self.rule_ = schedule.rule
        self.classes_ = schedule.classes
        self.keep_ = schedule.keep
        self.isolated_indices_ = np.flatnonzero(~schedule.keep)
        self.isolation_score_ = schedule.isolation_score
        self.details_ = schedule.details
        self.rounds_ = schedule.rounds
        self.rho_ = schedule.rounds[-1].rho
        self.dropped_at_round_ = schedule.dropped_at_epoch
        self._schedule = schedule

    def _check_X_y(self, X: Any, y: Any) -> tuple[Any, np.ndarray, str | None]:
        """Validate; dataframes and sparse matrices stay what they are. Digest of X."""
        y, seen = labels_and_digest(X, y) if is_dataset(X) else (y, None)
        refuse_unlabelled(type(self).__name__, X, y)
        X = self._check_X(X, reset=True)
        labels = column_or_1d(label_array(y), warn=True)
        check_consistent_length(range(n_items(X)) if is_dataset(X) else X, labels)
        check_labels(labels)
        return X, labels, seen or digest_of(X)

    def _check_X(self, X: Any, reset: bool) -> Any:
        """Validate rows: numbers are checked, all else is the model's business."""
        refuse_lazy(X=X)
        if is_dataset(X):
            if self.extractor is None:
                raise TypeError(
                    f"X is a {type(X).__name__}, which logistic regression can't take; "
                    "give a torch module or a TorchClassifier as extractor."
                )
            return X
        X = to_numpy(X)
        if isinstance(X, OuterProductGradients):
            validate_data(self, X, reset=reset, skip_check_array=True)
            return X
        if is_text(X):
            if reset:  # a row is one text: there are no features to name
                for name in ("n_features_in_", "feature_names_in_"):
                    self.__dict__.pop(name, None)
            is_taken = hasattr(X, "iloc") or isinstance(X, np.ndarray)
            return X if is_taken else np.array(list(X), dtype=object)
        takes_nan = get_tags(self).input_tags.allow_nan
        if is_dataframe(X):
            validate_data(self, X, reset=reset, skip_check_array=True)
            if X.shape[1] == 0:
                raise ValueError("Found 0 feature(s): the dataframe X has no columns.")
            check_finite_columns(X, allow_nan=takes_nan)
            return X
        return validate_data(
            self,
            X,
            reset=reset,
            accept_sparse="csr",
            allow_nd=True,
            dtype=None if _has_texts(X) else "numeric",
            ensure_all_finite="allow-nan" if takes_nan else True,
            ensure_min_samples=2 if reset else 1,
        )

    def _as_seen(self, X: Any) -> Any:
        """Rows as the fit saw them; in place of that of `Reviewable`, named later."""
        return self._check_X(X, reset=False)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.input_tags.sparse = True
        tags.input_tags.three_d_array = True
        given = self.extractor
        model = getattr(given, "classifier", given)
        # The default fills gaps in, and of a pipeline its steps say what they take.
        takes = model is None or isinstance(model, BaseSearchCV | Pipeline)
        if isinstance(model, BaseEstimator) and not takes:
            takes = get_tags(model).input_tags.allow_nan
        tags.input_tags.allow_nan = takes
        return tags


def _has_texts(X: Any) -> bool:
    """Whether an array holds texts, which a model with an encoder takes."""
    kind = getattr(getattr(X, "dtype", None), "kind", None)
    if kind == "O":
        return any(isinstance(value, str) for value in np.ravel(X))
    return kind in ("U", "S")
