"""What training warns of: weights of an early epoch, no last layer to be read."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from skorch.callbacks import Checkpoint, EarlyStopping
from torch import nn
from torch.utils.data import TensorDataset

from epic_sklearn import (
    EPICCallback,
    EPICClassifier,
    EPICFilter,
    FilteredClassifier,
    TorchClassifier,
    attack_report,
)
from epic_sklearn.attacks import LookAlikes

X, y = load_iris(return_X_y=True)
X[0] = X[100]
X = StandardScaler().fit_transform(X).astype(np.float32)
# The first epoch's loss is the highest, and the last one's the lowest.
FIRST = {"monitor": "train_loss", "lower_is_better": False, "patience": 99}
LAST = {"monitor": "train_loss", "patience": 99}
MESSAGE = "those of epoch 1, the best, and .* dropped nothing before epoch"


def fit(kind, *callbacks):
    if kind is EPICClassifier:
        model = EPICClassifier(max_epochs=20, callbacks=list(callbacks), random_state=0)
        return model.fit(X, y)
    torch.manual_seed(0)
    every = [("epic", EPICCallback(random_state=0))]
    every += [(f"c{i}", callback) for i, callback in enumerate(callbacks)]
    net = NeuralNetClassifier(
        nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3)),
        criterion=nn.CrossEntropyLoss, lr=0.1, max_epochs=20, batch_size=32,
        callbacks=every, train_split=None, verbose=0,
    )  # fmt: skip
    return net.fit(X, y)


@pytest.mark.parametrize("kind", [EPICClassifier, EPICCallback])
def test_weights_from_before_the_first_drop_are_warned_of(kind):
    with pytest.warns(UserWarning, match=MESSAGE):
        fit(kind, EarlyStopping(**FIRST, load_best=True))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        fit(kind, EarlyStopping(**FIRST))
        fit(kind, EarlyStopping(**LAST, load_best=True))


def test_so_are_those_of_a_checkpoint(tmp_path):
    def saved(net):
        return len(net.history) == 1

    with pytest.warns(UserWarning, match=MESSAGE):
        fit(EPICCallback, Checkpoint(saved, dirname=tmp_path, load_best=True))


class Halved(nn.Sequential):
    """No last layer that can be read: a division comes after it."""

    def forward(self, x):
        return super().forward(x) / 2


@pytest.mark.parametrize("kind", [EPICClassifier, EPICCallback])
def test_gradients_of_logits_in_place_of_the_last_layers_are_warned_of(kind):
    def train(**how):
        torch.manual_seed(0)
        net = Halved(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
        if kind is EPICClassifier:
            return EPICClassifier(net, max_epochs=4, random_state=0, **how).fit(X, y)
        epic = ("epic", EPICCallback(random_state=0, **how))
        return NeuralNetClassifier(
            net, criterion=nn.CrossEntropyLoss, lr=0.1, max_epochs=20, batch_size=32,
            callbacks=[epic], train_split=None, verbose=0,
        ).fit(X, y)  # fmt: skip

    with pytest.warns(UserWarning, match="No last layer of Halved can be read"):
        train()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        train(gradients="logit")


def test_what_takes_no_data_sets_or_images_says_what_does():
    data = TensorDataset(torch.tensor(X), torch.tensor(y))
    with pytest.raises(TypeError, match=r"X is a TensorDataset, .* EPICClassifier"):
        FilteredClassifier(TorchClassifier()).fit(data, y)
    with pytest.raises(TypeError, match="X is a TensorDataset; give arrays"):
        attack_report(TorchClassifier(), data, y, LookAlikes())
    with pytest.raises(ValueError, match=r"shape \(150, 1, 2, 2\).*EPICFilter\(net\)"):
        EPICFilter().fit(X.reshape(-1, 1, 2, 2), y)
