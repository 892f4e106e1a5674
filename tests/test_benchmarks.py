"""The benchmarks measure what they say, and a killed run loses nothing."""

import importlib
import importlib.util
import re
import runpy

import numpy as np
import pytest
from benchmark_problem import ROOT, run_table, shrink
from scipy.stats import binomtest

from benchmarks import adaptive, defaults, render, table
from benchmarks.cifar10 import split_cifar10
from benchmarks.defences import DEFENCES, TABLE, name_of, parse_defence
from benchmarks.nets import OneCycle, extract
from benchmarks.problem import Problem
from benchmarks.records import append_record, read_records, wilson_interval
from benchmarks.scenarios import CPU, SCENARIOS
from epic_sklearn.datasets import make_poisoned_digits

# Tiny classes reach the floor that EPIC leaves.
pytestmark = pytest.mark.filterwarnings("ignore:So many examples of class")


@pytest.fixture
def tiny(monkeypatch):
    return shrink(monkeypatch)


def results(records):
    """What must not depend on interruptions."""
    timing = ("seconds", "resumed")
    return [{k: v for k, v in r.items() if k not in timing} for r in records]


@pytest.mark.parametrize("scenario", list(CPU))
def test_every_scenario_runs(tiny, tmp_path, scenario):
    records = run_table(
        tmp_path, "--trials", "1", "--defences", "none", "EPIC", scenario=scenario
    )
    assert [r["defence"] for r in records] == ["none", "EPIC"]
    assert records[0]["clean_lost"] == 0 < records[1]["dropped"]


@pytest.mark.parametrize("scenario", ["bullseye-polytope", "gradient-matching"])
def test_every_defence_runs_on_features_and_on_images(tiny, tmp_path, scenario):
    can_run = TABLE
    if importlib.util.find_spec("opacus") is None:
        can_run = [name for name in TABLE if name != "DP-SGD"]
    assert {name_of(name) for name in TABLE} == set(DEFENCES)
    arguments = ["--trials", "1", "--defences", *can_run]
    records = run_table(tmp_path, *arguments, scenario=scenario)
    assert [r["defence"] for r in records] == can_run
    for record in records:
        assert 0 <= record["accuracy"] <= 1 and record["success"] in (0, 1)
    # Controls drop as many as EPIC did, up to rounding in each class.
    dropped = {record["defence"]: record["dropped"] for record in records}
    for name in ("RandomDrop", "filter RandomDrop", "filter HighLoss"):
        assert abs(dropped[name] - dropped["EPIC"]) < 0.07


def test_finished_trials_survive_a_torn_line(tiny, tmp_path, monkeypatch, capsys):
    whole = run_table(tmp_path, "--trials", "2", "--defences", "none", "EPIC")
    out = tmp_path / "results.jsonl"
    lines = out.read_bytes().splitlines(keepends=True)
    out.write_bytes(b"".join(lines[:2]) + lines[2][:30])
    assert read_records(out) == whole[:2]
    seen = []
    measure = table.measure
    monkeypatch.setattr(
        table, "measure", lambda run: seen.append(run.defence) or measure(run)
    )
    again = run_table(tmp_path, "--trials", "2", "--defences", "none", "EPIC")
    assert seen == ["none", "EPIC"]
    assert again[:2] == whole[:2] and results(again) == results(whole)
    assert "nothing to do" not in capsys.readouterr().out
    run_table(tmp_path, "--trials", "2", "--defences", "none", "EPIC")
    assert "results.jsonl has all results" in capsys.readouterr().out
    assert len(seen) == 2


@pytest.mark.parametrize(
    "defence", ["none", "EPIC", "filter HighLoss", "FriendlyNoise", "DP-SGD"]
)
def test_training_goes_on_where_it_was_killed(tiny, tmp_path, monkeypatch, defence):
    if defence == "DP-SGD":
        pytest.importorskip("opacus")
    arguments = ["--trials", "1", "--defences", "none", "EPIC", defence]
    scenario = "gradient-matching"
    whole = run_table(tmp_path / "whole", *arguments, scenario=scenario)
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
        run_table(tmp_path / "killed", *arguments, scenario=scenario)
    n_begun = len(begun)
    assert list((tmp_path / "killed").rglob("*_0/*/*.pt"))
    again = run_table(tmp_path / "killed", *arguments, scenario=scenario)
    assert n_begun < len(begun)
    assert [r["resumed"] for r in again if r["defence"] == defence] == [True]
    assert results(again) == results(whole)
    assert not list((tmp_path / "killed").rglob("*_0/*/*.pt"))


def test_only_working_defends_only_what_works(tiny, tmp_path):
    arguments = ["--trials", "3", "--only-working", "--defences", "none", "JPEG"]
    records = run_table(tmp_path, *arguments)
    works = {r["trial"] for r in records if r["defence"] == "none" and r["success"]}
    assert {r["trial"] for r in records if r["defence"] == "JPEG"} == works


def test_oracle_drops_the_poisons_and_nothing_else(tiny, tmp_path):
    _, oracle = run_table(tmp_path, "--trials", "1", "--defences", "none", "Oracle")
    assert oracle["poisons_left"] == oracle["clean_lost"] == 0 < oracle["dropped"]


# ------------------------------------------------------------------------- problems


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
    records = run_table(tmp_path, *arguments, scenario="gradient-matching")
    assert [r["adversarial_label"] for r in records] == [1, 2]
    args = table.parse_args(["--trials-file", str(path), "--cache", str(tmp_path)])
    trial = table.Table(args, "gradient-matching").make_problem().trial(1)
    np.testing.assert_array_equal(trial.images[[2, 12, 22]], poisons[1])
    np.testing.assert_array_equal(trial.images[3], tiny.images[3] / np.float32(255))
    with pytest.raises(ValueError, match="holds 2"):
        run_table(
            tmp_path, "--trials", "3", *arguments[2:], scenario="gradient-matching"
        )
    # Other trials have the same numbers: their results must not mix.
    before = (tmp_path / "results.jsonl").read_bytes()
    with pytest.raises(SystemExit, match="from another --trials-file"):
        run_table(tmp_path, "--trials", "4", scenario="gradient-matching")
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
    records = run_table(tmp_path, *arguments, "--defences", "none", "JPEG", "EPIC")
    assert [r["defence"] for r in records] == ["none", "EPIC"]  # no images, no JPEG
    assert "5 poisons in 100, eps" in records[0]["title"]  # the file's, not 2,500
    args = table.parse_args(arguments)
    trial = table.Table(args, "bullseye-polytope").make_problem().trial(0)
    assert np.flatnonzero((trial.inputs == 7).all(axis=1)).tolist() == [4, 14]
    with pytest.raises(ValueError, match="features, which the scenario"):
        run_table(tmp_path, *arguments, scenario="sleeper-agent")


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


# ------------------------------------------------------------------------- commands


def test_options_of_a_defence_are_read():
    assert parse_defence("filter DeepKNN k=3")[1] == {"k": 3}
    defend, options = parse_defence("EPIC threshold=5 gradients=last_layer")
    assert options == {"threshold": 5, "gradients": "last_layer"}
    assert defend is DEFENCES["EPIC"]


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--defences", "EPICK"], "no defence 'EPICK'"),
        (["--defences", "EPIC 5"], "no defence 'EPIC 5'"),
        (["--defences", "filter JPEG"], "no defence 'filter JPEG'"),
        (["--defences", "EPIC treshold=5"], "no option treshold; it has .*threshold"),
        (["--defences", "RandomDrop k=3"], "no option k; it has drop_fraction"),
        (["--defences", "filter HighLoss warmup=3"], "no option warmup"),
        (["--defences", "EPIC subset_size=7"], "subset_size=7: The 'subset_size'"),
        (["--defences", "EPIC gradients=foo"], "gradients=foo: The 'gradients'"),
        (["--defences", "DeepKNN gradients=logit"], "looks at the last layer's inputs"),
        (["--scale", "gpu", "--scenario", "gradient-matching-8000"], "at --scale gpu"),
        (["--cifar10", "none.npz"], "there is no file none.npz"),
        (["--trials-file", "none.npz"], "there is no file none.npz"),
        (["--cifar10", __file__], "is no npz file"),
        (["--trials=0"], "0 names no trials"),
        (["--trials=-3"], "-3 names no trials"),
        (["--trials=1,-1"], "1,-1 names no trials"),
    ],
)
def test_what_cannot_be_run_is_refused_before_any_work(arguments, said, capsys):
    with pytest.raises(SystemExit):
        table.parse_args(arguments)
    assert re.search(said, capsys.readouterr().err)


def test_a_page_is_made_of_results_only(tmp_path, capsys):
    page = ["--out", str(tmp_path / "page.md")]
    with pytest.raises(SystemExit):
        render.main(["none.jsonl", *page])
    assert "there is no file" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="holds no results"):
        render.main([__file__, *page])
    assert not (tmp_path / "page.md").exists()


# -------------------------------------------------------------------------- results


# Whose problems are their own: benchmarks.defaults, benchmarks.tracing.
OF_OTHER_SCRIPTS = {"defaults.jsonl", "tracing.jsonl"}


def test_every_result_in_the_docs_is_of_a_defence_that_the_code_knows():
    paths = sorted((ROOT / "docs" / "results").rglob("*.jsonl"))
    assert paths
    for path in paths:
        records = read_records(path)
        assert len(records) == len(path.read_text().splitlines()) > 0
        if path.name in OF_OTHER_SCRIPTS:
            continue
        for record in records:
            assert record["scenario"] in SCENARIOS[record["scale"]]
            if "success" in record:
                parse_defence(record["defence"])
            else:
                assert record["defence"].split()[0] in ("poisons", "epochs")


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
    append_record(path, {"problem": "of benchmarks.defaults", "success": 1})
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


def test_poisons_that_know_the_rules_are_held_back_and_copied(monkeypatch):
    problem = make_poisoned_digits(1, random_state=0)
    for script in (adaptive, defaults):
        monkeypatch.setattr(script, "make_poisoned_digits", lambda n, **how: problem)
    (crafted,) = adaptive.cases(0)
    (changed,) = adaptive.cases(0, times=2, share=0.0)
    first, copies = np.split(changed.poisons, 2)
    np.testing.assert_array_equal(first, crafted.poisons)
    assert not set(copies) & set(first)
    np.testing.assert_array_equal(changed.X[copies], changed.X[first])
    assert (changed.y[copies] == changed.adversarial_label).all()
    # Held back all the way, a poison is the example that it was made of.
    np.testing.assert_allclose(changed.X[first], problem.X[first], atol=1e-5)
    assert (crafted.X[first] != problem.X[first]).any(axis=1).all()


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("benchmarks/*.py")), ids=lambda path: path.stem
)
def test_scripts_behind_the_figures_still_load(path):
    importlib.import_module(f"benchmarks.{path.stem}")


def test_comparison_still_loads():
    runpy.run_path(str(ROOT / "docs" / "comparison" / "compare.py"))


def test_a_picture_of_many_names_those_that_matter():
    names = ["none", "EPIC", "EPIC subset_size=0.1", "NeighborVotes", "JPEG"]
    names += ["RandomDrop", "filter RandomDrop", "filter HighLoss", "DeepKNN"]
    rows = render.summarise([record(0, name, 1) for name in names])
    named, others = render.those_that_matter(rows)
    shown = ["none", "EPIC", "NeighborVotes", "RandomDrop", "filter HighLoss"]
    assert [row.defence for row in named] == shown
    assert len(others) == 4
    assert render.those_that_matter(rows[:8]) == (rows[:8], [])
