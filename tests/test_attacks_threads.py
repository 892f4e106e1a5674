"""Small problems are crafted on one of torch's threads: more are slower."""

import numpy as np
import pytest
import torch
from gradient_problem import craft, make_data, make_model
from torch import nn

from epic_sklearn.attacks import BullseyePolytope, GradientMatching, SleeperAgent

EVERY_ATTACK = [BullseyePolytope, GradientMatching, SleeperAgent]


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def watched(model):
    """Threads at each call of the model."""
    seen = []
    model.register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    return seen


@pytest.mark.parametrize("attack_class", EVERY_ATTACK)
def test_one_thread_makes_the_poisons_and_the_number_is_restored(attack_class):
    model = make_model()
    seen = watched(model)
    craft(attack_class(3, n_steps=2), model, make_data())
    assert set(seen) == {1}
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("attack_class", EVERY_ATTACK)
def test_the_number_is_restored_after_an_error(attack_class):
    def stop(*_):
        raise RuntimeError("stop")

    model = make_model()
    model.register_forward_hook(stop)
    with pytest.raises(RuntimeError, match="stop"):
        craft(attack_class(3, n_steps=2), model, make_data())
    assert torch.get_num_threads() == 2


def test_retraining_has_all_threads():
    threads = []

    def retrain(X, y):
        threads.append(torch.get_num_threads())
        return make_model()

    attack = SleeperAgent(3, n_steps=5, retrain=retrain, retrain_every=2)
    craft(attack, make_model(), make_data())
    assert threads == [2, 2]


def test_large_problems_keep_their_threads():
    X = np.random.default_rng(0).uniform(size=(8, 2**15)).astype(np.float32)
    y, module = np.arange(8) % 2, nn.Linear(2**15, 2)
    seen = watched(module)
    BullseyePolytope(3, n_steps=1).craft(module, X, y, X[0], 1)
    assert set(seen) == {2}
    seen.clear()
    BullseyePolytope(2, n_steps=1).craft(module, X, y, X[0], 1)
    assert set(seen) == {1}
