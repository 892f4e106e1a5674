"""The main job: a real attack on digits, undefended and with EPIC."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from torch import nn
from tqdm import tqdm

from .datasets import PoisonedDigits, make_poisoned_digits
from .gradients import LogitGradients
from .metrics import attack_success_rate, clean_retention, poison_recall
from .training import EPICClassifier, TorchClassifier

N_TARGETS = 12
EPIC: dict[str, Any] = {
    "warmup": 1,
    "every": 1,
    "stop": 9,
    "subset_size": 0.2,
    "threshold": 1,
}
# Early enough that gradients have not all shrunk to nothing.
EPOCHS_DRAWN = 2
HEAD: dict[str, Any] = {"max_epochs": 40, "lr": 0.05}


@dataclass
class Outcome:
    """Results of all targets with one way of training.

    Attributes
    ----------
    attack_success : float
        Share of targets that got the adversarial label.
    accuracy : float
        Mean accuracy on clean test digits.
    poisons_left : float
        Mean number of poisons trained on to the end.
    clean_dropped : float
        Mean share of clean training examples that were dropped.
    seconds : float
        Training time of all targets.
    """

    attack_success: float
    accuracy: float
    poisons_left: float
    clean_dropped: float
    seconds: float


def run_demo(
    *, random_state: int = 0, figure: str | Path | None = None, verbose: int = 0
) -> dict[str, float]:
    """Poison digits for several targets; train with and without EPIC.

    Parameters
    ----------
    random_state : int, default=0
        Decides everything.
    figure : str, Path or None, default=None
        File for the picture of the poisoned class's gradients; needs matplotlib.
    verbose : int, default=0
        Above 0, progress bars.

    Returns
    -------
    dict
        ``attack_success_undefended``, ``attack_success_epic``,
        ``accuracy_undefended``, ``accuracy_epic``, ``poisons_crafted``,
        ``poisons_left`` (all targets together), ``clean_dropped_fraction`` and
        ``seconds`` (all of it, crafting included), further
        ``seconds_undefended`` and ``seconds_epic`` (training).

    Examples
    --------
    >>> from epic_sklearn.demo import run_demo
    >>> results = run_demo()  # doctest: +SKIP
    """
    start = time.perf_counter()
    problem = make_poisoned_digits(
        N_TARGETS, random_state=random_state, verbose=verbose
    )
    head = functools.partial(nn.Linear, problem.features.shape[1], 10)
    undefended = TorchClassifier(head, random_state=random_state, **HEAD)
    epic = EPICClassifier(head, random_state=random_state, **EPIC, **HEAD)
    without = _train_all(problem, undefended, verbose)
    with_epic = _train_all(problem, epic, verbose)
    if figure is not None:
        save_figure(problem, head, figure, random_state)
    n_poisons = len(problem.trials[0].indices)
    return {
        "attack_success_undefended": without.attack_success,
        "attack_success_epic": with_epic.attack_success,
        "accuracy_undefended": without.accuracy,
        "accuracy_epic": with_epic.accuracy,
        "poisons_crafted": n_poisons * len(problem.trials),
        "poisons_left": round(with_epic.poisons_left * len(problem.trials)),
        "clean_dropped_fraction": with_epic.clean_dropped,
        "seconds": time.perf_counter() - start,
        "seconds_undefended": without.seconds,
        "seconds_epic": with_epic.seconds,
    }


def _train_all(
    problem: PoisonedDigits, classifier: TorchClassifier, verbose: int
) -> Outcome:
    """Train once a target and average."""
    start = time.perf_counter()
    rows = []
    name = "train with EPIC" if isinstance(classifier, EPICClassifier) else "train"
    trials = tqdm(problem.trials, desc=name, disable=not verbose)
    for i, poisons in enumerate(trials):
        features = problem.poisoned_features(i)
        classifier.fit(features, problem.labels)
        keep = getattr(classifier, "keep_", np.ones(len(features), dtype=bool))
        predicted = classifier.predict(problem.extract(poisons.target[None]))
        rows.append(
            (
                attack_success_rate(predicted, poisons.adversarial_label),
                classifier.score(problem.test_features, problem.test_labels),
                len(poisons.indices) * (1 - poison_recall(keep, poisons.indices)),
                1 - clean_retention(keep, poisons.indices),
            )
        )
    success, accuracy, left, lost = np.mean(rows, axis=0).tolist()
    return Outcome(success, accuracy, left, lost, time.perf_counter() - start)


def as_table(results: dict[str, float]) -> str:
    """Lay the results of :func:`run_demo` out for reading.

    Parameters
    ----------
    results : dict
        From :func:`run_demo`.

    Returns
    -------
    str

    Examples
    --------
    >>> from epic_sklearn.demo import as_table
    >>> print(as_table({
    ...     "attack_success_undefended": 0.5, "attack_success_epic": 0.0,
    ...     "accuracy_undefended": 0.9, "accuracy_epic": 0.9, "poisons_crafted": 10,
    ...     "poisons_left": 1, "clean_dropped_fraction": 0.1,
    ...     "seconds_undefended": 1.0, "seconds_epic": 1.5}))
                               undefended      EPIC
    attack success rate             50.0%      0.0%
    clean accuracy                  90.0%     90.0%
    poisons left                 10 of 10   1 of 10
    clean examples lost              0.0%     10.0%
    training, seconds                 1.0       1.5
    """
    crafted = results["poisons_crafted"]
    rows = [
        ("", "undefended", "EPIC"),
        (
            "attack success rate",
            f"{results['attack_success_undefended']:.1%}",
            f"{results['attack_success_epic']:.1%}",
        ),
        (
            "clean accuracy",
            f"{results['accuracy_undefended']:.1%}",
            f"{results['accuracy_epic']:.1%}",
        ),
        (
            "poisons left",
            f"{crafted} of {crafted}",
            f"{results['poisons_left']} of {crafted}",
        ),
        ("clean examples lost", "0.0%", f"{results['clean_dropped_fraction']:.1%}"),
        (
            "training, seconds",
            f"{results['seconds_undefended']:.1f}",
            f"{results['seconds_epic']:.1f}",
        ),
    ]
    return "\n".join(f"{name:<24}{a:>13}{b:>10}" for name, a, b in rows)


def save_figure(
    problem: PoisonedDigits,
    head: functools.partial[nn.Linear],
    path: str | Path,
    random_state: int = 0,
    trial: int = 0,
) -> None:
    """Draw the gradients of the poisoned class, as EPIC sees them, in 2-D.

    Parameters
    ----------
    problem : PoisonedDigits
        From :func:`epic_sklearn.datasets.make_poisoned_digits`.
    head : callable
        Makes the linear layer that the victim trains.
    path : str or Path
        File to write.
    random_state : int, default=0
        Seed of the training.
    trial : int, default=0
        Which target's attack.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    import matplotlib.pyplot as plt

    poisons = problem.trials[trial]
    points, target, is_poison, dropped = _plane_of_gradients(
        problem, head, random_state, trial
    )
    figure, axes = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
    for chosen, size, style in (
        (points[~is_poison], 22, {"c": "#0072B2", "alpha": 0.6, "label": "clean"}),
        (points[is_poison], 42, {"c": "#D55E00", "label": "poison"}),
        (points[dropped], 110, {"edgecolors": "black", "facecolors": "none"}),
        (target, 190, {"c": "#F0C000", "edgecolors": "black", "marker": "*"}),
    ):
        axes.scatter(chosen[:, 0], chosen[:, 1], s=size, linewidths=0.9, **style)
    axes.collections[2].set_label(f"dropped by epoch {EPIC['stop']}")
    axes.collections[3].set_label("target")
    axes.set(
        title=(
            f"Gradients of the examples labelled {poisons.adversarial_label} after "
            f"{EPOCHS_DRAWN} epochs\n"
            f"EPIC drops {dropped[is_poison].sum()} of {is_poison.sum()} poisons and "
            f"{dropped[~is_poison].sum()} of {(~is_poison).sum()} clean examples"
        ),
        xlabel="first principal component",
        ylabel="second principal component",
    )
    axes.set_aspect("equal", adjustable="datalim")
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _plane_of_gradients(
    problem: PoisonedDigits,
    head: functools.partial[nn.Linear],
    random_state: int,
    trial: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """First two principal components of the poisoned class's gradients.

    Returns the examples (n, 2), the target (1, 2), which examples are poisons
    and which EPIC drops in the end.
    """
    poisons = problem.trials[trial]
    features, labels = problem.poisoned_features(trial), problem.labels
    settings = {**HEAD, "random_state": random_state}
    early = TorchClassifier(head, **{**settings, "max_epochs": EPOCHS_DRAWN})
    compute = LogitGradients(early.fit(features, labels).module_)
    keep = EPICClassifier(head, **settings, **EPIC).fit(features, labels).keep_
    rows = np.flatnonzero(labels == poisons.adversarial_label)
    gradients = compute(features[rows], labels[rows])
    of_target = compute(
        problem.extract(poisons.target[None]), np.array([poisons.adversarial_label])
    )
    projection = PCA(2).fit(gradients)
    return (
        projection.transform(gradients),
        projection.transform(of_target),
        np.isin(rows, poisons.indices),
        ~keep[rows],
    )
