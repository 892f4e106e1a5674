"""
How do I use EPIC with my skorch net?
=====================================

`EPICCallback` goes into the callbacks of a `skorch.NeuralNetClassifier`; the rest of
the net stays as it is, and so do its history, its other callbacks and its
scikit-learn interface. This example trains a net of two layers on frozen features of
digits with ten poisons, without the callback and with it. Then it sets the
callback's rule from outside, as a grid search would, to see what its `subset_size`
costs and buys.
"""

# %%
# The net
# -------
#
# With the criterion `CrossEntropyLoss` the module gives logits; with skorch's default
# `NLLLoss` it gives probabilities. The callback understands both.

import matplotlib.pyplot as plt
import torch
from sklearn.base import clone
from skorch import NeuralNetClassifier
from skorch.callbacks import EpochScoring
from torch import nn

from epic_sklearn import EPICCallback, clean_retention, poison_recall
from epic_sklearn.datasets import make_poisoned_digits
from epic_sklearn.plotting import DropHistoryDisplay
from epic_sklearn.rules import IsolatedMedoids

problem = make_poisoned_digits(n_targets=1, random_state=1)
poisons = problem.poisons[0]
X, y = problem.poisoned(0)
target = problem.targets[0]


def make_module():
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


plain = NeuralNetClassifier(
    make_module,
    criterion=nn.CrossEntropyLoss,
    optimizer__momentum=0.9,
    lr=0.05,
    max_epochs=40,
    train_split=None,
    iterator_train__shuffle=True,
    verbose=0,
)


def fit_and_describe(name, net):
    torch.manual_seed(0)  # skorch has no random_state
    net.fit(X, y)
    accuracy = net.score(problem.X_test, problem.y_test)
    read = net.predict(target)[0]
    print(f"{name:<16} reads the target as {read}, accuracy {accuracy:.3f}")
    return net


print(f"the attacker wants {poisons.adversarial_label}")
fit_and_describe("undefended", clone(plain))

# %%
# With the callback
# -----------------
#
# The callback takes over which examples an epoch visits; a scorer beside it is
# unaffected. What was dropped is read from the fitted net's ``callbacks_``.

defended = clone(plain).set_params(
    callbacks=[
        (
            "epic",
            EPICCallback(IsolatedMedoids(), warmup=1, every=1, stop=9, random_state=0),
        ),
        ("scoring", EpochScoring("accuracy", lower_is_better=False, on_train=True)),
    ]
)
net = fit_and_describe("with EPIC", clone(defended))
epic = dict(net.callbacks_)["epic"]
print("rows dropped:", (~epic.keep_).sum(), "of", len(y))
print("accuracy on the rows kept:", net.history[-1, "accuracy"])

# %%
# Its rule from outside
# ---------------------
#
# The double underscore reaches the callback's parameters, in `set_params` as in
# `GridSearchCV`, but no deeper: give a whole rule. The figure shows what each dropped,
# round by round.

fitted = {}
for size in (0.1, 0.2, 0.3):
    rule = IsolatedMedoids(subset_size=size)
    net = clone(defended).set_params(callbacks__epic__rule=rule)
    net = fit_and_describe(f"subset_size={size}", net)
    fitted[size] = dict(net.callbacks_)["epic"]
    given = fitted[size].keep_, poisons.indices
    print(
        f"  dropped {poison_recall(*given):.0%} of the poisons and "
        f"{1 - clean_retention(*given):.0%} of the clean examples"
    )

figure, axes = plt.subplots(1, 3, figsize=(10, 3.4), layout="constrained", sharey=True)
for ax, (size, callback) in zip(axes, fitted.items(), strict=True):
    display = DropHistoryDisplay.from_estimator(
        callback, poison_indices=poisons.indices, ax=ax
    )
    display.legend_.remove()
    ax.set_title(f"subset_size={size}")
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

# %%
# What it shows
# -------------
#
# More medoids drop more: about 10%, 20% and 30% of the clean examples, and a growing
# share of the poisons, all ten of them with 0.3. On these data none of it costs
# accuracy. Whether the target is read rightly hangs on whether the poisons that stay
# are enough, and for a single target even the rounding of another processor may
# decide that: to choose a setting, attack your data several times.
