"""TorchClassifier and EPICClassifier as scikit-learn estimators."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from epic_sklearn import EPICClassifier, EPICFilter, LogitGradients, TorchClassifier

BOTH = [
    TorchClassifier(max_epochs=12, random_state=0),
    EPICClassifier(max_epochs=12, warmup=4, every=4, random_state=0),
]
both = pytest.mark.parametrize("estimator", BOTH, ids=["torch", "epic"])


@pytest.fixture
def iris():
    return load_iris(return_X_y=True)


@both
def test_labels_of_any_kind_give_the_same_training(estimator, iris):
    X, y = iris
    by_number = clone(estimator).fit(X, y)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    for labels in (names, y * 7 - 20, names.astype(object)):
        model = clone(estimator).fit(X, labels)
        np.testing.assert_array_equal(
            model.predict_proba(X), by_number.predict_proba(X)
        )
        assert set(model.predict(X)) <= set(labels)
    binary = clone(estimator).fit(X, y == 1)
    assert binary.predict(X).dtype == bool


@both
def test_two_fits_are_identical_and_change_nothing_given(estimator, iris):
    X, y = iris
    module = nn.Linear(4, 3)
    weights = module.weight.detach().clone()
    model = clone(estimator).set_params(module=module)
    first = model.fit(X, y).predict_proba(X)
    second = model.fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(first, second)
    assert torch.equal(module.weight, weights)
    assert model.module is module


@both
def test_global_random_state_is_neither_read_nor_changed(estimator, iris):
    X, y = iris
    results = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        np.random.seed(seed)
        before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
        results.append(clone(estimator).fit(X, y).predict_proba(X))
        assert torch.equal(before[0], torch.random.get_rng_state())
        np.testing.assert_array_equal(before[1], np.random.get_state()[1])
    np.testing.assert_array_equal(*results)


@both
def test_images_as_4d_arrays_and_a_factory_that_is_told_sizes(estimator):
    X, y = load_digits(return_X_y=True)
    X = X.reshape(-1, 1, 8, 8)[:300] / 16
    seen = {}

    def factory(n_classes, input_shape):
        seen.update(n_classes=n_classes, input_shape=input_shape)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, n_classes)
        )

    model = clone(estimator).set_params(module=factory).fit(X, y[:300])
    assert seen == {"n_classes": 10, "input_shape": (1, 8, 8)}
    assert model.score(X, y[:300]) > 0.5
    with pytest.raises(ValueError, match=r"Examples have shape \(1, 4, 16\)"):
        model.predict(X.reshape(-1, 1, 4, 16))


@both
def test_pickle_predicts_the_same(estimator, iris):
    X, y = iris
    model = clone(estimator).fit(X, y)
    copied = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copied.predict_proba(X), model.predict_proba(X))


@both
def test_works_in_pipelines_searches_and_cross_validation(estimator, iris):
    X, y = iris
    pipeline = make_pipeline(StandardScaler(), clone(estimator))
    assert cross_val_score(pipeline, X, y, cv=3).min() > 0.8
    name = type(estimator).__name__.lower()
    search = GridSearchCV(pipeline, {f"{name}__lr": [0.01, 0.1]}, cv=2).fit(X, y)
    assert search.predict(X).shape == (150,)


@both
def test_silent_by_default_and_a_bar_when_verbose(estimator, iris, capsys):
    X, y = iris
    clone(estimator).fit(X, y)
    assert capsys.readouterr() == ("", "")
    clone(estimator).set_params(verbose=1).fit(X, y)
    captured = capsys.readouterr()
    assert "epochs" in captured.err
    if isinstance(estimator, EPICClassifier):
        assert "epoch 4: dropped" in captured.out


def test_learning_rate_falls_by_ten_at_each_milestone(iris):
    X, y = iris
    rates = []

    def record(net, **kwargs):
        rates.append(net.optimizer_.param_groups[0]["lr"])

    from skorch.callbacks import Callback

    watcher = type(
        "Watcher", (Callback,), {"on_epoch_end": lambda s, n, **k: record(n)}
    )
    TorchClassifier(
        max_epochs=5, lr_milestones=[2, 4], callbacks=[watcher()], random_state=0
    ).fit(X, y)
    np.testing.assert_allclose(rates, [0.1, 0.1, 0.01, 0.01, 0.001])


def test_augmentation_is_for_training_batches_only(iris):
    X, y = iris
    sizes = []

    def augment(batch):
        sizes.append(len(batch))
        return torch.zeros_like(batch)

    model = EPICClassifier(
        nn.Linear(4, 3),
        max_epochs=3,
        warmup=1,
        every=1,
        augment=augment,
        random_state=0,
    ).fit(X, y)
    assert sum(sizes[:2]) == 150
    # Of zeros the net learns nothing but its bias; gradients and predictions
    # come from the real examples all the same.
    assert len(np.unique(model.predict_proba(X)[:, 0])) > 100


def test_a_lone_last_example_joins_the_batch_before(iris):
    X, y = iris
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    X, y = X[::2], y[::2]  # 75 examples: batches of 37, 37 and 1
    TorchClassifier(net, max_epochs=2, batch_size=37, random_state=0).fit(X, y)


def test_any_optimizer(iris):
    X, y = iris
    model = TorchClassifier(
        optimizer=torch.optim.Adam, lr=0.01, max_epochs=30, random_state=0
    )
    assert model.fit(X, y).score(X, y) > 0.9


def test_isolation_score_ranks_dropped_above_kept(iris):
    X, y = iris
    model = EPICClassifier(max_epochs=12, warmup=2, every=2, random_state=0).fit(X, y)
    for label in range(3):
        rows = y == label
        dropped = model.isolation_score_[rows & ~model.keep_]
        kept = model.isolation_score_[rows & model.keep_]
        assert len(dropped) and dropped.min() > kept.max()


@pytest.mark.filterwarnings("ignore:So many examples of class")
def test_floor_keeps_part_of_a_class_and_warns_once(iris):
    X, y = iris
    model = EPICClassifier(
        max_epochs=12, warmup=1, every=1, subset_size=0.6, random_state=0
    )
    with pytest.warns(UserWarning, match="class 0") as caught:
        model.fit(X, y)
    messages = [str(w.message) for w in caught]
    assert len([m for m in messages if "class 0 (of 50) are" in m]) == 1
    assert np.bincount(y[model.keep_]).min() >= 25


def test_filter_takes_gradients_from_a_torch_classifier(iris):
    X, y = iris
    X = X.copy()
    X[0] = X[100]
    extractor = LogitGradients(TorchClassifier(max_epochs=10, random_state=0))
    detector = EPICFilter(extractor, subset_size=0.1).fit(X, np.array(list("abc"))[y])
    assert not detector.keep_[0]


class Unreachable(nn.Module):
    """Fails the test if anything is computed."""

    def forward(self, x):
        pytest.fail("work began before the input was checked")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_epochs": 0}, "max_epochs is 0"),
        ({"batch_size": 2.5}, "batch_size is 2.5"),
        ({"lr": -1}, "lr is -1"),
        ({"augment": "flip"}, "augment is 'flip'"),
        ({"optimizer": "adam"}, "optimizer is 'adam'"),
        ({"module": "mlp"}, "module is 'mlp'"),
        ({"random_state": "x"}, "random_state is 'x'"),
        ({"warmup": 40}, "warmup is 40 and max_epochs 40"),
        ({"warmup": -1}, "warmup is -1"),
        ({"every": 0}, "every is 0"),
        ({"stop": 2}, "stop is 2"),
        ({"subset_size": 1.2}, "subset_size is 1.2"),
        ({"threshold": 0}, "threshold is 0"),
        ({"gradients": "input"}, "gradients is 'input'"),
        ({"metric": "manhattan"}, "metric is 'manhattan'"),
        ({"selection_optimizer": "best"}, "optimizer is 'best'"),
    ],
)
def test_bad_parameters_are_refused_before_any_work(change, message, iris):
    model = EPICClassifier(**{"module": Unreachable(), **change})
    with pytest.raises((ValueError, TypeError), match=message):
        model.fit(*iris)


@both
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda X, y: (np.where(X > 7, np.nan, X), y), "NaN"),
        (lambda X, y: (np.where(X > 7, np.inf, X), y), "infinity"),
        (lambda X, y: (X, y * 0), "only one class"),
        (lambda X, y: (X, y[:-1]), "inconsistent numbers of samples"),
        (lambda X, y: (X[:0], y[:0]), "minimum of 2 is required"),
        (lambda X, y: (X, np.where(y == 1, np.nan, y)), "NaN or None in 50 of 150"),
        (lambda X, y: (X, y + 0.5), "Unknown label type"),
        (lambda X, y: (X, None), "requires y"),
    ],
)
def test_bad_data_are_refused_before_any_work(estimator, spoil, message, iris):
    model = clone(estimator).set_params(module=Unreachable())
    with pytest.raises(ValueError, match=message):
        model.fit(*spoil(*iris))


@both
def test_module_that_does_not_fit_the_data_is_refused(estimator, iris):
    X, y = iris
    with pytest.raises(ValueError, match="gives 5 logits and y has 3 classes"):
        clone(estimator).set_params(module=nn.Linear(4, 5)).fit(X, y)
    with pytest.raises(ValueError, match=r"cannot take examples of shape \(4,\)"):
        clone(estimator).set_params(module=nn.Linear(7, 3)).fit(X, y)
    softmax = nn.Sequential(nn.Linear(4, 3), nn.Softmax(dim=1))
    with pytest.raises(ValueError, match="let it return logits"):
        clone(estimator).set_params(module=softmax).fit(X, y)
    with pytest.raises(TypeError, match=r"needs the arguments \['width'\]"):
        clone(estimator).set_params(module=lambda width: None).fit(X, y)
    with pytest.raises(TypeError, match=r"no torch\.nn\.Module"):
        clone(estimator).set_params(module=lambda: "net").fit(X, y)


def test_training_that_diverges_says_so(iris):
    X, y = iris
    model = TorchClassifier(nn.Linear(4, 3), lr=1e30, max_epochs=50, random_state=0)
    with pytest.raises(ValueError, match=r"Training diverged.*Lower lr"):
        model.fit(X * 1e6, y)
