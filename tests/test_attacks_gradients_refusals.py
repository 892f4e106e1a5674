"""The attacks on gradients: what they refuse, and what they say."""

import numpy as np
import pytest
import torch
from gradient_problem import CLASSES, craft, make_data, make_model

from epic_sklearn import TorchClassifier
from epic_sklearn.attacks import GradientMatching, PatchTrigger, SleeperAgent

both_attacks = pytest.mark.parametrize("attack_class", [GradientMatching, SleeperAgent])


@pytest.fixture
def model():
    return make_model()


@pytest.fixture
def data():
    return make_data()


@both_attacks
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"eps": 0}, "'eps' parameter .* Got 0"),
        ({"eps": float("nan")}, "'eps' parameter .* Got nan"),
        ({"n_poisons": 2.5}, "'n_poisons' parameter .* Got 2.5"),
        ({"n_poisons": 21}, "n_poisons=21, but only 20 examples bear"),
        ({"n_steps": 0}, "'n_steps' parameter .* Got 0"),
        ({"step_size": 0}, "'step_size' parameter .* Got 0"),
        ({"base_selection": "best"}, "'base_selection' parameter .* Got 'best'"),
        ({"augment": "flip"}, "'augment' parameter .* Got 'flip'"),
        ({"batch_size": 0}, "'batch_size' parameter .* Got 0"),
        ({"clip": (1, 0)}, r"clip=\(1, 0\)"),
        ({"clip": (0.4, 0.6)}, r"outside clip=\(0.4, 0.6\); scale X"),
        ({"random_state": "one"}, "'random_state' parameter .* Got 'one'"),
    ],
)
def test_parameters_out_of_range_are_refused(
    attack_class, model, data, parameters, message
):
    with pytest.raises(ValueError, match=message):
        craft(attack_class(**{"n_poisons": 3, **parameters}), model, data)


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (GradientMatching(3, n_restarts=0), "'n_restarts' parameter"),
        (SleeperAgent(3, trigger=5), "'trigger' parameter"),
        (SleeperAgent(3, n_sources=0), "'n_sources' parameter"),
        (SleeperAgent(3, retrain="again"), "'retrain' parameter"),
        (SleeperAgent(3, retrain_every=0), "'retrain_every' parameter"),
        (SleeperAgent(3, trigger=PatchTrigger(np.ones((3, 2, 2)), 0, 0)), "not fit"),
    ],
)
def test_their_own_parameters_are_checked(attack, message, model, data):
    with pytest.raises(ValueError, match=message):
        craft(attack, model, data)


@both_attacks
def test_wrong_models_are_refused(attack_class, model, data):
    attack = attack_class(3, n_steps=2)
    for wrong in ("model", lambda batch: batch, TorchClassifier()):
        with pytest.raises(TypeError, match=r"give a torch\.nn\.Module"):
            craft(attack, wrong, data)
    with pytest.raises(ValueError, match=r"\(1, 16\), and there are 3 classes"):
        craft(attack, model[:5], data)
    with pytest.raises(ValueError, match="every parameter of the model is frozen"):
        craft(attack, model.requires_grad_(False), data)


@both_attacks
def test_a_target_that_needs_no_attack_is_refused(attack_class, model, data):
    with torch.no_grad():
        model[5].bias[2] = 1e6
    with pytest.raises(ValueError, match=r"gradient has norm 0.*does not yet take"):
        craft(attack_class(3), model, data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X: {"adversarial_label": "hen"}, "adversarial_label='hen' does not"),
        (lambda X: {"target": X[:1]}, "without a batch axis"),
        (lambda X: {"target": X[0] * np.nan}, "target contains NaN"),
        (lambda X: {"X": X * np.inf}, "X contains"),
        (lambda X: {"y": np.repeat(CLASSES, 2)}, r"y has shape \(6,\)"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_wrong_data_are_refused_before_any_work(model, data, change, message):
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    with pytest.raises(ValueError, match=message):
        craft(GradientMatching(3), model, data, **change(data[0]))
    assert len(calls) <= 1  # the model is tried on one example
