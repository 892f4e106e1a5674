"""The warning of a run whose net learned nothing, whatever it dropped."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs
from skorch import NeuralNetClassifier
from skorch.callbacks import EarlyStopping
from torch import nn

from epic_sklearn import EPICCallback, EPICClassifier, EPICFilter
from epic_sklearn.rules import IsolatedMedoids

TIMING = {"warmup": 1, "every": 1}


class Blind(nn.Module):
    """The same logits whatever it sees, as a net of dead units gives."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(2, 2)

    def forward(self, x):
        return self.head(torch.zeros_like(x))


@pytest.fixture
def data():
    """Two classes far apart, 30 and 50 examples."""
    X, y = make_blobs([30, 50], 2, centers=[[0, 0], [9, 9]], random_state=0)
    return X.astype(np.float32), y


def classifier(module=None, **changes):
    options = {
        "max_epochs": 9,
        "batch_size": 16,
        "random_state": 0,
        **TIMING,
        **changes,
    }
    return EPICClassifier(module, **options)


def skorch_net(module, **changes):
    epic = EPICCallback(random_state=0, **TIMING, **changes)
    return NeuralNetClassifier(
        module,
        criterion=nn.CrossEntropyLoss,
        max_epochs=9,
        lr=0.1,
        batch_size=16,
        train_split=None,
        callbacks=[("epic", epic)],
        verbose=0,
    )


@pytest.mark.parametrize(
    ("model", "name"),
    [(classifier(Blind()), "EPICClassifier"), (skorch_net(Blind()), "EPICCallback")],
    ids=["classifier", "callback"],
)
def test_a_net_that_learned_nothing_and_dropped_nothing_says_so(model, name, data):
    message = rf"{name} dropped nothing\. .* right on 62\.5% .* 62\.5%.*learning rate"
    with pytest.warns(UserWarning, match=message) as caught:
        model.fit(*data)
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_a_filter_by_a_module_that_is_not_trained_says_so(data):
    with pytest.warns(UserWarning, match="learned next to nothing") as caught:
        EPICFilter(Blind()).fit(*data)
    assert caught[0].filename == __file__
    trained = classifier(rule=IsolatedMedoids(0.02)).fit(*data).module_
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        EPICFilter(trained).fit(*data)


@pytest.mark.parametrize("make", [classifier, skorch_net])
def test_a_net_that_fits_clean_data_is_not_warned_of(make, data):
    module = nn.Sequential(nn.BatchNorm1d(2, affine=False), nn.Linear(2, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = make(module, rule=IsolatedMedoids(0.02)).fit(*data)
    assert model.score(*data) == 1
    epic = model if make is classifier else dict(model.callbacks_)["epic"]
    assert epic.keep_.all()


@pytest.mark.parametrize("make", [classifier, skorch_net])
def test_batch_norm_without_running_statistics_is_warned_of_once(make, data):
    norm = nn.BatchNorm1d(2, affine=False, track_running_stats=False)
    with pytest.warns(UserWarning) as caught:
        make(nn.Sequential(norm, nn.Linear(2, 2))).fit(*data)
    said = [str(warning.message) for warning in caught]
    assert sum("BatchNorm1d '0' without running statistics" in m for m in said) == 1


def test_a_run_that_dropped_by_a_net_that_learned_nothing_says_so(data):
    message = "EPICClassifier dropped 4 examples. The model has learned next to nothing"
    with pytest.warns(UserWarning, match=message):
        model = classifier(lr=1e-9, rule=IsolatedMedoids(0.3)).fit(*data)
    assert not model.keep_.all()
    assert model.score(*data) < 50 / 80


def test_drops_by_a_net_before_its_training_are_warned_of(data):
    module = nn.Linear(2, 2)
    with torch.no_grad():  # takes each class for the other
        module.weight.copy_(torch.tensor([[1.0, 1.0], [-1.0, -1.0]]))
        module.bias.copy_(torch.tensor([-9.0, 9.0]))
    how = {"warmup": 0, "stop": 0, "max_epochs": 20, "rule": IsolatedMedoids(0.3)}
    with pytest.warns(UserWarning, match="when it judged them last"):
        model = classifier(module, **how).fit(*data)
    assert not model.keep_.all() and model.score(*data) > 0.9


def test_a_run_that_dropped_by_a_net_that_fits_is_not_warned_of(data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = classifier(rule=IsolatedMedoids(0.3)).fit(*data)
    assert not model.keep_.all()


def test_a_rare_class_that_is_learned_but_never_likeliest_is_not_warned_of():
    rng = np.random.RandomState(0)
    X = rng.randn(400, 1).astype(np.float32)
    y = (rng.uniform(size=400) < np.where(X[:, 0] > 0, 0.3, 0.0)).astype(np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = classifier(nn.Linear(1, 2), rule=IsolatedMedoids(0.001), lr=0.01)
        model.fit(X, y)
    assert model.keep_.all()
    assert model.score(X, y) <= np.mean(y == 0)


def test_a_skorch_net_of_probabilities_is_judged_by_them(data):
    module = nn.Sequential(Blind(), nn.Softmax(dim=1))
    with pytest.warns(UserWarning, match="EPICCallback dropped nothing"):
        skorch_net(module).set_params(criterion=nn.NLLLoss).fit(*data)


def test_equal_probabilities_are_no_knowledge_of_the_label():
    # Three classes of constant rows: the last bits of 1/3 would favour the label.
    X, y = np.ones((150, 2)), np.repeat([0, 1, 2], 50)
    with pytest.warns(UserWarning, match="next to nothing: it is right on 33.3%"):
        frame = EPICFilter().fit(X, y).to_frame()
    assert frame["predicted"].nunique() == 1


@pytest.mark.parametrize("make", [classifier, skorch_net])
def test_a_run_that_is_over_before_it_drops_says_so(make, data):
    hard_to_please = {"threshold": 1e9, "threshold_mode": "abs"}
    stop = EarlyStopping(monitor="train_loss", patience=2, **hard_to_please)
    if make is classifier:
        model = classifier(nn.Linear(2, 2), warmup=5, callbacks=[stop])
    else:
        model = skorch_net(nn.Linear(2, 2))
        model.callbacks[0][1].set_params(warmup=5)
        model.callbacks.append(("stop", stop))
    with pytest.warns(UserWarning, match=r"ended after \d epochs, .* after 5 first"):
        model.fit(*data)


def test_a_training_that_goes_on_is_not_said_to_be_over(data):
    net = skorch_net(nn.Linear(2, 2))
    net.callbacks[0][1].set_params(warmup=4)
    net.set_params(max_epochs=1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(7):
            net.partial_fit(*data)
    said = [str(warning.message) for warning in caught]
    assert not any("Training ended after" in text for text in said)
    epic = dict(net.callbacks_)["epic"]
    assert [record.epoch for record in epic.rounds_][-1] == 6
