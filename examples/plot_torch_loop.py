"""
How do I use EPIC in my own torch training loop?
================================================

A loop of your own needs three lines more: a sampler for the loader, a call of its
`step` before each epoch, and its state in your checkpoints. This example adds them
to a plain loop that trains a linear layer on frozen features of digits, ten of
which are poisoned, stops half-way and goes on from the checkpoint. It then compares
what the loop makes of the target with and without the sampler.
"""

# %%
# The data
# --------
#
# 700 digits, of which ten were changed so that the trained layer takes one chosen
# target for another digit.

import io

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from epic_sklearn import (
    EPICSubsetSampler,
    LogitGradients,
    clean_retention,
    poison_recall,
)
from epic_sklearn.datasets import make_poisoned_digits
from epic_sklearn.rules import IsolatedMedoids

problem = make_poisoned_digits(n_targets=1, random_state=1)
poisons = problem.poisons[0]
dataset = TensorDataset(*map(torch.tensor, problem.poisoned(0)))
target = torch.tensor(problem.targets[0])
test_features = torch.tensor(problem.X_test)
test_labels = torch.tensor(problem.y_test)

# %%
# The loop
# --------
#
# The loader takes its order from the sampler. `step` gets the number of epochs
# trained so far, and a function that computes the gradients of the whole data set:
# it is called only when a round is due. `LogitGradients` reads the data set in its
# own order and in evaluation mode. With augmentation, give it a second data set of
# the same examples that does not augment.


def make_net():
    torch.manual_seed(0)
    net = nn.Linear(64, 10)
    return net, torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)


def train(net, optimizer, sampler, epochs):
    """Train, and record what the net makes of the target and of the test digits."""
    loader = DataLoader(dataset, batch_size=128, sampler=sampler)
    record = []
    for epoch in epochs:
        sampler.step(epoch, lambda: LogitGradients(net)(dataset))
        for x, label in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), label).backward()
            optimizer.step()
        with torch.no_grad():
            wanted = net(target).softmax(1)[0, poisons.adversarial_label].item()
            right = net(test_features).argmax(1) == test_labels
        record.append((wanted, right.float().mean().item(), sampler.keep.mean()))
    return np.array(record)


# %%
# Without EPIC
# ------------
#
# A `warmup` that is never over makes the sampler an ordinary shuffling one, so the
# two runs see the same order of examples until the first drop.

N_EPOCHS = 40
never = EPICSubsetSampler(dataset, warmup=N_EPOCHS, random_state=0)
undefended = train(*make_net(), never, range(N_EPOCHS))

# %%
# With EPIC, stopped and resumed
# ------------------------------
#
# A round follows each of the first nine epochs. After the fifth the run is saved,
# and continued with objects made anew, as after a crash. The sampler's state holds
# what was dropped and the orders to come: the kept rows are those of an unbroken run.

options = {"rule": IsolatedMedoids(), "warmup": 1, "every": 1, "stop": 9}
net, optimizer = make_net()
sampler = EPICSubsetSampler(dataset, **options, random_state=0)
first_part = train(net, optimizer, sampler, range(5))

checkpoint = io.BytesIO()  # a file, in your loop
torch.save(
    {
        part: object_.state_dict()
        for part, object_ in (
            ("net", net),
            ("optimizer", optimizer),
            ("sampler", sampler),
        )
    },
    checkpoint,
)
checkpoint.seek(0)
saved = torch.load(checkpoint)
net, optimizer = make_net()
sampler = EPICSubsetSampler(dataset, **options)
net.load_state_dict(saved["net"])
optimizer.load_state_dict(saved["optimizer"])
sampler.load_state_dict(saved["sampler"])
second_part = train(net, optimizer, sampler, range(5, N_EPOCHS))
defended = np.vstack([first_part, second_part])

unbroken = EPICSubsetSampler(dataset, **options, random_state=0)
train(*make_net(), unbroken, range(N_EPOCHS))
print(
    "the resumed run keeps what an unbroken one keeps:",
    bool((unbroken.keep == sampler.keep).all()),
)
for name, record in (("without EPIC", undefended), ("with EPIC", defended)):
    wanted, accuracy, kept = record[-1]
    print(f"{name:<12}  p(adversarial label) {wanted:.2f}  accuracy {accuracy:.3f}")
print(
    f"dropped {poison_recall(sampler.keep, poisons.indices):.0%} of the poisons, "
    f"{1 - clean_retention(sampler.keep, poisons.indices):.0%} of the clean examples"
)

# %%
# Epoch by epoch
# --------------
#
# Grey: the epochs after which EPIC drops. The dotted line: where the run was stopped
# and resumed.

figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
epochs = np.arange(1, N_EPOCHS + 1)
for name, record, style in (
    ("without EPIC", undefended, {"color": "#D55E00", "linestyle": "--"}),
    ("with EPIC", defended, {"color": "#0072B2"}),
):
    axes[0].plot(epochs, record[:, 0], label=name, **style)
    axes[1].plot(epochs, record[:, 1], **style)
axes[0].set(
    ylim=(-0.03, 1.03),
    ylabel="probability of the adversarial label",
    title="The target",
)
axes[1].set(ylabel="accuracy", title="Clean test digits")
for ax in axes:
    ax.axvspan(1, options["stop"], color="0.93", zorder=0)
    ax.axvline(5.5, color="0.5", linewidth=1, linestyle=":")
    ax.set_xlabel("epochs trained")
    ax.spines[["top", "right"]].set_visible(False)
figure.legend(loc="outside lower center", ncols=2, frameon=False)
plt.show()

# %%
# What it shows
# -------------
#
# Without EPIC the net takes up the poisons slowly, and at the end is nearly sure of the
# label that the attacker wants. With EPIC all or nearly all of the poisons are gone
# after nine epochs, and the probability of that label ends low. A fifth of the clean
# examples is gone too. Accuracy on 397 test digits differs by a few of them, less than
# it moves from epoch to epoch.
