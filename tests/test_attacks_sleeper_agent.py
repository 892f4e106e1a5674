"""Sleeper agent: sources, trigger and retraining."""

import pickle

import numpy as np
import pytest
import torch
from gradient_problem import craft, make_data, make_model, mismatch

from epic_sklearn import TorchClassifier
from epic_sklearn.attacks import PatchTrigger, SleeperAgent


@pytest.fixture
def model():
    return make_model()


@pytest.fixture
def data():
    return make_data()


def test_its_targets_are_sources_with_the_trigger(model, data):
    X, _ = data
    trigger = PatchTrigger(np.full((1, 2, 1), 0.5), row=1, column=2)
    attack = SleeperAgent(3, n_steps=2, trigger=trigger, random_state=0)
    poisons = craft(attack, model, data)
    assert poisons.trigger is trigger
    assert poisons.source_label == "cat"
    patched = {image.tobytes() for image in trigger.apply(X[:20])}
    assert {image.tobytes() for image in poisons.target} == patched
    several = craft(attack, model, data, source_label=["cat", "cow"])
    assert len(several.target) == 40
    few = craft(attack.set_params(n_sources=7), model, data)
    assert {image.tobytes() for image in few.target} < patched
    assert len(few.target) == 7


def test_a_trigger_is_drawn_by_the_seed_in_the_lower_right(model, data):
    first, again, other = (
        craft(SleeperAgent(3, n_steps=1, random_state=seed), model, data).trigger
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.patch, again.patch)
    assert not np.array_equal(first.patch, other.patch)
    assert (first.patch.shape, first.row, first.column) == ((1, 1, 1), 3, 3)


def test_retraining_sees_the_poisons_so_far_and_its_model_is_matched(model, data):
    X, y = data
    seen, models = [], []

    def retrain(X_poisoned, labels):
        seen.append(X_poisoned.copy())
        np.testing.assert_array_equal(labels, y)
        other = pickle.loads(pickle.dumps(model))
        with torch.no_grad():
            other[5].weight.mul_(-(0.5 ** len(seen)))
        models.append(other)
        return other

    attack = SleeperAgent(4, n_steps=9, retrain=retrain, retrain_every=3)
    poisons = craft(attack, model, data)
    assert len(seen) == 2  # before steps 3 and 6; after the last it is no use
    for X_poisoned in seen:
        changed = np.flatnonzero((X_poisoned != X).any(axis=(1, 2, 3)))
        np.testing.assert_array_equal(changed, np.sort(poisons.indices))
        assert np.abs(X_poisoned - X).max() <= attack.eps + 1e-6
    assert not np.array_equal(seen[0], seen[1])
    expected = mismatch(models[-1], poisons.examples, poisons.target)
    assert poisons.loss[-1] == pytest.approx(expected, abs=1e-5)


def test_a_classifier_retrains_as_a_clone(data):
    surrogate = TorchClassifier(max_epochs=1, random_state=0).fit(*data)
    classifier = TorchClassifier(max_epochs=1)  # follows the attack's seed
    attack = SleeperAgent(
        4, n_steps=4, retrain=classifier, retrain_every=2, random_state=0
    )
    first, again = craft(attack, surrogate, data), craft(attack, surrogate, data)
    np.testing.assert_array_equal(first.loss, again.loss)
    assert not hasattr(classifier, "net_")
    without = craft(attack.set_params(retrain=None), surrogate, data)
    assert first.loss[1] == without.loss[1]
    assert first.loss[3] != without.loss[3]


@pytest.mark.parametrize(
    ("source_label", "message"),
    [
        ("hen", "source_label='hen' does not occur"),
        ("dog", "source labels other than the adversarial one"),
        (["cat", "dog"], "source labels other than the adversarial one"),
        ([], "give one or more source labels"),
    ],
)
def test_wrong_sources_are_refused(model, data, source_label, message):
    with pytest.raises(ValueError, match=message):
        craft(SleeperAgent(3), model, data, source_label=source_label)
