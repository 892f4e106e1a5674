"""Runs that are saved, broken off and resumed."""

import os
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from skorch.callbacks import Callback, EarlyStopping, Freezer, LRScheduler
from torch import nn
from torch.utils.data import TensorDataset
from training_problem import N_EPOCHS, StopAfter, classifier, make_net, problem

from epic_sklearn import EPICClassifier, TorchClassifier
from epic_sklearn.rules import IsolatedMedoids, NeighborVotes
from epic_sklearn.training.checkpoint import told


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
        "augment": add_noise,
    }
    decay = LRScheduler("MultiStepLR", milestones=[4, 7])
    unbroken = classifier(**options, callbacks=[decay]).fit(X, y)
    options["checkpoint"] = tmp_path / "run" / "checkpoint.pt"
    with pytest.raises(KeyboardInterrupt):
        classifier(**options, callbacks=[StopAfter(stop + 1), decay]).fit(X, y)
    resumed = classifier(**options, callbacks=[decay]).fit(X, y)
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
    assert resumed._start.sampler.seed == seed


def test_checkpoint_of_other_data_or_no_checkpoint_is_refused(tmp_path):
    X, y = problem()
    path = tmp_path / "run.pt"
    classifier(checkpoint=path).fit(X, y)
    for change, name in (
        ({"lr": 0.2}, "lr"),
        ({"rule": IsolatedMedoids(0.3)}, "rule__subset_size"),
        ({"rule": IsolatedMedoids(0.25, threshold=2)}, "rule__threshold"),
        ({"every": 3}, "every"),
        ({"callbacks": [LRScheduler("StepLR", step_size=2)]}, "learning rates"),
        ({"random_state": 8}, "random_state"),
        ({"module": Wobbly}, "module"),
        ({"module": make_net(True)}, "module, attributes, initial weights"),
        ({"augment": add_noise}, "augment"),
    ):
        said = f"another run; it differs in: {name}|other settings .*'{name}'"
        with pytest.raises(ValueError, match=said):
            classifier(**change, checkpoint=path).fit(X, y)
    with pytest.raises(ValueError, match=r"differs in: y\."):
        classifier(checkpoint=path).fit(X, y[::-1])
    with pytest.raises(ValueError, match=r"differs in: X\."):
        classifier(checkpoint=path).fit(X + 1, y)
    with pytest.raises(ValueError, match="differs in: gradients, rule,"):
        rule = NeighborVotes()
        classifier(checkpoint=path, rule=rule, gradients="last_layer").fit(X, y)
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


def test_the_default_rule_is_the_same_run_as_naming_it(tmp_path):
    X, y = problem()
    path = tmp_path / "run.pt"
    first = classifier(rule=None, checkpoint=path).fit(X, y)
    again = classifier(rule=NeighborVotes(), checkpoint=path).fit(X, y)
    np.testing.assert_array_equal(first.keep_, again.keep_)


def test_what_a_rule_remembers_is_resumed(tmp_path):
    X, y = problem()
    options = {"rule": IsolatedMedoids(0.25, cluster_on="kept")}
    unbroken = classifier(**options).fit(X, y)
    options["checkpoint"] = tmp_path / "run.pt"
    with pytest.raises(KeyboardInterrupt):
        classifier(**options, callbacks=[StopAfter(6)]).fit(X, y)
    resumed = classifier(**options).fit(X, y)
    np.testing.assert_array_equal(resumed.keep_, unbroken.keep_)
    for name, column in unbroken.details_.items():
        np.testing.assert_array_equal(resumed.details_[name], column)


@pytest.mark.parametrize(
    "options",
    [
        {"policy": "StepLR", "step_size": 2},
        {"policy": "ReduceLROnPlateau", "patience": 0, "threshold": 0.2},
        {"policy": "CosineAnnealingLR", "T_max": 60, "step_every": "batch"},
    ],
    ids=lambda options: options["policy"],
)
def test_a_users_scheduler_resumes_where_it_was(tmp_path, options):
    X, y = problem()

    def train(*more, **kwargs):
        callbacks = [LRScheduler(**options), *more]
        return classifier(callbacks=callbacks, **kwargs).fit(X, y)

    unbroken = train()
    path = tmp_path / "run.pt"
    with pytest.raises(KeyboardInterrupt):
        train(StopAfter(5), checkpoint=path)
    resumed = train(checkpoint=path)
    rates = [
        model.net_.optimizer_.param_groups[0]["lr"] for model in (unbroken, resumed)
    ]
    assert rates[0] == rates[1] < 0.1
    np.testing.assert_array_equal(resumed.predict_proba(X), unbroken.predict_proba(X))


def test_a_run_with_early_stopping_resumes_and_stays_stopped(tmp_path):
    X, y = problem()

    def train(*more, **kwargs):
        stopping = EarlyStopping("train_loss", patience=2, threshold=0.3)
        return classifier(callbacks=[stopping, *more], **kwargs).fit(X, y)

    unbroken = train()
    assert 4 < len(unbroken.history_) < N_EPOCHS
    path = tmp_path / "run.pt"
    with pytest.raises(KeyboardInterrupt):
        train(StopAfter(4), checkpoint=path)
    for _ in range(2):  # resumed, then stopped already
        again = train(checkpoint=path)
        assert len(again.history_) == len(unbroken.history_)
        np.testing.assert_array_equal(again.predict_proba(X), unbroken.predict_proba(X))


class Weighed(nn.CrossEntropyLoss):
    def __init__(self, gamma):
        super().__init__()
        self.gamma = gamma


def shifted(by):
    return lambda x: x + by


class Shift(nn.Module):
    def __init__(self, by, how=torch.sin):
        super().__init__()
        self.by, self.how = by, how
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        return self.how(self.layer(x + self.by))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"augment": shifted(0.0)}, {"augment": shifted(1.0)}),
        ({"augment": lambda x: x + 0}, {"augment": lambda x: x - 1}),
        ({"augment": partial(torch.add, other=0)}, {"augment": partial(torch.mul)}),
        ({"criterion": Weighed(0.0)}, {"criterion": Weighed(1.0)}),
        ({"module": Shift(0.0)}, {"module": Shift(0.0, torch.cos)}),
    ],
)
def test_settings_are_told_by_what_they_hold(tmp_path, one, other):
    X, y = load_iris(return_X_y=True)
    how = {"checkpoint": tmp_path / "run.pt", "random_state": 0}
    TorchClassifier(max_epochs=1, **how, **one).fit(X, y)
    TorchClassifier(max_epochs=2, **how, **one).fit(X, y)  # the same goes on
    with pytest.raises(ValueError, match="saved by another run"):
        TorchClassifier(max_epochs=3, **how, **other).fit(X, y)


def test_a_run_does_not_go_on_with_other_items(tmp_path):
    X, y = load_iris(return_X_y=True)
    X, y = torch.tensor(X).float(), torch.tensor(y)
    make = partial(nn.Linear, 4, 3)
    how = {"checkpoint": tmp_path / "run.pt", "random_state": 0}
    TorchClassifier(make, max_epochs=1, **how).fit(TensorDataset(X, y))
    TorchClassifier(make, max_epochs=2, **how).fit(TensorDataset(X, y))
    with pytest.raises(ValueError, match="it differs in: X"):
        TorchClassifier(make, max_epochs=3, **how).fit(TensorDataset(-X, y))


def net_that(apply):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, 3)

        forward = apply

    return Net


def test_a_run_does_not_go_on_with_another_forward(tmp_path):
    data = load_iris(return_X_y=True)
    how = {"checkpoint": tmp_path / "run.pt", "random_state": 0}
    for n in (1, 2):
        same = net_that(lambda self, x: self.head(x))
        TorchClassifier(same, max_epochs=n, **how).fit(*data)
    other = net_that(lambda self, x: self.head(x).tanh())
    with pytest.raises(ValueError, match="it differs in: forward"):
        TorchClassifier(other, max_epochs=3, **how).fit(*data)


def test_settings_are_told_alike_in_every_process():
    code = (
        "import numpy as np\n"
        "from epic_sklearn.training.checkpoint import told\n"
        "def made(held, rng):\n"
        "    return lambda x, *, s=0.1: x in {'a', 'b', 'c', 'd'} or held or rng\n"
        "print(told(made(object(), np.random.default_rng(0))))\n"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in "12"
    }
    assert len(said) == 1 and b"0.1" in said.pop()


def test_a_function_that_encloses_what_is_not_there_yet_is_told():
    def augment(x):
        return x + later

    assert told(augment) == told(augment)
    later = 1
    assert "1" in told(augment)
    assert later


def test_a_run_whose_rounds_follow_from_its_length_is_prolonged(tmp_path):
    X, y = problem()
    how = {"checkpoint": tmp_path / "run.pt", "random_state": 0}
    EPICClassifier(max_epochs=10, **how).fit(X, y)
    longer = EPICClassifier(max_epochs=30, **how).fit(X, y)
    assert len(longer.history_) == 30
    assert longer.rounds_[0].epoch == 1  # as the first ten epochs had it


def test_a_run_that_was_stopped_stays_so_with_less_patience(tmp_path):
    X, y = load_iris(return_X_y=True)
    stops = EarlyStopping("train_loss", patience=2, threshold=0.5)
    how = {"checkpoint": tmp_path / "run.pt", "random_state": 0, "max_epochs": 20}
    first = TorchClassifier(callbacks=[stops], **how).fit(X, y)
    again = TorchClassifier(callbacks=[stops], **how).fit(X, y)
    assert len(first.history_) < 20
    assert len(again.history_) == len(first.history_)


def test_frozen_weights_stay_frozen_in_a_run_that_is_resumed(tmp_path):
    X, y = problem()
    how = {"module": make_net(), "checkpoint": tmp_path / "run.pt"}

    def train(n_epochs):
        return classifier(
            **how, callbacks=[Freezer("0.*")], max_epochs=n_epochs, stop=None
        ).fit(X, y)

    train(4)
    weight, initial = train(N_EPOCHS).module_[0].weight, how["module"][0].weight
    assert not weight.requires_grad
    np.testing.assert_array_equal(weight.detach(), initial.detach())


def test_a_run_that_took_its_best_weights_is_prolonged_from_its_last(tmp_path):
    X, y = problem()

    def train(n_epochs, **how):
        # Whose best epoch is the first.
        best = EarlyStopping("epoch", patience=99, load_best=True)
        return classifier(callbacks=[best], max_epochs=n_epochs, **how).fit(X, y)

    first = train(4, checkpoint=tmp_path / "run.pt")
    resumed = train(N_EPOCHS, checkpoint=tmp_path / "run.pt")
    unbroken = train(N_EPOCHS)
    losses = [[row["train_loss"] for row in m.history_] for m in (resumed, unbroken)]
    assert losses[0] == losses[1]
    np.testing.assert_array_equal(first.predict_proba(X), unbroken.predict_proba(X))


def test_a_fit_that_fails_leaves_the_last_one_whole():
    X, y = problem()
    model = classifier().fit(X, y)
    frame, probabilities = model.to_frame(), model.predict_proba(X)
    model.set_params(callbacks=[StopAfter(6)], rule=IsolatedMedoids(0.4))
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert model.to_frame().equals(frame)
    assert model._schedule.rule is model.rule_
    model.apply_decisions({0: "drop"})
    assert (~model.keep_).sum() == (~frame["keep"]).sum() + frame["keep"][0]
    np.testing.assert_array_equal(model.predict_proba(X), probabilities)
    first = classifier(callbacks=[StopAfter(6)])
    with pytest.raises(KeyboardInterrupt):
        first.fit(X, y)
    for ask in (first.to_frame, lambda: first.predict(X)):
        with pytest.raises(NotFittedError):
            ask()
