"""The main job, from crafted poisons to the table, as a user runs it."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from epic_sklearn.cli import main
from epic_sklearn.datasets import make_poisoned_digits
from epic_sklearn.demo import as_table, run_demo

KEYS = {
    "attack_success_undefended",
    "attack_success_epic",
    "accuracy_undefended",
    "accuracy_epic",
    "poisons_crafted",
    "poisons_left",
    "clean_dropped_fraction",
    "seconds",
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    path = tmp_path_factory.mktemp("demo") / "picture.png"
    return run_demo(figure=path), path


def test_attack_succeeds_undefended_and_fails_with_epic(results):
    numbers, _ = results
    assert set(numbers) >= KEYS
    assert numbers["attack_success_undefended"] >= 0.6
    assert numbers["attack_success_epic"] <= 0.25
    assert numbers["accuracy_epic"] >= numbers["accuracy_undefended"] - 0.02
    assert numbers["poisons_left"] <= 0.25 * numbers["poisons_crafted"]
    assert 0 < numbers["clean_dropped_fraction"] < 0.12


def test_picture_is_drawn_and_table_holds_the_numbers(results):
    numbers, path = results
    assert path.read_bytes().startswith(b"\x89PNG")
    table = as_table(numbers)
    assert f"{numbers['attack_success_epic']:.1%}" in table
    assert "120 of 120" in table


def test_json_is_one_line_on_a_new_process():
    command = [sys.executable, "-m", "epic_sklearn", "demo", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    (line,) = done.stdout.splitlines()
    assert set(json.loads(line)) >= KEYS


def test_folder_that_is_not_there_is_refused_before_any_work(capsys, tmp_path):
    assert main(["demo", "--figure", str(tmp_path / "no" / "picture.png")]) == 2
    assert "There is no folder" in capsys.readouterr().err


def test_unknown_command_exits_with_usage(capsys):
    assert main(["sanitise"]) == 2
    assert "Usage" in capsys.readouterr().err


def test_poisoned_digits_are_the_same_for_a_seed_and_touch_no_global_state():
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    first, second = (make_poisoned_digits(2, random_state=5) for _ in range(2))
    assert torch.equal(before, torch.random.get_rng_state())
    for a, b in zip(first.poisons, second.poisons, strict=True):
        np.testing.assert_array_equal(a.examples, b.examples)
    np.testing.assert_array_equal(first.X, second.X)
    poisons = first.poisons[0]
    change = np.abs(poisons.examples - first.images[poisons.indices])
    assert change.max() <= 0.5 + 1e-6
    assert (first.y[poisons.indices] == poisons.adversarial_label).all()
    changed = np.flatnonzero((first.poisoned(0)[0] != first.X).any(axis=1))
    assert set(changed) <= set(poisons.indices)


@pytest.mark.parametrize("n_targets", [0, 10_000])
def test_number_of_targets_out_of_range(n_targets):
    with pytest.raises(ValueError, match=f"'n_targets' .* Got {n_targets}"):
        make_poisoned_digits(n_targets)
