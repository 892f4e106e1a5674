"""What all rivals share: EPICFilter's interface, and a form for plain arrays."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.metrics import pairwise_distances_argmin
from sklearn.utils import check_array, column_or_1d

from .._detector import CallableGradients, as_extractor, check_weights
from .._sanitiser import RowSanitiser
from .._utils import check_labels, warn_user
from ..gradients.features import OuterProductGradients
from ..isolation import drop_within_floor
from ._representations import LastLayerInputs, Probabilities


def check_number(
    name: str, value: Any, low: float, high: float, meaning: str, integer: bool = False
) -> None:
    """Refuse a parameter that is no number in [low, high]."""
    kind: type = Integral if integer else Real
    if isinstance(value, bool) or not isinstance(value, kind):
        within = False
    else:
        within = bool(low <= value <= high)  # type: ignore[operator]
    if not within:
        noun = "an integer" if integer else "a number"
        raise ValueError(
            f"{name} is {value!r}; it is {meaning} and must be {noun} in "
            f"[{low:g}, {high:g}]."
        )


def highest_in_each_class(
    score: np.ndarray, codes: np.ndarray, fraction: float
) -> np.ndarray:
    """Flag the highest scores of each class, at most `fraction` of it.

    Parameters
    ----------
    score : ndarray of shape (n,)
        Higher is flagged first; ties go to the lower row number.
    codes : ndarray of shape (n,), int
        Class of each example.
    fraction : float
        In [0, 1]; of a class of n_c examples ``floor(fraction * n_c)``.

    Returns
    -------
    ndarray of shape (n,), bool
    """
    flagged = np.zeros(len(score), dtype=bool)
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        n_flagged = int(fraction * len(rows) + 1e-9)  # 1.5 * 0.2 * 10 is 3.0000...04
        flagged[rows[np.argsort(-score[rows], kind="stable")[:n_flagged]]] = True
    return flagged


def as_array(values: Any) -> Any:
    """Bring a torch tensor, wherever it lies, to numpy; leave the rest."""
    return values.detach().cpu().numpy() if hasattr(values, "detach") else values


def flattened(X: Any, y: Any) -> np.ndarray:
    """Give X itself as features, one row an example."""
    X = X.toarray() if scipy.sparse.issparse(X) else np.asarray(X)
    return X.reshape(len(X), -1)


def label_columns(y: np.ndarray, n_columns: int) -> np.ndarray:
    """Column of each label: sorted labels, or integers that number columns."""
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) == n_columns:
        return codes
    is_integer = np.issubdtype(classes.dtype, np.integer)
    if is_integer and classes[0] >= 0 and classes[-1] < n_columns:
        return y.astype(np.int64)
    raise ValueError(
        f"There are {n_columns} columns of probabilities and {len(classes)} labels "
        f"({classes[:10].tolist()}); there must be one column a label, in sorted "
        f"order, or labels that number columns, integers in [0, {n_columns - 1}]."
    )


class Rival(RowSanitiser):
    """Base of the rivals. A subclass scores and flags; the rest is here.

    It sets `uses`, checks its own parameters in `_check_parameters`, and
    implements `_assess`.
    """

    #: What `flag` judges by: "features", "probabilities" or "labels" alone.
    uses: ClassVar[str]

    def _check_parameters(self) -> None:
        """Refuse parameters out of range, before any work."""
        raise NotImplementedError

    def _assess(
        self, values: np.ndarray, codes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return a score (n,), higher is more suspicious, and flags (n,)."""
        raise NotImplementedError

    def flag(self, values: ArrayLike | None, y: ArrayLike) -> np.ndarray:
        """Judge plain arrays: for a training loop of one's own.

        Nothing is fitted or remembered. Only the rows given are judged, each
        among those of its class.

        Parameters
        ----------
        values : array-like or tensor of shape (n, d) or (n, C)
            What the class attribute `uses` says: features, finite, or predicted
            probabilities, whose rows sum to 1 and whose columns are in the order
            of the sorted labels (or numbered by integer labels, where y lacks
            some). Ignored by RandomDrop.
        y : array-like of shape (n,)
            Labels, at least two classes.

        Returns
        -------
        ndarray of shape (n,), bool
            True where an example should be dropped; `min_class_fraction` is
            respected.

        Raises
        ------
        ValueError
            If a parameter is out of range or the arrays cannot be used.
        """
        self._check()
        return ~self._judge(values, column_or_1d(as_array(y)))[0]

    def _check(self) -> None:
        check_number(
            "min_class_fraction",
            self.min_class_fraction,
            0,
            1,
            "the share of each class that is always kept",
        )
        self._check_parameters()

    def _detect(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> tuple[Any, Any]:
        """Fit, set the fitted attributes, return X and what was judged by."""
        self._check()
        extractor = self._extractor()
        X, labels = self._check_X_y(X, y)
        weights = check_weights(sample_weight, X)
        values = None
        if extractor is not None:
            params = {} if weights is None else {"sample_weight": weights}
            self.extractor_ = clone(extractor).fit(X, labels, **params)
            values = self.extractor_.compute(X, labels)
        self.keep_, self.isolation_score_ = self._judge(values, labels)
        self.isolated_indices_ = np.flatnonzero(~self.keep_)
        self.classes_ = np.unique(labels)
        return X, values

    def _extractor(self) -> Any:
        """Where the values come from in `fit`, as an extractor to be cloned."""
        if self.extractor is None and self.uses == "features":
            return CallableGradients(flattened)
        extractor = as_extractor(self.extractor)
        if extractor is self.extractor or isinstance(extractor, CallableGradients):
            return extractor
        wrapper = LastLayerInputs if self.uses == "features" else Probabilities
        return wrapper(extractor.classifier)  # a bare classifier or module

    def _judge(self, values: Any, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what is kept (n,), the floor respected, and the score (n,)."""
        classes, codes = check_labels(y)
        values = self._check_values(values, y)
        score, flagged = self._assess(values, codes)
        keep, floored = drop_within_floor(
            np.ones(len(codes), dtype=bool),
            flagged,
            score,
            codes,
            self.min_class_fraction,
        )
        self._warn_of_floor(classes[floored])
        return keep, score

    def _check_values(self, values: Any, y: np.ndarray) -> np.ndarray:
        """Features or probabilities, float64, one row an example."""
        if isinstance(values, OuterProductGradients):
            raise TypeError(
                f"{type(self).__name__} looks at {self.uses}, not at last-layer "
                "gradients; give LastLayerInputs or Probabilities as extractor."
            )
        values = check_array(as_array(values), dtype=np.float64, input_name=self.uses)
        if len(values) != len(y):
            raise ValueError(
                f"There are {len(values)} rows of {self.uses} for {len(y)} labels; "
                "give one row an example, in the order of the examples."
            )
        return values

    def _warn_of_floor(self, classes: np.ndarray) -> None:
        if len(classes):
            names = ", ".join(repr(label) for label in classes.tolist())
            warn_user(
                f"So many examples of class {names} are flagged by "
                f"{type(self).__name__} that the least suspicious were kept: "
                f"{self.min_class_fraction:.0%} of a class, and at least one example, "
                "always are (min_class_fraction)."
            )

    def _replacements(self, values: Any, labels: np.ndarray) -> np.ndarray:
        """For each row itself, or the nearest kept row of its class."""
        source = np.arange(len(self.keep_))
        values = self._check_values(values, labels)
        for label in np.unique(labels[self.isolated_indices_]):
            flagged = np.flatnonzero((labels == label) & ~self.keep_)
            kept = np.flatnonzero((labels == label) & self.keep_)
            source[flagged] = kept[
                pairwise_distances_argmin(values[flagged], values[kept])
            ]
        return source
