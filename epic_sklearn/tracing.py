"""Which training rows made a prediction."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import Interval, StrOptions
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from ._utils import validate_params, warn_user
from .any_filter import rows_kept
from .base import check_weights, refuse_lazy, take_rows
from .frames import as_frame, index_of
from .gradients import Gradients, check_gradients
from .gradients.features import inner_products, unit_gradients
from .gradients.items import (
    inputs_and_labels,
    is_dataset,
    n_items,
    ordered_batches,
    read_items,
)
from .gradients.labels import labels_and_digest
from .gradients.modules import forward
from .learned import nothing_learned
from .report import write_trace
from .training.remember import states_of
from .validation import check_labels, label_array, refuse_other_order

BLOCK = 2048  # training rows looked at together
FEW = 256  # that are tried before any long work
SAME_COSINE = 1e-6  # those closer than that are equal but for rounding
N_EQUAL = 10  # rows, the first ones, that are worth a warning if they are


@dataclass(frozen=True, eq=False)
class Trace:
    """Training rows that taught what a model says of m examples, ranked.

    Parameters
    ----------
    indices : ndarray of shape (m, k), int
        Training rows, the one that taught most first; -1 where an example has fewer
        than k.
    scores : ndarray of shape (m, k)
        How much they taught, NaN where there is no row.
    row_labels : ndarray of shape (m, k)
        Their labels, anything where there is no row.
    labels : ndarray of shape (m,)
        The label that each example got.
    n_rows : int
        Training rows in all.
    index : pandas.Index or None, default=None
        Of the training set, where it has one.
    keep : ndarray of shape (n_rows,), bool, or None, default=None
        Which of the training rows the model kept, if it dropped any while it trained.
    example_index : pandas.Index or None, default=None
        Of the examples, where they have one.
    """

    indices: np.ndarray = field(repr=False)
    scores: np.ndarray = field(repr=False)
    row_labels: np.ndarray = field(repr=False)
    labels: np.ndarray
    n_rows: int
    index: Any = field(default=None, repr=False)
    keep: np.ndarray | None = field(default=None, repr=False)
    example_index: Any = field(default=None, repr=False)

    def scores_by_row(self) -> np.ndarray:
        """Scores in the order of the training rows, (m, n_rows); NaN if not ranked."""
        scores = np.full((len(self.labels), self.n_rows + 1), np.nan, self.scores.dtype)
        np.put_along_axis(scores, self.indices, self.scores, axis=1)  # -1: the last
        return scores[:, :-1]

    def to_frame(self) -> Any:
        """One line an example and rank (from 1), as a pandas dataframe.

        Columns: example, example_index (where the examples have one), label (that it
        got), rank, row, index (where the training set has one), row_label, keep (where
        the model dropped rows itself), score.
        """
        example, rank = np.nonzero(self.indices >= 0)
        rows = self.indices[example, rank]
        columns: dict[str, Any] = {"example": example}
        if self.example_index is not None:
            columns["example_index"] = self.example_index[example]
        columns |= {"label": self.labels[example], "rank": rank + 1, "row": rows}
        if self.index is not None:
            columns["index"] = self.index[rows]
        columns["row_label"] = self.row_labels[example, rank]
        if self.keep is not None:
            columns["keep"] = self.keep[rows]
        return as_frame({**columns, "score": self.scores[example, rank]})

    def report(self, X: Any, examples: Any, path: str, **how: Any) -> Path:
        """Write a page with each example above its rows, to look at and mark.

        One HTML file, which loads and sends nothing. X and examples as given to
        :func:`trace`, or what they look like (see :meth:`TraceDisplay.from_trace`);
        `n_top` rows an example (20); `title`, `overwrite` and what it needs as of
        :meth:`EPICFilter.report`; `way_back`, what to do with the marks. Their number
        is checked, and their index; that they are the same rows cannot be, since they
        may be what the rows look like.
        """
        return write_trace(self, X, examples, path, **how)


@validate_params(
    {
        "score": [StrOptions({"cosine", "contribution"})],
        "n_top": [Interval(Integral, 1, None, closed="left"), None],
        "all_labels": ["boolean"],
        "learning_rates": ["array-like", None],
        "verbose": ["verbose"],
    },
    prefer_skip_nested_validation=False,
)
def trace(
    model: Any,
    X: Any,
    y: ArrayLike | None,
    examples: Any,
    labels: ArrayLike | None = None,
    *,
    score: str = "cosine",
    n_top: int | None = 100,
    all_labels: bool = False,
    learning_rates: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    verbose: int = 0,
) -> Trace:
    """Rank training rows by how much they taught a model what it says of examples.

    A step on training row i changes the loss of example t, with the label that it
    got, by the inner product of their gradients. Summed over states of the training,
    times the learning rate, that is TracInCP's *contribution* [1]_; gradients are
    the last layer's, as in its Appendix F. The *cosine*, averaged over the states,
    does not favour rows of large loss (renormalised influence [2]_).

    Rows are read in blocks and the best `n_top` kept: the memory that this takes
    does not grow with the training set.

    Parameters
    ----------
    model : classifier, torch module, skorch net, extractor, or a list of these
        Fitted. A :class:`TorchClassifier`, :class:`EPICClassifier` or skorch net
        trained with :class:`RememberStates` is traced through the states that it
        remembers, any other as it is. A list is states of one training, first to
        last. Modules must give logits. An extractor, or a function (X, y) ->
        gradients, decides itself what a gradient is.
    X, y : array-like of shape (n, ...) and (n,)
        The training set. X may be a torch Dataset or DataLoader, or a Hugging Face
        Dataset, y then None for its own labels.
        Rows that :class:`EPICClassifier` dropped are ranked like any others; `keep`
        of what is returned tells them.
    examples : array-like of shape (m, ...) or data set of m items
        What was predicted. Labels that the items have are not looked at.
    labels : array-like of shape (m,), default=None
        The label that each example got. None: what the (last) model predicts.
    score : {"cosine", "contribution"}, default="cosine"
        How much a row taught.
    n_top : int or None, default=100
        Rows ranked for each example. None ranks all: m * n scores and row numbers.
    all_labels : bool, default=False
        Whether rows that bear another label than the example got are ranked, too.
    learning_rates : array-like of shape (n_states,), default=None
        For contributions. None: what the net remembers, otherwise 1.
    sample_weight : array-like of shape (n,), default=None
        What the loss of each row counted in the training, weights of its class
        included: the model does not tell. Contributions are times these; rows of
        weight 0, which taught nothing, are not ranked.
    verbose : int, default=0
        Above 0, a progress bar.

    Returns
    -------
    Trace

    Raises
    ------
    ValueError
        If rows, labels or shapes do not fit, no training row bears a label, or the
        module has no last layer that could be read.
    TypeError
        If gradients cannot be taken from `model`, or `examples` is an item.
    sklearn.exceptions.NotFittedError
        If it is not fitted.

    References
    ----------
    .. [1] Pruthi, Liu, Kale, Sundararajan: Estimating Training Data Influence by
       Tracing Gradient Descent, NeurIPS 2020.
    .. [2] Hammoudeh, Lowd: Identifying a Training-Set Attack's Target Using
       Renormalized Influence Estimation, CCS 2022.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from epic_sklearn import RememberStates, TorchClassifier, trace
    >>> X, y = load_iris(return_X_y=True)
    >>> X[0] = X[100]  # a setosa that looks like a virginica
    >>> model = TorchClassifier(callbacks=[RememberStates()], random_state=0).fit(X, y)
    >>> found = trace(model, X, y, X[[100]], labels=[0], n_top=5)
    >>> int(found.indices[0, 0]), found.scores.shape
    (0, (1, 5))
    """
    y, classes, codes = _check_rows(X, y)
    names = index_of(X), index_of(examples)
    rates, extractors = states_of(model, y, learning_rates)
    n_examples = _check_examples(X, examples)
    examples = _inputs_of(examples)
    _try(extractors[-1], X, y, codes, len(classes))
    if labels is None:
        labels = _predict(extractors[-1], examples)
    refuse_other_order(examples=examples, labels=labels)
    labels, wanted = _check_given(n_examples, labels, classes, all_labels)
    weights = check_weights(sample_weight, X)
    rows = _ranked(all_labels | np.isin(codes, wanted), weights)
    if is_cosine := score == "cosine":
        rates = np.full(len(extractors), 1 / len(extractors))
    parts, n_told = list[Any](), None if n_top is None else max(n_top, N_EQUAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they were shown for the few
        asked = [_compute(each, examples, labels, is_cosine) for each in extractors]
        for start in tqdm(range(0, len(rows), BLOCK), "trace", disable=not verbose):
            block = rows[start : start + BLOCK]
            X_block, y_block = _take(X, block), y[block]
            scores = np.zeros((len(labels), len(block)))
            for rate, extractor, given in zip(rates, extractors, asked, strict=True):
                of_rows = _compute(extractor, X_block, y_block, is_cosine)
                scores += rate * inner_products(given, of_rows)
            if weights is not None and not is_cosine:
                scores *= weights[block]
            if not all_labels:
                scores[wanted[:, None] != codes[block]] = -np.inf
            scores = scores.astype(np.float32 if is_cosine else np.float64)
            parts.append((scores, np.tile(block, (len(labels), 1))))
            if n_top is not None:
                parts = [_best(parts, n_told)]
    scores, indices = _best(parts, n_told)
    _warn_of_ties(scores, SAME_COSINE if is_cosine else 0.0)
    scores, indices = scores[:, :n_top], indices[:, :n_top]
    is_none = np.isneginf(scores)
    indices[is_none], scores[is_none] = -1, np.nan
    keep = rows_kept(model, len(y))
    return Trace(indices, scores, y[indices], labels, len(y), names[0], keep, names[1])


def _warn_of_ties(scores: np.ndarray, same: float) -> None:
    """Warn of examples of which the first rows, best first, all have one score."""
    first = scores[:, :N_EQUAL]
    is_row = ~np.isneginf(first)
    is_tied = np.where(is_row, first >= first[:, :1] - same, True).all(axis=1)
    if n := int((is_tied & (is_row.sum(axis=1) > 1)).sum()):
        warn_user(
            f"Of {n} of {len(scores)} examples the first rows all have the same "
            "score, so their order says nothing. With two classes gradients of the "
            "logits differ in length alone: trace a model with a last layer. Of an "
            "example of which the model is certain the gradient is 0."
        )


def _ranked(asked_for: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Rows of those asked for (n,), but for those of weight 0."""
    rows = np.flatnonzero(asked_for if weights is None else asked_for & (weights > 0))
    if len(rows) == 0:
        raise ValueError("sample_weight is 0 for every row that would be ranked.")
    return rows


def _check_rows(X: Any, y: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels of the training set, one a row; their classes and codes."""
    refuse_lazy(X=X, y=y)
    refuse_other_order(X=X, y=y)
    given = labels_and_digest(X)[0] if y is None else y
    labels = column_or_1d(label_array(given))
    if (n := n_items(X)) != len(labels):
        raise ValueError(f"X has {n} rows and y {len(labels)} labels.")
    return labels, *check_labels(labels)


def _check_examples(X: Any, examples: Any) -> int:
    """Count examples; refuse none, and those of another shape than the rows of X."""
    refuse_lazy(examples=examples)
    shape, of_X = (
        () if is_dataset(each) else tuple(getattr(each, "shape", ()))
        for each in (examples, X)
    )
    if shape and of_X and shape[1:] != of_X[1:]:
        one = " of one, examples[None]" if shape == of_X[1:] else ""
        raise ValueError(
            f"examples has shape {shape} and X {of_X}; give an array{one} whose rows "
            "are like those of X."
        )
    if is_dataset(X) and isinstance(examples, list | tuple | dict):
        raise TypeError(
            f"examples is a {type(examples).__name__}; of a data set give some items "
            "as one, torch.utils.data.Subset(dataset, [3])."
        )
    if not (n := n_items(examples)):
        raise ValueError("examples is empty: there is nothing to trace.")
    return n


def _inputs_of(examples: Any) -> Any:
    """Read the items of a data set once, without their labels; others as they are."""
    if not is_dataset(examples):
        return examples
    batches = [inputs_and_labels(batch)[0] for batch in ordered_batches(examples, 512)]
    return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]


def _check_given(
    n: int, given: Any, classes: np.ndarray, all_labels: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return each example's label and its code, -1 where no training row bears it."""
    labels = column_or_1d(np.atleast_1d(label_array(given)))
    if len(labels) != n:
        raise ValueError(
            f"There are {n} examples and {len(labels)} labels; give the label that "
            "each example got."
        )
    code_of = {label: code for code, label in enumerate(classes.tolist())}
    codes = np.array([code_of.get(label, -1) for label in labels.tolist()])
    if not all_labels and (codes < 0).any():
        unborne = np.unique(labels[codes < 0]).tolist()
        raise ValueError(
            f"No training row bears the labels {unborne[:20]}; y has the labels "
            f"{classes.tolist()[:20]}. Give labels of y, or ask for rows of all labels."
        )
    return labels, codes


def _take(X: Any, rows: np.ndarray) -> Any:
    return read_items(X, rows.tolist()) if is_dataset(X) else take_rows(X, rows)


def _predict(extractor: Any, examples: Any) -> np.ndarray:
    """Label that a state gives each example."""
    model: Any = getattr(extractor, "classifier_", None)
    if isinstance(model, nn.Module):
        logits, _, _ = forward(model, examples, extractor.batch_size)
        columns, classes = logits.argmax(axis=1), extractor.classes_
        # Labels that number the columns need not all be there.
        return classes[columns] if len(classes) == logits.shape[1] else columns
    if not hasattr(model, "predict"):
        raise ValueError("labels is missing: give the label that each example got.")
    return np.asarray(model.predict(examples))


def _compute(extractor: Any, X: Any, y: np.ndarray, is_unit: bool) -> Gradients:
    """Gradients, of length 1 if asked for."""
    gradients = check_gradients(extractor.compute(X, y), len(y))
    return unit_gradients(gradients) if is_unit else gradients


def _try(extractor: Any, X: Any, y: Any, codes: np.ndarray, n_classes: int) -> None:
    """Take a few gradients: what is wrong shows at once, and a model at chance."""
    few = np.unique(np.linspace(0, len(y) - 1, FEW).astype(int))
    gradients = _compute(extractor, _take(X, few), y[few], False)
    if nothing := nothing_learned(gradients, codes[few], n_classes):
        warn_user(nothing)


def _best(parts: list[Any], n_top: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Merge scores (m, b) and their rows, best first; of equal ones the lowest row."""
    scores, rows = map(np.hstack, zip(*parts, strict=True))
    order = np.argsort(-scores, axis=1, kind="stable")[:, :n_top]
    take = np.take_along_axis
    return take(scores, order, axis=1), take(rows, order, axis=1)
