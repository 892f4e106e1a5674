"""Data sets whose items are read when needed, in classifiers and filters."""

import time
import tracemalloc

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import (
    DataLoader,
    Dataset,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
)
from training_problem import OPTIONS, make_net, problem

from epic_sklearn import (
    EPICClassifier,
    EPICFilter,
    EPICResampler,
    LogitGradients,
    TorchClassifier,
)
from epic_sklearn.rules import IsolatedMedoids

X, Y = problem()
SETTINGS = {"max_epochs": 6, "random_state": 7, "batch_size": 33, "lr": 0.05}


class Files(Dataset):
    """Slow to read, and large when read: counts both."""

    def __init__(self, size=0, labels=Y, delay=0.0):
        self.size, self.labels, self.delay = size, labels, delay
        self.n_read = np.zeros(len(X), dtype=int)

    def __len__(self):
        return len(X)

    def __getitem__(self, i):
        self.n_read[i] += 1
        time.sleep(self.delay)
        x = torch.from_numpy(np.resize(X[i], max(self.size, X.shape[1])))
        return x, self.labels[i]


class Dictionaries(Files):
    def __getitem__(self, i):
        x, y = super().__getitem__(i)
        return {"pixels": x, "label": y}


def epic(**changes):
    return EPICClassifier(make_net(), **{**SETTINGS, **OPTIONS, **changes})


NAMES = np.array(["cat", "dog", "emu"])


@pytest.mark.parametrize(
    "data",
    [
        Files(),
        Dictionaries(),
        DataLoader(Files(), num_workers=1, pin_memory=False),
        TensorDataset(torch.tensor(X), torch.tensor(Y)),
    ],
    ids=["pairs", "dictionaries", "loader", "tensors"],
)
def test_a_data_set_trains_as_the_arrays_do(data):
    of_arrays, of_items = epic().fit(X, Y), epic().fit(data)
    assert not of_arrays.keep_.all()
    np.testing.assert_array_equal(of_items.keep_, of_arrays.keep_)
    np.testing.assert_allclose(
        of_items.predict_proba(data), of_arrays.predict_proba(X), rtol=1e-4, atol=1e-6
    )
    assert of_items.score(data, Y) == of_arrays.score(X, Y)
    np.testing.assert_array_equal(of_items.predict(X), of_arrays.predict(X))


def test_a_data_set_of_hugging_face_trains_as_the_arrays_do():
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    data = datasets.Dataset.from_dict({"input": X, "label": NAMES[Y]})
    of_items = epic().fit(data)
    np.testing.assert_array_equal(of_items.keep_, epic().fit(X, Y).keep_)
    np.testing.assert_array_equal(of_items.classes_, NAMES)
    detector = EPICResampler(make_net(), rule=IsolatedMedoids(0.3))
    kept, labels = detector.fit_resample(data.remove_columns("label"), Y)
    assert len(kept) == len(labels) == len(detector.sample_indices_) < len(X)


def test_items_are_read_once_for_labels_a_round_and_an_epoch_and_not_kept():
    size = 2**14
    data = Files(size, delay=1e-4)

    def net(n_features):
        return nn.Sequential(nn.Linear(n_features, 4), nn.ReLU(), nn.Linear(4, 3))

    small = {"batch_size": 8, "lr": 1e-5}
    tracemalloc.start()
    model = EPICClassifier(net, **{**SETTINGS, **OPTIONS, **small}).fit(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < len(X) * size * 4 / 3  # what all items hold is three times that
    lasted = np.where(model.keep_, 6, model.dropped_at_epoch_)
    reads = data.n_read - 1 - len(model.rounds_) - lasted
    # The module was tried on the first two, and the first 16 were read again.
    assert (reads[16:] == 0).all() and (reads[2:16] == 2).all() and reads.max() < 9
    data.n_read[:] = 0
    model.predict(data)
    EPICFilter(model.module_, rule=IsolatedMedoids(0.3)).fit(data, Y)
    assert (data.n_read[2:] == 2).all() and data.n_read.max() <= 6


@pytest.mark.parametrize("extractor", ["module", "classifier"])
def test_a_filter_takes_data_sets(extractor):
    model = TorchClassifier(make_net(), **SETTINGS)
    given = model.fit(X, Y).module_ if extractor == "module" else model
    detector = EPICFilter(given, rule=IsolatedMedoids(0.3), n_rounds=2)
    keep = detector.fit(X, Y).keep_.copy()
    data = Files()
    for source in (data, DataLoader(data, batch_size=16, shuffle=True)):
        np.testing.assert_array_equal(detector.fit(source, None).keep_, keep)
    replaced = detector.fit_transform(data, None)
    assert isinstance(replaced, Subset) and len(replaced) == len(X)
    assert [replaced[i][1] for i in range(len(X))] == Y.tolist()
    with pytest.raises(TypeError, match="give a torch module or a TorchClassifier"):
        EPICFilter().fit(data, Y)


class Fickle(Files):
    """Gives another label when an item is read again."""

    def __getitem__(self, i):
        x, y = super().__getitem__(i)
        return x, (y + (i == 5) * self.n_read[i]) % 3


def test_labels_are_checked_against_the_items():
    with pytest.raises(ValueError, match="Item 5 has the label"):
        epic().fit(Fickle())
    net = make_net()
    with pytest.raises(ValueError, match="3 of 211 labels are not those"):
        LogitGradients(net)(Files(), np.r_[(Y[:3] + 1) % 3, Y[3:]])
    np.testing.assert_array_equal(epic().fit(Files(), NAMES[Y]).classes_, NAMES)
    with pytest.raises(ValueError, match="X has 211 items and y 3 labels"):
        epic().fit(Files(), [0, 1, 2])
    with pytest.raises(ValueError, match="gives no labels"):
        epic().fit(TensorDataset(torch.tensor(X)))
    with pytest.raises(TypeError, match="give a module for a data set"):
        epic().set_params(module=None).fit(Files())


def test_a_loader_that_samples_in_its_own_way_is_refused_before_training():
    weighted = WeightedRandomSampler([1.0] * len(X), len(X))
    with pytest.raises(ValueError, match="has a WeightedRandomSampler, which would be"):
        epic().fit(DataLoader(Files(), 16, sampler=weighted))
    assert epic().fit(DataLoader(Files(), 16, shuffle=True)).keep_.shape == (len(X),)


def test_accuracy_on_a_data_set_is_that_on_its_arrays():
    model = epic().fit(Files())
    assert model.score(Files()) == model.score(X, Y)


class Halved(nn.Module):
    """Logits that no linear layer gives."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(X.shape[1], 3)

    def forward(self, x):
        return self.layer(x) / 2


def test_logits_that_no_layer_gives_are_met_before_training():
    model = EPICClassifier(Halved(), max_epochs=4, random_state=0).fit(X, Y)
    assert type(model.extractor_) is LogitGradients
    with pytest.raises(ValueError, match="gradients='logit'"):
        EPICClassifier(Halved(), gradients="last_layer", max_epochs=4).fit(X, Y)
