"""
When do poisons separate from their class?
==========================================

EPIC waits for some epochs before it drops anything. This example looks at the
gradients of the poisoned class while an undefended model trains: where the
poisons are, where the target is, and what EPIC would drop at that moment.
"""

# %%
# The attack
# ----------
#
# A linear layer is trained on frozen features of 700 digits. Ten of them, all of
# one class, were changed so that their features surround those of a target from
# another class.

import functools

import matplotlib.pyplot as plt
import numpy as np
from torch import nn

from epic_sklearn import LogitGradients, TorchClassifier, find_medoids, flag_isolated
from epic_sklearn.datasets import make_poisoned_digits
from epic_sklearn.plotting import GradientSpaceDisplay

problem = make_poisoned_digits(n_targets=1, random_state=1)
poisons = problem.poisons[0]
X, y = problem.poisoned(0)
target = problem.targets[0]
label = poisons.adversarial_label

# Only the class whose label the poisons bear: isolation is judged inside a class.
rows = np.flatnonzero(y == label)
is_poison = np.isin(rows, poisons.indices)


def gradients_after(n_epochs):
    """Gradients of the class and of the target, and the target's prediction."""
    head = functools.partial(nn.Linear, X.shape[1], 10)
    model = TorchClassifier(head, max_epochs=n_epochs, lr=0.05, random_state=0)
    compute = LogitGradients(model.fit(X, y).module_)
    return (
        compute(X[rows], y[rows]),
        compute(target, np.array([label])),
        model.predict(target)[0],
    )


# %%
# Epoch by epoch
# --------------
#
# Every panel is the plane in which the class's gradients vary most at that epoch,
# drawn to scale. A cross is what EPIC would drop there: a medoid to which no other
# example belongs. The target's gradient is taken with the label that the attacker
# wants, as if it were one more poison.

figure, axes = plt.subplots(2, 2, figsize=(9, 7.4), layout="constrained")
for ax, n_epochs in zip(axes.flat, (1, 2, 5, 20), strict=True):
    gradients, of_target, predicted = gradients_after(n_epochs)
    dropped = flag_isolated(find_medoids(gradients, y[rows], subset_size=0.2))
    display = GradientSpaceDisplay.from_predictions(
        gradients,
        y[rows],
        ~dropped,
        poison_indices=is_poison,
        target=of_target,
        target_label=label,
        ax=ax,
    )
    display.legend_.remove()
    ax.set_title(f"epoch {n_epochs}: the target is read as {predicted}")
    print(
        f"epoch {n_epochs:2d}: isolated are {dropped[is_poison].sum()} of "
        f"{is_poison.sum()} poisons and {dropped[~is_poison].sum()} of "
        f"{(~is_poison).sum()} clean examples"
    )
# One legend for all panels, without the numbers of the last.
handles = display.legend_.legend_handles
names = [handle.get_label().split(" (")[0] for handle in handles]
figure.legend(
    handles, names, loc="outside lower center", ncols=len(names), frameon=False
)
plt.show()

# %%
# What it shows
# -------------
#
# After one epoch the poisons are far from their class, but together, in a heap round
# the target: they are company to each other, and 2 of 10 are isolated. As the layer
# learns them they spread along a line, each at its own pace; after five epochs 8 of
# 10 are alone. After twenty the attack has won. By then most poisons are learned and
# lie near their class or on one another, and only 3 are isolated.
#
# So a single round, early or late, would miss many of them. EPIC makes a round every
# few epochs, and what it drops stays dropped.
