"""Weights of training examples: how much each one's loss counts."""

import copy

import numpy as np
import pytest
import sklearn
import torch
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.ensemble import BaggingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from epic_sklearn import (
    EPICClassifier,
    EPICFilter,
    FilteredClassifier,
    PrecomputedGradients,
    TorchClassifier,
)
from epic_sklearn.rules import IsolatedMedoids

X, Y = load_iris(return_X_y=True)
X = X.astype(np.float32)
WEIGHTS = np.random.default_rng(0).integers(0, 4, len(Y)) * 1e-3
SEED, EPOCHS, BATCH = 5, 6, 40
LOSSES = {
    "plain": nn.CrossEntropyLoss(),
    "of classes, smoothed": nn.CrossEntropyLoss(
        weight=torch.tensor([1.0, 1.0, 20.0]), label_smoothing=0.1
    ),
}
OPTIONS = {"max_epochs": EPOCHS, "batch_size": BATCH, "random_state": SEED}


def train_by_hand(net, loss, dropped_at):
    """A plain loop: each batch's mean of as many copies of a row as it weighs."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for epoch in range(EPOCHS):
        order = np.random.default_rng((SEED, epoch)).permutation(len(Y))
        order = order[(dropped_at[order] < 0) | (dropped_at[order] > epoch)]
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            rows = rows.repeat(np.rint(WEIGHTS[rows] * 1e3).astype(int))
            optimizer.zero_grad()
            loss(net(torch.tensor(X[rows])), torch.tensor(Y[rows])).backward()
            optimizer.step()
    return net


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("workers", [None, 0, 1], ids=["arrays", "items", "a worker"])
@pytest.mark.filterwarnings("ignore:EPIC.* learned next to nothing")
def test_weights_stay_with_their_rows_shuffled_and_dropped(workers, loss):
    with torch.random.fork_rng():
        torch.manual_seed(0)  # of a net by which examples are dropped
        net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    model = EPICClassifier(
        net,
        rule=IsolatedMedoids(),
        warmup=2,
        every=2,
        criterion=LOSSES[loss],
        optimizer_params={},
        augment=lambda x: x + 0.0,
        device="cpu",
        **OPTIONS,
    )
    if workers is None:
        model.fit(X, Y, sample_weight=WEIGHTS)
    else:
        data = DataLoader(
            TensorDataset(torch.tensor(X), torch.tensor(Y)), num_workers=workers
        )
        model.fit(data, sample_weight=WEIGHTS)
    assert len(set(model.dropped_at_epoch_)) > 1
    theirs = train_by_hand(copy.deepcopy(net), LOSSES[loss], model.dropped_at_epoch_)
    for ours, by_hand in zip(
        model.module_.parameters(), theirs.parameters(), strict=True
    ):
        torch.testing.assert_close(ours, by_hand, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("module", [None, nn.Linear(4, 3)], ids=["default", "linear"])
def test_a_row_of_weight_zero_is_absent_and_one_of_two_is_there_twice(module):
    whole = {**OPTIONS, "batch_size": 1000}
    weights = np.arange(len(Y)) % 3
    weighted = TorchClassifier(module, **whole).fit(X, Y, weights)
    rows = np.arange(len(Y)).repeat(weights)
    repeated = TorchClassifier(module, **whole).fit(X[rows], Y[rows])
    np.testing.assert_allclose(
        weighted.predict_proba(X), repeated.predict_proba(X), rtol=1e-4
    )


def test_equal_weights_are_none_and_batches_without_weight_teach_nothing():
    plain = TorchClassifier(**OPTIONS).fit(X, Y).predict_proba(X)
    equal = TorchClassifier(**OPTIONS).fit(X, Y, np.full(len(Y), 1e-60))
    np.testing.assert_allclose(equal.predict_proba(X), plain, rtol=1e-4)
    few = np.zeros(len(Y))
    few[[10, 70, 130]] = 1
    model = TorchClassifier(**{**OPTIONS, "batch_size": 1, "lr": 0.01}).fit(X, Y, few)
    assert model.score(X, Y) > 0.7


def test_labels_that_the_loss_ignores_have_no_weight():
    loss = nn.CrossEntropyLoss(ignore_index=1)
    model = TorchClassifier(nn.Linear(4, 3), criterion=loss, **OPTIONS)
    plain = clone(model).fit(X, Y).predict_proba(X)
    equal = clone(model).fit(X, Y, sample_weight=np.full(len(Y), 3.0)).predict_proba(X)
    np.testing.assert_allclose(equal, plain, atol=1e-6)


def test_rules_judge_gradients_without_weights():
    net = nn.Linear(4, 3)
    model = EPICClassifier(net, warmup=0, every=EPOCHS, **OPTIONS)
    keep = model.fit(X, Y).keep_
    np.testing.assert_array_equal(model.fit(X, Y, WEIGHTS).keep_, keep)
    assert not keep.all()
    before = model.predict_proba(X)
    model.refit(X, Y, WEIGHTS)
    kept = TorchClassifier(net, **OPTIONS).fit(X[keep], Y[keep], WEIGHTS[keep])
    np.testing.assert_array_equal(model.predict_proba(X), kept.predict_proba(X))
    assert not np.allclose(model.predict_proba(X), before)


def test_weights_reach_the_classifier_through_scikit_learn():
    model = TorchClassifier(**OPTIONS)
    detector = EPICFilter(LogisticRegression(max_iter=1000), rule=IsolatedMedoids())
    filtered = FilteredClassifier(model, detector).fit(X, Y, sample_weight=WEIGHTS)
    keep = filtered.keep_
    direct = model.fit(X[keep], Y[keep], WEIGHTS[keep])
    np.testing.assert_array_equal(filtered.predict_proba(X), direct.predict_proba(X))
    with sklearn.config_context(enable_metadata_routing=True):
        model = EPICClassifier(**OPTIONS).set_fit_request(sample_weight=True)
        model.set_score_request(sample_weight=False)
        folds = cross_validate(
            model, X, Y, params={"sample_weight": WEIGHTS}, return_estimator=True, cv=3
        )
    assert (folds["test_score"] > 0.5).all()


class OnlyMeans(nn.CrossEntropyLoss):
    def forward(self, logits, codes):
        return super().forward(logits, codes).mean()


@pytest.mark.parametrize(
    ("weights", "changes", "message"),
    [
        (WEIGHTS[:3], {}, "sample_weight.shape"),
        (-WEIGHTS, {}, "Negative"),
        (0 * WEIGHTS, {}, "(?i)zero"),
        (np.where(Y == 1, 0, WEIGHTS), {}, r"every example of the classes \[1\]"),
        (WEIGHTS, {"criterion": OnlyMeans()}, "OnlyMeans.*each example's loss"),
    ],
)
@pytest.mark.parametrize("of_items", [False, True], ids=["arrays", "items"])
def test_weights_that_cannot_be_meant_are_refused(of_items, weights, changes, message):
    model = TorchClassifier(nn.Linear(4, 3), **OPTIONS, **changes)
    items = DataLoader(TensorDataset(torch.tensor(X), torch.tensor(Y)), batch_size=7)
    with pytest.raises(ValueError, match=message):
        model.fit(*((items, None) if of_items else (X, Y)), weights)


def test_a_run_with_other_weights_is_another_run(tmp_path):
    model = TorchClassifier(checkpoint=tmp_path / "run.pt", **OPTIONS)
    model.fit(X, Y, WEIGHTS)
    with pytest.raises(ValueError, match="differs in: sample_weight"):
        model.fit(X, Y)


def test_weights_pass_through_a_pipeline_to_its_last_step():
    X, y = load_iris(return_X_y=True)
    weights = np.random.default_rng(0).uniform(1, 9, len(y))
    inner = make_pipeline(StandardScaler(), LogisticRegression())
    model = FilteredClassifier(inner, EPICFilter(LogisticRegression(max_iter=1000)))
    model.fit(X, y, sample_weight=weights)
    kept = model.keep_
    alone = clone(inner).fit(
        X[kept], y[kept], logisticregression__sample_weight=weights[kept]
    )
    np.testing.assert_allclose(model.predict_proba(X), alone.predict_proba(X))
    assert BaggingClassifier(model, 3, random_state=0).fit(X, y).score(X, y) > 0.9


@pytest.mark.parametrize("kind", ["module", "array", "function"])
def test_weights_of_what_is_not_trained_are_refused(kind):
    net = nn.Linear(4, 3)
    given = {"module": net, "array": PrecomputedGradients(), "function": lambda X, y: X}
    with pytest.raises(TypeError, match="takes no sample_weight; leave it out"):
        EPICFilter(given[kind]).fit(X, Y, sample_weight=WEIGHTS + 1)


def test_weights_are_the_classifiers_where_the_filter_is_the_default():
    weights = WEIGHTS + 1e-3
    classifier = LogisticRegression(max_iter=1000)
    plain = FilteredClassifier(classifier).fit(X, Y, sample_weight=weights)
    with sklearn.config_context(enable_metadata_routing=True):
        asking = clone(classifier).set_fit_request(sample_weight=True)
        routed = FilteredClassifier(asking).fit(X, Y, sample_weight=weights)
    np.testing.assert_array_equal(plain.predict_proba(X), routed.predict_proba(X))


@pytest.mark.parametrize("kind", ["filtered", "net"])
def test_a_refit_without_the_weights_of_the_fit_is_refused(kind):
    weights = WEIGHTS + 1e-3
    model = {
        "filtered": FilteredClassifier(LogisticRegression(max_iter=1000)),
        "net": EPICClassifier(max_epochs=8, warmup=3, random_state=0),
    }[kind].fit(X, Y, sample_weight=weights)
    with pytest.raises(ValueError, match="The fit was given sample_weight"):
        model.refit(X, Y)
    assert model.refit(X, Y, sample_weight=weights).score(X, Y) > 0.5
