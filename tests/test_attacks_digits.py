"""Every attack end to end, on digits: undefended, it succeeds."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import nn

from epic_sklearn.attacks import (
    BadNets,
    BullseyePolytope,
    FeatureCollision,
    GradientMatching,
    LabelFlip,
    PatchTrigger,
    SleeperAgent,
)
from epic_sklearn.metrics import attack_success_rate


def train(X, y, seed):
    """Train a small convolutional net from scratch, in a second on one core."""
    X, y = torch.as_tensor(X), torch.as_tensor(y)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        body = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        body.extend([nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.Flatten()])
        body.extend([nn.Linear(256, 32), nn.ReLU()])
        net = nn.Sequential(body, nn.Linear(32, 10))
        optimizer = torch.optim.Adam(net.parameters(), lr=0.005)
        for _ in range(20):
            for rows in torch.randperm(len(X)).split(64):
                loss = nn.functional.cross_entropy(net(X[rows]), y[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    return net.eval()


@torch.no_grad()
def outputs(module, X):
    return module(torch.as_tensor(X)).numpy()


def predict(net, X):
    return outputs(net, X).argmax(1)


def accuracy(net, digits):
    return np.mean(predict(net, digits["X_test"]) == digits["y_test"])


@pytest.fixture(scope="module")
def digits():
    """Digits, a net that the attacks may look at, and one that was not poisoned."""
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    order = np.random.default_rng(0).permutation(len(X))
    X, X_head, X_test = np.split(X[order], [600, 1000])
    y, y_head, y_test = np.split(y[order], [600, 1000])
    return {
        "X": X,
        "y": y,
        "X_head": X_head,
        "y_head": y_head,
        "X_test": X_test,
        "y_test": y_test,
        "net": train(X, y, seed=0),
        "clean": train(X, y, seed=1),
    }


def draw_targets(digits, n):
    """Test digits that a net trained on clean data gets right, and a wrong label.

    The wrong label is the surrogate's second guess: the victim does not take the
    target for it unless poisoned.
    """
    second = outputs(digits["net"], digits["X_test"]).argsort(1)[:, -2]
    right = predict(digits["clean"], digits["X_test"]) == digits["y_test"]
    rows = np.flatnonzero(right & (second != digits["y_test"]))[:n]
    return [(digits["X_test"][i], second[i]) for i in rows]


# -------------------------------------------------------------- training from scratch


def test_gradient_matching_flips_half_of_its_targets(digits):
    attack = GradientMatching(
        n_poisons=30,
        eps=0.5,
        n_steps=60,
        base_selection="gradient_norm",
        random_state=0,
    )
    successes, accuracies = [], []
    for target, label in draw_targets(digits, 6):
        poisons = attack.craft(digits["net"], digits["X"], digits["y"], target, label)
        victim = train(poisons.insert_into(digits["X"]), digits["y"], seed=2)
        successes.append(attack_success_rate(predict(victim, target[None]), label))
        accuracies.append(accuracy(victim, digits))
    assert np.mean(successes) >= 0.5
    # Clean-label poisons go unnoticed: accuracy stays what it was.
    assert np.mean(accuracies) > accuracy(digits["clean"], digits) - 0.05


def backdoor_success(net, poisons, digits):
    sources = digits["X_test"][digits["y_test"] == poisons.source_label]
    patched = poisons.apply_trigger(sources)
    return attack_success_rate(predict(net, patched), poisons.adversarial_label)


TRIGGER = PatchTrigger.random((1, 8, 8), size=3, random_state=0)


def test_sleeper_agent_plants_backdoors(digits):
    attack = SleeperAgent(
        n_poisons=40,
        eps=0.5,
        n_steps=60,
        trigger=TRIGGER,
        retrain=lambda X, y: train(X, y, seed=3),
        retrain_every=30,
        random_state=0,
    )
    X, y, net = digits["X"], digits["y"], digits["net"]
    successes, base_rate, accuracies = [], [], []
    for source, adversarial in ((3, 9), (0, 6), (4, 2)):
        poisons = attack.craft(net, X, y, source, adversarial)
        victim = train(poisons.insert_into(X), y, seed=2)
        successes.append(backdoor_success(victim, poisons, digits))
        base_rate.append(backdoor_success(digits["clean"], poisons, digits))
        accuracies.append(accuracy(victim, digits))
    assert np.mean(successes) > 0.5
    assert np.mean(base_rate) < 0.1
    assert np.mean(accuracies) > accuracy(digits["clean"], digits) - 0.06


def test_bad_nets_plants_a_backdoor(digits):
    attack = BadNets(n_poisons=20, trigger=TRIGGER, random_state=0)
    poisons = attack.craft(digits["X"], digits["y"], 3, 9)
    victim = train(
        poisons.insert_into(digits["X"]), poisons.relabel(digits["y"]), seed=2
    )
    assert backdoor_success(victim, poisons, digits) > 0.8
    assert backdoor_success(digits["clean"], poisons, digits) < 0.1
    assert accuracy(victim, digits) > accuracy(digits["clean"], digits) - 0.05


def test_flipped_labels_flip_most_targets(digits):
    successes = []
    for target, label in draw_targets(digits, 3):
        poisons = LabelFlip(n_poisons=20).craft(digits["X"], digits["y"], target, label)
        victim = train(digits["X"], poisons.relabel(digits["y"]), seed=2)
        successes.append(attack_success_rate(predict(victim, target[None]), label))
    assert np.mean(successes) > 0.5


# ----------------------------------------------------------------- transfer learning


@pytest.mark.parametrize(
    ("attack_class", "least"),
    [(BullseyePolytope, 0.5), (FeatureCollision, 0.5)],
)
def test_attacks_on_features_flip_targets_of_a_linear_head(digits, attack_class, least):
    X, y, body = digits["X_head"], digits["y_head"], digits["net"][0]
    attack = attack_class(n_poisons=10, eps=0.5, n_steps=100, random_state=0)
    clean = LogisticRegression(max_iter=2000).fit(outputs(body, X), y)
    test_features = outputs(body, digits["X_test"])
    successes, base_rate, accuracies = [], [], []
    for target, label in draw_targets(digits, 5):
        poisons = attack.craft(body, X, y, target, label)
        poisoned = outputs(body, poisons.insert_into(X))
        head = LogisticRegression(max_iter=2000).fit(poisoned, y)
        features = outputs(body, target[None])
        successes.append(attack_success_rate(head.predict(features), label))
        base_rate.append(attack_success_rate(clean.predict(features), label))
        accuracies.append(head.score(test_features, digits["y_test"]))
    assert np.mean(successes) >= least
    assert np.mean(base_rate) == 0
    assert np.mean(accuracies) > clean.score(test_features, digits["y_test"]) - 0.03
