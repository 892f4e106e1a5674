"""A training problem, and the three ways to train on it with the same settings."""

import numpy as np
import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from epic_sklearn import (
    EPICCallback,
    EPICClassifier,
    EPICSubsetSampler,
    LogitGradients,
)
from epic_sklearn.rules import IsolatedMedoids

TIMING = {"warmup": 2, "every": 2, "stop": 8}
SUBSET_SIZE = 0.25
OPTIONS = {**TIMING, "rule": IsolatedMedoids(SUBSET_SIZE)}
N_EPOCHS = 10
BATCH = 33


def problem(n=211, seed=0):
    rng = np.random.RandomState(seed)
    y = rng.randint(3, size=n)
    X = rng.randn(n, 5).astype(np.float32) + np.eye(3, 5, dtype=np.float32)[y] * 2.5
    X[rng.choice(n, 30, replace=False)] += rng.randn(30, 5).astype(np.float32) * 4
    return X, y


def make_net(batch_norm=False):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        middle = nn.BatchNorm1d(12) if batch_norm else nn.Identity()
        return nn.Sequential(nn.Linear(5, 12), middle, nn.ReLU(), nn.Linear(12, 3))


def train_by_hand(net, X, y, *, num_workers=0, epochs=range(N_EPOCHS), **state):
    """Train in a user's own torch loop."""
    dataset = TensorDataset(torch.tensor(X), torch.tensor(y))
    sampler = state.get("sampler") or EPICSubsetSampler(
        dataset, random_state=7, **OPTIONS
    )
    loader = DataLoader(
        dataset, batch_size=BATCH, sampler=sampler, num_workers=num_workers
    )
    optimizer = state.get("optimizer") or torch.optim.SGD(net.parameters(), lr=0.1)
    for epoch in epochs:
        sampler.step(epoch, lambda: LogitGradients(net)(dataset))
        for x, label in loader:
            loss = nn.functional.cross_entropy(net(x), label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return sampler, optimizer


def train_skorch(net, X, y, max_epochs=N_EPOCHS, **kwargs):
    """Train a user's own skorch net."""
    options = {"random_state": 7, **OPTIONS}
    options.update(kwargs.pop("epic", {}))
    net = NeuralNetClassifier(
        net,
        criterion=nn.CrossEntropyLoss,
        lr=0.1,
        batch_size=BATCH,
        max_epochs=max_epochs,
        train_split=kwargs.pop("train_split", None),
        callbacks=[("epic", EPICCallback(**options))],
        verbose=0,
        **kwargs,
    )
    return net.fit(X, y)


def epic_of(net):
    return dict(net.callbacks_)["epic"]


def classifier(**changes):
    options = {
        "max_epochs": N_EPOCHS,
        "batch_size": BATCH,
        "optimizer_params": {},
        "random_state": 7,
        **OPTIONS,
        **changes,
    }
    return EPICClassifier(options.pop("module", make_net()), **options)


class StopAfter(Callback):
    """Interrupt training, as Ctrl-C does."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == self.epoch:
            raise KeyboardInterrupt
