"""
Does EPIC stop a backdoor with a trigger?
=========================================

A backdoor does not aim at one target: every input that bears a trigger, a small patch,
is to be misread. This example plants one in a net trained from scratch on digits, by
the simple way (*BadNets*: patched and mislabelled examples) and by a hidden one
(*Sleeper Agent*: rightly labelled examples without the patch). It compares EPIC with
three rivals. Here EPIC helps little, and the last figure shows why.
"""

# %%
# The attacks
# -----------
#
# A patch of 3 x 3 pixels is to turn threes into nines. BadNets puts it on 20 threes
# and labels them nine. Sleeper Agent changes 40 nines, with the gradients of a net of
# its own, such that a net trained on them answers to the patch. As the images have
# 8 x 8 pixels it may change a pixel by half its range.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from epic_sklearn import (
    EPICClassifier,
    EPICFilter,
    FilteredClassifier,
    LogitGradients,
    TorchClassifier,
    attack_success_rate,
    clean_retention,
    find_medoids,
    poison_recall,
)
from epic_sklearn.attacks import BadNets, PatchTrigger, SleeperAgent
from epic_sklearn.plotting import ClusterSizeDisplay
from epic_sklearn.rules import (
    ActivationClustering,
    DeepKNN,
    IsolatedMedoids,
    SpectralSignatures,
)

SOURCE, WANTED = 3, 9
X, y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32).reshape(-1, 1, 8, 8)
X, X_test, y, y_test = train_test_split(
    X, y, train_size=1000, stratify=y, random_state=0
)


def make_module():
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10)),
    )


options = {"max_epochs": 20, "lr": 0.03, "batch_size": 64, "random_state": 0}
net = TorchClassifier(make_module, **options)
trigger = PatchTrigger.random((1, 8, 8), size=3, random_state=0)
bad_nets = BadNets(n_poisons=20, trigger=trigger, random_state=0)
sleeper_agent = SleeperAgent(
    n_poisons=40,
    eps=0.5,
    n_steps=60,
    trigger=trigger,
    retrain=net,
    retrain_every=30,
    random_state=0,
)
net_of_attacker = TorchClassifier(make_module, **{**options, "random_state": 1})
net_of_attacker.fit(X, y)
attacks = {
    "BadNets": bad_nets.craft(X, y, SOURCE, WANTED),
    "Sleeper Agent": sleeper_agent.craft(net_of_attacker, X, y, SOURCE, WANTED),
}
patched = trigger.apply(X_test[y_test == SOURCE])
read = net_of_attacker.predict(patched)
print(f"a clean net: success {attack_success_rate(read, WANTED):.0%}")

figure, axes = plt.subplots(2, 5, figsize=(7, 3.3), layout="constrained")
for row, (name, poisons) in zip(axes, attacks.items(), strict=True):
    for ax, image in zip(row, [*poisons.examples[:4], patched[0]], strict=True):
        ax.imshow(image[0], cmap="gray_r", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
    row[0].set_ylabel(name)
axes[0, 4].set_title("test digit")
figure.suptitle(f"Four poisons, all labelled {WANTED}, and what they are made for")
plt.show()

# %%
# The defences
# ------------
#
# EPIC drops while the net trains, after it has learned for eight epochs. The rivals
# look at the penultimate layer of the undefended net; another is then trained on what
# they keep. Success is measured on test threes with the patch.

rivals = {
    "spectral signatures": SpectralSignatures(eps=0.15),
    "activation clustering": ActivationClustering(),
    "deep k-NN": DeepKNN(),
}
defences = ["undefended", "EPIC", *rivals]
results = {}
for attack, poisons in attacks.items():
    data = poisons.insert_into(X), poisons.relabel(y)
    models = {
        "undefended": clone(net).fit(*data),
        "EPIC": EPICClassifier(
            make_module, rule=IsolatedMedoids(), warmup=8, every=1, stop=15, **options
        ),
    }
    models["EPIC"].fit(*data)
    for name, rule in rivals.items():
        trained = models["undefended"].module_
        rival = EPICFilter(trained, rule=rule, random_state=0)
        models[name] = FilteredClassifier(net, rival).fit(*data)
    for name, model in models.items():
        success = attack_success_rate(model.predict(patched), WANTED)
        results[attack, name] = success, model.score(X_test, y_test)
        text = f"{attack:<14} {name:<22} success {success:4.0%}"
        text += f"  accuracy {results[attack, name][1]:.1%}"
        if hasattr(model, "keep_"):
            given = model.keep_, poisons.indices
            text += f"  dropped {poison_recall(*given):4.0%} of the poisons,"
            text += f" {1 - clean_retention(*given):4.0%} of the clean examples"
        print(text)

figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained", sharey=True)
for attack, colour, shift in zip(
    attacks, ("#D55E00", "#0072B2"), (-0.19, 0.19), strict=True
):
    for column, ax in enumerate(axes):
        values = [results[attack, name][column] for name in defences]
        bars = ax.barh(
            np.arange(len(defences)) + shift,
            values,
            height=0.36,
            color=colour,
            label=attack if column == 0 else None,
        )
        ax.bar_label(bars, [f"{value:.0%}" for value in values], padding=3)
for ax, title in zip(axes, ("attack success", "clean accuracy"), strict=True):
    ax.set(title=title, xlim=(0, 1.15), xticks=[])
    ax.spines[["top", "right", "bottom"]].set_visible(False)
axes[0].set_yticks(range(len(defences)), defences)
axes[0].invert_yaxis()
figure.legend(loc="outside lower center", ncols=2, frameon=False)
plt.show()

# %%
# Why EPIC misses them
# --------------------
#
# The clusters of undefended training after eight epochs, of the examples labelled
# nine. What is alone in its cluster would be dropped.

figure, axes = plt.subplots(2, 1, figsize=(8, 5.2), layout="constrained")
for ax, (attack, poisons) in zip(axes, attacks.items(), strict=True):
    data = poisons.insert_into(X), poisons.relabel(y)
    early = TorchClassifier(make_module, **{**options, "max_epochs": 8}).fit(*data)
    sizes = find_medoids(LogitGradients(early.module_)(*data), data[1]).cluster_size
    rows = np.flatnonzero(data[1] == WANTED)
    is_poison = np.isin(rows, poisons.indices)
    ClusterSizeDisplay.from_predictions(sizes[rows], poison_indices=is_poison, ax=ax)
    ax.set_title(attack)
    alone = sizes[rows] == 1
    print(
        f"{attack}: alone are {alone[is_poison].mean():.0%} of the poisons and "
        f"{alone[~is_poison].mean():.0%} of the clean examples"
    )
plt.show()

# %%
# What it shows
# -------------
#
# EPIC is the wrong tool here. Both attacks keep most of their success (how much hangs
# on the machine and its threads), and accuracy falls by some points. Four of five
# poisons have company: they do not pull the net towards one target, each in its own
# way, but teach it one common feature, and the net learns them as a group. A higher
# `threshold` would reach half of BadNets' poisons, at a quarter of the clean examples
# in one round, and hardly more of Sleeper Agent's.
#
# Rules that look for a group do better. Activation clustering stops both attacks, at 6
# to 10 points of accuracy. Deep k-NN leaves 5% to 15% and costs the least. The paper
# reports EPIC against Sleeper Agent on CIFAR-10 with 12% success instead of 79%; that
# is another net, another dose and 200 epochs, and shows that this figure is no law
# either.
