"""The benchmarks measure what they say, and a killed run loses nothing."""

import dataclasses
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from torch import nn

# The benchmarks are not installed with the package.
sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import epochs, render, rules, table
from benchmarks.cifar10 import CIFAR10, split_cifar10
from benchmarks.defences import DEFENCES, TABLE, parse_defence
from benchmarks.nets import OneCycle, Standardise, conv_norm, extract, resnet18
from benchmarks.perturbations import (
    AdversarialPoisoning,
    friendly_noise,
    jpeg,
    matching_poisons,
)
from benchmarks.problem import Problem, Trial
from benchmarks.recorder import Recorder, summarise_group
from benchmarks.records import append_record, read_records, wilson_interval
from benchmarks.scenarios import CPU, SCENARIOS, fixed_rounds
from benchmarks.victim import Training

N_IN_FILE = 400


def tiny_body():
    parts = conv_norm(3, 16, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(2)
    return nn.Sequential(Standardise(), *parts, nn.Flatten())


@pytest.fixture
def tiny(monkeypatch):
    """Ten classes of coloured noise, and every scenario on a tiny net."""
    rng = np.random.RandomState(0)
    labels = np.arange(N_IN_FILE) % 10
    means = rng.randint(60, 200, (10, 3, 1, 1))
    images = means[labels] + rng.randint(-50, 50, (N_IN_FILE, 3, 32, 32))
    data = CIFAR10(images.astype(np.uint8), labels, np.arange(N_IN_FILE) >= 300)
    monkeypatch.setattr(table, "read_cifar10", lambda path: data)
    for name, scenario in CPU.items():
        options = {"n_steps": 2, "n_poisons": 2}
        shrunk = dataclasses.replace(
            scenario,
            attack=lambda attack=scenario.attack, options=options, **given: attack(
                **{**options, **given}
            ),
            body=tiny_body,
            n_features=64,
            n_pretrain=100 if scenario.pretraining else 0,
            n_per_class=15,
            n_test=50,
            training=dataclasses.replace(
                scenario.training, max_epochs=4, lr=0.05, milestones=(3,)
            ),
            pretraining=scenario.pretraining and Training(2, lr=0.05),
            rounds=fixed_rounds(1, 1, 3),
        )
        monkeypatch.setitem(SCENARIOS["cpu"], name, shrunk)
    return data


# Tiny classes reach the floor that EPIC leaves.
pytestmark = pytest.mark.filterwarnings("ignore:So many examples of class")


def run(folder, *arguments, scenario="bullseye-polytope"):
    out = folder / "results.jsonl"
    common = ["--scenario", scenario, "--out", str(out), "--cache", str(folder / "c")]
    table.main([*common, *arguments])
    return read_records(out)


def results(records):
    """What must not depend on interruptions."""
    timing = ("seconds", "resumed")
    return [{k: v for k, v in r.items() if k not in timing} for r in records]


@pytest.mark.parametrize("scenario", list(CPU))
def test_every_scenario_runs(tiny, tmp_path, scenario):
    records = run(
        tmp_path, "--trials", "1", "--defences", "none", "EPIC", scenario=scenario
    )
    assert [r["defence"] for r in records] == ["none", "EPIC"]
    assert records[0]["clean_lost"] == 0 < records[1]["dropped"]


@pytest.mark.parametrize("scenario", ["bullseye-polytope", "gradient-matching"])
def test_every_defence_runs_on_features_and_on_images(tiny, tmp_path, scenario):
    pytest.importorskip("opacus")
    records = run(tmp_path, "--trials", "1", scenario=scenario)
    assert [r["defence"] for r in records] == TABLE
    by_name = {r["defence"]: r for r in records}
    assert {name.split()[0] for name in by_name} == set(DEFENCES)
    for record in records:
        assert 0 <= record["accuracy"] <= 1 and record["success"] in (0, 1)
    # Controls drop as many as EPIC did, up to rounding in each class.
    assert abs(by_name["RandomDrop"]["dropped"] - by_name["EPIC"]["dropped"]) < 0.07


def test_finished_trials_survive_a_torn_line(tiny, tmp_path, monkeypatch):
    whole = run(tmp_path, "--trials", "2", "--defences", "none", "EPIC")
    out = tmp_path / "results.jsonl"
    lines = out.read_bytes().splitlines(keepends=True)
    out.write_bytes(b"".join(lines[:2]) + lines[2][:30])
    assert read_records(out) == whole[:2]
    seen = []
    measure = table.measure
    monkeypatch.setattr(
        table, "measure", lambda run: seen.append(run.defence) or measure(run)
    )
    again = run(tmp_path, "--trials", "2", "--defences", "none", "EPIC")
    assert seen == ["none", "EPIC"]
    assert again[:2] == whole[:2] and results(again) == results(whole)
    run(tmp_path, "--trials", "2", "--defences", "none", "EPIC")
    assert len(seen) == 2


@pytest.mark.parametrize(
    "defence", ["none", "EPIC", "HighLoss", "FriendlyNoise", "DP-SGD"]
)
def test_training_goes_on_where_it_was_killed(tiny, tmp_path, monkeypatch, defence):
    if defence == "DP-SGD":
        pytest.importorskip("opacus")
    arguments = ["--trials", "1", "--defences", "none", "EPIC", defence]
    scenario = "gradient-matching"
    whole = run(tmp_path / "whole", *arguments, scenario=scenario)
    begun = []
    on_epoch_begin = OneCycle.on_epoch_begin

    def killed_once(self, net, **kwargs):
        begun.append(net)
        if len(begun) == n_epochs - 1:
            raise KeyboardInterrupt
        on_epoch_begin(self, net, **kwargs)

    # The clean net comes first, then what is asked for; each trains 4 epochs.
    n_epochs = {"none": 8, "EPIC": 12}.get(defence, 16)
    monkeypatch.setattr(OneCycle, "on_epoch_begin", killed_once)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", *arguments, scenario=scenario)
    n_begun = len(begun)
    assert list((tmp_path / "killed").rglob("*_0/*/*.pt"))
    again = run(tmp_path / "killed", *arguments, scenario=scenario)
    assert n_begun < len(begun)
    assert [r["resumed"] for r in again if r["defence"] == defence] == [True]
    assert results(again) == results(whole)
    assert not list((tmp_path / "killed").rglob("*_0/*/*.pt"))


def test_a_command_that_has_nothing_to_do_says_so(tiny, tmp_path, capsys):
    arguments = ["--trials", "1", "--defences", "none"]
    run(tmp_path, *arguments)
    assert "nothing to do" not in capsys.readouterr().out
    run(tmp_path, *arguments)
    assert "results.jsonl has all results" in capsys.readouterr().out


def test_only_working_defends_only_what_works(tiny, tmp_path):
    arguments = ["--trials", "3", "--only-working", "--defences", "none", "JPEG"]
    records = run(tmp_path, *arguments)
    works = {r["trial"] for r in records if r["defence"] == "none" and r["success"]}
    assert {r["trial"] for r in records if r["defence"] == "JPEG"} == works


def test_ready_poisons_are_put_where_they_belong(tiny, tmp_path):
    rng = np.random.RandomState(0)
    poisons = rng.rand(2, 3, 3, 32, 32).astype(np.float16)
    path = tmp_path / "ready.npz"
    np.savez(
        path,
        train_index=np.arange(50),
        poison_index=np.array([[1, 11, 21], [2, 12, 22]]),
        poison_image=poisons,
        target_image=rng.rand(2, 3, 32, 32),
        true_label=np.array([3, 4]),
        adversarial_label=np.array([1, 2]),
    )
    arguments = ["--trials", "2", "--trials-file", str(path), "--defences", "none"]
    records = run(tmp_path, *arguments, scenario="gradient-matching")
    assert [r["adversarial_label"] for r in records] == [1, 2]
    args = table.parse_args(["--trials-file", str(path), "--cache", str(tmp_path)])
    trial = table.Table(args, "gradient-matching").make_problem().trial(1)
    np.testing.assert_array_equal(trial.images[[2, 12, 22]], poisons[1])
    np.testing.assert_array_equal(trial.images[3], tiny.images[3] / np.float32(255))
    with pytest.raises(ValueError, match="holds 2"):
        run(tmp_path, "--trials", "3", *arguments[2:], scenario="gradient-matching")
    # Other trials have the same numbers: their results must not mix.
    before = (tmp_path / "results.jsonl").read_bytes()
    with pytest.raises(SystemExit, match="from another --trials-file"):
        run(tmp_path, "--trials", "4", scenario="gradient-matching")
    assert (tmp_path / "results.jsonl").read_bytes() == before


def test_ready_features_are_put_where_they_belong(tmp_path):
    rng = np.random.RandomState(0)
    path = tmp_path / "features.npz"
    np.savez(
        path,
        features=rng.rand(100, 5).astype("f4"),
        label=np.arange(100) % 10,
        test_features=rng.rand(20, 5).astype("f4"),
        test_label=np.arange(20) % 10,
        attack=np.array(["fc1", "bp5"]),
        target_features=rng.rand(2, 5).astype("f4"),
        true_label=np.array([1, 2]),
        adversarial_label=np.array([3, 4]),
        poison_index=np.array([[3, -1], [4, 14]]),
        poison_features=np.full((2, 2, 5), 7, dtype="f4"),
    )
    arguments = ["--trials-file", str(path), "--trials", "1"]
    records = run(tmp_path, *arguments, "--defences", "none", "JPEG", "EPIC")
    assert [r["defence"] for r in records] == ["none", "EPIC"]  # no images, no JPEG
    assert "5 poisons in 100, eps" in records[0]["title"]  # the file's, not 2,500
    args = table.parse_args(arguments)
    trial = table.Table(args, "bullseye-polytope").make_problem().trial(0)
    assert np.flatnonzero((trial.inputs == 7).all(axis=1)).tolist() == [4, 14]
    with pytest.raises(ValueError, match="features, which the scenario"):
        run(tmp_path, *arguments, scenario="sleeper-agent")


def test_oracle_drops_the_poisons_and_nothing_else(tiny, tmp_path):
    _, oracle = run(tmp_path, "--trials", "1", "--defences", "none", "Oracle")
    assert oracle["poisons_left"] == oracle["clean_lost"] == 0 < oracle["dropped"]


def test_adversarial_label_can_be_the_clean_nets_second_guess(tiny, tmp_path):
    scenario = SCENARIOS["cpu"]["gradient-matching"]
    assert scenario.second_guess
    problem = Problem("gradient-matching", scenario, tiny, 0, tmp_path)
    for trial in map(problem.trial, range(2)):
        logits = extract(problem._clean_net, trial.targets)[0]
        assert logits.argsort()[-2:].tolist() == [
            trial.adversarial_label,
            trial.true_label,
        ]


def test_parts_are_disjoint(tiny):
    split = split_cifar10(tiny, n_pretrain=100, n_per_class=15, n_test=40, seed=0)
    parts = [split.pretrain, split.victim, split.test, split.candidates]
    images = np.concatenate([part[0] for part in parts]).reshape(100 + 150 + 100, -1)
    assert len(np.unique(images, axis=0)) == len(images)
    assert (np.bincount(split.victim[1]) == 15).all()


def test_a_scenario_can_be_of_some_classes(tiny, tmp_path):
    scenario = SCENARIOS["cpu"]["home-gradient-matching"]
    chosen = (1, 6, 7, 8)
    assert scenario.classes == chosen
    problem = Problem("home-gradient-matching", scenario, tiny, 0, tmp_path)
    assert np.bincount(problem.labels).tolist() == [15] * 4
    originals = tiny.images[np.isin(tiny.labels, chosen)] / np.float32(255)
    for image, label in zip(problem.images[:8], problem.labels[:8], strict=True):
        row = (originals == image).all(axis=(1, 2, 3)).argmax()
        assert tiny.labels[np.isin(tiny.labels, chosen)][row] == chosen[label]
    labels = {
        (trial.true_label, trial.adversarial_label)
        for trial in map(problem.trial, range(4))
    }
    assert max(map(max, labels)) < 4 and all(a != b for a, b in labels)
    assert problem._clean_net[-1].out_features == 4


def test_a_scenario_that_a_scale_lacks_is_refused(capsys):
    with pytest.raises(SystemExit):
        table.parse_args(["--scale", "gpu", "--scenario", "gradient-matching-8000"])
    said = capsys.readouterr().err
    assert "no --scenario gradient-matching-8000 at --scale gpu" in said
    assert table.parse_args([]).scenario == list(SCENARIOS["gpu"])


def test_a_file_that_is_not_there_is_refused_before_any_work(tmp_path, capsys):
    for command, option in (
        (table.parse_args, ["--cifar10"]),
        (table.parse_args, ["--trials-file"]),
        (render.main, ["--out", str(tmp_path / "page.md")]),
    ):
        with pytest.raises(SystemExit):
            command([*option, str(tmp_path / "none.npz")])
        assert "there is no file" in capsys.readouterr().err
    assert not (tmp_path / "page.md").exists()


def test_a_file_of_another_kind_is_refused_before_any_work(tmp_path, capsys):
    text = tmp_path / "README.md"
    text.write_text("# Words\n")
    with pytest.raises(SystemExit):
        table.parse_args(["--cifar10", str(text)])
    assert "is no npz file" in capsys.readouterr().err
    with pytest.raises(SystemExit, match=r"README\.md holds no results"):
        render.main([str(text), "--out", str(tmp_path / "page.md")])


@pytest.mark.parametrize("trials", ["0", "-3", "1,-1"])
def test_no_trials_are_refused(trials, capsys):
    with pytest.raises(SystemExit):
        table.parse_args([f"--trials={trials}"])
    assert "names no trials" in capsys.readouterr().err


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


def test_options_of_a_defence_are_read():
    assert parse_defence("EPIC threshold=5 rule=medoids")[1] == {
        "threshold": 5,
        "rule": "medoids",
    }
    with pytest.raises(ValueError, match="no defence 'EPICK'"):
        parse_defence("EPICK")
    with pytest.raises(ValueError, match="name=value"):
        parse_defence("EPIC 5")
    with pytest.raises(ValueError, match=r"no option treshold; it has .*threshold"):
        parse_defence("EPIC treshold=5")
    with pytest.raises(ValueError, match="no option k; it has drop_fraction"):
        parse_defence("RandomDrop k=3")
    with pytest.raises(ValueError, match=r"subset_size=7: subset_size is 7"):
        parse_defence("EPIC subset_size=7")
    with pytest.raises(ValueError, match=r"gradients=foo: gradients is 'foo'"):
        parse_defence("EPIC gradients=foo")
    assert parse_defence("DeepKNN k=3")[1] == {"k": 3}


@pytest.mark.parametrize("k, n", [(0, 10), (3, 20), (10, 10)])
def test_interval_is_wilsons(k, n):
    expected = binomtest(k, n).proportion_ci(method="wilson")
    np.testing.assert_allclose(wilson_interval(k, n), expected, atol=1e-6)


def record(trial, defence, success, **more):
    key = {"scenario": "s", "scale": "cpu", "seed": 0, "trial": trial}
    measured = {"accuracy": 0.5, "poisons_left": 1.0, "clean_lost": 0.0, "seconds": 2.0}
    extra = {"resumed": False, "title": "t", "kind": "transfer"}
    return {**key, "defence": defence, "success": success, **measured, **extra, **more}


def test_page_shows_what_the_records_say(tmp_path):
    pytest.importorskip("matplotlib")
    path, page = tmp_path / "r.jsonl", tmp_path / "page.md"
    for i in range(4):
        append_record(path, record(i, "none", i % 2))
    append_record(path, record(1, "EPIC", 0, seconds=4.0, accuracy=0.7))
    append_record(path, record(3, "JPEG", 1))
    append_record(path, record(3, "EPIC", 1, seconds=9.0, resumed=True))
    append_record(path, {"scenario": "s", "defence": "epochs"})
    page.write_text("Before\n\n<!-- results: cpu/s -->\nold\n<!-- end of results -->\n")
    for _ in range(2):  # the second time changes nothing
        render.main([str(path), "--out", str(page)])
        text = page.read_text()
        assert "| none | 2 of 4 (15% to 85%) | 2 | 50.0% | 100% | 0.0% | 2.0 |" in text
        assert "| EPIC | 1 of 2 (9% to 91%) | 2 | 60.0% | 100% | 0.0% | 4.0 |" in text
        assert text.startswith("Before") and "old" not in text
        assert text.count("| none |") == 1
        # In one order on all pages, whatever ran first.
        assert text.index("| none |") < text.index("| EPIC |") < text.index("| JPEG |")
    assert (tmp_path / "results" / "page_cpu_s.png").exists()


def test_defences_that_learn_nothing_are_named_above_the_picture(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    drawn = []
    from_predictions = render.TradeoffDisplay.from_predictions

    def watch(columns):
        drawn.append((columns["name"], from_predictions(columns)))
        return drawn[-1][1]

    monkeypatch.setattr(render.TradeoffDisplay, "from_predictions", watch)
    names = ("none", "EPIC", "DP-SGD")
    records = [
        record(0, name, 1, accuracy=accuracy)
        for name, accuracy in zip(names, (0.7, 0.65, 0.3), strict=True)
    ]
    render.draw(render.summarise(records), "from scratch", tmp_path / "picture.png")
    ((shown, display),) = drawn
    assert shown == ["none", "EPIC"]
    assert "DP-SGD at 30% accuracy" in display.ax_.get_title().replace("\n", " ")


def test_rules_are_reported_on_the_half_they_were_not_chosen_on():
    record = {"accuracy": 0.8, "poisons_left": 0.5, "clean_lost": 0.1, "scenario": "s"}
    trials = [
        {**record, "trial": i, "defence": "EPIC", "success": i % 2} for i in range(20)
    ]
    even, odd = rules.tables(trials).split(rules.HALVES[1][1:])
    assert "| s | EPIC | 0 of 10 (0% to 28%) | 80.0% | 50% | 10.0% |" in even
    assert "| s | EPIC | 10 of 10 (72% to 100%) | 80.0% | 50% | 10.0% |" in odd


# ------------------------------------------------------------------ epoch-wise study


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


def test_groups_of_poisons_are_as_large_and_ordered_by_cosine():
    cosine = np.random.default_rng(0).random(10)
    group = epochs.group_poisons(cosine, 5)
    assert np.bincount(group).tolist() == [2] * 5
    assert (np.diff(group[cosine.argsort()]) >= 0).all()
    assert epochs.group_poisons(cosine, None).tolist() == list(range(10))
    assert epochs.group_poisons(cosine, 20).tolist() == list(range(10))


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


def test_poisons_are_told_from_clean_examples_by_each_score(net):
    X = np.random.RandomState(0).rand(31, 3, 32, 32).astype("f4")
    rows = np.arange(30)
    trial = Trial(None, X[:30], np.full(30, 3), rows[:2], X[30:], 1, 3)
    recorder = Recorder(trial, X[30:], subset_size=0.5)
    recorder.on_epoch_end(SimpleNamespace(module_=net))
    loss = nn.CrossEntropyLoss(reduction="none")
    with torch.no_grad():
        expected = loss(net(torch.from_numpy(X[:30])), torch.full((30,), 3)).numpy()
    np.testing.assert_allclose(recorder.loss[0], expected, rtol=1e-4)
    is_clean = ~np.isin(rows, trial.poison_index)
    series = summarise_group(recorder, ~is_clean, is_clean, np.full(30, -1))
    for name, scores in {
        "AUROC of loss": expected,
        "AUROC of neighbors": recorder.neighbors[0],
        "AUROC of clusters": -recorder.cluster_size[0],
    }.items():
        pairs = [
            (scores[i] > scores[j]) + 0.5 * (scores[i] == scores[j])
            for i in rows[~is_clean]
            for j in rows[is_clean]
        ]
        np.testing.assert_allclose(series[name], [np.mean(pairs)])
    assert (
        summarise_group(recorder, is_clean, is_clean, rows - 40)["AUROC of loss"] == []
    )


def test_cosines_are_those_of_the_last_layers_gradients(net):
    X = np.random.RandomState(0).rand(6, 3, 32, 32).astype("f4")
    rows = np.arange(5)
    trial = Trial(None, X[:5], np.full(5, 3), rows[:2], X[5:], 1, 3)
    recorder = Recorder(trial, X[5:], subset_size=0.5)
    recorder.on_epoch_end(SimpleNamespace(module_=net))
    gradients = []
    for x in torch.from_numpy(X):
        loss = nn.functional.cross_entropy(net(x[None]), torch.tensor([3]))
        parts = torch.autograd.grad(loss, list(net[1].parameters()))
        gradients.append(torch.cat([part.flatten() for part in parts]))
    expected = np.array(
        [[torch.cosine_similarity(a, b, dim=0) for b in gradients] for a in gradients]
    )
    np.testing.assert_allclose(recorder.cosine_to_target[0], expected[:5, 5], atol=1e-5)
    np.testing.assert_allclose(recorder.cosines[0], expected[:2, :2], atol=1e-5)


# ---------------------------------------------------------- defences of the benchmark


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(tiny_body(), nn.Linear(64, 10)).eval()


def divergence(net, images, noise):
    with torch.no_grad():
        p, q = (net(x).log_softmax(1) for x in (images, images + noise))
    return float((p.exp() * (p - q)).sum(1).mean())


def test_friendly_noise_is_large_and_friendly(net):
    images = np.random.RandomState(0).rand(64, 3, 32, 32).astype("f4")
    net[1].weight.data *= 5  # so that plain noise changes the prediction
    noise = friendly_noise(net, images, seed=1)
    assert np.abs(noise).max() <= 16 / 255 + 1e-6
    x, friendly = torch.from_numpy(images), torch.from_numpy(noise)
    shuffled = friendly[torch.randperm(64)]  # as large, for other images
    assert divergence(net, x, friendly) < divergence(net, x, shuffled)
    assert np.abs(noise).mean() > 4 / 255


def test_own_poisons_match_the_targets_gradient(net):
    torch.manual_seed(0)
    images, targets = torch.rand(8, 3, 32, 32), torch.rand(4, 3, 32, 32)
    labels = torch.tensor([3] * 5 + [1, 2, 4])

    def cosine(poisons):
        gradients = []
        for x, y in ((poisons, labels), (targets, torch.full((4,), 3))):
            loss = nn.functional.cross_entropy(net(x), y)
            parts = torch.autograd.grad(loss, list(net.parameters()))
            gradients.append(torch.cat([part.flatten() for part in parts]))
        return torch.cosine_similarity(*gradients, dim=0).item()

    poisons = matching_poisons(net, images, labels, targets, eps=0.1, n_steps=10)
    assert (poisons - images).abs().max() <= 0.1 + 1e-6
    assert poisons.min() >= 0 and poisons.max() <= 1
    assert cosine(poisons) > cosine(images) + 0.05


def test_adversarial_poisoning_poisons_its_share_of_a_batch(net):
    images, labels = torch.rand(8, 3, 32, 32), torch.arange(8) % 3
    batch = [images.clone(), labels]
    callback = AdversarialPoisoning(share=0.25, eps=0.1)
    callback.on_batch_begin(SimpleNamespace(device="cpu", module_=net), batch)
    changed = (batch[0] != images).flatten(1).any(dim=1)
    assert changed.tolist() == [True] * 2 + [False] * 6
    assert all(p.grad is None for p in net.parameters())


def test_dp_sgd_without_noise_or_clipping_is_sgd():
    pytest.importorskip("opacus")
    from benchmarks.dp_sgd import FixedNorm, private_module, private_sgd
    from epic_sklearn import TorchClassifier

    rng = np.random.RandomState(0)
    X, y = rng.randn(64, 6).astype("f4"), rng.randint(0, 3, 64)
    settings = {"max_epochs": 3, "lr": 0.1, "batch_size": 32, "random_state": 0}
    plain = TorchClassifier(lambda: nn.Linear(6, 3), **settings).fit(X, y)
    private = TorchClassifier(
        private_module(lambda: nn.Linear(6, 3)),
        optimizer=private_sgd(0.0, 1e6, batch_size=32),
        optimizer_params={"momentum": 0.9, "nesterov": True},
        **settings,
    ).fit(X, y)
    expected = plain.predict_proba(X)
    np.testing.assert_allclose(private.predict_proba(X), expected, rtol=1e-4)

    norm = nn.BatchNorm2d(16)
    x = torch.rand(4, 16, 5, 5)
    norm(x)
    torch.testing.assert_close(FixedNorm(norm)(x), norm.eval()(x))


def test_jpeg_of_best_quality_changes_little():
    pytest.importorskip("PIL")
    images = np.full((2, 3, 32, 32), 0.5, dtype="f4")
    images[1, 0] = 0.7
    assert np.abs(jpeg(images, quality=95) - images).max() < 0.03


def test_one_cycle_rises_and_falls_to_zero():
    factors = [OneCycle(10).factor(epoch) for epoch in (0, 1, 2, 6, 10)]
    assert factors[0] < factors[1] < factors[2] == 1 > factors[3] > factors[4] == 0


def test_resnet_has_the_usual_size():
    net = resnet18()
    assert net(torch.rand(2, 3, 32, 32)).shape == (2, 512)
    n_parameters = sum(p.numel() for p in net.parameters())
    assert n_parameters + 512 * 10 + 10 == 11_173_962  # of the CIFAR ResNet-18
