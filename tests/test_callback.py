"""EPIC in a user's own skorch net."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import make_blobs
from skorch import NeuralNetBinaryClassifier, NeuralNetClassifier
from skorch.callbacks import Callback, LRScheduler
from skorch.dataset import ValidSplit
from torch import nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    RandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)
from training_problem import (
    BATCH,
    N_EPOCHS,
    OPTIONS,
    StopAfter,
    epic_of,
    make_net,
    problem,
    train_skorch,
)

from epic_sklearn import EPICCallback, EPICClassifier
from epic_sklearn.rules import DeepKNN, IsolatedMedoids


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


@pytest.mark.filterwarnings("ignore:EPICCallback dropped .* next to nothing")
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


def test_a_fitted_net_with_the_callback_can_be_cloned():
    # skorch takes every attribute without a trailing underscore for a parameter.
    torch.manual_seed(0)
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
    assert [r.epoch for r in dict(again.callbacks_)["epic"].rounds_] == [1, 2]


def test_the_rule_is_set_from_the_net():
    X, y = problem()
    net = clone(train_skorch(make_net(), X, y))
    net.initialize().set_params(callbacks__epic__rule=IsolatedMedoids(0.1))
    net.set_params(module=make_net()).fit(X, y)
    direct = train_skorch(make_net(), X, y, epic={"rule": IsolatedMedoids(0.1)})
    np.testing.assert_array_equal(epic_of(net).keep_, epic_of(direct).keep_)
    assert epic_of(net).keep_.mean() > 0.8


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("sampler", WeightedRandomSampler([1.0] * 211, 30)),
        ("batch_sampler", BatchSampler(RandomSampler(range(211)), 32, False)),
    ],
)
def test_a_sampler_of_the_nets_own_is_refused_by_name(name, given):
    X, y = problem()
    message = f"iterator_train__{name}={type(given).__name__}.*Take it out"
    with pytest.raises(ValueError, match=message):
        train_skorch(make_net(), X, y, **{f"iterator_train__{name}": given})


def test_a_net_broken_off_goes_on_with_its_callback():
    X, y = problem()

    class Broken(Exception):
        pass

    class Break(Callback):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 5 and not getattr(net, "was_broken", False):
                net.was_broken = True
                raise Broken

    unbroken = epic_of(train_skorch(make_net(), X, y))
    epic = ("epic", EPICCallback(random_state=7, **OPTIONS))
    net = NeuralNetClassifier(
        make_net(),
        criterion=nn.CrossEntropyLoss,
        lr=0.1,
        batch_size=BATCH,
        max_epochs=N_EPOCHS,
        train_split=None,
        callbacks=[epic, ("break", Break())],
        verbose=0,
    )
    with pytest.raises(Broken):
        net.fit(X, y)
    net.partial_fit(X, y, epochs=N_EPOCHS - 5)
    np.testing.assert_array_equal(epic_of(net).keep_, unbroken.keep_)
    assert net.iterator_train is DataLoader


def test_a_new_fit_after_a_broken_one_finds_the_nets_own_options():
    X, y = problem()
    net = digits_net(iterator_train__shuffle=False, callbacks=[("b", StopAfter(1))])
    net.set_params(callbacks__epic__stop=1)
    with pytest.raises(ValueError, match="stop is 1"):
        net.fit(X, y)
    net.set_params(callbacks__epic__stop=None, callbacks__epic__clean_dataset=[])
    with pytest.raises(ValueError, match="clean_dataset has 0 examples"):
        net.fit(X, y)
    net.set_params(callbacks__epic__clean_dataset=None)
    with pytest.warns(UserWarning, match="Training ended after 1 epochs"):
        net.fit(X, y)
    assert not epic_of(net).sampler_.shuffle
    assert net.iterator_train is DataLoader
    assert net.iterator_train__shuffle is False


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gradients": "input"}, "'gradients' parameter of EPICCallback"),
        ({"every": 0}, "'every' parameter of EPICCallback"),
        ({"stop": 1}, "stop is 1 and warmup 2"),
        ({"rule": IsolatedMedoids(2.0)}, "'subset_size' parameter"),
        ({"rule": DeepKNN(), "gradients": "logit"}, "set gradients='last_layer'"),
        ({"rule": "medoids"}, "rule is 'medoids'; give an instance of a rule"),
    ],
)
def test_bad_parameters_are_refused_before_training(change, message):
    X, y = problem()
    with pytest.raises((ValueError, TypeError), match=message):
        train_skorch(make_net(), X, y, epic=change)


def test_verbose_says_what_each_round_dropped(capsys):
    X, y = problem()
    epic = epic_of(train_skorch(make_net(), X, y, epic={"verbose": 1}))
    lines = capsys.readouterr().out.splitlines()
    first = epic.rounds_[0]
    assert len(lines) == len(epic.rounds_)
    assert lines[0].startswith(f"epoch 2: dropped {first.n_dropped} examples")


def test_a_clean_data_set_in_another_order_is_refused():
    X, y = problem()
    other = np.random.RandomState(0).permutation(len(X))
    clean = TensorDataset(torch.tensor(X[other]), torch.tensor(y[other]))
    with pytest.raises(ValueError, match="labels in clean_dataset are not those"):
        train_skorch(make_net(), X, y, epic={"clean_dataset": clean})


class Batches(Callback):
    def __init__(self, seen):
        self.seen = seen

    def on_batch_begin(self, net, batch=None, training=True, **kwargs):
        if training:
            self.seen.append(batch[1].tolist())


@pytest.mark.filterwarnings("ignore:EPICCallback's warmup")
def test_the_users_loader_options_hold():
    X = np.random.RandomState(0).randn(90, 2).astype(np.float32)
    options = {"train_split": None, "verbose": 0, "batch_size": 40, "max_epochs": 1}
    seen = []
    net = NeuralNetClassifier(
        nn.Linear(2, 90),
        criterion=nn.CrossEntropyLoss,
        callbacks=[("seen", Batches(seen)), ("epic", EPICCallback())],
        iterator_train__drop_last=True,
        iterator_train__shuffle=False,
        **options,
    )
    net.fit(X, np.arange(90))
    assert seen == [list(range(40)), list(range(40, 80))]
    assert net.iterator_train__drop_last is True
    assert net.iterator_train__shuffle is False


@pytest.mark.parametrize("labels", [["a", "b"], [-1, 0]])
def test_labels_that_skorch_cannot_train_on_are_refused_with_the_way_out(labels):
    X, y = problem()
    net = NeuralNetClassifier(
        make_net(),
        criterion=nn.CrossEntropyLoss,
        train_split=None,
        verbose=0,
        callbacks=[("epic", EPICCallback(warmup=1))],
    )
    with pytest.raises(ValueError, match="encode them with LabelEncoder"):
        net.fit(X, np.array(labels)[y % 2])


@pytest.mark.filterwarnings("ignore:EPICCallback's warmup is 60")
@pytest.mark.parametrize("rows", [slice(45, None), np.arange(45)[::-1]])
def test_training_does_not_go_on_with_other_rows(rows):
    X, y = problem()
    net = NeuralNetClassifier(
        make_net(),
        criterion=nn.CrossEntropyLoss,
        max_epochs=4,
        train_split=None,
        verbose=0,
        callbacks=[("epic", EPICCallback(warmup=60))],
    )
    net.fit(X[:45], y[:45]).partial_fit(X[:45], y[:45])
    with pytest.raises(ValueError, match=r"began with|other labels than the 45 here"):
        net.partial_fit(X[rows], y[rows])
    net.fit(X[rows], y[rows])  # anew


def test_a_net_of_one_output_is_refused_before_training():
    X, y = problem()
    net = NeuralNetBinaryClassifier(
        nn.Sequential(nn.Linear(X.shape[1], 1), nn.Flatten(0)),
        train_split=None,
        verbose=0,
        callbacks=[("epic", EPICCallback(warmup=1))],
    )
    with pytest.raises(ValueError, match="give the module two outputs"):
        net.fit(X, (y > 0).astype(np.float32))
    assert not net.history


def digits_net(**options):
    torch.manual_seed(0)
    epic = EPICCallback(warmup=2, every=2, random_state=0)
    options = {"train_split": None, "max_epochs": 8, **options}
    return NeuralNetClassifier(
        make_net(),
        criterion=nn.CrossEntropyLoss,
        lr=0.1,
        batch_size=BATCH,
        verbose=0,
        callbacks=[("epic", epic), *options.pop("callbacks", ())],
        **options,
    )


def test_the_pages_way_back_is_taken_word_for_word():
    X, y = problem()
    net = digits_net().fit(X, y)
    epic = epic_of(net)
    epic.apply_decisions({3: "drop"})
    kept = epic.keep_.copy()
    line = epic._way_back.split("`")[-2].replace("NAME", "epic")
    fitted = eval(line, {"net": net, "epic": epic, "X": X, "y": y})
    np.testing.assert_array_equal(epic.keep_, kept)
    assert not kept[3] and len(fitted.history) == 8
    assert not dict(fitted.callbacks_).get("epic")


def test_a_parameter_of_another_callback_forgets_no_drops():
    X, y = problem()
    net = digits_net().fit(X, y)
    kept = epic_of(net).keep_.copy()
    assert not kept.all()
    net.set_params(callbacks__print_log__floatfmt=".3f")
    np.testing.assert_array_equal(epic_of(net).keep_, kept)
    net.partial_fit(X, y)  # goes on
    assert not epic_of(net).keep_[~kept].any()
    net.set_params(callbacks__epic__every=1)
    with pytest.raises(ValueError, match=r"other settings .*'every': \(2, 1\)"):
        net.partial_fit(X, y)
    assert not epic_of(net).keep_[~kept].any()


@pytest.mark.filterwarnings("ignore:EPICCallback's warmup")
def test_training_does_not_go_on_where_other_rows_are_set_aside():
    X, y = problem()
    net = digits_net(train_split=ValidSplit(0.2)).fit(X, y)
    kept = epic_of(net).keep_.copy()
    with pytest.raises(ValueError, match="train_split sets other rows aside"):
        net.partial_fit(X, y)
    np.testing.assert_array_equal(epic_of(net).keep_, kept)
    net = digits_net(train_split=ValidSplit(0.2, random_state=0)).fit(X, y)
    kept = epic_of(net).keep_.copy()
    net.partial_fit(X, y)
    assert not epic_of(net).keep_[~kept].any()


def test_training_does_not_go_on_with_other_items_of_the_same_labels():
    X, y = problem()

    class Items(Dataset):
        def __init__(self, X):
            self.X = X

        def __len__(self):
            return len(y)

        def __getitem__(self, i):
            return self.X[i], y[i]

    net = digits_net().fit(Items(X), None)
    with pytest.raises(ValueError, match="began with other examples"):
        net.partial_fit(Items(X + 1), None)
    net.partial_fit(Items(X), None)


def test_a_learning_rate_by_the_batch_comes_to_its_end():
    X, y = problem()
    n_steps = 8 * -(-len(X) // BATCH)
    how = {"max_lr": 0.1, "total_steps": n_steps + 1, "step_every": "batch"}
    cycle = LRScheduler(torch.optim.lr_scheduler.OneCycleLR, **how)
    net = digits_net(callbacks=[("cycle", cycle)]).fit(X, y)
    model = EPICClassifier(
        make_net(),
        warmup=2,
        every=2,
        max_epochs=8,
        batch_size=BATCH,
        callbacks=[LRScheduler(torch.optim.lr_scheduler.OneCycleLR, **how)],
        random_state=0,
    ).fit(X, y)
    for trained, keep in ((net, epic_of(net).keep_), (model.net_, model.keep_)):
        assert not keep.all()
        assert trained.optimizer_.param_groups[0]["lr"] < 1e-3
