# ruff: noqa: D103
"""The same poisoned digits in five libraries: what each drops, and what it helps.

    pip install imbalanced-learn cleanlab pyod adversarial-robustness-toolbox
    python docs/comparison/compare.py

Each function takes features (n, 64) and labels (n,) and gives the rows to keep, or a
classifier that dropped others while it trained. The problem is that of
``python -m epic_sklearn demo``: 12 targets, 10 poisons each among 700 training digits,
and a linear layer trained on frozen features. Libraries that are not installed are left
out.
"""

import functools
import logging
import warnings

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from torch import nn

from epic_sklearn import (
    EPICClassifier,
    EPICFilter,
    LastLayerGradients,
    TorchClassifier,
    attack_success_rate,
    clean_retention,
    poison_recall,
)
from epic_sklearn.datasets import make_poisoned_digits
from epic_sklearn.demo import N_TARGETS
from epic_sklearn.rules import HighLoss, IsolatedMedoids, RandomDrop

head = functools.partial(nn.Linear, 64, 10)
HEAD = {"lr": 0.05, "max_epochs": 40, "random_state": 0}


def no_defence(X, y):
    return np.arange(len(y))


# [imbalanced-learn]
def imbalanced_learn(X, y):
    from imblearn.under_sampling import EditedNearestNeighbours

    sampler = EditedNearestNeighbours(sampling_strategy="all")
    sampler.fit_resample(X, y)
    return sampler.sample_indices_


# [cleanlab]
def cleanlab(X, y):
    from cleanlab.filter import find_label_issues

    model = LogisticRegression(C=0.1, max_iter=1000)
    probabilities = cross_val_predict(model, X, y, method="predict_proba")
    return np.flatnonzero(~find_label_issues(y, probabilities))


# [pyod]
def pyod(X, y):
    from pyod.models.knn import KNN

    kept = []
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        detector = KNN(contamination=0.2).fit(X[rows])  # a share must be given
        kept.append(rows[detector.labels_ == 0])
    return np.concatenate(kept)


# [art]
def art_classifier(X, y):
    from art.estimators.classification import PyTorchClassifier

    trained = TorchClassifier(head, **HEAD).fit(X, y).module_
    return PyTorchClassifier(
        nn.Sequential(nn.Identity(), trained),
        loss=nn.CrossEntropyLoss(),
        input_shape=(64,),
        nb_classes=10,
        device_type="cpu",
    )


def art_activation_clustering(X, y):
    from art.defences.detector.poison import ActivationDefence

    defence = ActivationDefence(art_classifier(X, y), X, np.eye(10)[y])
    _, is_clean = defence.detect_poison(nb_clusters=2, nb_dims=10, reduce="PCA")
    return np.flatnonzero(is_clean)


def art_spectral_signatures(X, y):
    from art.defences.detector.poison import SpectralSignatureDefense

    defence = SpectralSignatureDefense(
        art_classifier(X, y),
        X,
        np.eye(10)[y],
        expected_pp_poison=0.2 / 1.5,  # drops 1.5 times as many
        batch_size=128,
        eps_multiplier=1.5,
    )
    _, is_clean = defence.detect_poison()
    return np.flatnonzero(is_clean)


# [epic]
def epic_filter(X, y, rule=None, n_rounds=1):
    model = LogisticRegression(C=0.1, max_iter=1000)
    gradients = LastLayerGradients(model)
    detector = EPICFilter(gradients, rule=rule, n_rounds=n_rounds).fit(X, y)
    return np.flatnonzero(detector.keep_)


def paper_filter(X, y):
    return epic_filter(X, y, IsolatedMedoids(), n_rounds=5)


def epic_classifier(X, y):
    return EPICClassifier(head, **HEAD).fit(X, y)


def paper_classifier(X, y):
    rounds = {"rule": IsolatedMedoids(), "warmup": 1, "every": 1, "stop": 9}
    return EPICClassifier(head, **rounds, **HEAD).fit(X, y)


# [controls]
def random_fifth(X, y):
    detector = EPICFilter(rule=RandomDrop(drop_fraction=0.2), random_state=0)
    return np.flatnonzero(detector.fit(X, y).keep_)


def highest_loss_fifth(X, y):
    model = LogisticRegression(C=0.1, max_iter=1000)
    detector = EPICFilter(model, rule=HighLoss(drop_fraction=0.2))
    return np.flatnonzero(detector.fit(X, y).keep_)


# [end]
METHODS = {
    "no defence": no_defence,
    "a fifth at random": random_fifth,
    "the fifth of highest loss": highest_loss_fifth,
    "imbalanced-learn, EditedNearestNeighbours": imbalanced_learn,
    "cleanlab, find_label_issues": cleanlab,
    "PyOD, KNN": pyod,
    "ART, ActivationDefence": art_activation_clustering,
    "ART, SpectralSignatureDefense": art_spectral_signatures,
    "epic_sklearn, EPICFilter()": epic_filter,
    "epic_sklearn, EPICFilter(rule=IsolatedMedoids(), n_rounds=5)": paper_filter,
    "epic_sklearn, EPICClassifier()": epic_classifier,
    "epic_sklearn, EPICClassifier(rule=IsolatedMedoids(), warmup=1)": paper_classifier,
}


def outcome(problem, trial, method):
    """Success of the attack, accuracy, poisons left and clean share lost."""
    X, y = problem.poisoned(trial)
    poisons = problem.poisons[trial]
    np.random.seed(0)  # ART draws from the global state
    given = method(X, y)
    if isinstance(given, EPICClassifier):  # it drops while it trains
        model, keep = given, given.keep_
    else:
        keep = np.isin(np.arange(len(y)), given)
        model = TorchClassifier(head, **HEAD).fit(X[keep], y[keep])
    predicted = model.predict(problem.targets[trial])
    return (
        attack_success_rate(predicted, poisons.adversarial_label),
        model.score(problem.X_test, problem.y_test),
        1 - poison_recall(keep, poisons.indices),
        1 - clean_retention(keep, poisons.indices),
    )


def main():
    warnings.filterwarnings("ignore", module="art|pyod|cleanlab|sklearn")
    logging.disable(logging.WARNING)
    problem = make_poisoned_digits(N_TARGETS, random_state=0)
    print("| | attacks that succeed | clean accuracy | poisons left | clean lost |")
    print("|---|---|---|---|---|")
    for name, method in METHODS.items():
        try:
            rows = [outcome(problem, t, method) for t in range(N_TARGETS)]
        except ImportError as error:
            print(f"| {name} | not installed: {error.name} |||")
            continue
        success, accuracy, left, lost = np.mean(rows, axis=0)
        print(
            f"| {name} | {round(success * N_TARGETS)} of {N_TARGETS} | {accuracy:.1%} "
            f"| {left:.0%} | {lost:.1%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
