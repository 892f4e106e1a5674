"""Data sets whose items are read when needed, in classifiers and filters."""

import pickle
import time
import tracemalloc

import numpy as np
import pytest
import torch
from skorch import NeuralNetClassifier
from torch import nn
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
)
from training_problem import OPTIONS, make_net, problem

from epic_sklearn import (
    EPICCallback,
    EPICClassifier,
    EPICFilter,
    EPICResampler,
    EPICSubsetSampler,
    LastLayerGradients,
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
    return EPICClassifier(**{"module": make_net(), **SETTINGS, **OPTIONS, **changes})


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
    # The module was tried on the first two, and 64 from all over were read again.
    again = np.linspace(0, len(X) - 1, 64).astype(int)[1:]
    assert (reads[again] == 2).all() and reads[2:].sum() == 2 * len(again)
    assert reads.max() < 11
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


class Scaled(nn.Module):
    """Logits that a linear layer gives until training changes their scale."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(X.shape[1], 3)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.layer(x) * self.scale


def by_classifier(module):
    return EPICClassifier(module, max_epochs=12, random_state=0).fit(X, Y)


def by_skorch(module):
    net = NeuralNetClassifier(
        module,
        criterion=nn.CrossEntropyLoss,
        lr=0.1,
        max_epochs=12,
        train_split=None,
        verbose=0,
        callbacks=[("epic", EPICCallback(random_state=0))],
    )
    return dict(net.fit(X, Y).callbacks_)["epic"]


class Clamped(nn.Module):
    """Logits that a linear layer gives until they are large."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(X.shape[1], 3)
        nn.init.zeros_(self.layer.weight)

    def forward(self, x):
        return self.layer(x).clamp(-1, 1)


@pytest.mark.parametrize("module", [Scaled(), Clamped()])
@pytest.mark.parametrize("way", [by_classifier, by_skorch])
def test_where_a_layer_gives_the_logits_at_first_only_these_are_judged(module, way):
    with pytest.warns(UserWarning, match="From now on those are taken"):
        model = way(module)
    assert model.gradients_ == "logit" and len(model.rounds_) > 1


def test_a_last_layer_that_is_asked_for_must_stay():
    with pytest.raises(ValueError, match="gradients='logit'"):
        EPICClassifier(Scaled(), gradients="last_layer", max_epochs=4).fit(X, Y)


@pytest.mark.parametrize("kind", [torch.int64, torch.bfloat16])
def test_items_of_any_kind_of_number_train_and_are_predicted_as_arrays(kind):
    X = torch.arange(60).reshape(20, 3) % 7
    y = X[:, 0] > 3
    embedding = nn.Embedding(7, 4)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.head = embedding, nn.Linear(4, 2)

        def forward(self, x):
            return self.head(self.embedding(x.long()).mean(dim=1))

    class Strict(Net):
        def forward(self, x):
            assert kind is torch.bfloat16 or x.dtype is torch.int64
            return super().forward(x)

    data = TensorDataset(X.to(kind), y.long())
    model = TorchClassifier(Strict, max_epochs=1, random_state=0).fit(data)
    expected = model.predict(data)
    np.testing.assert_array_equal(model.predict(X.numpy()), expected)


class Noisy(Dataset):
    """Items that draw from the global random numbers, and that nothing can pickle."""

    def __init__(self):
        self.transform = lambda x: x + 0.1 * torch.randn(len(x)) + np.random.rand()

    def __len__(self):
        return len(X)

    def __getitem__(self, i):
        return self.transform(torch.tensor(X[i])).float(), int(Y[i])


@pytest.mark.filterwarnings("ignore:.*differ from one reading")
def test_a_fitted_model_holds_no_data_and_leaves_global_random_numbers():
    data = Noisy()
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    for estimator in (epic(), TorchClassifier(make_net(), **SETTINGS)):
        model = pickle.loads(pickle.dumps(estimator.fit(data)))
        np.testing.assert_array_equal(model.predict(X), estimator.predict(X))
        model.predict(data)
    assert torch.equal(before[0], torch.random.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])
    net = NeuralNetClassifier(
        make_net(),
        criterion=nn.CrossEntropyLoss,
        max_epochs=6,
        lr=0.1,
        batch_size=16,
        train_split=None,
        verbose=0,
        callbacks=[("epic", EPICCallback(warmup=1))],
    )
    resumed = pickle.loads(pickle.dumps(net.fit(data, None)))
    assert len(resumed.partial_fit(data, None).history) == 12


class Tuples(nn.Module):
    def forward(self, x):
        return x, x


class AsksForLabels(nn.Module):
    def forward(self, input, labels):
        return input


class Uncopied(nn.Linear):
    def __deepcopy__(self, memo):
        raise RuntimeError("not copied")


@pytest.mark.parametrize(
    ("module", "data", "message"),
    [
        (None, {"input": X}, "data set whose items are dictionaries"),
        (Tuples(), X, "gave a tuple for 2 examples"),
        (Uncopied(5, 3), X, "give a function that makes it"),
        (nn.Embedding(9, 3), X.astype(int), "give a TensorDataset"),
    ],
)
def test_what_cannot_be_trained_says_what_can(module, data, message):
    with pytest.raises((TypeError, ValueError), match=message):
        TorchClassifier(module).fit(data, Y)


def test_a_module_that_needs_labels_is_told_that_it_gets_none():
    items = [{"input": x, "labels": y} for x, y in zip(X, Y.tolist(), strict=True)]
    with pytest.raises(TypeError, match="labels=None"):
        TorchClassifier(AsksForLabels()).fit(DataLoader(items))


@pytest.mark.parametrize(
    "after", [nn.ReLU(inplace=True), nn.Hardtanh(inplace=True), nn.ReLU()]
)
def test_a_layer_whose_output_is_changed_is_no_last_layer(after):
    net = nn.Sequential(nn.Linear(X.shape[1], 3), after)
    with pytest.raises(ValueError, match="something comes after"):
        LastLayerGradients(net)(X, Y)


class Jittered(Dataset):
    def __init__(self, size):
        self.size = size

    def __len__(self):
        return len(X)

    def __getitem__(self, row):
        return torch.tensor(X[row]) + self.size * torch.randn(X.shape[1]), int(Y[row])


def test_items_that_vary_in_a_part_of_the_data_only_are_met():
    data: ConcatDataset = ConcatDataset([Jittered(0.0), Jittered(0.5)])
    state = EPICSubsetSampler(data, max_epochs=9).state_dict()
    EPICSubsetSampler(data, max_epochs=9).load_state_dict(state)
    with pytest.warns(UserWarning, match="differ from one reading to the next"):
        epic(max_epochs=3).fit(data)


class Named(Dataset):
    def __len__(self):
        return len(X)

    def __getitem__(self, row):
        return {"image": torch.tensor(X[row]), "target": int(Y[row])}


def test_a_forward_that_does_not_know_the_entries_is_told_of_them():
    with pytest.raises(TypeError) as caught:
        epic().fit(Named(), Y)
    assert "['image', 'target'], are keyword arguments" in caught.value.__notes__[0]


def test_labels_that_are_real_numbers_are_refused_everywhere():
    for take in (
        lambda: EPICSubsetSampler(Y + 0.5, max_epochs=5),
        lambda: LastLayerGradients(nn.Linear(X.shape[1], 3))(X, Y + 0.5),
    ):
        with pytest.raises(ValueError, match="Unknown label type"):
            take()


def test_class_weights_may_be_of_another_precision():
    loss = nn.CrossEntropyLoss(weight=torch.ones(3, dtype=torch.float64))
    assert len(epic(criterion=loss).fit(X, Y).classes_) == 3


def test_workers_of_a_loader_may_persist():
    loader = DataLoader(TensorDataset(torch.tensor(X), torch.tensor(Y)), 64)
    plain = epic().fit(loader)
    loader = DataLoader(loader.dataset, 64, num_workers=1, persistent_workers=True)
    np.testing.assert_array_equal(epic().fit(loader).keep_, plain.keep_)


def test_a_module_without_weights_to_train_is_refused():
    with pytest.raises(ValueError, match="none has requires_grad"):
        epic(module=nn.Linear(X.shape[1], 3).requires_grad_(False)).fit(X, Y)


def test_examples_without_numbers_are_refused_with_labels_too():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(TensorDataset(torch.tensor(X)))

    with pytest.raises(TypeError, match="is an IterableDataset"):
        epic().fit(Stream(), Y)


def test_a_data_set_that_torch_does_not_know_is_refused_with_the_way():
    class Own:
        def __len__(self):
            return len(Y)

        def __getitem__(self, i):
            return torch.tensor(X[i]), int(Y[i])

    model = EPICClassifier(make_net(), max_epochs=3, random_state=0)
    for labels in (None, Y):
        with pytest.raises(TypeError, match=r"Own of items; .*DataLoader\(X\)"):
            model.fit(Own(), labels)
    model.fit(DataLoader(Own()))
    with pytest.raises(ValueError, match="has batch_size=None"):
        model.fit(DataLoader(Own(), batch_size=None))
