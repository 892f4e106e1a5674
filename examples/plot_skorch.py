"""
How do I use EPIC with my skorch net?
=====================================

`EPICCallback` goes into the callbacks of a `skorch.NeuralNetClassifier`; the rest of
the net stays as it is, and so do its history, its other callbacks and its
scikit-learn interface. This example trains a net of two layers on frozen features of
digits with ten poisons, without the callback and with it. Then it sets the
callback's parameters from outside, as a grid search would, to see what
`subset_size` costs and buys.
"""

# %%
# The net
# -------
#
# With the criterion `CrossEntropyLoss` the module gives logits; with skorch's default
# `NLLLoss` it gives probabilities. The callback understands both.

import matplotlib.pyplot as plt
import numpy as np
import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import EpochScoring
from torch import nn

from epic_sklearn import EPICCallback, clean_retention, poison_recall
from epic_sklearn.datasets import make_poisoned_digits
from epic_sklearn.plotting import DropHistoryDisplay

problem = make_poisoned_digits(n_targets=1, random_state=1)
poisons = problem.trials[0]
X, y = problem.poisoned_features(0), problem.labels
target = problem.extract(poisons.target[None])


def make_net(**parameters):
    torch.manual_seed(0)
    return NeuralNetClassifier(
        nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)),
        criterion=nn.CrossEntropyLoss,
        optimizer__momentum=0.9,
        lr=0.05,
        max_epochs=40,
        train_split=None,
        iterator_train__shuffle=True,
        verbose=0,
        **parameters,
    )


def describe(name, net):
    accuracy = net.score(problem.test_features, problem.test_labels)
    print(f"{name:<16} reads the target as {net.predict(target)[0]}, "
          f"accuracy {accuracy:.3f}")


print(f"the attacker wants {poisons.adversarial_label}")
undefended = make_net().fit(X, y)
describe("undefended", undefended)

# %%
# With the callback
# -----------------
#
# skorch works with a copy of the callbacks: what was dropped is read from
# ``net.callbacks_``. Other callbacks are unaffected; here one scores each epoch.

epic = EPICCallback(warmup=1, every=1, stop=9, random_state=0)
scoring = EpochScoring("accuracy", on_train=True, name="train_acc", lower_is_better=False)
net = make_net(callbacks=[("epic", epic), ("scoring", scoring)]).fit(X, y)
describe("with EPIC", net)
print("accuracy on what is kept:", round(net.history[-1, "train_acc"], 3))

# %%
# Its parameters from outside
# ---------------------------
#
# The double underscore reaches the callback, in `set_params` and in `GridSearchCV`.

fitted = {}
for subset_size in (0.1, 0.2, 0.3):
    net = make_net(callbacks=[("epic", epic)])
    net.set_params(callbacks__epic__subset_size=subset_size).fit(X, y)
    fitted[subset_size] = dict(net.callbacks_)["epic"]
    describe(f"subset_size={subset_size}", net)
    keep = fitted[subset_size].keep_
    print(f"  dropped {poison_recall(keep, poisons.indices):.0%} of the poisons and "
          f"{1 - clean_retention(keep, poisons.indices):.0%} of the clean examples")

figure, axes = plt.subplots(1, 3, figsize=(10, 3.4), layout="constrained", sharey=True)
for ax, (subset_size, callback) in zip(axes, fitted.items(), strict=True):
    display = DropHistoryDisplay.from_estimator(
        callback, poison_indices=poisons.indices, ax=ax
    )
    display.legend_.remove()
    ax.set_title(f"subset_size={subset_size}")
    ax.label_outer()
handles = display.legend_.legend_handles
figure.legend(
    handles,
    [handle.get_label() for handle in handles],
    loc="outside lower center",
    ncols=2,
    frameon=False,
)
plt.show()
