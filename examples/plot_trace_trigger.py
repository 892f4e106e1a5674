"""
From a trigger to its poisons
=============================

A model in use misreads an image that bears an odd patch. Traced back, the misreading
leads to the training rows that planted the backdoor, and without these it is gone.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from epic_sklearn import (
    RememberStates,
    TorchClassifier,
    TraceDisplay,
    attack_success_rate,
    trace,
)
from epic_sklearn.attacks import BadNets, PatchTrigger

SOURCE, WANTED = 3, 9
X, y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32).reshape(-1, 1, 8, 8)
X, X_test, y, y_test = train_test_split(
    X, y, train_size=1000, stratify=y, random_state=0
)
trigger = PatchTrigger.random((1, 8, 8), size=3, random_state=0)
attack = BadNets(n_poisons=20, trigger=trigger, random_state=0)
poisons = attack.craft(X, y, SOURCE, WANTED)
X, y = poisons.insert_into(X), poisons.relabel(y)


def make_module():
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10)),
    )


model = TorchClassifier(
    make_module,
    max_epochs=20,
    lr=0.03,
    batch_size=64,
    callbacks=[RememberStates(4)],
    random_state=0,
).fit(X, y)
patched = trigger.apply(X_test[y_test == SOURCE])
success = attack_success_rate(model.predict(patched), WANTED)
print(
    f"accuracy {model.score(X_test, y_test):.1%}, success of the trigger {success:.0%}"
)

# %%
# One misread image is enough
# ---------------------------
#
# We know one image with the label that it got, and nothing of the attack. The poisons,
# framed, are what the attacker put among about 120 rows labelled 9.

victim = patched[model.predict(patched) == WANTED][:1]
figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
found = {
    score: trace(model, X, y, victim, [WANTED], score=score)
    for score in ("cosine", "contribution")
}
for score, ranked in found.items():
    n_found = np.isin(ranked.indices[0], poisons.indices).cumsum()
    axes.plot(np.arange(1, 101), n_found, label=score)
    print(f"{score}: {n_found[9]} of the first 10 are poisons, {n_found[29]} of 30")
axes.plot([0, 20, 100], [0, 20, 20], color="0.7", linestyle=":", label="best possible")
axes.set(xlabel="rows looked at", ylabel="poisons found")
axes.legend(frameon=False)
plt.show()

# %%
TraceDisplay.from_trace(
    found["cosine"], X, victim, n_top=7, poison_indices=poisons.indices
)
plt.show()

# %%
# Without the first twenty of both
# --------------------------------

keep = np.ones(len(y), dtype=bool)
for ranked in found.values():
    keep[ranked.indices[0, :20]] = False
print(f"dropped {np.sum(~keep)} rows, {np.sum(~keep[poisons.indices])} of 20 poisons")
again = clone(model).fit(X[keep], y[keep])
success = attack_success_rate(again.predict(patched), WANTED)
print(
    f"accuracy {again.score(X_test, y_test):.1%}, success of the trigger {success:.0%}"
)
