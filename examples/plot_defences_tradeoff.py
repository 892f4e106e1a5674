"""
Which defence stops the attack, and what does it cost?
======================================================

A defence is judged by two numbers: how often the attack still succeeds, and how
accurate the model still is. This example tries seven rules on the same ten poisoned
training sets: EPIC's, this library's own, three published rivals, one that drops by
loss and one that drops at random. All look at the same logistic
regression on frozen features of digits.
"""

# %%
# Ten attacks
# -----------
#
# For each of ten targets, ten of 700 training digits were changed with *bullseye
# polytope*. A filter sees the poisoned set and its labels and drops what it will.

import matplotlib.pyplot as plt
from sklearn.linear_model import LogisticRegression

from epic_sklearn import EPICFilter, LastLayerGradients, TradeoffDisplay
from epic_sklearn.datasets import make_poisoned_digits
from epic_sklearn.rules import (
    ActivationClustering,
    DeepKNN,
    HighLoss,
    IsolatedMedoids,
    NeighborVotes,
    RandomDrop,
    SpectralSignatures,
)

problem = make_poisoned_digits(n_targets=10, random_state=0)
model = LogisticRegression(C=10, max_iter=1000)
gradients = LastLayerGradients(model)

# Spectral signatures, high loss and random drop a share that is a guess: here about
# what EPIC drops. The others are told nothing. EPIC's rule gets five rounds.
rules = {
    "isolated medoids": IsolatedMedoids(),
    "neighbour votes": NeighborVotes(),
    "spectral signatures": SpectralSignatures(eps=0.1),
    "activation clustering": ActivationClustering(),
    "deep k-NN": DeepKNN(),
    "high loss": HighLoss(drop_fraction=0.15),
    "random": RandomDrop(drop_fraction=0.15),
}
defences = {
    name: EPICFilter(gradients, rule=rule, random_state=0)
    for name, rule in rules.items()
}
defences["isolated medoids"].set_params(n_rounds=5)

# %%
# A report trains the model on each set, without a filter and with each. With
# ``controls=True``, the default, it would also train on as many rows dropped at random
# as each filter dropped, and on all but the poisons.

report = problem.report(model, defences, controls=False, random_state=0)
print(report)

# %%
# Success against accuracy
# ------------------------
#
# The lower right is best. The lines are 95% confidence intervals: ten targets cannot
# tell the better filters apart. Nor can the accuracies: from the left of the figure to
# the right it is two of 397 test digits.

TradeoffDisplay.from_report(report)
plt.show()

# %%
# Poisons left against clean examples lost
# ----------------------------------------
#
# The lower left is best. What is dropped says more than accuracy where, as here, a
# model can do without many examples.

TradeoffDisplay.from_report(report, x="clean_lost", y="poisons_left")
plt.show()

# %%
# What it shows
# -------------
#
# On these data EPIC works, and is not the best choice. It takes the attack from ten
# successes to two, at 18% of the clean examples, neighbour votes to two, at 1% (one
# more or less by the machine). The three rivals stop all for less, deep k-NN for 1%.
# Dropping as many at random does nothing, dropping by loss little.
#
# The reason is the attack: pixels may change by half their range, so the poisons lie
# far from their class in the features themselves, where the rivals look. In the paper's
# experiments, with changes too small to see and nets trained from scratch, the order is
# the reverse: gradient matching succeeds with 25% undefended, 21% against deep k-NN,
# 17% against spectral signatures, 9% against activation clustering and 1% against EPIC
# (CIFAR-10, 40 epochs). Which defence is best depends on the attack: compare them on
# yours.
