"""
What does EPIC drop, and when?
==============================

Six attacks on digits, six trainings with EPIC: what share of the poisons and of
the clean examples goes in each round, and what the clusters look like in which
they were.
"""

# %%
# Train with EPIC
# ---------------
#
# For each target ten of 700 training digits are poisoned. A round of dropping
# follows each of the first nine epochs; training goes on for 40.

import functools

import matplotlib.pyplot as plt
import numpy as np
from torch import nn

from epic_sklearn import (
    EPICClassifier,
    LogitGradients,
    TorchClassifier,
    find_medoids,
)
from epic_sklearn.datasets import make_poisoned_digits
from epic_sklearn.plotting import ClusterSizeDisplay, DropHistoryDisplay
from epic_sklearn.rules import IsolatedMedoids

problem = make_poisoned_digits(n_targets=6, random_state=0)
y = problem.y
head = functools.partial(nn.Linear, problem.X.shape[1], 10)


options = {"lr": 0.05, "random_state": 0}
models = [
    EPICClassifier(
        head, rule=IsolatedMedoids(), warmup=1, every=1, stop=9, **options
    ).fit(*problem.poisoned(trial))
    for trial in range(6)
]
is_poison = np.array(
    [np.isin(np.arange(len(y)), poisons.indices) for poisons in problem.poisons]
)
n_fooled = sum(
    model.predict(problem.targets[trial])[0] == problem.poisons[trial].adversarial_label
    for trial, model in enumerate(models)
)
print(f"attacks that succeed in spite of EPIC: {n_fooled} of 6")

# %%
# Round by round
# --------------
#
# All six trainings together: 60 poisons and 4,140 clean examples. More than half of
# the poisons go in the first two rounds, most of the rest later. Of the clean examples
# 9% go in the first round; after the third hardly any more do, 17% in the end.

dropped_at = np.concatenate([model.dropped_at_epoch_ for model in models])
epochs = [record.epoch for record in models[0].rounds_]
history = DropHistoryDisplay.from_predictions(
    dropped_at, epochs, poison_indices=is_poison.ravel()
)
history.ax_.set_title("Dropped in six trainings with EPIC")
plt.show()
for name, fractions in zip(history.group_names, history.fractions, strict=True):
    print(f"{name:<15}", *(f"{f:5.0%}" for f in fractions))

# %%
# In which clusters they are
# --------------------------
#
# Why not drop all at once? The clusters of undefended training, after one epoch and
# after five, say why. An example is isolated when it is alone in its cluster. After
# one epoch most poisons are in clusters of two to four: they are still close to each
# other. After five epochs two thirds of them are alone.


def cluster_sizes_after(n_epochs, trial):
    """Size of each example's cluster, of a model trained without EPIC."""
    X, y = problem.poisoned(trial)
    model = TorchClassifier(head, max_epochs=n_epochs, **options).fit(X, y)
    return find_medoids(LogitGradients(model.module_).compute(X, y), y).cluster_size


figure, axes = plt.subplots(2, 1, figsize=(8, 5.2), layout="constrained")
for ax, n_epochs in zip(axes, (1, 5), strict=True):
    sizes = [cluster_sizes_after(n_epochs, trial) for trial in range(6)]
    ClusterSizeDisplay.from_predictions(
        np.concatenate(sizes), poison_indices=is_poison.ravel(), ax=ax
    )
    ax.set_title("after 1 epoch" if n_epochs == 1 else f"after {n_epochs} epochs")
plt.show()
