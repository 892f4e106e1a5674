"""Poisons and triggers in the user's units: columns, rows, the range of images."""

import numpy as np
import pandas as pd
import pytest
import torch

from epic_sklearn.attacks import BadNets, PatchTrigger, Poisons

IMAGES = np.random.default_rng(0).uniform(size=(40, 3, 8, 8)).astype(np.float32)
LABELS = np.repeat(["cat", "dog", "cow", "hen"], 10)


def one(example, row):
    return Poisons(np.array([example]), np.array([row]), np.zeros(2), 1, np.empty(0))


def test_poisons_are_rounded_into_columns_of_integers():
    frame = pd.DataFrame({"a": [1, 2, 3], "b": [0.5, 0.6, 0.7]})
    assert one([7.9, 0.9], 1).insert_into(frame)["a"].tolist() == [1, 8, 3]


@pytest.mark.parametrize(
    ("put", "given"),
    [("insert_into", np.zeros((3, 2))), ("relabel", np.zeros(3, int))],
)
def test_rows_below_0_are_refused(put, given):
    with pytest.raises(ValueError, match="replace rows -1 to -1"):
        getattr(one([1.0, 1.0], -1), put)(given)


def test_a_random_trigger_is_drawn_in_the_range_of_the_images():
    attack = BadNets(3, clip=(0, 255), random_state=0)
    poisons = attack.craft(255 * IMAGES, LABELS, "cat", "dog")
    assert poisons.trigger.patch.max() > 1


@pytest.mark.parametrize("value", [-7.0, 7.0])
def test_a_trigger_outside_the_range_of_the_images_is_refused(value):
    trigger = PatchTrigger(np.full((3, 2, 2), value), 0, 0)
    with pytest.raises(ValueError, match="NaN or values outside clip"):
        BadNets(3, trigger=trigger).craft(IMAGES, LABELS, "cat", "dog")


def test_poisons_put_into_a_tensor_carry_no_gradient():
    X = torch.zeros((3, 2), requires_grad=True)
    assert not one([1.0, 1.0], 1).insert_into(X).requires_grad
