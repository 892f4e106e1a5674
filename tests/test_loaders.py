"""Loaders whose batches are not of their items in order, or not of all of them."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import (
    DataLoader,
    Dataset,
    RandomSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
)

from epic_sklearn import (
    EPICClassifier,
    EPICFilter,
    EPICSubsetSampler,
    LogitGradients,
    TorchClassifier,
    trace,
)

N, RNG = 90, np.random.default_rng(0)
Y = np.arange(N) % 3
X = (np.eye(3)[Y] * 4 + RNG.normal(size=(N, 3))).astype(np.float32)
LENGTHS = RNG.integers(3, 9, N)
SETTINGS = {"max_epochs": 8, "lr": 0.5, "batch_size": 16, "random_state": 0}


class Sequences(Dataset):
    """Rows repeated to sequences of different lengths."""

    def __len__(self):
        return N

    def __getitem__(self, i):
        return torch.tensor(X[i]).repeat(LENGTHS[i], 1), int(Y[i])


class MeanNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 3)

    def forward(self, x):
        return self.head(x.sum(dim=1) / (x != 0).any(dim=2).sum(dim=1, keepdim=True))


def pad(items, change=lambda items: items):
    x, y = zip(*change(items), strict=True)
    return nn.utils.rnn.pad_sequence(list(x), batch_first=True), torch.tensor(y)


def loader(change=None, data=None):
    collate = pad if change is None else partial(pad, change=change)
    return DataLoader(data or Sequences(), 16, collate_fn=collate)


def longest_first(items):
    return sorted(items, key=lambda item: -len(item[0]))


def without_short(items):
    return [item for item in items if len(item[0]) > 3]


def merged(items):
    return [(x, y // 2) for x, y in items]


def softened(items):
    return [(x, np.eye(3)[y].tolist()) for x, y in items]


USES = {
    "train": lambda model, data: TorchClassifier(MeanNet, **SETTINGS).fit(data),
    "drop": lambda model, data: EPICClassifier(MeanNet, **SETTINGS).fit(data),
    "predict": lambda model, data: model.predict(data),
    "score": lambda model, data: model.score(data),
    "gradients": lambda model, data: LogitGradients(model.module_)(data),
    "trace": lambda model, data: trace(model, loader(), None, data),
    "filter": lambda model, data: EPICFilter(model.module_).fit(data, None),
}


@pytest.fixture(scope="module")
def model():
    fitted = TorchClassifier(MeanNet, **SETTINGS).fit(loader())
    assert fitted.score(loader()) > 0.9
    return fitted


@pytest.mark.parametrize("change", [longest_first, without_short, merged, softened])
@pytest.mark.parametrize("use", USES)
def test_a_collate_function_that_orders_or_leaves_out_items_is_refused(
    use, change, model
):
    with pytest.raises(ValueError, match="Let it keep items, their order"):
        USES[use](model, loader(change))


class Votes(Sequences):
    """Items whose label is named otherwise, of rows that are in order of class."""

    def __getitem__(self, i):
        x, y = super().__getitem__(np.argsort(Y, kind="stable")[i])
        return {"x": x, "vote": torch.tensor(float(y))}


def padded(items, order=lambda items: items, noise=0.0):
    items = order(items)
    x = nn.utils.rnn.pad_sequence([item["x"] for item in items], batch_first=True)
    x = x + noise * torch.rand(x.shape)
    return {"x": x, "vote": torch.stack([item["vote"] for item in items])}


def test_order_is_known_without_labels_too(model):
    def predict(**how):
        data = DataLoader(Votes(), 16, collate_fn=partial(padded, **how))
        return LogitGradients(NamedNet(model.module_))(data, np.sort(Y))

    with pytest.raises(ValueError, match="is in another order when the items are"):
        predict(order=lambda items: sorted(items, key=lambda item: -len(item["x"])))
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    found = predict(order=lambda items: items[::-1], noise=1e-4)  # random: not known
    assert torch.rand(1) == expected and len(found) == N
    predict()


class NamedNet(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x, vote):
        return self.net(x)


def test_a_batch_of_three_parts_is_explained(model):
    def with_lengths(items):
        x, y = pad(items)
        return x, torch.tensor([len(item[0]) for item in items]), y

    data = DataLoader(Sequences(), 16, collate_fn=with_lengths)
    with pytest.raises(ValueError, match="second part of a batch is taken for the lab"):
        model.predict(data)


def test_a_collate_function_that_encodes_texts_is_none_of_these():
    names = np.array(["a", "b", "c"])

    def encoded(items):
        x, y = zip(*items, strict=True)
        return torch.stack(x), torch.tensor([np.flatnonzero(names == t)[0] for t in y])

    class Named(Dataset):
        def __len__(self):
            return N

        def __getitem__(self, i):
            return torch.tensor(X[i]), str(names[Y[i]])

    data = DataLoader(Named(), 16, collate_fn=encoded)
    fitted = TorchClassifier(partial(nn.Linear, 3, 3), **SETTINGS).fit(data)
    plain = TorchClassifier(partial(nn.Linear, 3, 3), **SETTINGS).fit(X, names[Y])
    assert list(fitted.classes_) == list(names)
    np.testing.assert_allclose(fitted.predict_proba(X), plain.predict_proba(X), 1e-5)


@pytest.mark.parametrize("use", [*USES, "sampler"])
@pytest.mark.parametrize(
    "sampler",
    [SubsetRandomSampler(range(30)), RandomSampler(range(N), num_samples=N // 2)],
)
def test_a_loader_of_some_rows_is_not_taken_for_all(use, sampler, model):
    data = DataLoader(Sequences(), 16, sampler=sampler, collate_fn=pad)
    uses = {**USES, "sampler": lambda model, data: EPICSubsetSampler(data, warmup=1)}
    with pytest.raises(ValueError, match=r"RandomSampler"):
        uses[use](model, data)
    part = loader(data=Subset(Sequences(), range(30)))
    assert len(model.predict(part)) == 30


def test_a_loader_that_shuffles_or_drops_by_epic_is_taken_whole(model):
    plain = LogitGradients(model.module_)(loader())
    shuffled = DataLoader(Sequences(), 16, shuffle=True, collate_fn=pad)
    np.testing.assert_array_equal(LogitGradients(model.module_)(shuffled), plain)
    sampler = EPICSubsetSampler(Y, warmup=1, random_state=0)
    sampler.schedule.decide(np.arange(9), np.zeros(9, dtype=bool))
    of_epic = DataLoader(Sequences(), 16, sampler=sampler, collate_fn=pad)
    assert len(sampler) == N - 9
    np.testing.assert_array_equal(LogitGradients(model.module_)(of_epic), plain)


@pytest.mark.parametrize("extra", [torch.ones(N), torch.ones(N, dtype=torch.long)])
def test_a_part_behind_the_label_is_said_to_be_ignored(extra):
    data = TensorDataset(torch.tensor(X), torch.tensor(Y), extra)
    with pytest.warns(UserWarning, match="give sample_weight"):
        fitted = TorchClassifier(**SETTINGS, module=nn.Linear(3, 3)).fit(data)
    assert fitted.score(X, Y) > 0.9
