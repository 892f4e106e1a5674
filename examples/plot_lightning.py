"""
How do I protect a run of Lightning?
====================================

One line: a callback in the Trainer. This trains a LightningModule on features of
digits, ten of which are poisoned, with and without that line.
"""

# %%
# The module and the data
# -----------------------
#
# Nothing about them changes; ``forward`` gives the logits, as it does in most modules.

import logging
import tempfile
from pathlib import Path

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from epic_sklearn import clean_retention, poison_recall
from epic_sklearn.datasets import make_poisoned_digits
from epic_sklearn.training.lightning import EPICLightningCallback

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
problem = make_poisoned_digits(n_targets=1, random_state=1)
poisons = problem.poisons[0]
data = TensorDataset(*map(torch.tensor, problem.poisoned(0)))
target = torch.tensor(problem.targets[0])


class Layer(lightning.LightningModule):
    """A linear layer on frozen features."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, x):
        return self.layer(x)

    def training_step(self, batch, number):
        x, label = batch
        return nn.functional.cross_entropy(self(x), label)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


def train(callbacks):
    torch.manual_seed(0)
    module = Layer()
    trainer = lightning.Trainer(
        max_epochs=40,
        callbacks=callbacks,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(data, batch_size=128, shuffle=True))
    with torch.no_grad():
        return module(target).softmax(1)[0, poisons.adversarial_label].item()


# %%
# With and without the line
# -------------------------

epic = EPICLightningCallback(warmup=1, every=1, stop=9, random_state=0)
print(
    f"p(adversarial label) without EPIC {train([]):.2f}, with EPIC {train([epic]):.2f}"
)
print(
    f"dropped {poison_recall(epic.keep_, poisons.indices):.0%} of the poisons, "
    f"{1 - clean_retention(epic.keep_, poisons.indices):.0%} of the clean examples"
)

# %%
# Look at it
# ----------
#
# The audit page, on which rows are marked to keep or to drop: features here, and
# ``images`` are what they look like. ``apply_decisions`` reads the marks. What is left
# then is ``Subset(data, epic.keep_.nonzero()[0])``, to train anew without the callback.

images = poisons.insert_into(problem.images)
path = Path(tempfile.mkdtemp()) / "audit.html"
page = epic.report(data, None, path, images=images)
print(page.name, "of", round(page.stat().st_size / 1000), "kB")
