"""The sampler for a user's own loop."""

import copy
import io
import warnings

import numpy as np
import pytest
import torch
from skorch.dataset import Dataset as SkorchDataset
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
)
from training_problem import (
    N_EPOCHS,
    OPTIONS,
    make_net,
    problem,
    train_by_hand,
)

from epic_sklearn import EPICSubsetSampler, LogitGradients
from epic_sklearn.rules import IsolatedMedoids, Judgement, Rule


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


def test_sampler_that_is_never_stepped_says_so_once():
    sampler = EPICSubsetSampler([0, 1] * 10, warmup=1, random_state=0)
    list(sampler)
    with pytest.warns(UserWarning, match="step.* was never called"):
        list(sampler)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(sampler)


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
        sampler = EPICSubsetSampler(source, warmup=1)
        np.testing.assert_array_equal(sampler.schedule.classes, [0, 1, 2])
        assert len(sampler) == len(labels)
    with pytest.raises(ValueError, match="gives no labels"):
        EPICSubsetSampler(TensorDataset(torch.tensor(X)), warmup=1)


class Transformed(Dataset):
    """As torchvision's: the net is given something else than `targets`."""

    def __init__(self, y):
        self.targets = y
        self.n_read = 0

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, i):
        self.n_read += 1
        return torch.rand(2), int(self.targets[i] % 2)


class WithNames(Transformed):
    labels = ("even", "odd")


class Relabelled(TensorDataset):
    """Its tensors are not what its items give."""

    def __getitem__(self, i):
        x, y = super().__getitem__(i)
        return x, y % 2


@pytest.mark.parametrize("kind", [Transformed, WithNames, Relabelled])
def test_labels_are_what_the_items_give(kind):
    y = np.arange(40) % 5
    tensors = torch.zeros(40, 2), torch.tensor(y)
    source = Relabelled(*tensors) if kind is Relabelled else kind(y)
    state = torch.random.get_rng_state()
    sampler = EPICSubsetSampler(source, warmup=1)
    np.testing.assert_array_equal(sampler.schedule.classes, [0, 1])
    np.testing.assert_array_equal(sampler.schedule.codes, y % 2)
    assert getattr(source, "n_read", 40) == 40
    assert torch.equal(state, torch.random.get_rng_state())
    half = EPICSubsetSampler(Subset(source, range(0, 40, 4)), warmup=1)
    np.testing.assert_array_equal(half.schedule.codes, y[::4] % 2)


def test_labels_of_skorchs_dataset_of_any_kind():
    y = np.array([0, 1, 1, 0])
    for labels in (y, torch.tensor(y)):
        sampler = EPICSubsetSampler(SkorchDataset(np.zeros((4, 1)), labels), warmup=1)
        np.testing.assert_array_equal(sampler.schedule.codes, y)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shuffle": "yes"}, "'shuffle' parameter of EPICSubsetSampler"),
        ({"shard": 2.5}, "'shard' parameter of EPICSubsetSampler"),
        ({"warmup": -1}, "'warmup' parameter"),
        ({"stop": 3}, "give warmup, the epochs before it, or max_epochs"),
        ({"warmup": 10, "stop": 3}, "stop is 3 and warmup 10"),
        (
            {"rule": IsolatedMedoids(threshold=0), "warmup": 1},
            "'threshold' parameter of Isolated",
        ),
    ],
)
def test_bad_options_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        EPICSubsetSampler([0, 1], **change)


def test_a_state_that_is_none_is_refused():
    sampler = EPICSubsetSampler([0, 1], warmup=1)
    with pytest.raises(
        ValueError, match="lacks epoch, keep_length, schedule, seed, seen, shuffle"
    ):
        sampler.load_state_dict({})


def test_a_data_set_without_numbers_is_refused():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter([])

    with pytest.raises(TypeError, match="Stream is an IterableDataset"):
        EPICSubsetSampler(Stream(), warmup=1)


def test_texts_among_a_rules_details_are_saved_and_loaded(tmp_path):
    class Says(Rule):
        def judge(self, gradients, codes, memory):
            n = len(codes)
            why = np.where(np.arange(n) % 2 == 0, "even", "odd")
            return Judgement(np.zeros(n), np.zeros(n, dtype=bool), {"why": why})

    labels = np.arange(20) % 2
    sampler = EPICSubsetSampler(labels, rule=Says(), warmup=0, random_state=0)
    sampler.step(0, np.ones((20, 2)))
    torch.save(sampler.state_dict(), tmp_path / "state.pt")
    again = EPICSubsetSampler(labels, rule=Says(), warmup=0, random_state=0)
    again.load_state_dict(torch.load(tmp_path / "state.pt"))
    assert again.schedule.details["why"].tolist() == ["even", "odd"] * 10


@pytest.mark.parametrize("epoch", [-1, 1.5, "2", None])
def test_what_is_no_number_of_epochs_is_refused(epoch):
    sampler = EPICSubsetSampler(list("aabb") * 20, warmup=2, every=1)
    with pytest.raises((TypeError, ValueError), match="epoch"):
        sampler.step(epoch, np.zeros((80, 2)))
    assert sampler.epoch == 0
    assert sampler.rounds == []


def test_rounds_that_are_passed_over_are_named():
    labels = np.arange(60) % 3
    gradients = np.random.default_rng(0).normal(size=(60, 5))
    sampler = EPICSubsetSampler(labels, rule=IsolatedMedoids(), warmup=1, every=4)
    assert sampler.step(0, gradients) is None
    with pytest.warns(UserWarning, match="due after epochs 1: they are left out"):
        sampler.step(4, gradients)
    assert sampler.step(5, gradients) is not None
    resumed = EPICSubsetSampler(labels, rule=IsolatedMedoids(), warmup=1, every=4)
    resumed.load_state_dict(sampler.state_dict())
    with pytest.warns(UserWarning, match="due after epochs 9, 13: they"):
        resumed.step(14, gradients)


@pytest.mark.parametrize("every", [1, 3])
def test_a_loop_that_leaves_out_no_round_is_not_warned(every):
    gradients = np.random.default_rng(0).normal(size=(60, 5))
    sampler = EPICSubsetSampler(
        np.arange(60) % 3, rule=IsolatedMedoids(), warmup=1, every=every
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for epoch in range(1, 8):
            sampler.step(epoch, gradients)


def test_drops_by_a_net_that_knows_nothing_are_warned_of_at_once():
    data = TensorDataset(torch.randn(90, 4), torch.arange(90) % 3)
    sampler = EPICSubsetSampler(
        data, rule=IsolatedMedoids(0.3), warmup=1, every=1, random_state=0
    )
    torch.manual_seed(0)
    net = torch.nn.Linear(4, 3)
    with pytest.warns(UserWarning, match="for good. The model has learned next to"):
        sampler.step(1, LogitGradients(net)(data))  # counted from 1
    assert not sampler.keep.all()


def test_items_that_are_augmented_are_warned_of_in_an_own_loop():
    data = Transformed(np.arange(60) % 4)
    for source, n_warnings in ((data, 1), (data.targets % 2, 0)):
        sampler = EPICSubsetSampler(source, warmup=1, every=1)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            sampler.step(0, None)
        assert sum("differ from one reading" in str(w.message) for w in caught) == (
            n_warnings
        )


def test_a_resumed_sampler_that_is_never_stepped_says_so():
    labels = np.arange(60) % 3
    state = EPICSubsetSampler(labels, warmup=1, every=5).state_dict()
    sampler = EPICSubsetSampler(labels, warmup=1, every=5)
    sampler.load_state_dict(state)
    list(sampler)
    with pytest.warns(UserWarning, match="was never called since it was loaded"):
        list(sampler)


def test_an_epoch_may_keep_its_length():
    gradients = np.random.default_rng(0).normal(size=(60, 5))
    how = {"warmup": 1, "every": 1, "random_state": 0}
    sampler = EPICSubsetSampler(
        np.arange(60) % 3, rule=IsolatedMedoids(0.5), keep_length=True, **how
    )
    sampler.step(1, gradients)
    rows = list(sampler)
    assert not sampler.keep.all()
    assert len(rows) == len(sampler) == 60
    assert set(rows) == set(np.flatnonzero(sampler.keep))
    resumed = EPICSubsetSampler(np.arange(60) % 3, rule=IsolatedMedoids(0.5), **how)
    resumed.load_state_dict(sampler.state_dict())
    assert len(resumed) == 60


def test_an_epoch_that_goes_on_after_the_next_began_is_warned_of():
    gradients = np.random.default_rng(0).normal(size=(60, 5))
    how = {"rule": IsolatedMedoids(0.5), "warmup": 1, "every": 1, "random_state": 0}
    sampler = EPICSubsetSampler(np.arange(60) % 3, **how)
    sampler.step(0, gradients)
    rows = iter(sampler)
    next(rows)
    sampler.step(1, gradients)
    with pytest.warns(UserWarning, match="iterator of epoch 0 goes on after step.1,"):
        next(rows)


def test_an_extractor_in_place_of_gradients_is_refused():
    sampler = EPICSubsetSampler(np.arange(60) % 3, warmup=1, every=1)
    with pytest.raises(TypeError, match=r"lambda: LogitGradients\(net\)\(dataset\)"):
        sampler.step(1, LogitGradients(torch.nn.Linear(2, 3)))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.eye(3)[np.arange(60) % 3], r"one-hot rows y.argmax\(axis=1\)"),
        ([(torch.zeros(2), 0), (torch.zeros(2), 1)], r"DataLoader\(items\)"),
    ],
)
def test_labels_that_are_none_say_what_to_give(labels, message):
    with pytest.raises(ValueError, match=message):
        EPICSubsetSampler(labels, warmup=1, every=1)
