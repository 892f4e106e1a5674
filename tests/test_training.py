"""The three ways to train with EPIC, against each other and the naive algorithm."""

import copy
import io
import pickle
import warnings

import numpy as np
import pytest
import torch
from naive_epic import keep_after_round, softmax_minus_onehot
from sklearn.base import clone
from sklearn.datasets import make_blobs
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback
from skorch.dataset import ValidSplit
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from epic_sklearn import (
    EPICCallback,
    EPICClassifier,
    EPICSubsetSampler,
    LogitGradients,
    TorchClassifier,
)

TIMING = {"warmup": 2, "every": 2, "stop": 8}
OPTIONS = {**TIMING, "subset_size": 0.25}
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


def naive_training(net, X, y):
    """Train and drop as published, but for the order of examples of an epoch."""
    keep = np.ones(len(X), dtype=bool)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for epoch in range(N_EPOCHS):
        if epoch in range(TIMING["warmup"], TIMING["stop"] + 1, TIMING["every"]):
            net.eval()
            logits = net(torch.tensor(X)).detach().double().numpy()
            gradients = softmax_minus_onehot(logits, y)
            keep = keep_after_round(gradients, y, OPTIONS["subset_size"], keep)
            net.train()
        order = np.random.default_rng((7, epoch)).permutation(len(X))
        order = order[keep[order]]
        assert len(order) % BATCH != 1, "the classifier joins a lone last example"
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            logits = net(torch.tensor(X[rows]))
            loss = nn.functional.cross_entropy(logits, torch.tensor(y[rows]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return keep


def test_all_ways_of_training_keep_what_the_published_algorithm_keeps():
    X, y = problem()
    expected = naive_training(make_net(), X, y)
    assert 0.4 < expected.mean() < 0.95
    by_classifier = classifier().fit(X, y)
    sampler, _ = train_by_hand(make_net(), X, y)
    callback = epic_of(train_skorch(make_net(), X, y))
    np.testing.assert_array_equal(by_classifier.keep_, expected)
    np.testing.assert_array_equal(sampler.keep, expected)
    np.testing.assert_array_equal(callback.keep_, expected)
    np.testing.assert_array_equal(
        by_classifier.dropped_at_epoch_, sampler.dropped_at_epoch
    )
    np.testing.assert_array_equal(callback.dropped_at_epoch_, sampler.dropped_at_epoch)
    kept = [record.n_kept for record in by_classifier.rounds_]
    assert kept == [record.n_kept for record in callback.rounds_]
    assert kept == [record.n_kept for record in sampler.rounds]


def test_loader_with_workers_sees_only_what_is_kept():
    X, y = problem()
    alone, _ = train_by_hand(make_net(), X, y)
    with_workers, _ = train_by_hand(make_net(), X, y, num_workers=2)
    np.testing.assert_array_equal(alone.keep, with_workers.keep)
    dataset = TensorDataset(torch.arange(len(X)), torch.tensor(y))
    loader = DataLoader(dataset, batch_size=7, sampler=with_workers, num_workers=2)
    seen = torch.cat([rows for rows, _ in loader]).sort().values
    np.testing.assert_array_equal(seen, np.flatnonzero(with_workers.keep))
    assert len(loader) == -(-len(with_workers) // 7)


@pytest.mark.parametrize("kind", ["logit", "last_layer_input", "last_layer"])
def test_gradient_definitions_agree_between_classifier_and_callback(kind):
    X, y = problem()
    by_classifier = classifier(gradients=kind).fit(X, y)
    callback = epic_of(train_skorch(make_net(), X, y, epic={"gradients": kind}))
    np.testing.assert_array_equal(by_classifier.keep_, callback.keep_)


def test_before_the_first_round_training_is_that_of_torch_classifier():
    X, y = problem()
    plain = TorchClassifier(
        make_net(True), max_epochs=4, batch_size=BATCH, random_state=7
    ).fit(X, y)
    epic = EPICClassifier(
        make_net(True), warmup=3, max_epochs=4, batch_size=BATCH, random_state=7
    ).fit(X, y)
    assert plain.history_[2]["train_loss"] == epic.history_[2]["train_loss"]
    assert plain.history_[3]["train_loss"] != epic.history_[3]["train_loss"]


class StopAfter(Callback):
    """Interrupt training, as Ctrl-C does."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == self.epoch:
            raise KeyboardInterrupt


class Wobbly(nn.Module):
    """Has dropout and batch norm: both need their state back to go on."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(5, 12), nn.BatchNorm1d(12), nn.Dropout(0.3), nn.Linear(12, 3)
        )

    def forward(self, x):
        return self.layers(x)


@pytest.mark.parametrize("stop", range(1, N_EPOCHS))
def test_classifier_stopped_after_any_epoch_and_resumed_keeps_the_same(tmp_path, stop):
    X, y = problem()
    options = {
        "module": Wobbly,
        "optimizer_params": {"momentum": 0.9},
        "lr_milestones": [4, 7],
        "augment": add_noise,
    }
    unbroken = classifier(**options).fit(X, y)
    path = tmp_path / "run" / "checkpoint.pt"
    with pytest.raises(KeyboardInterrupt):
        classifier(**options, checkpoint=path, callbacks=[StopAfter(stop + 1)]).fit(
            X, y
        )
    resumed = classifier(**options, checkpoint=path).fit(X, y)
    np.testing.assert_array_equal(resumed.keep_, unbroken.keep_)
    np.testing.assert_array_equal(resumed.dropped_at_epoch_, unbroken.dropped_at_epoch_)
    np.testing.assert_array_equal(resumed.predict_proba(X), unbroken.predict_proba(X))
    np.testing.assert_array_equal(resumed.isolation_score_, unbroken.isolation_score_)
    assert len(resumed.history_) == N_EPOCHS


class NumpyLearningRate(Callback):
    """Set the learning rate as a schedule written with numpy does."""

    def on_epoch_begin(self, net, **kwargs):
        for group in net.optimizer_.param_groups:
            group["lr"] = np.float64(0.1) / len(net.history)


@pytest.mark.parametrize(
    "options",
    [
        {"callbacks": [NumpyLearningRate()]},
        {"lr": np.float64(0.1)},
        {
            "optimizer": torch.optim.Adam,
            "lr": np.float32(0.01),
            "optimizer_params": {"betas": (np.float64(0.8), 0.99)},
        },
    ],
    ids=["callback", "lr", "betas"],
)
def test_run_with_numpys_numbers_in_its_optimizer_resumes(tmp_path, options):
    X, y = problem()
    unbroken = classifier(**options).fit(X, y)
    path = tmp_path / "run.pt"
    options = {"callbacks": [], **options, "checkpoint": path}
    cut = {**options, "callbacks": [*options["callbacks"], StopAfter(5)]}
    with pytest.raises(KeyboardInterrupt):
        classifier(**cut).fit(X, y)
    assert path.exists()
    resumed = classifier(**options).fit(X, y)
    np.testing.assert_array_equal(resumed.keep_, unbroken.keep_)
    np.testing.assert_array_equal(resumed.predict_proba(X), unbroken.predict_proba(X))


def add_noise(batch):
    return batch + 0.1 * torch.randn_like(batch)


def test_finished_run_is_loaded_not_trained_again(tmp_path):
    X, y = problem()
    path = tmp_path / "run.pt"
    first = classifier(checkpoint=path).fit(X, y)
    again = classifier(checkpoint=path, callbacks=[StopAfter(1)]).fit(X, y)
    np.testing.assert_array_equal(first.keep_, again.keep_)
    np.testing.assert_array_equal(first.predict_proba(X), again.predict_proba(X))


def test_seedless_run_resumes_with_the_seed_it_had(tmp_path):
    X, y = problem()
    path = tmp_path / "run.pt"
    with pytest.raises(KeyboardInterrupt):
        classifier(random_state=None, checkpoint=path, callbacks=[StopAfter(5)]).fit(
            X, y
        )
    seed = torch.load(path, weights_only=True)["sampler"]["seed"]
    resumed = classifier(random_state=None, checkpoint=path).fit(X, y)
    assert resumed._sampler.seed == seed


def test_checkpoint_of_other_data_or_no_checkpoint_is_refused(tmp_path):
    X, y = problem()
    path = tmp_path / "run.pt"
    classifier(checkpoint=path).fit(X, y)
    for change, name in (
        ({"lr": 0.2}, "lr"),
        ({"subset_size": 0.3}, "subset_size"),
        ({"random_state": 8}, "random_state"),
        ({"module": Wobbly}, "module"),
        ({"module": make_net(True)}, "module, initial weights"),
        ({"augment": add_noise}, "augment"),
    ):
        with pytest.raises(ValueError, match=f"another run; it differs in: {name}"):
            classifier(**change, checkpoint=path).fit(X, y)
    with pytest.raises(ValueError, match=r"differs in: y\."):
        classifier(checkpoint=path).fit(X, y[::-1])
    with pytest.raises(ValueError, match=r"differs in: X\."):
        classifier(checkpoint=path).fit(X + 1, y)
    with pytest.raises(ValueError, match="differs in: estimator"):
        TorchClassifier(make_net(), checkpoint=path).fit(X, y)
    with pytest.raises(ValueError, match="run of 10 epochs and max_epochs is 4"):
        classifier(checkpoint=path, max_epochs=4).fit(X, y)
    longer = classifier(checkpoint=path, max_epochs=12).fit(X, y)
    assert len(longer.history_) == 12
    path.write_text("not a checkpoint")
    with pytest.raises(ValueError, match="is not a checkpoint"):
        classifier(checkpoint=path).fit(X, y)
    assert path.read_text() == "not a checkpoint"


@pytest.mark.parametrize("cut", [1, 3, 4, 9])
def test_own_loop_resumes_from_a_state_dict(cut):
    X, y = problem()
    unbroken, _ = train_by_hand(make_net(), X, y)
    net = make_net()
    sampler, optimizer = train_by_hand(net, X, y, epochs=range(cut))
    state = copy.deepcopy(
        {"net": net.state_dict(), "optimizer": optimizer.state_dict()}
    )
    file = io.BytesIO()
    torch.save(sampler.state_dict(), file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    resumed_net = make_net()
    resumed_net.load_state_dict(state["net"])
    optimizer = torch.optim.SGD(resumed_net.parameters(), lr=0.1)
    optimizer.load_state_dict(state["optimizer"])
    sampler = EPICSubsetSampler(y, random_state=99, **OPTIONS)
    sampler.load_state_dict(saved)
    rest = range(cut, N_EPOCHS)
    train_by_hand(resumed_net, X, y, epochs=rest, sampler=sampler, optimizer=optimizer)
    np.testing.assert_array_equal(sampler.keep, unbroken.keep)


@pytest.mark.filterwarnings("ignore:EPICCallback's warmup")
@pytest.mark.parametrize("cut", [1, 2, 5])
def test_skorch_net_goes_on_by_partial_fit_after_pickling(cut):
    X, y = problem()
    unbroken = epic_of(train_skorch(make_net(), X, y))
    net = pickle.loads(pickle.dumps(train_skorch(make_net(), X, y, max_epochs=cut)))
    net.partial_fit(X, y, epochs=N_EPOCHS - cut)
    np.testing.assert_array_equal(epic_of(net).keep_, unbroken.keep_)


def test_callback_gives_the_loader_back_and_a_new_fit_begins_anew():
    X, y = problem()
    net = train_skorch(make_net(), X, y, iterator_train__shuffle=True)
    first = epic_of(net).keep_.copy()
    assert net.iterator_train is DataLoader
    assert net.iterator_train__shuffle is True
    assert not hasattr(net, "iterator_train__sampler")
    net.set_params(module=make_net())
    net.fit(X, y)
    np.testing.assert_array_equal(epic_of(net).keep_, first)


def test_callback_counts_rows_of_a_validation_split_as_kept():
    X, y = problem()
    net = train_skorch(make_net(), X, y, train_split=ValidSplit(5, random_state=None))
    epic = epic_of(net)
    dataset, validation = net.get_split_datasets(X, y)
    assert len(epic.keep_) == len(X) and not epic.keep_.all()
    assert epic.keep_[validation.indices].all()
    np.testing.assert_array_equal(epic.keep_[dataset.indices], epic.sampler_.keep)


def test_callback_with_skorchs_default_criterion_takes_probabilities():
    X, y = problem()
    logits = epic_of(train_skorch(make_net(), X, y))
    net = NeuralNetClassifier(
        nn.Sequential(*make_net(), nn.Softmax(dim=1)),
        lr=0.1,
        batch_size=BATCH,
        max_epochs=N_EPOCHS,
        train_split=None,
        callbacks=[("epic", EPICCallback(random_state=7, **OPTIONS))],
        verbose=0,
    ).fit(X, y)
    same = (logits.keep_ == epic_of(net).keep_).mean()
    assert same > 0.95  # the loss is rounded in another way


def test_callback_refuses_logits_where_skorch_expects_probabilities():
    X, y = problem()
    net = NeuralNetClassifier(
        make_net(), callbacks=[EPICCallback(warmup=0)], train_split=None, verbose=0
    )
    with pytest.raises(ValueError, match=r"criterion=torch\.nn\.CrossEntropyLoss"):
        net.fit(X, y)


def test_callback_that_will_never_drop_says_so():
    X, y = problem()
    with pytest.warns(UserWarning, match="warmup is 10 and the net's max_epochs 2"):
        train_skorch(make_net(), X, y, max_epochs=2, epic={"warmup": 10, "stop": None})


def test_sampler_that_is_never_stepped_says_so_once():
    sampler = EPICSubsetSampler([0, 1] * 10, random_state=0)
    list(sampler)
    with pytest.warns(UserWarning, match="step.* was never called"):
        list(sampler)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(sampler)


class NoisyDataset(Dataset):
    """Augments its items, so that gradients need clean ones."""

    def __init__(self, X, y):
        self.X, self.y = torch.tensor(X), torch.tensor(y)
        self.generator = torch.Generator().manual_seed(0)

    def __len__(self):
        return len(self.X)

    def __getitem__(self, i):
        noise = torch.randn(self.X[i].shape, generator=self.generator)
        return self.X[i] + 0.1 * noise, self.y[i]


def test_callback_takes_gradients_from_the_clean_dataset():
    X, y = problem()
    clean = TensorDataset(torch.tensor(X), torch.tensor(y))
    net = NeuralNetClassifier(
        make_net(),
        criterion=nn.CrossEntropyLoss,
        batch_size=BATCH,
        max_epochs=4,
        train_split=None,
        verbose=0,
        callbacks=[
            (
                "epic",
                EPICCallback(warmup=2, every=5, clean_dataset=clean, random_state=0),
            )
        ],
    )
    net.fit(NoisyDataset(X, y), y=None)
    assert epic_of(net).rounds_[0].n_dropped > 0
    short = TensorDataset(*clean[:10])
    with pytest.raises(ValueError, match="clean_dataset has 10 examples"):
        net.set_params(callbacks__epic__clean_dataset=short, module=make_net())
        net.fit(NoisyDataset(X, y), y=None)


def test_sampler_reads_labels_from_a_dataset_as_from_an_array():
    X, y = problem()
    tensors = TensorDataset(torch.tensor(X), torch.tensor(y))

    class Items(Dataset):
        def __len__(self):
            return len(X)

        def __getitem__(self, i):
            return X[i], y[i]

    half = torch.utils.data.Subset(tensors, range(0, len(X), 2))
    for source, labels in ((tensors, y), (Items(), y), (y, y), (half, y[::2])):
        sampler = EPICSubsetSampler(source)
        np.testing.assert_array_equal(sampler.schedule.classes, [0, 1, 2])
        assert len(sampler) == len(labels)
    with pytest.raises(ValueError, match="gives no labels"):
        EPICSubsetSampler(TensorDataset(torch.tensor(X)))


def test_a_fitted_net_with_the_callback_can_be_cloned():
    # skorch takes every attribute without a trailing underscore for a parameter.
    X, y = make_blobs(60, centers=3, random_state=0)
    net = NeuralNetClassifier(
        nn.Linear(2, 3),
        criterion=nn.CrossEntropyLoss,
        callbacks=[("epic", EPICCallback(warmup=1, every=1))],
        max_epochs=3,
        verbose=0,
    )
    net.fit(X.astype(np.float32), y)
    again = clone(net.set_params(callbacks__epic__warmup=2))
    again.fit(X.astype(np.float32), y)
    assert [r.epoch for r in dict(again.callbacks_)["epic"].rounds_] == [2]
