"""
What if the model was trained elsewhere?
========================================

EPIC needs no access to a model, only to what it made of each training example: its
probabilities, and better its embeddings as well. If another team, a GPU job or an
API gave you these as files, this example shows how to scan them, in one call and
without training anything. The files here come from a linear layer trained on
frozen features of digits, ten of which are poisoned.
"""

# %%
# Elsewhere
# ---------
#
# Somebody trains a model and writes embeddings (the input of the last layer),
# probabilities and labels of the training set, in one order.

import functools
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from torch import nn

from epic_sklearn import (
    EPICFilter,
    OuterProductGradients,
    PrecomputedGradients,
    TorchClassifier,
    clean_retention,
    logit_gradients,
    poison_recall,
)
from epic_sklearn.datasets import make_poisoned_digits
from epic_sklearn.plotting import GradientSpaceDisplay
from epic_sklearn.rules import IsolatedMedoids, NeighborVotes

problem = make_poisoned_digits(n_targets=1, random_state=1)
poisons = problem.poisons[0]
head = functools.partial(nn.Linear, 64, 10)
X, y = problem.poisoned(0)
folder = tempfile.TemporaryDirectory()
for n_epochs in (5, 20):
    model = TorchClassifier(head, max_epochs=n_epochs, lr=0.05, random_state=0)
    np.savez(
        Path(folder.name, f"epoch{n_epochs}.npz"),
        embeddings=X,
        probabilities=model.fit(X, y).predict_proba(X),
        labels=y,
    )

# %%
# Here: from probabilities
# ------------------------
#
# The gradient of the loss with respect to the logits is the probabilities minus the
# one-hot label. `PrecomputedGradients` tells the filter that this is what it gets.
# The labels must number the columns of the probabilities.


def load(n_epochs):
    with np.load(Path(folder.name, f"epoch{n_epochs}.npz")) as file:
        return file["embeddings"], file["probabilities"], file["labels"]


def describe(name, detector):
    print(
        f"{name:<41} dropped {poison_recall(detector.keep_, poisons.indices):4.0%} of "
        f"the poisons, {1 - clean_retention(detector.keep_, poisons.indices):4.0%} of "
        "the clean examples"
    )


detectors = {}
for n_epochs in (5, 20):
    _, probabilities, labels = load(n_epochs)
    gradients = logit_gradients(probabilities, labels)
    detectors[n_epochs] = EPICFilter(
        PrecomputedGradients(), rule=IsolatedMedoids()
    ).fit(gradients, labels)
    describe(f"probabilities, epoch {n_epochs}", detectors[n_epochs])

# %%
# With embeddings as well
# -----------------------
#
# The gradient of the whole last layer is the outer product of that and the embedding,
# with a 1 for the bias. `OuterProductGradients` keeps the two factors. It is given to
# the filter by a function; the rule `NeighborVotes` needs it.

for n_epochs in (5, 20):
    embeddings, probabilities, labels = load(n_epochs)
    with_bias = np.column_stack([embeddings, np.ones(len(embeddings))])

    def last_layer(X, y, probabilities=probabilities):
        return OuterProductGradients(logit_gradients(probabilities, y), X)

    for rule in (IsolatedMedoids(), NeighborVotes()):
        detector = EPICFilter(last_layer, rule=rule).fit(with_bias, labels)
        describe(f"embeddings, epoch {n_epochs}, {rule}", detector)

# %%
# The class of the poisons
# ------------------------
#
# Gradients from the probabilities alone, projected on the plane in which the class
# varies most. A cross is dropped; two poisons at the same place are company to each
# other and stay.

figure, axes = plt.subplots(1, 2, figsize=(9, 4.4), layout="constrained")
for ax, (n_epochs, detector) in zip(axes, detectors.items(), strict=True):
    _, probabilities, labels = load(n_epochs)
    display = GradientSpaceDisplay.from_estimator(
        detector,
        logit_gradients(probabilities, labels),
        labels,
        poison_indices=poisons.indices,
        classes=[poisons.adversarial_label],
        ax=ax,
    )
    ax.set_title(f"after {n_epochs} epochs")
    display.legend_.remove()
handles = display.legend_.legend_handles
names = [handle.get_label().split(" (")[0] for handle in handles]
figure.legend(
    handles, names, loc="outside lower center", ncols=len(names), frameon=False
)
plt.show()
folder.cleanup()

# %%
# What it shows
# -------------
#
# When the probabilities were written matters. After five epochs eight to ten of ten
# poisons are isolated, by the machine, after twenty three fewer: the net has learned
# more of them, and their gradients have shrunk to those of their class. Ask for those
# of an early epoch rather than of the finished model.
#
# Embeddings make up for it. With them nine of ten poisons or all are found at either
# epoch, and `NeighborVotes` costs fewer clean examples: 1% instead of 13%. No
# single scan replaces dropping while a model trains, but it costs seconds.
