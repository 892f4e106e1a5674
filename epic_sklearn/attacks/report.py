"""Attack a model on a copy of its data, in one call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np
import scipy.sparse
import torch
from sklearn.base import clone, is_outlier_detector, is_regressor
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.utils import check_consistent_length
from sklearn.utils._param_validation import Interval
from skorch import NeuralNet
from torch import nn
from tqdm import tqdm

from .._utils import RandomState, resolve_seed, validate_params
from ..base import is_pandas_array, is_text, refuse_lazy, take_rows
from ..gradients.features import read_only
from ..gradients.items import is_dataset, refuse_items
from ..gradients.last_layer import final_model
from ..gradients.modules import Body
from ..metrics import equal_labels
from ..training import TorchClassifier
from ..validation import check_labels, label_array, refuse_other_order, to_numpy
from .arms import arms_of, fit_copy
from .base import PerturbingAttack, check_examples, rows_of_label
from .data_alone import LabelFlip
from .features import features_of
from .poisons import Poisons
from .trials import AttackReport, AttackTrials

# Values of a text's or table's encoded rows that are held at a time.
MOST_VALUES = 2**28


@validate_params(
    {
        "n_targets": [Interval(Integral, 1, None, closed="left")],
        "feature_extractor": [nn.Module, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    },
    prefer_skip_nested_validation=True,
)
@torch.random.fork_rng()  # skorch's nets draw from the global generator
def attack_report(
    model: Any,
    X: Any,
    y: Any,
    attack: Any,
    *,
    defences: Mapping[str, Any] | None = None,
    test: tuple[Any, Any] | None = None,
    feature_extractor: nn.Module | None = None,
    n_targets: int = 10,
    adversarial_label: Any = None,
    random_state: RandomState = None,
    verbose: int = 0,
) -> AttackReport:
    """Attack a model of yours on a copy of its data, with and without defences.

    The model is fitted on the data as they are. Targets are drawn from test rows
    that it reads rightly, of other labels than the attack wants. For each, poisons
    are put into a copy of the training set, and the model is trained anew: without a
    defence, with each, on as many rows of each class dropped at random as each dropped,
    and on all but the poisons.

    Parameters
    ----------
    model : classifier or torch.nn.Module
        What is trained: any scikit-learn classifier or Pipeline, a TorchClassifier
        or a skorch net; clones are fitted. Of a torch module, trained, the last layer
        is replaced: logistic regression is trained on its input, and that is what
        attack and defences see.
    X, y : array-like, sparse matrix or dataframe of shape (n, ...), (n,)
        Examples and labels, as `model` takes them, or `feature_extractor`.
    attack : attack
        Any of :mod:`epic_sklearn.attacks` that aims at a target, with its
        parameters; its `random_state` is set. Those on features and gradients need
        a torch model or `feature_extractor`;
        :class:`~epic_sklearn.attacks.LookAlikes` and
        :class:`~epic_sklearn.attacks.LabelFlip` need neither.
    defences : dict, default=None
        Filters, which are put before `model`, and whole classifiers, such as an
        EPICClassifier, by name.
    test : tuple of (X_test, y_test), default=None
        Clean rows to draw targets from and to measure accuracy on. None splits off
        a quarter.
    feature_extractor : torch.nn.Module or None, default=None
        Frozen net that turns examples into the features that `model` and
        defences are trained on.
    n_targets : int, default=10
        How many; each has poisons of its own.
    adversarial_label : label, default=None
        What the attack wants every target to be read as. None: for each the model's
        second guess, as a rule the easiest.
    random_state : int, RandomState instance or None, default=None
        Draws the split, the targets and the poisons, and stands in where an
        estimator's own is None.
    verbose : int, default=0
        Above 0, progress bars.

    Returns
    -------
    AttackReport

    Raises
    ------
    TypeError
        If `model` cannot be trained or drops rows itself, or `attack` cannot attack
        it.
    ValueError
        If the data cannot be used, or fewer than `n_targets` rows can be targets.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from epic_sklearn import EPICFilter, attack_report
    >>> from epic_sklearn.attacks import LookAlikes
    >>> X, y = load_iris(return_X_y=True)
    >>> report = attack_report(
    ...     KNeighborsClassifier(1), X, y, LookAlikes(n_poisons=3, share=1.0),
    ...     defences={"EPIC": EPICFilter()}, n_targets=5, random_state=0)
    >>> [record["n_success"] for record in report.records]
    [5, 0, 4, 0]
    """
    seed = resolve_seed(random_state)
    model, extractor = _victim(model, attack, feature_extractor)
    arms_of(model, defences)  # refuses what is no defence
    X, y, X_test, y_test, train = _split(X, y, test, seed)
    if adversarial_label is not None:  # as y has it, or refused
        adversarial_label = y[rows_of_label(y, adversarial_label, len(y))[0]]
    _refuse_rows(attack, X)

    def see(X: Any) -> Any:
        return X if extractor is None else features_of(extractor, X)

    seen, seen_test = see(X), see(X_test)
    fitted = fit_copy(model, seen, y, seed)
    rows, wanted = _choose_targets(
        fitted, seen_test, y_test, y, attack, n_targets, adversarial_label, seed
    )
    flips = isinstance(attack, LabelFlip)
    parts: Any = (X, y, X_test)
    if flips:
        parts = (_numbers_of(fitted, seen), y, _numbers_of(fitted, seen_test))
    source = _source(attack, fitted, extractor)
    poisons = []
    for i, row in enumerate(tqdm(rows, desc="craft", disable=not verbose)):
        one = clone(attack).set_params(random_state=seed + i)
        given = (*source, *parts[:2], _example(parts[2], row))
        made = _craft(one, given, wanted[i], y_test[row])
        if flips:  # by distances elsewhere; it leaves the examples as they are
            bases, target = take_rows(X, made.indices), _example(X_test, row)
            made = replace(made, examples=bases, target=target)
        poisons.append(made)
    examples = [None if flips else see(each.examples) for each in poisons]
    targets = [take_rows(seen_test, rows[i : i + 1]) for i in range(n_targets)]
    clean = (seen, y, seen_test, y_test)
    trials = AttackTrials(*clean, poisons, examples, targets, rows=train)
    return trials.report(model, defences, random_state=seed, verbose=verbose)


def _refuse_rows(attack: Any, X: Any) -> None:
    """Refuse training examples that an attack cannot change."""
    if isinstance(attack, PerturbingAttack):
        check_examples(X, attack.clip)
    is_other = is_text(X) or scipy.sparse.issparse(X)
    if is_other and not isinstance(attack, LabelFlip):
        raise TypeError(
            f"{type(attack).__name__} puts rows into arrays and dataframes, and X is a "
            f"{type(X).__name__} of {'text' if is_text(X) else 'sparse rows'}; attack "
            "with LabelFlip."
        )


def _lent(X: Any) -> Any:
    """Give what an attack cannot change: a view to read only, or a copy."""
    if isinstance(X, np.ndarray):
        return read_only(X)
    return X.copy() if hasattr(X, "copy") else X


def _example(X: Any, row: int) -> Any:
    """One example; of a frame, a frame of one row."""
    return X.iloc[[row]] if hasattr(X, "iloc") else X[row]


def _craft(attack: Any, given: Sequence[Any], wanted: Any, label: Any) -> Poisons:
    """Make the poisons for one target, the last of what is given."""
    try:
        made = attack.craft(*map(_lent, given), wanted, target_label=label)
    except Exception as error:
        error.add_note(f"In attack_report, while {attack!r} made poisons.")
        raise
    if not isinstance(made, Poisons):
        raise TypeError(
            f"{type(attack).__name__}.craft gave a {type(made).__name__}; let it "
            "return Poisons(examples, indices, target, adversarial_label, loss)."
        )
    return made


def _source(attack: Any, fitted: Any, extractor: nn.Module | None) -> list[Any]:
    """Give what an attack looks through: a net's body, a fitted model or nothing."""
    sees = getattr(attack, "sees", None)
    if sees == "features":
        return [Body(fitted.module_) if extractor is None else extractor]
    return [fitted] if sees == "model" else []


def _victim(
    model: Any, attack: Any, extractor: nn.Module | None
) -> tuple[Any, nn.Module | None]:
    """Say what is trained, and the frozen net before it; refuse what can't be."""
    is_class = isinstance(attack, type)
    if is_class or not hasattr(attack, "craft") or hasattr(attack, "trigger"):
        raise TypeError(
            f"attack is {attack!r}; give an attack on targets, such as "
            "BullseyePolytope(n_poisons=10) or LookAlikes(). Those with a trigger "
            "have no target; see the example on backdoors."
        )
    if isinstance(model, nn.Module):
        if extractor is not None:
            raise ValueError(
                "feature_extractor is given and model is a torch module, whose last "
                "layer is replaced; give one of them, or TorchClassifier(module)."
            )
        model, extractor = LogisticRegression(max_iter=1000), Body(model)
    is_model = hasattr(model, "fit") and hasattr(model, "predict")
    is_model = is_model and not isinstance(model, type)
    if not is_model or is_regressor(model) or is_outlier_detector(model):
        raise TypeError(
            f"model is {model!r}; give a classifier, a Pipeline that ends in one, or a "
            "trained torch.nn.Module."
        )
    is_torch = isinstance(model, TorchClassifier | NeuralNet)
    on_features = getattr(attack, "sees", None) == "features"
    if on_features and extractor is None and not is_torch:
        raise TypeError(
            f"{type(attack).__name__} needs a torch module to look through, and model "
            f"is {model!r}; give feature_extractor, or attack with LookAlikes or "
            "LabelFlip."
        )
    by_gradients = isinstance(attack, PerturbingAttack) and not on_features
    if by_gradients and not (is_torch and extractor is None):
        raise TypeError(
            f"{type(attack).__name__} attacks nets that are trained from scratch; give "
            "model=TorchClassifier(...) or a skorch net, and no feature_extractor."
        )
    return model, extractor


def _split(X: Any, y: Any, test: Any, seed: int) -> tuple[Any, Any, Any, Any, Any]:
    """Check the data; training and test part, and which rows are the training part."""
    if is_dataset(X):
        raise TypeError(f"X is a {type(X).__name__}; give arrays or a frame, X and y.")
    refuse_items(X)
    refuse_lazy(X=X, y=y)
    refuse_other_order(X=X, y=y)
    if not (test is None or (isinstance(test, tuple) and len(test) == 2)):
        raise TypeError(f"test is a {type(test).__name__}; give (X_test, y_test).")
    parts = []
    for rows, labels in [(X, y), *([] if test is None else [test])]:
        rows, labels = to_numpy(rows), label_array(labels).ravel()
        check_consistent_length(rows, labels)
        if not hasattr(rows, "shape") or is_pandas_array(rows):
            rows = np.array(rows, dtype=object if is_text(rows) else None)
        if hasattr(rows, "columns") and not hasattr(rows, "iloc"):
            raise TypeError(
                f"X is a frame of {type(rows).__module__}, into which poisons cannot "
                "be put; give X.to_pandas()."
            )
        parts += [rows, labels]
    check_labels(parts[1])
    train = np.arange(len(parts[1]))
    if test is None:
        labels, sizes = np.unique(parts[1], return_counts=True)
        if sizes.min() < 2:
            raise ValueError(
                f"The classes {labels[sizes < 2].tolist()[:10]} have one row, which "
                "cannot be both trained on and tested: leave them out, or give test="
                "(X_test, y_test)."
            )
        X, X_test, y, y_test, train, _ = train_test_split(
            *parts, train, stratify=parts[1], random_state=seed
        )
        return X, y, X_test, y_test, train
    return parts[0], parts[1], parts[2], parts[3], train


def _choose_targets(
    fitted: Any,
    X_test: Any,
    y_test: np.ndarray,
    y_train: np.ndarray,
    attack: Any,
    n_targets: int,
    adversarial_label: Any,
    seed: int,
) -> tuple[np.ndarray, list[Any]]:
    """Rows of the test set to attack, and the label that is wanted for each."""
    rng, counts = np.random.default_rng(seed), Counter(y_train.tolist())
    wanted, predicted = _second_guess(fitted, X_test, rng), fitted.predict(X_test)
    if adversarial_label is not None:
        wanted = np.full(len(y_test), adversarial_label, y_train.dtype)
    is_right = equal_labels(predicted, y_test, "predicted", "y_test")
    n_bases = np.array([counts[label] for label in wanted.tolist()])
    if isinstance(attack, LabelFlip):
        n_bases = len(y_train) - n_bases
    enough = n_bases > attack.n_poisons
    rows = np.flatnonzero(is_right & enough & (wanted != predicted))
    if len(rows) < n_targets:
        raise ValueError(
            f"n_targets is {n_targets}, and {len(rows)} of {len(y_test)} test rows can "
            f"be attacked: the model, fitted on clean rows, reads {is_right.sum()} "
            "rightly, and more rows than "
            f"n_poisons={attack.n_poisons} must bear adversarial_label, by default its "
            "second guess (LabelFlip: any other label). Ask for fewer, or give more "
            "test rows."
        )
    rows = rng.choice(rows, n_targets, replace=False)
    return rows, wanted[rows].tolist()


def _second_guess(fitted: Any, X: Any, rng: np.random.Generator) -> np.ndarray:
    """Label (n,) that a model finds likeliest after its first; a random one if mute."""
    predicted, classes = fitted.predict(X), np.asarray(fitted.classes_)
    scores = np.empty((0, 0))
    for method in ("predict_proba", "decision_function"):
        if hasattr(fitted, method):
            scores = np.asarray(getattr(fitted, method)(X))
            break
    if scores.ndim == 1:  # of the second of two classes
        scores = np.column_stack([-scores, scores])
    if scores.shape != (len(predicted), len(classes)):
        scores = rng.random((len(predicted), len(classes)))
    scores = np.where(predicted[:, None] == classes, -np.inf, scores)
    return classes[scores.argmax(axis=1)]


def _numbers_of(fitted: Any, X: Any) -> np.ndarray:
    """Rows as the last step of a Pipeline gets them: numbers with distances."""
    X = final_model(fitted, X)[1]
    if scipy.sparse.issparse(X):
        if np.prod(X.shape) > MOST_VALUES:
            raise ValueError(
                f"LabelFlip would make the sparse X of shape {X.shape} dense; put "
                "TruncatedSVD(100) before the model, or give fewer rows."
            )
        return X.toarray()
    X = np.asarray(X)
    if X.dtype.kind not in "fiub":
        raise TypeError(
            f"LabelFlip looks for the target's neighbours, and X holds {X.dtype}; give "
            "a Pipeline whose first steps turn X into numbers."
        )
    return X
