"""Nets and items as people have them: in place, several inputs, odd outputs."""

import functools

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from epic_sklearn import (
    EPICClassifier,
    EPICFilter,
    EPICSubsetSampler,
    LastLayerGradients,
    LogitGradients,
    TorchClassifier,
    trace,
)

RNG = np.random.default_rng(0)
Y = np.arange(120) % 3
X = (np.eye(3, 6)[Y] * 3 + RNG.normal(size=(120, 6))).astype(np.float32)
HOW = {"max_epochs": 8, "random_state": 0}


class InPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x):
        x -= 1.0
        return self.layer(x)


class Parts(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x):
        return self.layer(torch.cat(list(x), 1))


class InParts(Dataset):
    def __len__(self):
        return len(X)

    def __getitem__(self, i):
        x = torch.tensor(X[i])
        return (x[:2], x[2:]), int(Y[i])


class WithNumber(InParts):
    def __getitem__(self, i):
        return {"x": torch.tensor(X[i]), "number": i, "label": int(Y[i])}


class Aux(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x):
        logits = self.layer(x)
        return (logits, logits) if self.training else logits


def test_a_net_that_works_in_place_leaves_the_users_rows():
    given = X.copy()
    model = EPICClassifier(InPlace, **HOW).fit(given, Y)
    EPICFilter(model.module_).fit(given, Y)
    few = given[:4]
    trace(model, given, Y, few)
    first, second = model.predict(given), model.predict(given)
    np.testing.assert_array_equal(given, X)
    np.testing.assert_array_equal(first, second)
    data = TensorDataset(torch.tensor(X), torch.tensor(Y))
    of_items = EPICClassifier(InPlace, **HOW).fit(data)
    np.testing.assert_array_equal(model.keep_, of_items.keep_)
    assert torch.equal(model.module_.layer.weight, of_items.module_.layer.weight)


def test_an_input_may_have_several_parts():
    model = EPICClassifier(Parts, **HOW).fit(InParts())
    plain = EPICClassifier(functools.partial(nn.Linear, 6, 3), **HOW).fit(X, Y)
    np.testing.assert_array_equal(model.keep_, plain.keep_)
    np.testing.assert_array_equal(model.predict(InParts()), plain.predict(X))


def test_an_entry_that_forward_does_not_name_is_named():
    with pytest.raises(TypeError, match=r"It does not name \['number'\]: leave them"):
        EPICClassifier(Parts, **HOW).fit(WithNumber())


def test_outputs_that_are_logits_in_evaluation_only_are_explained():
    with pytest.raises(TypeError, match="gave a tuple in training mode; it must give"):
        EPICClassifier(Aux, **HOW).fit(X, Y)


@pytest.mark.parametrize(
    "loss",
    [
        nn.CrossEntropyLoss(weight=torch.tensor([0.0, 0.0, 1.0])),
        nn.CrossEntropyLoss(ignore_index=1),
    ],
)
def test_classes_may_weigh_nothing(loss):
    head = functools.partial(nn.Linear, 6, 3)
    model = TorchClassifier(head, batch_size=1, criterion=loss, lr=0.01, **HOW)
    assert np.isfinite(model.fit(X, Y).history_[-1]["train_loss"])


def test_class_weights_are_those_of_torch():
    loss = nn.CrossEntropyLoss(weight=torch.tensor([0.2, 1.0, 3.0]))
    head = functools.partial(nn.Linear, 6, 3)
    how = {"batch_size": 120, "optimizer_params": {}, "max_epochs": 1}
    how["random_state"] = 0
    model = TorchClassifier(head, criterion=loss, lr=0.5, **how).fit(X, Y)
    start = TorchClassifier(head, lr=1e-12, **how).fit(X, Y).module_
    start.zero_grad()
    loss(start(torch.tensor(X)), torch.tensor(Y)).backward()
    expected = start.weight - 0.5 * start.weight.grad
    torch.testing.assert_close(model.module_.weight, expected)


def test_an_embedding_in_place_of_logits_is_warned_of():
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 24))
    data = TensorDataset(torch.tensor(X), torch.tensor(Y))
    sampler = EPICSubsetSampler(data, warmup=0, every=1, random_state=0)
    nothing = "It has 24 columns for 3 classes: are these their logits"
    with pytest.warns(UserWarning, match=nothing):
        sampler.step(0, lambda: LastLayerGradients(net)(data))
    with pytest.warns(UserWarning, match=nothing):
        trace(net, X, Y, X[:2], Y[:2])


def test_saved_rounds_go_on_in_a_longer_training():
    first = EPICSubsetSampler(Y, max_epochs=8, random_state=0)
    longer = EPICSubsetSampler(Y, max_epochs=16, random_state=0)
    with pytest.warns(UserWarning, match="of another length"):
        longer.load_state_dict(first.state_dict())
    assert longer.schedule.epochs == first.schedule.epochs


class OfSizes(InParts):
    """Images of different sizes, which a batch holds as a list."""

    def __getitem__(self, i):
        return torch.tensor(X[i])[:, None].expand(6, 2 + i % 3), int(Y[i])


class OnePerImage(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x):
        return self.layer(torch.stack([image.mean(dim=1) for image in x]))


@pytest.mark.parametrize("has_labels", [True, False])
def test_a_batch_may_be_a_list_of_its_examples(has_labels):
    def listed(items):
        x, y = zip(*items, strict=True)
        return (list(x), torch.tensor(y)) if has_labels else {"x": list(x)}

    data = DataLoader(OfSizes(), 16, collate_fn=listed)
    net = OnePerImage()
    found = LogitGradients(net)(data, Y)
    expected = LogitGradients(net.layer)(X, Y)
    np.testing.assert_allclose(found, expected, atol=1e-6)
