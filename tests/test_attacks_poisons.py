"""What attacks give back, the trigger, and the attacks by wrong labels."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from torch import nn

from epic_sklearn import TorchClassifier
from epic_sklearn.attacks import (
    BackdoorPoisons,
    BadNets,
    BullseyePolytope,
    FeatureCollision,
    GradientMatching,
    LabelFlip,
    LookAlikes,
    PatchTrigger,
    Poisons,
    RandomShiftFlip,
)

FRAME = pd.DataFrame({"a": [0.1, 0.2, 0.3, 0.4], "b": [5.0, 6.0, 7.0, 8.0]})


@pytest.fixture
def images():
    return np.random.default_rng(0).uniform(size=(40, 3, 8, 8)).astype(np.float32)


@pytest.fixture
def labels():
    return np.repeat(["cat", "dog", "cow", "hen"], 10)


@pytest.fixture
def poisons(images):
    return Poisons(
        examples=images[[30, 31, 32]] / 2,
        indices=np.array([12, 3, 7]),
        target=images[0],
        adversarial_label="dog",
        loss=np.empty(0),
    )


# --------------------------------------------------------------------- refusals


@pytest.mark.parametrize("value", [7.0, np.nan])
def test_a_trigger_outside_clip_is_refused(images, labels, value):
    trigger = PatchTrigger(np.full((3, 2, 2), value), 0, 0)
    with pytest.raises(ValueError, match="NaN or values outside clip"):
        BadNets(3, trigger=trigger).craft(images, labels, "cat", "dog")


def test_a_bound_that_rounding_takes_back_is_refused(labels):
    images = np.arange(40 * 4).reshape(40, 4)
    attack = FeatureCollision(eps=0.4, clip=(0, 255))
    with pytest.raises(ValueError, match="to which poisons would be rounded back"):
        attack.craft(nn.Identity(), images, labels, images[0], "dog")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": FRAME.iloc[[0]][["b", "a"]]}, r"columns \['b', 'a'\]"),
        ({"target": FRAME.iloc[:2]}, r"a DataFrame of shape \(2, 2\)"),
        ({"target": FRAME.iloc[0]}, r"a Series of shape \(2,\)"),
        ({"target_label": 1}, "is the adversarial label"),
    ],
)
def test_look_alikes_of_a_frame_need_a_row_like_its_rows(change, message):
    given = {"target": FRAME.iloc[[0]], "target_label": 0, **change}
    with pytest.raises(ValueError, match=message):
        LookAlikes(1).craft(FRAME, [0, 0, 1, 1], adversarial_label=1, **given)


def test_poisons_of_a_frame_go_where_its_columns_are():
    attack = LookAlikes(1, share=1.0)
    poisons = attack.craft(FRAME, [0, 0, 1, 1], FRAME.iloc[[0]], 1)
    row = poisons.insert_into(FRAME).iloc[poisons.indices[0]]
    assert row.tolist() == FRAME.iloc[0].tolist()  # to the last digit
    with pytest.raises(ValueError, match=r"X has columns \['b', 'a'\]"):
        poisons.insert_into(FRAME[["b", "a"]])


# --------------------------------------------------------------------- insert_into


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_insert_replaces_only_the_poisoned_rows_of_a_copy(poisons, images, dtype):
    X = images.astype(dtype)
    before = X.copy()
    poisoned = poisons.insert_into(X)
    np.testing.assert_array_equal(X, before)
    assert poisoned.dtype == dtype
    changed = np.flatnonzero((poisoned != X).any(axis=(1, 2, 3)))
    np.testing.assert_array_equal(changed, [3, 7, 12])
    np.testing.assert_array_equal(
        poisoned[poisons.indices], poisons.examples.astype(dtype)
    )


def test_insert_into_a_tensor_gives_a_tensor(poisons, images):
    X = torch.from_numpy(images)
    poisoned = poisons.insert_into(X)
    assert isinstance(poisoned, torch.Tensor)
    np.testing.assert_array_equal(poisoned.numpy(), poisons.insert_into(images))
    rounded = poisons.insert_into((X * 0).to(torch.int64))
    assert rounded.dtype == torch.int64
    np.testing.assert_array_equal(
        rounded[poisons.indices].numpy(), np.rint(poisons.examples)
    )


def test_insert_refuses_another_training_set(poisons, images):
    with pytest.raises(ValueError, match=r"shape \(192,\).*shape \(3, 8, 8\)"):
        poisons.insert_into(images.reshape(40, 192))
    with pytest.raises(ValueError, match="12 rows"):
        poisons.insert_into(images[:12])


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_integers_that_cannot_hold_the_poisons_refuse_them(kind):
    X = kind(np.full((3, 2), 250, dtype=np.uint8))
    target = np.zeros(2)
    poisons = Poisons(
        np.array([[-20.4, 280.0]], "f4"), np.array([1]), target, 0, target
    )
    with pytest.raises(ValueError, match=r"from -20 to 280.*uint8 holds 0 to"):
        poisons.insert_into(X)
    rounded = poisons.insert_into(kind(np.zeros((3, 2), dtype=np.int16)))
    assert rounded[1].tolist() == [-20, 280]


def test_floats_too_narrow_and_what_are_no_numbers_are_refused(poisons, images):
    huge = Poisons(np.full((1, 2), 1e5, "f4"), np.array([0]), None, 0, None)
    with pytest.raises(ValueError, match="float16 holds"):
        huge.insert_into(np.zeros((1, 2), dtype=np.float16))
    assert huge.insert_into(torch.zeros(1, 2, dtype=torch.bfloat16))[0, 0] > 9e4
    for wrong in (images > 0.5, torch.from_numpy(images > 0.5), images.astype(str)):
        with pytest.raises(TypeError, match="give numbers"):
            poisons.insert_into(wrong)


# ------------------------------------------------------------------------- relabel


def test_relabel_changes_only_the_poisoned_rows_of_a_copy(poisons, labels):
    before = labels.copy()
    relabelled = poisons.relabel(labels)
    np.testing.assert_array_equal(labels, before)
    assert relabelled.dtype == labels.dtype
    np.testing.assert_array_equal(np.flatnonzero(relabelled != labels), [3, 7])
    assert (relabelled[poisons.indices] == "dog").all()


def test_relabel_takes_tensors(images):
    poisons = Poisons(images[:1], np.array([2]), images[0], 5, np.empty(0))
    y = torch.arange(4)
    assert poisons.relabel(y).tolist() == [0, 1, 5, 3]
    assert y.tolist() == [0, 1, 2, 3]


def test_relabel_refuses_labels_that_cannot_hold_the_adversarial_one(images):
    def relabel(y, label):
        return Poisons(images[:1], np.array([0]), images[0], label, None).relabel(y)

    with pytest.raises(ValueError, match="y holds text, adversarial_label numbers"):
        relabel(np.array(["1", "2"]), 1)
    with pytest.raises(ValueError, match="y holds numbers, adversarial_label text"):
        relabel(torch.arange(2), "1")
    with pytest.raises(ValueError, match=r"<U3, which cannot hold .*'horse'"):
        relabel(np.array(["cat", "dog"]), "horse")
    with pytest.raises(ValueError, match="int64, which cannot hold"):
        relabel(torch.arange(2), 1.5)


def test_relabel_refuses_other_labels(poisons, labels):
    with pytest.raises(ValueError, match=r"y has 10 rows, .* to 12"):
        poisons.relabel(labels[:10])


# ------------------------------------------------------------------------- trigger


def test_a_trigger_covers_its_place_and_nothing_else(images):
    trigger = PatchTrigger(np.full((3, 2, 4), 7.0), row=5, column=1)
    before = images.copy()
    patched = trigger.apply(images)
    np.testing.assert_array_equal(images, before)
    assert patched.dtype == np.float32
    assert (patched[:, :, 5:7, 1:5] == 7).all()
    patched[:, :, 5:7, 1:5] = images[:, :, 5:7, 1:5]
    np.testing.assert_array_equal(patched, images)


def test_a_trigger_applies_alike_to_tensors_single_images_and_integers(images):
    trigger = PatchTrigger.random((3, 8, 8), clip=(0, 255), random_state=0)
    expected = trigger.apply(images)
    tensor = trigger.apply(torch.from_numpy(images))
    np.testing.assert_array_equal(tensor.numpy(), expected)
    np.testing.assert_array_equal(trigger.apply(images[3]), expected[3])
    for whole in (images.astype(np.uint8), torch.from_numpy(images.astype(np.uint8))):
        patched = trigger.apply(whole)
        assert patched.dtype == whole.dtype
        np.testing.assert_array_equal(
            np.asarray(patched)[0, :, -2:, -2:], np.rint(trigger.patch)
        )


def test_a_trigger_that_integers_cannot_hold_is_refused(images):
    trigger = PatchTrigger(np.full((3, 1, 1), 300.0), 0, 0)
    with pytest.raises(ValueError, match="uint8 holds 0 to 255"):
        trigger.apply(images.astype(np.uint8))


def test_random_triggers_follow_their_seed_and_lie_in_the_images():
    draw = PatchTrigger.random
    first, again, other = (draw((1, 9, 7), random_state=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.patch, again.patch)
    assert not np.array_equal(first.patch, other.patch)
    assert (first.patch.shape, first.row, first.column) == ((1, 2, 2), 7, 5)
    trigger = draw((1, 4, 5), 3, (-2, -1), 0)
    assert -2 <= trigger.patch.min() <= trigger.patch.max() <= -1
    assert (trigger.row, trigger.column) == (1, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: PatchTrigger.random((64,)), r"shape \(64,\); a patch needs images"),
        (lambda: PatchTrigger.random((1, 8, 6), 7), "size=7.* at most 6"),
        (lambda: PatchTrigger.random((1, 8, 8), 0), "size=0"),
        (
            lambda: PatchTrigger(np.ones((1, 2, 2)), 7, 0).apply(np.ones((1, 8, 8))),
            "row 7.* does not fit",
        ),
        (
            lambda: PatchTrigger(np.ones((1, 2, 2)), 0, -1).apply(np.ones((1, 8, 8))),
            "column -1.*not fit",
        ),
        (
            lambda: PatchTrigger(np.ones((3, 2, 2)), 0, 0).apply(np.ones((9, 1, 8, 8))),
            r"does not fit into images of shape \(1, 8, 8\)",
        ),
        (
            lambda: PatchTrigger(np.ones((3, 2, 2)), 0, 0).apply(np.ones((9, 64))),
            "does not fit",
        ),
    ],
)
def test_triggers_that_do_not_fit_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# ----------------------------------------------------------- attacks by wrong labels


def test_bad_nets_patches_and_mislabels_source_examples(images, labels):
    poisons = BadNets(n_poisons=4, random_state=0).craft(images, labels, "cat", "dog")
    assert isinstance(poisons, BackdoorPoisons)
    assert len(set(poisons.indices)) == 4
    assert (labels[poisons.indices] == "cat").all()
    assert (poisons.relabel(labels)[poisons.indices] == "dog").all()
    expected = poisons.apply_trigger(images)[poisons.indices]
    np.testing.assert_array_equal(poisons.examples, expected)
    np.testing.assert_array_equal(poisons.target, expected)
    assert (poisons.source_label, poisons.adversarial_label) == ("cat", "dog")
    assert poisons.loss.shape == (0,)
    assert poisons.indices.dtype == np.int64


def test_bad_nets_takes_several_sources_and_a_given_trigger(images, labels):
    trigger = PatchTrigger(np.ones((3, 1, 1)), 0, 0)
    poisons = BadNets(n_poisons=20, trigger=trigger, random_state=0).craft(
        images, labels, ["cat", "hen"], "dog"
    )
    assert set(labels[poisons.indices]) == {"cat", "hen"}
    assert poisons.trigger is trigger
    assert (poisons.examples[:, :, 0, 0] == 1).all()


def test_bad_nets_follows_its_seed_and_no_global_one(images, labels):
    state = np.random.get_state()[1].copy()
    first, again, other = (
        BadNets(n_poisons=4, random_state=seed).craft(images, labels, "cat", "dog")
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.examples, again.examples)
    assert not np.array_equal(first.examples, other.examples)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_label_flip_takes_the_nearest_rows_of_other_labels(images, labels):
    target = images[5] + 0.01
    poisons = LabelFlip(n_poisons=3).craft(images, labels, target, "dog")
    distances = np.linalg.norm((images - target).reshape(40, -1), axis=1)
    distances[labels == "dog"] = np.inf
    np.testing.assert_array_equal(poisons.indices, np.argsort(distances)[:3])
    assert poisons.indices[0] == 5
    np.testing.assert_array_equal(poisons.insert_into(images), images)
    relabelled = poisons.relabel(labels)
    np.testing.assert_array_equal(
        np.flatnonzero(relabelled != labels), np.sort(poisons.indices)
    )


def test_label_flip_draws_among_the_equally_near_by_its_seed():
    X, y = np.ones((40, 1)), np.repeat([0, 1], 20)
    X[7] = 0.5
    state = np.random.get_state()[1].copy()

    def rows(random_state=None):
        attack = LabelFlip(5, random_state=random_state)
        return attack.craft(X, y, [0.4], 1).indices.tolist()

    assert rows(0) == rows(0)
    drawn = [rows(np.random.RandomState(0)) for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert len({tuple(rows(seed)) for seed in range(5)}) == 5
    assert len({tuple(rows()) for _ in range(5)}) > 1
    assert all(rows(seed)[0] == 7 for seed in range(5))
    np.testing.assert_array_equal(np.random.get_state()[1], state)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target_label": "dog"}, "target_label='dog' is the adversarial label"),
        ({"target_label": 1}, "target_label holds numbers, adversarial_label text"),
        ({"target_row": 12}, "target is row 12 of X, which bears .*'dog'"),
    ],
)
@pytest.mark.parametrize(
    "attack",
    [BullseyePolytope(2), FeatureCollision(2), LabelFlip(2)] + [GradientMatching(2)],
)
def test_a_target_that_bears_the_adversarial_label_is_refused(
    images, labels, attack, changes, message
):
    changes = dict(changes)
    target = images[changes.pop("target_row", 3)]
    module = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    model = () if isinstance(attack, LabelFlip) else (module,)
    with pytest.raises(ValueError, match=message):
        attack.craft(*model, images, labels, target, "dog", **changes)


def test_a_target_of_another_class_may_look_like_an_example_of_it(images, labels):
    poisons = LabelFlip(2).craft(images, labels, images[12], "dog", target_label="cat")
    assert len(poisons.indices) == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda X, y: BadNets(1).craft(X, y, 1, "cat"), "y holds text, source_label"),
        (lambda X, y: BadNets(1).craft(X, y, "cat", 1), "y holds text, adversarial_l"),
        (lambda X, y: BadNets(0).craft(X, y, "cat", "dog"), "'n_poisons' .* Got 0"),
        (lambda X, y: BadNets(11).craft(X, y, "cat", "dog"), "only 10 examples"),
        (lambda X, y: BadNets(1).craft(X, y, "cat", "cat"), "other than the advers"),
        (lambda X, y: BadNets(1).craft(X, y, [], "cat"), "one or more source labels"),
        (lambda X, y: BadNets(1).craft(X, y, "ape", "cat"), "source_label='ape' does"),
        (lambda X, y: BadNets(1).craft(X, y, "cat", "ape"), "adversarial_label='ape'"),
        (lambda X, y: BadNets(1).craft(X * 2, y, "cat", "dog"), "outside clip"),
        (lambda X, y: BadNets(1).craft(X[:, 0, 0], y, "cat", "dog"), "needs images"),
        (lambda X, y: BadNets(1, trigger="x").craft(X, y, "cat", "dog"), "'trigger'"),
        (lambda X, y: LabelFlip(0).craft(X, y, X[0], "dog"), "'n_poisons' .* Got 0"),
        (lambda X, y: LabelFlip(31).craft(X, y, X[0], "dog"), "only 30 examples"),
        (lambda X, y: LabelFlip(1).craft(X, y, X, "dog"), "target has shape"),
        (lambda X, y: LabelFlip(1).craft(X, y[:5], X[0], "dog"), r"y has shape \(5,\)"),
    ],
)
def test_wrong_arguments_are_refused(images, labels, call, message):
    with pytest.raises(ValueError, match=message):
        call(images, labels)


@pytest.mark.parametrize("attack", [LabelFlip(3), BadNets(3, random_state=1)])
def test_attacks_can_be_cloned_and_pickled(attack):
    assert repr(clone(attack)) == repr(attack)
    assert repr(pickle.loads(pickle.dumps(attack))) == repr(attack)


# -------------------------------------------------------------------- augmentation


def test_shifts_and_flips_are_whole_pixels_and_cover_all_directions():
    images = torch.arange(1.0, 31.0).reshape(1, 1, 5, 6).repeat(400, 1, 1, 1)
    padded = np.pad(images[0, 0].numpy(), 2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        result = RandomShiftFlip(max_shift=2)(images)[:, 0].numpy()
    expected = {
        window.tobytes()
        for row in range(5)
        for column in range(5)
        for window in (
            np.ascontiguousarray(padded[row : row + 5, column : column + 6]),
            np.ascontiguousarray(padded[row : row + 5, column : column + 6][:, ::-1]),
        )
    }
    assert {image.tobytes() for image in result} == expected


def test_without_flip_and_shift_images_stay():
    images = torch.rand(3, 2, 5, 4, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng():
        result = RandomShiftFlip(max_shift=0, flip=False)(images)
    assert torch.equal(result, images)


def test_gradients_pass_through_the_augmentation():
    images = torch.ones(50, 1, 4, 4, requires_grad=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        result = RandomShiftFlip(max_shift=1)(images)
    (gradient,) = torch.autograd.grad(result.sum(), images)
    # Each pixel that stays in the image counts once, others not at all.
    assert set(gradient.unique().tolist()) == {0.0, 1.0}
    np.testing.assert_array_equal(
        gradient.sum((1, 2, 3)), result.sum((1, 2, 3)).detach()
    )


def test_the_augmentation_serves_a_classifier_too(images, labels):
    classifier = TorchClassifier(
        max_epochs=1, augment=RandomShiftFlip(max_shift=1), random_state=0
    )
    assert classifier.fit(images, labels).predict(images).shape == (40,)


def test_the_augmentation_refuses_what_are_no_images():
    with pytest.raises(ValueError, match=r"shape \(2, 3\); RandomShiftFlip takes"):
        RandomShiftFlip()(torch.ones(2, 3))


@pytest.mark.parametrize(
    ("column", "poison"),
    [
        (np.array([1, 2], "uint8"), 300.0),
        (np.array([1, 2], "uint8"), 300),
        (np.array([1, 2]), np.nan),
        (np.array([1.0, 2.0], "float32"), 1e300),
        (np.array([True, False]), 0.9),
        (pd.Categorical(["x", "y"]), "z"),
    ],
)
def test_frames_refuse_what_their_columns_cannot_hold(column, poison):
    frame = pd.DataFrame({"n": [0.0, 1.0], "a": column})
    made = pd.DataFrame({"n": [5.0], "a": [poison]})
    poisons = Poisons(made, np.array([0]), None, 1, loss=np.empty(0))
    with pytest.raises(ValueError, match="the column 'a' of X has dtype"):
        poisons.insert_into(frame)


def test_whole_numbers_hold_no_nan():
    poisons = Poisons(np.array([[np.nan]]), np.array([0]), None, 1, loss=np.empty(0))
    for X in (np.array([[1], [2]]), torch.tensor([[1], [2]])):
        with pytest.raises(ValueError, match="reach from nan to nan"):
            poisons.insert_into(X)


def test_look_alikes_of_a_target_that_the_columns_cannot_hold_are_refused():
    frame = pd.DataFrame({"u": np.arange(20, dtype="uint8"), "k": list("ab") * 10})
    target = pd.DataFrame({"u": [343], "k": ["a"]})
    with pytest.raises(ValueError, match=r"'u' of X has dtype uint8, .* such as 3\d\d"):
        LookAlikes(n_poisons=2, random_state=0).craft(
            frame, np.arange(20) % 2, target, 1
        )


def test_images_with_their_channels_last_are_refused():
    X = np.random.default_rng(0).random((20, 12, 12, 3))
    with pytest.raises(ValueError, match="channels last; give"):
        BadNets(n_poisons=2).craft(X, np.arange(20) % 2, 0, 1)
