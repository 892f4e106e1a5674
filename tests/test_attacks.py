"""The attacks on features: objective, budget, determinism, what they leave alone."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

from epic_sklearn.attacks import (
    BullseyePolytope,
    FeatureCollision,
    LabelFlip,
)

ATTACKS = [BullseyePolytope, FeatureCollision]
every_attack = pytest.mark.parametrize("attack_class", ATTACKS)


@pytest.fixture
def extractor():
    generator = torch.Generator().manual_seed(0)
    module = nn.Sequential(
        nn.Flatten(), nn.Linear(12, 16), nn.ReLU(), nn.BatchNorm1d(16), nn.Dropout()
    )
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return module


@pytest.fixture
def data():
    rng = np.random.RandomState(0)
    X = rng.uniform(size=(40, 3, 2, 2)).astype(np.float32)
    y = np.repeat(["cat", "dog"], 20)
    return X, y, rng.uniform(size=(3, 2, 2)).astype(np.float32)


def craft(attack, extractor, data, **changes):
    X, y, target = data
    given = {"X": X, "y": y, "target": target, "adversarial_label": "dog", **changes}
    return attack.craft(extractor, **given)


# ----------------------------------------------------------------- what comes back


@every_attack
def test_the_poisons_have_the_documented_shapes_and_kinds(
    attack_class, extractor, data
):
    attack = attack_class(n_poisons=4, n_steps=7, random_state=0)
    poisons = craft(attack, extractor, data)
    assert poisons.examples.shape == (4, 3, 2, 2)
    assert poisons.examples.dtype == np.float32
    assert poisons.indices.shape == (4,)
    assert poisons.indices.dtype == np.int64
    assert poisons.loss.shape == (8,)
    assert poisons.loss.dtype == np.float64
    assert poisons.adversarial_label == "dog"
    np.testing.assert_array_equal(poisons.target, data[2])
    with pytest.raises(AttributeError):
        poisons.indices = None


@every_attack
def test_base_examples_are_distinct_rows_of_the_adversarial_class(
    attack_class, extractor, data
):
    attack = attack_class(n_poisons=20, n_steps=1, random_state=0)
    poisons = craft(attack, extractor, data)
    assert sorted(poisons.indices) == list(range(20, 40))


@every_attack
def test_the_objective_falls(attack_class, extractor, data):
    attack = attack_class(n_poisons=3, eps=0.3, random_state=0)
    poisons = craft(attack, extractor, data)
    assert poisons.loss[-1] < 0.8 * poisons.loss[0]
    assert np.isfinite(poisons.loss).all()


def test_bullseye_objective_is_the_normalised_distance_of_the_centre(extractor, data):
    X, _, target = data
    attack = BullseyePolytope(n_poisons=3, n_steps=30, random_state=0)
    poisons = craft(attack, extractor, data)
    extractor.eval()
    with torch.no_grad():
        phi_target = extractor(torch.from_numpy(target)[None])[0].numpy()
        for examples, loss in (
            (X[poisons.indices], poisons.loss[0]),
            (poisons.examples, poisons.loss.min()),
        ):
            centre = extractor(torch.from_numpy(examples)).numpy().mean(0)
            expected = np.sum((phi_target - centre) ** 2) / np.sum(phi_target**2)
            assert loss == pytest.approx(expected, rel=1e-4)


def test_collision_objective_adds_the_weighted_distance_to_the_base(extractor, data):
    X, _, target = data
    attack = FeatureCollision(n_poisons=1, beta=2.0, n_steps=30, random_state=0)
    poisons = craft(attack, extractor, data)
    extractor.eval()
    with torch.no_grad():
        phi_target = extractor(torch.from_numpy(target)[None]).numpy()
        phi = extractor(torch.from_numpy(poisons.examples)).numpy()
    change = poisons.examples - X[poisons.indices]
    expected = np.sum((phi - phi_target) ** 2) + 2 * np.sum(change**2)
    assert poisons.loss.min() == pytest.approx(expected, rel=1e-4)


def test_a_larger_beta_keeps_the_poison_closer_to_its_base(extractor, data):
    def change(beta):
        attack = FeatureCollision(eps=1.0, beta=beta, clip=None, random_state=0)
        poisons = craft(attack, extractor, data)
        return np.linalg.norm(poisons.examples - data[0][poisons.indices])

    assert change(100.0) < change(1.0) < change(0.0)


def test_each_collision_poison_is_made_by_itself(extractor, data):
    # Poisons of one run must be those that separate runs would give.
    X, y, target = data
    attack = FeatureCollision(n_poisons=3, n_steps=40, random_state=0)
    together = attack.craft(extractor, X, y, target, "dog")
    for row, example in zip(together.indices, together.examples, strict=True):
        alone = FeatureCollision(n_poisons=1, n_steps=40).craft(
            extractor, X[[row]], y[[row]], target, "dog"
        )
        np.testing.assert_allclose(example, alone.examples[0], atol=1e-4)


# -------------------------------------------------------------------------- budget


@every_attack
@pytest.mark.parametrize("eps", [0.02, 0.4])
def test_poisons_stay_in_the_ball_and_in_the_clip_range(
    attack_class, extractor, data, eps
):
    attack = attack_class(n_poisons=5, eps=eps, step_size=0.3, random_state=0)
    poisons = craft(attack, extractor, data)
    change = np.abs(poisons.examples - data[0][poisons.indices])
    assert change.max() <= eps + 1e-6
    assert change.max() > eps / 2
    assert poisons.examples.min() >= 0
    assert poisons.examples.max() <= 1


@every_attack
def test_without_clip_only_the_ball_holds(attack_class, extractor, data):
    X, y, _ = data
    attack = attack_class(n_poisons=5, eps=0.4, clip=None, random_state=0)
    far = np.full((3, 2, 2), 5.0)
    poisons = craft(attack, extractor, (X, y, far))
    assert poisons.examples.max() > 1
    assert np.abs(poisons.examples - X[poisons.indices]).max() <= 0.4 + 1e-6


@every_attack
def test_other_ranges_than_zero_to_one_work_with_their_clip(
    attack_class, extractor, data
):
    X, y, target = data
    X, target = (X * 255).astype(np.uint8), (target * 255).astype(np.uint8)
    attack = attack_class(n_poisons=2, eps=8, clip=(0, 255), random_state=0)
    poisons = craft(attack, extractor, (X, y, target))
    poisoned = poisons.insert_into(X)
    assert poisoned.dtype == np.uint8
    change = poisoned.astype(int) - X.astype(int)
    assert 0 < np.abs(change).max() <= 8


# --------------------------------------------------------- determinism, no traces


@every_attack
def test_one_seed_one_result_and_another_seed_another(attack_class, extractor, data):
    def run(seed):
        return craft(
            attack_class(n_poisons=3, n_steps=20, random_state=seed), extractor, data
        )

    first, again, other = run(1), run(1), run(2)
    np.testing.assert_array_equal(first.examples, again.examples)
    np.testing.assert_array_equal(first.indices, again.indices)
    np.testing.assert_array_equal(first.loss, again.loss)
    assert set(first.indices) != set(other.indices)
    drawn = run(np.random.RandomState(1))
    np.testing.assert_array_equal(drawn.indices, run(np.random.RandomState(1)).indices)


@every_attack
@pytest.mark.parametrize("seed", [0, None])
def test_global_random_states_are_untouched(attack_class, extractor, data, seed):
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    craft(attack_class(n_steps=3, random_state=seed), extractor, data)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)
    assert torch.equal(torch.get_rng_state(), torch_state)


@every_attack
@pytest.mark.parametrize("failing", [False, True])
def test_the_extractor_is_left_as_it_was(attack_class, extractor, data, failing):
    extractor.train()
    extractor[3].eval()
    extractor[1].bias.requires_grad_(False)
    extractor[1].weight.grad = torch.ones_like(extractor[1].weight)
    state = {name: value.clone() for name, value in extractor.state_dict().items()}
    if failing:
        extractor.append(nn.Linear(3, 3))
        with pytest.raises(RuntimeError):
            craft(attack_class(n_steps=3), extractor, data)
        extractor.pop(-1)
    else:
        craft(attack_class(n_steps=3), extractor, data)
    assert [part.training for part in extractor] == [True, True, True, False, True]
    assert extractor.training
    assert not extractor[1].bias.requires_grad
    assert extractor[1].weight.requires_grad
    assert torch.equal(extractor[1].weight.grad, torch.ones(16, 12))
    assert extractor[3].weight.grad is None
    for name, value in extractor.state_dict().items():
        assert torch.equal(value, state[name])


def test_arguments_are_not_changed_nor_kept(extractor, data):
    X, y, target = (part.copy() for part in data)
    poisons = craft(BullseyePolytope(random_state=0), extractor, (X, y, target))
    for before, after in zip(data, (X, y, target), strict=True):
        np.testing.assert_array_equal(before, after)
    target[:] = 0
    np.testing.assert_array_equal(poisons.target, data[2])


def test_crafting_works_where_gradients_are_switched_off(extractor, data):
    with torch.no_grad():
        poisons = craft(BullseyePolytope(random_state=0), extractor, data)
    assert poisons.loss[-1] < poisons.loss[0]


# ------------------------------------------------------------------ kinds of input


@every_attack
def test_tensors_lists_and_arrays_give_the_same_poisons(attack_class, extractor, data):
    X, y, target = data
    codes = (y == "dog").astype(int)
    attack = attack_class(n_poisons=2, n_steps=5, random_state=0)
    expected = attack.craft(extractor, X, y, target, "dog").examples
    for given in (
        (torch.from_numpy(X), torch.from_numpy(codes), torch.from_numpy(target), 1),
        (X.tolist(), y.tolist(), target.tolist(), "dog"),
        (X, y.astype(object), target, "dog"),
    ):
        np.testing.assert_array_equal(
            attack.craft(extractor, *given).examples, expected
        )


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_extractors_of_other_precisions_work_within_the_ball(extractor, data, dtype):
    attack = BullseyePolytope(n_poisons=3, eps=0.3, n_steps=50, random_state=0)
    poisons = craft(attack, extractor.to(dtype), data)
    assert poisons.loss.min() < poisons.loss[0]
    assert np.abs(poisons.examples - data[0][poisons.indices]).max() <= 0.3 + 1e-6


def test_features_of_any_shape_are_flattened(data):
    attack = BullseyePolytope(n_poisons=3, n_steps=20, random_state=0)
    poisons = craft(attack, nn.Conv2d(3, 4, 2), data)
    assert poisons.loss[-1] < poisons.loss[0]


def test_parameters_can_be_read_and_the_attack_cloned():
    attack = FeatureCollision(n_poisons=2, beta=0.5)
    assert attack.get_params()["beta"] == 0.5
    assert repr(clone(attack)) == "FeatureCollision(beta=0.5, n_poisons=2)"
    assert pickle.loads(pickle.dumps(attack)).beta == 0.5


def test_progress_is_shown_only_when_asked_for(extractor, data, capsys):
    craft(BullseyePolytope(n_steps=2), extractor, data)
    assert capsys.readouterr() == ("", "")
    craft(BullseyePolytope(n_steps=2, verbose=1), extractor, data)
    assert "BullseyePolytope" in capsys.readouterr().err


# -------------------------------------------------------------------------- errors


@every_attack
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"eps": 0}, "'eps' parameter .* Got 0"),
        ({"eps": -0.1}, "'eps' parameter .* Got -0.1"),
        ({"eps": float("nan")}, "'eps' parameter .* Got nan"),
        ({"n_poisons": 0}, "'n_poisons' parameter .* Got 0"),
        ({"n_poisons": 2.5}, "'n_poisons' parameter .* Got 2.5"),
        ({"n_poisons": 21}, "n_poisons=21, but only 20 examples bear"),
        ({"n_steps": 0}, "'n_steps' parameter .* Got 0"),
        ({"step_size": 0}, "'step_size' parameter .* Got 0"),
        ({"clip": (1, 0)}, r"clip=\(1, 0\)"),
        ({"clip": (0, 1, 2)}, r"clip=\(0, 1, 2\)"),
        ({"clip": (0.4, 0.6)}, r"outside clip=\(0.4, 0.6\); scale X"),
        ({"random_state": "one"}, "'random_state' parameter .* Got 'one'"),
    ],
)
def test_parameters_out_of_range_are_refused(
    attack_class, extractor, data, parameters, message
):
    with pytest.raises(ValueError, match=message):
        craft(attack_class(**parameters), extractor, data)


def test_negative_beta_is_refused(extractor, data):
    with pytest.raises(ValueError, match=r"'beta' parameter .* Got -1"):
        craft(FeatureCollision(beta=-1), extractor, data)


def with_nan(values):
    values = values.copy()
    values.flat[0] = np.nan
    return values


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda X, y, t: {"adversarial_label": "cow"}, ValueError, "'cow'.*'cat'"),
        (lambda X, y, t: {"adversarial_label": 1}, ValueError, "holds text"),
        (lambda X, y, t: {"target": t[None]}, ValueError, "without a batch axis"),
        (lambda X, y, t: {"target": t[0]}, ValueError, r"target has shape \(2, 2\)"),
        (lambda X, y, t: {"target": with_nan(t)}, ValueError, "target contains NaN"),
        (lambda X, y, t: {"X": with_nan(X)}, ValueError, "X contains NaN"),
        (lambda X, y, t: {"X": X / 0.0}, ValueError, "X contains"),
        (lambda X, y, t: {"X": X.astype(str)}, ValueError, "bytes/strings"),
        (lambda X, y, t: {"X": X[:0]}, ValueError, "0 sample"),
        (lambda X, y, t: {"X": X.ravel()}, ValueError, "Expected 2D array"),
        (lambda X, y, t: {"y": y[:-1]}, ValueError, r"y has shape \(39,\)"),
        (lambda X, y, t: {"y": y[:, None]}, ValueError, r"y has shape \(40, 1\)"),
        (
            lambda X, y, t: {"feature_extractor": lambda batch: batch},
            TypeError,
            "feature_extractor is a function",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_wrong_data_are_refused_before_any_work(
    extractor, data, change, error, message
):
    given = dict(zip(("X", "y", "target"), data, strict=True))
    given |= {"feature_extractor": extractor, "adversarial_label": "dog"}
    calls = []
    extractor.register_forward_hook(lambda *_: calls.append(1))
    with pytest.raises(error, match=message):
        BullseyePolytope().craft(**{**given, **change(*data)})
    assert not calls


def test_an_extractor_that_loses_the_batch_is_refused(data):
    with pytest.raises(ValueError, match="one row of features an example"):
        craft(BullseyePolytope(), nn.Flatten(0), data)


def test_a_target_without_features_is_refused(data):
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    with pytest.raises(ValueError, match="maps the target to zeros"):
        craft(BullseyePolytope(), module, data)


def test_values_that_float32_cannot_hold_are_refused():
    X, y = np.array([[1.0], [2.0], [3.0], [4.0]]), np.array([0, 0, 1, 1])
    attack = LabelFlip(n_poisons=1, random_state=0)
    with pytest.raises(ValueError, match="X has whole numbers up to"):
        attack.craft(X.astype(np.int64) + 2**26, y, np.array([9]), 1)
    with pytest.raises(ValueError, match="masked array"):
        attack.craft(np.ma.array(X, mask=X > 3), y, np.array([9]), 1)
    attack = BullseyePolytope(n_poisons=1, eps=0.1, clip=None)
    with pytest.raises(ValueError, match="has steps of 8 at the largest value"):
        attack.craft(torch.nn.Linear(1, 2), X + 1e8, y, np.array([1e8]), 1)
