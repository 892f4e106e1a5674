"""The attacks on gradients: objective, budget, determinism, what they leave alone."""

import pickle

import numpy as np
import pytest
import torch
from gradient_problem import (
    CLASSES,
    craft,
    flat_gradient,
    make_data,
    make_model,
    mismatch,
)
from sklearn.base import clone
from torch import nn

from epic_sklearn import TorchClassifier
from epic_sklearn.attacks import GradientMatching, RandomShiftFlip, SleeperAgent
from epic_sklearn.attacks.gradient_matching import Mismatch

both_attacks = pytest.mark.parametrize("attack_class", [GradientMatching, SleeperAgent])


@pytest.fixture
def model():
    return make_model()


@pytest.fixture
def data():
    return make_data()


# ----------------------------------------------------------------------- objective


@both_attacks
def test_the_objective_is_one_minus_the_cosine_of_full_gradients(
    attack_class, model, data
):
    attack = attack_class(n_poisons=4, n_steps=20, random_state=0)
    poisons = craft(attack, model, data)
    targets = poisons.target.reshape(-1, 1, 4, 4)
    bases = data[0][poisons.indices]
    assert poisons.loss[0] == pytest.approx(mismatch(model, bases, targets), abs=1e-5)
    assert poisons.loss[-1] == pytest.approx(
        mismatch(model, poisons.examples, targets), abs=1e-5
    )


@pytest.mark.parametrize("batch_size", [2, 3, 100])
def test_its_gradient_is_exact_in_any_batch_size(model, data, batch_size):
    X = torch.from_numpy(data[0]).double()
    model.double().eval()
    poisons = X[40:45].clone().requires_grad_()
    parameters = list(model.parameters())

    def gradient(x, **options):
        loss = nn.functional.cross_entropy(
            model(x), torch.full((len(x),), 2), reduction="sum"
        )
        parts = torch.autograd.grad(loss, parameters, **options)
        return torch.cat([part.flatten() for part in parts])

    expected = 1 - torch.cosine_similarity(
        gradient(poisons, create_graph=True), gradient(X[:4]), dim=0
    )
    (slope,) = torch.autograd.grad(expected, poisons)
    objective = Mismatch(model, 2, data[0][:4], batch_size)
    value, found = objective(poisons.detach())
    assert value.item() == pytest.approx(expected.item(), abs=1e-10)
    torch.testing.assert_close(found, slope)
    alone = objective.value(poisons.detach())
    assert alone.item() == pytest.approx(value.item(), abs=1e-10)


def test_gradients_too_small_to_square_in_float32_are_matched(data):
    # A model that has converged: its poisons' gradients are of the order 1e-25.
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    with torch.no_grad():
        model[1].weight.copy_(torch.randn(3, 16, generator=torch.Generator()))
        model[1].bias.copy_(torch.tensor([0.0, 0.0, 60.0]))
    examples, targets = data[0][40:44], data[0][:1]
    assert np.linalg.norm(flat_gradient(model, examples)) < 1e-23
    objective = Mismatch(model, 2, targets)
    value, slope = objective(torch.from_numpy(examples))
    assert value.item() == pytest.approx(mismatch(model, examples, targets), abs=1e-5)
    assert torch.isfinite(slope).all()
    assert (slope != 0).any()


@both_attacks
@pytest.mark.parametrize(
    ("augment", "part"), [(None, 0.5), (RandomShiftFlip(max_shift=1), 0.95)]
)
def test_the_objective_falls(attack_class, model, data, augment, part):
    attack = attack_class(
        n_poisons=5, eps=0.3, n_steps=60, augment=augment, random_state=0
    )
    poisons = craft(attack, model, data)
    assert poisons.loss.shape == (61,)
    assert poisons.loss[-1] < part * poisons.loss[0]
    assert np.isfinite(poisons.loss).all()


def test_restarts_keep_the_best(model, data):
    def run(n_restarts):
        attack = GradientMatching(
            4, eps=0.3, n_steps=10, n_restarts=n_restarts, random_state=0
        )
        return craft(attack, model, data)

    results = [run(n) for n in (1, 2, 3, 4, 5, 6)]
    last = [result.loss[-1] for result in results]
    assert last == sorted(last, reverse=True)
    assert last[-1] < last[0]
    assert len({result.loss[0] for result in results}) == 1
    for result in results:
        found = mismatch(model, result.examples, data[0][:1])
        assert result.loss[-1] == pytest.approx(found, abs=1e-5)


def test_frozen_parameters_do_not_count(model, data):
    for parameter in model[:2].parameters():
        parameter.requires_grad_(False)
    poisons = craft(GradientMatching(4, n_steps=5, random_state=0), model, data)

    def head(examples):
        return flat_gradient(model, examples)[-51:]

    model.requires_grad_(True)
    a, b = head(poisons.examples), head(data[0][:1])
    expected = 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert poisons.loss[-1] == pytest.approx(expected, abs=1e-5)


# -------------------------------------------------------- base examples and budget


@both_attacks
def test_base_examples_are_those_of_the_largest_gradients(attack_class, model, data):
    attack = attack_class(n_poisons=6, n_steps=1, base_selection="gradient_norm")
    poisons = craft(attack, model, data)
    norms = [np.linalg.norm(flat_gradient(model, x[None])) for x in data[0][40:]]
    np.testing.assert_array_equal(poisons.indices, 40 + np.argsort(norms)[::-1][:6])


@both_attacks
def test_random_base_examples_are_distinct_rows_of_the_class(attack_class, model, data):
    def rows(n_poisons, seed):
        attack = attack_class(
            n_poisons, n_steps=1, base_selection="random", random_state=seed
        )
        return craft(attack, model, data).indices

    assert sorted(rows(20, 0)) == list(range(40, 60))
    assert set(rows(5, 1)) != set(rows(5, 2))


@both_attacks
@pytest.mark.parametrize("eps", [0.02, 0.4])
def test_clean_label_poisons_stay_in_the_ball_and_the_clip_range(
    attack_class, model, data, eps
):
    X, y = data
    attack = attack_class(n_poisons=5, eps=eps, n_steps=20, random_state=0)
    poisons = craft(attack, model, data)
    change = np.abs(poisons.examples - X[poisons.indices])
    assert eps / 2 < change.max() <= eps + 1e-6
    assert poisons.examples.min() >= 0
    assert poisons.examples.max() <= 1
    assert poisons.examples.dtype == np.float32
    np.testing.assert_array_equal(poisons.relabel(y), y)
    untouched = np.setdiff1d(np.arange(len(X)), poisons.indices)
    np.testing.assert_array_equal(poisons.insert_into(X)[untouched], X[untouched])


def test_restarts_begin_in_the_ball(model, data):
    attack = GradientMatching(
        5, eps=0.1, n_steps=1, n_restarts=9, step_size=1e-9, random_state=0
    )
    poisons = craft(attack, model, data)
    change = np.abs(poisons.examples - data[0][poisons.indices])
    assert change.max() <= 0.1 + 1e-6
    assert poisons.examples.min() >= 0


@both_attacks
def test_without_clip_only_the_ball_holds(attack_class, model, data):
    X, y = data
    attack = attack_class(5, eps=0.4, n_steps=20, clip=None, random_state=0)
    poisons = craft(attack, model, (X * 3, y))
    assert poisons.examples.max() > 1
    assert np.abs(poisons.examples - 3 * X[poisons.indices]).max() <= 0.4 + 1e-6


# --------------------------------------------------------- determinism, no traces


@both_attacks
def test_one_seed_one_result_and_no_global_one_is_touched(attack_class, model, data):
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    more = {"n_restarts": 2} if attack_class is GradientMatching else {}

    def run(seed):
        attack = attack_class(
            3, n_steps=6, augment=RandomShiftFlip(1), random_state=seed, **more
        )
        return craft(attack, model, data)

    first, again, other = run(1), run(1), run(2)
    np.testing.assert_array_equal(first.examples, again.examples)
    np.testing.assert_array_equal(first.indices, again.indices)
    np.testing.assert_array_equal(first.loss, again.loss)
    assert not np.array_equal(first.examples, other.examples)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)
    assert torch.equal(torch.get_rng_state(), torch_state)


@both_attacks
@pytest.mark.parametrize("failing", [False, True])
def test_the_model_is_left_as_it_was(attack_class, model, data, failing):
    def stop(batch):
        raise RuntimeError("stop")

    model.train()
    model[1].eval()
    model[0].bias.requires_grad_(False)
    model[0].weight.grad = torch.ones_like(model[0].weight)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    attack = attack_class(3, n_steps=3, augment=stop if failing else None)
    if failing:
        with pytest.raises(RuntimeError, match="stop"):
            craft(attack, model, data)
    else:
        craft(attack, model, data)
    assert [part.training for part in model] == [True, False, True, True, True, True]
    assert model.training
    assert not model[0].bias.requires_grad
    assert torch.equal(model[0].weight.grad, torch.ones_like(model[0].weight))
    assert model[5].weight.grad is None
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name])


@both_attacks
def test_arguments_are_not_changed(attack_class, model, data):
    X, y = data[0].copy(), data[1].copy()
    with torch.no_grad():  # crafting works where gradients are switched off, too
        poisons = craft(attack_class(3, eps=0.3, n_steps=20), model, data)
    assert poisons.loss[-1] < poisons.loss[0]
    np.testing.assert_array_equal(data[0], X)
    np.testing.assert_array_equal(data[1], y)


# ------------------------------------------------------------------ kinds of input


@both_attacks
def test_tensors_lists_and_arrays_give_the_same_poisons(attack_class, model, data):
    X, y = data
    attack = attack_class(2, n_steps=5, random_state=0)
    expected = craft(attack, model, data).examples
    codes = torch.from_numpy(np.searchsorted(CLASSES, y))
    names = {"adversarial_label": 2}
    if attack_class is SleeperAgent:
        names["source_label"] = 0
    for given, changes in (
        ((torch.from_numpy(X), codes), names),
        ((X.tolist(), y.tolist()), {}),
        ((X, y.astype(object)), {}),
    ):
        found = craft(attack, model, given, **changes).examples
        np.testing.assert_array_equal(found, expected)


def test_a_fitted_classifier_gives_its_module_and_its_classes(data):
    X, y = data
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    classifier = TorchClassifier(module, max_epochs=2, random_state=0).fit(X, y)
    attack = GradientMatching(3, n_steps=5, random_state=0)
    expected = craft(attack, classifier.module_, data).examples
    np.testing.assert_array_equal(craft(attack, classifier, data).examples, expected)
    # A classifier may know more classes than the training set at hand.
    fewer = (X[20:], y[20:])
    poisons = craft(attack, classifier, fewer)
    expected = mismatch(classifier.module_, poisons.examples, fewer[0][:1])
    assert poisons.loss[-1] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_models_of_other_precisions_work_within_the_ball(model, data, dtype):
    attack = GradientMatching(3, eps=0.3, n_steps=50, random_state=0)
    poisons = craft(attack, model.to(dtype), data)
    assert poisons.loss[-1] < poisons.loss[0]
    assert np.abs(poisons.examples - data[0][poisons.indices]).max() <= 0.3 + 1e-6


@both_attacks
def test_parameters_can_be_read_and_the_attack_cloned(attack_class):
    attack = attack_class(n_poisons=2, eps=0.5)
    assert repr(clone(attack)) == f"{attack_class.__name__}(eps=0.5, n_poisons=2)"
    assert pickle.loads(pickle.dumps(attack)).eps == 0.5


@both_attacks
def test_progress_is_shown_only_when_asked_for(attack_class, model, data, capsys):
    craft(attack_class(2, n_steps=2), model, data)
    assert capsys.readouterr() == ("", "")
    craft(attack_class(2, n_steps=2, verbose=1), model, data)
    assert attack_class.__name__ in capsys.readouterr().err
