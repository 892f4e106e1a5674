"""The epoch-wise study finds effective poisons, and records what their gradients do."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from benchmark_problem import shrink, tiny_net
from torch import nn

from benchmarks import epochs
from benchmarks.problem import Trial
from benchmarks.recorder import Recorder, summarise_group
from benchmarks.records import read_records
from benchmarks.scenarios import SCENARIOS

pytestmark = pytest.mark.filterwarnings("ignore:So many examples of class")


@pytest.fixture
def tiny(monkeypatch):
    return shrink(monkeypatch)


def recorded(n):
    """Record one epoch of a net on n examples of class 3, the first two poisons."""
    net, X = tiny_net(), np.random.RandomState(0).rand(n + 1, 3, 32, 32).astype("f4")
    trial = Trial(None, X[:n], np.full(n, 3), np.arange(2), X[n:], 1, 3)
    recorder = Recorder(trial, X[n:], subset_size=0.5)
    recorder.on_epoch_end(SimpleNamespace(module_=net))
    return recorder, net, torch.from_numpy(X)


def test_effect_of_each_poison_is_its_mean_contribution():
    members = epochs.draw_subsets(3, 8, seed=0)
    assert sorted(map(tuple, members)) == sorted(np.ndindex(2, 2, 2))
    # The first poison does all, the second half as much, the third nothing.
    effect, error = epochs.effect_of_each(members, members @ [0.4, 0.2, 0.0])
    np.testing.assert_allclose(effect, [0.4, 0.2, 0.0], atol=1e-12)
    assert (error > 0).all()
    many = epochs.draw_subsets(40, 12, seed=0)
    assert many.shape == (12, 40)
    assert (many.sum(axis=0) == 6).all() and (many.sum(axis=1) == 20).all()


def test_groups_of_poisons_are_as_large_and_ordered_by_cosine():
    cosine = np.random.default_rng(0).random(10)
    group = epochs.group_poisons(cosine, 5)
    assert np.bincount(group).tolist() == [2] * 5
    assert (np.diff(group[cosine.argsort()]) >= 0).all()
    assert epochs.group_poisons(cosine, None).tolist() == list(range(10))
    assert epochs.group_poisons(cosine, 20).tolist() == list(range(10))


def test_epochs_are_studied_once_and_drawn(tiny, tmp_path, monkeypatch):
    out, picture = tmp_path / "epochs.jsonl", tmp_path / "epochs.png"
    common = ["--scenario", "bullseye-polytope", "--cache", str(tmp_path / "c")]
    arguments = [*common, "--trials", "1", "--out", str(out), "--picture", str(picture)]
    probability = epochs.Study._probability
    monkeypatch.setattr(  # as if it worked, with one poison more than the other
        epochs.Study,
        "_probability",
        lambda *args: probability(*args) * 0 + 0.5 + 0.1 * (args[-1] @ [3, 1]),
    )
    epochs.main(arguments)
    lines = out.read_bytes()
    names = [record["defence"] for record in read_records(out)]
    assert names == ["poisons 11", "poisons 00", "poisons 10", "poisons 01", "epochs"]
    study = read_records(out)[-1]
    np.testing.assert_allclose(study["effect"], [0.3, 0.1])
    series = [values for group in study["series"].values() for values in group.values()]
    assert {len(values) for values in series} <= {0, 4} and picture.exists()
    page = tmp_path / "page.md"
    page.write_text("# Before\n")
    epochs.main([*arguments, "--page", str(page)])
    assert out.read_bytes() == lines
    text = page.read_text()
    assert "(epochs.png)" in text and "| after epoch 1 / 2 / 4 | effective" in text
    at_last = study["series"]["clean"]["dropped"][-1]
    row = next(line for line in text.splitlines() if "share dropped" in line)
    assert row.endswith(f"/ {at_last:.2f} |")


def test_a_study_without_a_trial_that_works_says_so(
    tiny, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(epochs.Study, "_probability", lambda *args: 0.1)
    arguments = ["--scenario", "bullseye-polytope", "--cache", str(tmp_path / "c")]
    picture = tmp_path / "picture.png"
    arguments += ["--trials", "1", "--picture", str(picture)]
    epochs.main([*arguments, "--out", str(tmp_path / "epochs.jsonl")])
    assert "none of these trials works" in capsys.readouterr().out
    assert not picture.exists()


def test_poisons_of_a_group_are_trained_on_together(tiny, tmp_path, monkeypatch):
    out = tmp_path / "epochs.jsonl"
    arguments = ["--scenario", "gradient-matching", "--cache", str(tmp_path / "c")]
    monkeypatch.setattr(
        epochs.Study, "_probability", lambda self, trial, number, members: members.any()
    )
    attack = SCENARIOS["cpu"]["gradient-matching"].attack
    scenario = dataclasses.replace(
        SCENARIOS["cpu"]["gradient-matching"],
        attack=lambda **k: attack(**k, n_poisons=4),
    )
    monkeypatch.setitem(SCENARIOS["cpu"], "gradient-matching", scenario)
    epochs.main([*arguments, "--trials", "1", "--out", str(out), "--groups", "2"])
    study = read_records(out)[-1]
    assert sorted(study["group"]) == [0, 0, 1, 1] and len(study["effect"]) == 2
    assert study["n_poisons"] == 4
    # Without trainings on subsets, the poisons closest to the target's gradient.
    epochs.main([*arguments, "--trials", "1", "--out", str(out), "--closest", "0.25"])
    closest = read_records(out)[-1]
    assert len(read_records(out)) == 3 and "effect" not in closest
    assert (closest["n_poisons"], closest["n_chosen"]) == (4, 1)
    of_closest, of_others = (
        np.mean(closest["series"][name]["cosine to target"])
        for name in ("closest poisons", "other poisons")
    )
    assert of_closest > of_others


def test_poisons_are_told_from_clean_examples_by_each_score():
    recorder, net, X = recorded(30)
    loss = nn.CrossEntropyLoss(reduction="none")
    with torch.no_grad():
        expected = loss(net(X[:30]), torch.full((30,), 3)).numpy()
    np.testing.assert_allclose(recorder.loss[0], expected, rtol=1e-4)
    is_clean = np.arange(30) >= 2
    kept = np.full(30, -1)
    series = summarise_group(recorder, ~is_clean, is_clean, kept)
    for name, scores in {
        "AUROC of loss": expected,
        "AUROC of clusters": -recorder.cluster_size[0],
    }.items():
        pairs = scores[~is_clean][:, None] - scores[is_clean]
        auroc = np.mean(pairs > 0) + np.mean(pairs == 0) / 2
        np.testing.assert_allclose(series[name], [auroc])
    of_clean = summarise_group(recorder, is_clean, is_clean, kept)
    assert of_clean["AUROC of loss"] == []


def test_cosines_are_those_of_the_last_layers_gradients():
    recorder, net, X = recorded(5)
    gradients = []
    for x in X:
        loss = nn.functional.cross_entropy(net(x[None]), torch.tensor([3]))
        parts = torch.autograd.grad(loss, list(net[1].parameters()))
        gradients.append(torch.cat([part.flatten() for part in parts]))
    normed = nn.functional.normalize(torch.stack(gradients))
    expected = (normed @ normed.T).numpy()
    np.testing.assert_allclose(recorder.cosine_to_target[0], expected[:5, 5], atol=1e-5)
    np.testing.assert_allclose(recorder.cosines[0], expected[:2, :2], atol=1e-5)
