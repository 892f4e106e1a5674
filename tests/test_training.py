"""The three ways to train with EPIC, against each other and the naive algorithm."""

import numpy as np
import pytest
import torch
from naive_epic import keep_after_round, softmax_minus_onehot
from torch import nn
from training_problem import (
    BATCH,
    N_EPOCHS,
    SUBSET_SIZE,
    TIMING,
    classifier,
    epic_of,
    make_net,
    problem,
    train_by_hand,
    train_skorch,
)

from epic_sklearn import EPICClassifier, TorchClassifier


def naive_training(net, X, y):
    """Train and drop as published, but for the order of examples of an epoch."""
    keep = np.ones(len(X), dtype=bool)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for epoch in range(N_EPOCHS):
        if epoch in range(TIMING["warmup"], TIMING["stop"] + 1, TIMING["every"]):
            net.eval()
            logits = net(torch.tensor(X)).detach().double().numpy()
            gradients = softmax_minus_onehot(logits, y)
            keep = keep_after_round(gradients, y, SUBSET_SIZE, keep)
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
