"""TorchClassifier and EPICClassifier as scikit-learn estimators."""

import copy
import functools
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import scipy
import torch
from packaging.version import Version
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import (
    Callback,
    EarlyStopping,
    GradientNormClipping,
    LRScheduler,
)
from torch import nn

from epic_sklearn import EPICClassifier, EPICFilter, LogitGradients, TorchClassifier
from epic_sklearn.rules import (
    DeepKNN,
    IsolatedMedoids,
    LowConfidence,
    NeighborVotes,
)

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
    trained = clone(estimator).set_params(max_epochs=20)
    pipeline = make_pipeline(StandardScaler(), trained)
    assert cross_val_score(pipeline, X, y, cv=3).min() > 0.8
    name = type(estimator).__name__.lower()
    search = GridSearchCV(pipeline, {f"{name}__lr": [0.01, 0.1]}, cv=2).fit(X, y)
    assert search.predict(X).shape == (150,)


@both
def test_silent_by_default_and_a_line_an_epoch_when_verbose(estimator, iris, capsys):
    X, y = iris
    clone(estimator).fit(X, y)
    assert capsys.readouterr() == ("", "")
    clone(estimator).set_params(verbose=1).fit(X, y)
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert len(lines) == 2 + 12
    assert "train_loss" in lines[0]
    assert ("n_kept" in lines[0]) == isinstance(estimator, EPICClassifier)


class Rates(Callback):
    """Learning rates that batches were trained with, one an epoch."""

    def on_train_begin(self, net, **kwargs):
        self.rates_ = []

    def on_epoch_begin(self, net, **kwargs):
        self.rates_.append(net.optimizer_.param_groups[0]["lr"])


@both
def test_a_scheduler_given_as_callback_sets_the_learning_rate(estimator, iris):
    watcher = Rates()
    scheduler = LRScheduler("StepLR", step_size=5, gamma=0.1)
    model = clone(estimator).set_params(callbacks=[scheduler, watcher], lr=0.5)
    model.fit(*iris)
    np.testing.assert_allclose(watcher.rates_, [0.5] * 5 + [0.05] * 5 + [0.005] * 2)


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
    rule = NeighborVotes(cutoff=1.2)
    model = EPICClassifier(
        rule=rule, max_epochs=12, warmup=2, every=2, random_state=0
    ).fit(X, y)
    for label in range(3):
        rows = y == label
        dropped = model.isolation_score_[rows & ~model.keep_]
        kept = model.isolation_score_[rows & model.keep_]
        assert len(dropped) and dropped.min() > kept.max()


@pytest.mark.filterwarnings("ignore:So many examples of class")
def test_floor_keeps_part_of_a_class_and_warns_once(iris):
    X, y = iris
    model = EPICClassifier(
        rule=IsolatedMedoids(0.6), max_epochs=12, warmup=1, every=1, random_state=0
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
    detector = EPICFilter(extractor, rule=IsolatedMedoids(0.1))
    detector.fit(X, np.array(list("abc"))[y])
    assert not detector.keep_[0]


class Unreachable(nn.Module):
    """Fails the test if anything is computed."""

    def forward(self, x):
        pytest.fail("work began before the input was checked")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_epochs": 0}, "'max_epochs' parameter .* Got 0"),
        ({"batch_size": 2.5}, "'batch_size' parameter .* Got 2.5"),
        ({"lr": -1}, "'lr' parameter .* Got -1"),
        ({"lr": float("inf")}, "'lr' parameter .* Got inf"),
        ({"augment": "flip"}, "'augment' parameter .* Got 'flip'"),
        ({"optimizer": "adam"}, "'optimizer' parameter .* Got 'adam'"),
        ({"module": "mlp"}, "'module' parameter .* Got 'mlp'"),
        ({"callbacks": 3}, "'callbacks' parameter .* Got 3"),
        ({"callbacks": [EarlyStopping()]}, "EarlyStopping watches 'valid_loss'"),
        ({"callbacks": [("stop", EarlyStopping())]}, "EarlyStopping watches 'valid_lo"),
        ({"callbacks": [EarlyStopping]}, "EarlyStopping watches 'valid_loss'"),
        ({"random_state": "x"}, "'random_state' parameter .* Got 'x'"),
        ({"warmup": 40}, "warmup is 40 and max_epochs 40"),
        ({"warmup": -1}, "'warmup' parameter .* Got -1"),
        ({"every": 0}, "'every' parameter .* Got 0"),
        ({"warmup": 10, "stop": 2}, "stop is 2 and warmup 10"),
        ({"min_class_fraction": 2}, "'min_class_fraction' parameter .* Got 2"),
        ({"gradients": "input"}, "'gradients' parameter .* Got 'input'"),
        ({"rule": "medoids"}, "rule is 'medoids'; give an instance of a rule"),
        ({"rule": IsolatedMedoids}, "give an instance of a rule"),
        ({"rule": IsolatedMedoids(1.2)}, "'subset_size' parameter .* Got 1.2"),
        (
            {"rule": DeepKNN(), "gradients": "logit"},
            "gradients is 'logit'; set gradients='last_layer'",
        ),
        (
            {"rule": LowConfidence(), "gradients": "last_layer_input"},
            "looks at the last layer's errors.*set gradients='last_layer'",
        ),
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
        (lambda X, y: (X, np.where(y == 1, np.nan, y)), "Input y contains NaN"),
        (lambda X, y: (X, y + 0.5), "Unknown label type"),
        (lambda X, y: (X, None), "requires y"),
    ],
)
def test_bad_data_are_refused_before_any_work(estimator, spoil, message, iris):
    model = clone(estimator).set_params(module=Unreachable())
    with pytest.raises(ValueError, match=message):
        model.fit(*spoil(*iris))


@both
@pytest.mark.parametrize("form", ["csr", "dok"])  # of which the second is a dict
def test_sparse_data_are_refused_as_such(estimator, form, iris):
    with pytest.raises(TypeError, match=r"Use '\.toarray\(\)'"):
        estimator.fit(scipy.sparse.csr_matrix(iris[0]).asformat(form), iris[1])


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
    with pytest.raises(TypeError, match="missing a required argument: 'width'"):
        clone(estimator).set_params(module=lambda width: None).fit(X, y)
    with pytest.raises(TypeError, match=r"no torch\.nn\.Module"):
        clone(estimator).set_params(module=lambda: "net").fit(X, y)


def test_training_that_diverges_says_so(iris):
    X, y = iris
    model = TorchClassifier(nn.Linear(4, 3), lr=1e30, max_epochs=50, random_state=0)
    with pytest.raises(ValueError, match=r"Training diverged.*Lower lr"):
        model.fit(X * 1e6, y)


@both
def test_early_stopping_ends_training_and_leaves_a_model(estimator, iris):
    stopping = EarlyStopping("train_loss", patience=2, threshold=0.5)
    model = clone(estimator).set_params(callbacks=[stopping])
    if isinstance(model, EPICClassifier):
        model.set_params(warmup=2, every=1)
    model.fit(*iris)
    assert stopping.misses_ == 2
    assert 2 < len(model.history_) < 12
    assert model.score(*iris) > 0.7


def test_stopping_before_the_first_round_says_that_nothing_was_dropped(iris):
    stopping = EarlyStopping("train_loss", patience=2, threshold=0.5)
    model = EPICClassifier(warmup=20, callbacks=[stopping], random_state=0)
    with pytest.warns(UserWarning, match="after 4 epochs.*was to drop after 20"):
        model.fit(*iris)
    assert model.keep_.all() and model.rounds_ == [] and model.rho_ == 0


class Interrupt(Callback):
    """What Ctrl-C does."""

    def on_batch_end(self, net, **kwargs):
        raise KeyboardInterrupt


@both
def test_an_interrupt_is_not_taken_for_the_end_of_training(estimator, iris):
    stopping = EarlyStopping("train_loss", patience=2)
    model = clone(estimator).set_params(callbacks=[stopping, Interrupt()])
    with pytest.raises(KeyboardInterrupt):
        model.fit(*iris)
    assert not hasattr(model, "net_")


def times():
    """Seconds since 1970 that tell three classes apart, next to noise."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 60)
    seconds = 1.7e9 + 30 * y + rng.uniform(0, 10, 180)
    return np.column_stack([seconds, rng.normal(size=180)]), y


@both
def test_large_numbers_are_standardised_before_they_lose_their_digits(estimator):
    X, y = times()
    model = clone(estimator).fit(X, y)
    assert model.score(X, y) > 0.95
    # The same from the gradients' side: the module by itself is as precise.
    errors = LogitGradients(model.module_)(X, y)
    expected = model.predict_proba(X)
    expected[np.arange(len(y)), y] -= 1
    np.testing.assert_allclose(errors, expected, atol=1e-12)


def test_numbers_that_the_modules_precision_cannot_tell_apart_are_refused():
    X, y = times()
    model = TorchClassifier(nn.Linear(2, 3), max_epochs=2, lr=1e-9, random_state=0)
    with pytest.raises(ValueError, match=r"features \[0\] can hardly.*StandardScaler"):
        model.fit(X, y)
    for harmless in (X * [0, 1] + 0.1, np.c_[2000 + y, X[:, 1]], X.astype(np.float32)):
        model.fit(harmless, y)
    model.set_params(module=nn.Linear(2, 3).double())
    assert model.fit(X, y).predict(X).shape == (180,)
    with pytest.raises(ValueError, match="too large for dtype\\('float32'\\)"):
        model.set_params(module=nn.Linear(2, 3)).fit(X * 1e36, y)


@pytest.mark.skipif(
    Version(scipy.__version__) < Version("1.14"),
    reason="scikit-learn dispatches to array APIs from scipy 1.14 on",
)
def test_tensors_fit_under_array_api_dispatch():
    # Its own process: scipy must be told before it is imported.
    script = """
import sklearn, torch
from sklearn.datasets import load_iris
from epic_sklearn import EPICClassifier, TorchClassifier
X, y = load_iris(return_X_y=True)
for model in TorchClassifier(max_epochs=4), EPICClassifier(max_epochs=4, warmup=2):
    model.set_params(random_state=0)
    expected = model.fit(X, y).predict_proba(X)
    tensors = torch.tensor(X), torch.tensor(y)
    with sklearn.config_context(array_api_dispatch=True):
        given = model.fit(*tensors).predict_proba(tensors[0])
    assert type(given) is type(expected) and (given == expected).all()
"""
    environment = {**os.environ, "SCIPY_ARRAY_API": "1"}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)


def test_fit_leaves_the_rule_as_it_is_and_shows_the_one_that_judged(iris):
    X, y = iris
    rule = IsolatedMedoids()
    model = EPICClassifier(rule=rule, max_epochs=12, warmup=4, random_state=0)
    model.set_params(rule__threshold=2).fit(X, y)
    assert model.rule is rule and vars(rule) == vars(IsolatedMedoids(threshold=2))
    assert model.rule_ is not rule and model.rule_.threshold == 2
    np.testing.assert_array_equal(model.isolated_indices_, np.flatnonzero(~model.keep_))
    last = model.rounds_[-1]
    assert model.rho_ == last.rho and last.n_kept == model.keep_.sum()
    sizes = model.details_["cluster_size"]
    assert sizes.shape == (150,) and not model.keep_[sizes <= 2].all()


@pytest.mark.parametrize("kind", ["logit", "last_layer"])
def test_a_rival_rule_runs_in_training(kind, iris):
    X, y = iris
    rule = LowConfidence(drop_fraction=0.1)
    model = EPICClassifier(
        rule=rule, gradients=kind, max_epochs=6, warmup=4, every=5, random_state=0
    ).fit(X, y)
    assert (~model.keep_).sum() == 15


def test_bound_arguments_hold():
    X, y = load_iris(return_X_y=True)

    def linear(n_features, n_classes):
        return nn.Linear(n_features, n_classes)

    TorchClassifier(linear, max_epochs=1).fit(X, y)
    with pytest.raises(ValueError, match="gives 7 logits and y has 3 classes"):
        TorchClassifier(functools.partial(linear, n_classes=7), max_epochs=1).fit(X, y)


def test_a_learning_rate_given_twice_is_refused():
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match="optimizer_params has an 'lr'"):
        TorchClassifier(optimizer_params={"lr": 1e-3}).fit(X, y)


def test_the_users_default_dtype_holds():
    X, y = load_iris(return_X_y=True)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        model = TorchClassifier(random_state=0).fit(X, y)
        assert torch.get_default_dtype() is torch.float64
    finally:
        torch.set_default_dtype(before)
    assert model.score(X, y) > 0.9


def test_a_callback_may_have_any_name(tmp_path):
    X, y = load_iris(return_X_y=True)
    names = ("epoch_start", "checkpoint")
    TorchClassifier(
        max_epochs=2,
        callbacks=[(name, GradientNormClipping(1.0)) for name in names],
        checkpoint=tmp_path / "run.pt",
    ).fit(X, y)


@pytest.mark.filterwarnings("ignore:EPIC.* (learned next to nothing|judged them last)")
def test_class_weights_and_label_smoothing_are_those_of_the_loss(iris):
    X, y = iris
    weights = torch.tensor([1.0, 1.0, 20.0])
    loss = nn.CrossEntropyLoss(weight=weights, label_smoothing=0.1)
    options = {"module": nn.Linear(4, 3), "max_epochs": 3, "batch_size": 200}
    options |= {"lr": 0.1, "optimizer_params": {}, "random_state": 0, "device": "cpu"}
    model = TorchClassifier(criterion=loss, **options).fit(X, y)
    net = copy.deepcopy(options["module"])
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    inputs, codes = torch.tensor(X).float(), torch.tensor(y)
    for _ in range(3):
        optimizer.zero_grad()
        loss(net(inputs), codes).backward()
        optimizer.step()
    for ours, theirs in zip(model.module_.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert EPICClassifier(criterion=loss, max_epochs=3).fit(X, y).rounds_


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (nn.CrossEntropyLoss(weight=torch.ones(4)), "4 class weights.*3 classes"),
        (nn.CrossEntropyLoss(reduction="sum"), "reduction='sum'"),
        (nn.NLLLoss(), "'criterion' parameter"),
    ],
)
def test_losses_that_cannot_be_meant_are_refused(loss, message, iris):
    with pytest.raises(ValueError, match=message):
        TorchClassifier(criterion=loss, max_epochs=1).fit(*iris)


def test_a_run_with_another_loss_is_another_run(iris, tmp_path):
    options = {"max_epochs": 2, "checkpoint": tmp_path / "run.pt", "random_state": 0}
    TorchClassifier(**options).fit(*iris)
    for loss in (
        nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0])),
        nn.CrossEntropyLoss(label_smoothing=0.1),
    ):
        with pytest.raises(ValueError, match="differs in: criterion"):
            TorchClassifier(criterion=loss, **options).fit(*iris)


@pytest.mark.parametrize(
    ("width", "shape", "expected"),
    [(8, (4,), 1), (2, (1, 8, 8), 1), (3_000, (4,), 3), (60_000, (400,), 4)],
)
def test_small_nets_train_on_few_threads_and_the_number_is_put_back(
    width, shape, expected
):
    n_features, seen = int(np.prod(shape)), []
    net = nn.Sequential(nn.Flatten(), nn.Linear(n_features, width), nn.Linear(width, 2))
    X = np.random.default_rng(0).normal(size=(12, *shape)).astype(np.float32)
    y, before = np.arange(12) % 2, torch.get_num_threads()
    torch.set_num_threads(4)

    class Watch(Callback):
        def on_batch_end(self, net, **kwargs):
            seen.append(torch.get_num_threads())

    try:
        options = {"max_epochs": 1, "batch_size": 1000, "callbacks": [Watch()]}
        TorchClassifier(net, lr=1e-6, **options).fit(X, y)
        assert set(seen) == {expected} and torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)
