"""
Which defence stops the attack, and what does it cost?
======================================================

A defence is judged by two numbers: how often the attack still succeeds, and how
accurate the model still is. This example puts eight filters on the same ten poisoned
training sets: EPIC with both of its rules, three published rivals, two simple filters
by loss and confidence, and one that drops at random. All look at the same logistic
regression on frozen features of digits.
"""

# %%
# Ten attacks
# -----------
#
# For each of ten targets, ten of 700 training digits were changed with *bullseye
# polytope*. A filter sees the poisoned set and its labels and drops what it will.

import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression

from epic_sklearn import (
    EPICFilter,
    FilteredClassifier,
    LastLayerGradients,
    attack_success_rate,
    clean_retention,
    poison_recall,
)
from epic_sklearn.baselines import (
    ActivationClustering,
    DeepKNN,
    HighLoss,
    LowConfidence,
    RandomDrop,
    SpectralSignatures,
)
from epic_sklearn.datasets import make_poisoned_digits
from epic_sklearn.plotting import TradeoffDisplay

N_TRIALS = 10
problem = make_poisoned_digits(n_targets=N_TRIALS, random_state=0)
model = LogisticRegression(C=10, max_iter=1000)
gradients = LastLayerGradients(model)

# The share that the simple filters drop is a guess; here it is what EPIC drops.
filters = {
    "undefended": RandomDrop(drop_fraction=0.0),
    "EPIC": EPICFilter(gradients, n_rounds=5),
    "EPIC, threshold 3": EPICFilter(gradients, n_rounds=5, threshold=3),
    "EPIC, neighbours": EPICFilter(gradients, rule="neighbors"),
    "spectral signatures": SpectralSignatures(eps=0.1),
    "activation clustering": ActivationClustering(random_state=0),
    "deep k-NN": DeepKNN(),
    "high loss": HighLoss(model, drop_fraction=0.15),
    "low confidence": LowConfidence(model, drop_fraction=0.15),
    "random": RandomDrop(drop_fraction=0.15, random_state=0),
}


def judge(detector):
    """What the filter achieves and costs, over all trials."""
    read, wanted, rows = [], [], []
    started = time.perf_counter()
    for trial, poisons in enumerate(problem.trials):
        classifier = FilteredClassifier(model, detector)
        classifier.fit(problem.poisoned_features(trial), problem.labels)
        read.append(classifier.predict(problem.extract(poisons.target[None]))[0])
        wanted.append(poisons.adversarial_label)
        rows.append(
            (
                1 - poison_recall(classifier.keep_, poisons.indices),
                1 - clean_retention(classifier.keep_, poisons.indices),
                classifier.score(problem.test_features, problem.test_labels),
            )
        )
    left, lost, accuracy = np.mean(rows, axis=0)
    return {
        "attack_success": attack_success_rate(read, wanted),
        "poisons_left": left,
        "clean_lost": lost,
        "clean_accuracy": accuracy,
    }, (time.perf_counter() - started) / N_TRIALS


records = []
for name, detector in filters.items():
    record, seconds = judge(detector)
    records.append({"name": name, **record, "n_trials": N_TRIALS})
    print(
        f"{name:<22} success {record['attack_success']:4.0%}  poisons left "
        f"{record['poisons_left']:4.0%}  clean lost {record['clean_lost']:4.0%}  "
        f"accuracy {record['clean_accuracy']:.1%}"
    )

# %%
# Success against accuracy
# ------------------------

TradeoffDisplay.from_predictions(records)
plt.show()

# %%
# Poisons left against clean examples lost
# ----------------------------------------

TradeoffDisplay.from_predictions(
    [{k: v for k, v in record.items() if k != "n_trials"} for record in records],
    x="clean_lost",
    y="poisons_left",
)
plt.show()
