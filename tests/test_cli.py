"""The command line, as users and scripts run it, hostile ones included."""

import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cli_runs import (
    NAMES,
    SPECIES,
    mask_of,
    poisoned_iris,
    refused,
    scan,
    write,
    write_iris,
)
from click.testing import CliRunner
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skrub import TableVectorizer

from epic_sklearn import (
    EPICFilter,
    LastLayerGradients,
    LogitGradients,
    logit_gradients,
)
from epic_sklearn import PrecomputedGradients as Precomputed
from epic_sklearn.cli import main
from epic_sklearn.cli import scan as work
from epic_sklearn.cli.commands import cli
from epic_sklearn.reading import files, lines
from epic_sklearn.report import fit_id
from epic_sklearn.rules import DeepKNN, IsolatedMedoids, NeighborVotes


def logistic():
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder that holds iris.csv only."""
    monkeypatch.chdir(tmp_path)
    write_iris()
    return tmp_path


# Results are those of EPICFilter


def test_csv_gives_what_the_filter_gives(folder, capsys):
    X, y = poisoned_iris()
    rule = IsolatedMedoids()
    direct = EPICFilter(LogitGradients(logistic()), rule=rule).fit(X, SPECIES[y])
    options = ["--mask", "mask.csv", "--rule", "IsolatedMedoids"]
    assert scan("iris.csv", "--label", "species", *options) == 0
    mask = mask_of()
    np.testing.assert_array_equal(mask["kept"], direct.keep_)
    np.testing.assert_allclose(mask["isolation_score"], direct.isolation_score_)
    np.testing.assert_array_equal(mask["cluster_size"], direct.details_["cluster_size"])
    np.testing.assert_array_equal(mask["row"], np.arange(150))
    np.testing.assert_array_equal(mask["label"], SPECIES[y])
    assert not mask["kept"][0]
    table = capsys.readouterr().out
    assert f"{(~direct.keep_).sum()} │" in table and "setosa" in table
    assert f"rho {direct.rho_:.3g}" in table


def test_options_reach_the_filter(folder, capsys):
    X, y = poisoned_iris()
    direct = EPICFilter(
        LastLayerGradients(logistic()),
        rule=IsolatedMedoids(subset_size=0.1, threshold=2),
        n_rounds=2,
    ).fit(X[:, [2, 0]], y)
    options = ["--rule", "IsolatedMedoids", "--gradient-of", "last_layer"]
    options += ["--set", "subset_size=0.1", "--set", "threshold=2"]
    columns = f"{NAMES[2]},{NAMES[0]}"
    options += ["--rounds", 2, "--features", columns, "--json", "--jobs", 1]
    assert scan("iris.csv", "--label", "species", *options) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["isolated"] == len(direct.isolated_indices_)
    assert found["kept"] == 150 - found["isolated"]
    assert found["rho"] == pytest.approx(direct.rho_)
    assert (found["rounds"], found["rule"]) == (2, "IsolatedMedoids")
    assert found["parameters"] == direct.rule_.get_params()


def test_another_model_gives_the_same_twice(folder, capsys):
    runs = []
    for _ in range(2):
        assert scan("iris.csv", "--label", "species", "--model", "mlp", "--json") == 0
        runs.append(json.loads(capsys.readouterr().out)["rho"])
    assert runs[0] == runs[1]


def test_text_columns_are_encoded_by_skrub(folder, capsys, monkeypatch):
    monkeypatch.setattr(lines, "CHUNK", 7)  # text that shows in a later chunk
    X, y = poisoned_iris()
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    frame["colour"] = ["1"] * 100 + ["red", ""] * 25
    frame["y"] = y
    frame.to_csv("text.csv", index=False)
    assert scan("text.csv", "--label", "y", "--mask", "mask.csv") == 0
    out = capsys.readouterr().out
    assert "│ colour │ category, 2 different, 25 missing │" in out
    texts = pd.Categorical(frame["colour"].replace("", None))
    encode = TableVectorizer(
        specific_transformers=[(StandardScaler(), list("abcd"))],
    )
    model = make_pipeline(encode, LogisticRegression(max_iter=1000))
    direct = EPICFilter(model).fit(frame.drop(columns="y").assign(colour=texts), y)
    np.testing.assert_array_equal(mask_of()["kept"], direct.keep_)


def test_npz_and_parquet_give_what_csv_gives_and_keep_types(folder):
    X, y = poisoned_iris()
    extra = np.arange(3, dtype=np.int16)
    np.savez("iris.npz", X=X, labels=y.astype(np.uint8), extra=extra)
    frame = pd.DataFrame(X.astype(np.float32), columns=NAMES, index=np.arange(150) * 2)
    frame["species"] = pd.Categorical(SPECIES[y])
    frame.to_parquet("iris.parquet")
    assert scan("iris.csv", "--label", "species", "--mask", "mask.csv") == 0
    keep = mask_of()["kept"].to_numpy()
    npz = ["--label", "labels", "--exclude", "extra", "--out", "kept.npz"]
    assert scan("iris.npz", *npz, "--mask", "mask.csv", "--force") == 0
    np.testing.assert_array_equal(mask_of()["kept"], keep)
    with np.load("kept.npz") as kept:
        np.testing.assert_array_equal(kept["X"], X[keep])
        assert kept["labels"].dtype == np.uint8
        np.testing.assert_array_equal(kept["extra"], extra)
    parquet = ["--label", "species", "--out", "kept.parquet", "--mask", "mask.csv"]
    assert scan("iris.parquet", *parquet, "--force") == 0
    keep = mask_of()["kept"].to_numpy()
    pd.testing.assert_frame_equal(pd.read_parquet("kept.parquet"), frame[keep])


def test_probabilities_from_elsewhere(folder, capsys):
    X, y = poisoned_iris()
    p = logistic().fit(X, y).predict_proba(X)
    direct = EPICFilter(Precomputed()).fit(logit_gradients(p, y), y)
    order = [2, 0, 1]
    named = pd.DataFrame(p[:, order], columns=SPECIES[order])
    named.to_csv("named.csv", index=False)
    named.to_parquet("named.parquet")
    np.save("bare.npy", p)
    for file in ("named.csv", "named.parquet", "bare.npy"):
        options = ["--probabilities", file, "--mask", "mask.csv", "--force"]
        assert scan("iris.csv", "--label", "species", *options) == 0, file
        np.testing.assert_array_equal(mask_of()["kept"], direct.keep_, file)


# What is written


def test_kept_lines_are_copied_byte_for_byte(folder):
    X, y = poisoned_iris()
    lines = ['\ufeff"a, ""ä""",b , note\r\n']
    for i, (row, label) in enumerate(zip(X, y, strict=True)):
        note = '"two\nlines, ""quoted"""' if i % 3 else "[red] Ünï"
        lines.append(f"{row[2]:.3f},cl{label} ,{note}\r\n")
    write("odd.csv", "".join(lines))
    assert scan("odd.csv", "--label", "b ", "--out", "kept.csv", "--mask", "m.csv") == 0
    mask = mask_of("m.csv")
    assert set(mask["label"]) == {"cl0 ", "cl1 ", "cl2 "}
    kept = [line for line, keep in zip(lines[1:], mask["kept"], strict=True) if keep]
    with open("kept.csv", newline="", encoding="utf-8") as file:
        assert file.read() == lines[0] + "".join(kept)
    assert scan("odd.csv", "--label", "b ", "--features", 'a, "ä"', "--json") == 0


def test_audit_page(folder, capsys):
    pytest.importorskip("jinja2")
    X, y = poisoned_iris()
    images = np.random.default_rng(0).random((150, 8, 8))
    np.savez("iris.npz", X=X, y=y, images=images)
    options = ["--features", "X", "--show", "images", "--report", "audit.html"]
    assert scan("iris.npz", "--label", "y", *options) == 0
    capsys.readouterr()
    page = (folder / "audit.html").read_text(encoding="utf-8")
    assert "iris.npz" in page and "data:image" in page
    np.savez("dark.npz", X=X, y=y, images=images * 9)
    options[-1] = "other.html"
    assert "not of pictures" in refused(capsys, "dark.npz", "--label", "y", *options)
    assert scan("iris.csv", "--label", "species", "--report", "audit.html") == 2


def test_decisions_of_the_audit_page_are_applied(folder, capsys):
    options = ["iris.csv", "--label", "species", "--mask", "mask.csv"]
    assert scan(*options) == 0
    flagged = np.flatnonzero(~mask_of()["kept"])
    X, y = poisoned_iris()
    fit = fit_id(EPICFilter(logistic()).fit(X, SPECIES[y])._schedule)
    decided = f"row,decision,fit\n{flagged[0]},keep,{fit}\n7,drop,{fit}\n"
    write("decisions.csv", decided)
    assert scan(*options, "--decisions", "decisions.csv", "--force") == 0
    expected = sorted({*flagged[1:].tolist(), 7})
    assert np.flatnonzero(~mask_of()["kept"]).tolist() == expected
    other = [*options, "--decisions", "decisions.csv", "--force"]
    other += ["--rule", "IsolatedMedoids"]
    capsys.readouterr()
    assert "another fit" in refused(capsys, *other)
    frame = pd.read_csv("iris.csv")
    frame.iloc[60, 0] += 0.01  # changes no row's fate, and is not what was reviewed
    frame.to_csv("iris.csv", index=False)
    assert "another fit" in refused(capsys, *other[:-2])


def test_exit_status_and_json(folder, capsys):
    options = ["--label", "species", "--json"]
    assert scan("iris.csv", *options) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["isolated"] > 0
    assert sum(row["isolated"] for row in found["classes"]) == found["isolated"]
    assert [row["label"] for row in found["classes"]] == list(SPECIES)
    assert scan("iris.csv", *options, "--fail-on-isolated") == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["isolated"] == found["isolated"]
    assert captured.out.count("\n") == 1 and captured.err == ""
    np.save("same.npy", np.full((150, 3), 1 / 3))  # nothing is isolated
    options += ["--fail-on-isolated", "--probabilities", "same.npy"]
    options += ["--rule", "IsolatedMedoids", "--set", "subset_size=0.02"]
    assert scan("iris.csv", *options) == 0


def test_labels_are_shown_as_they_are(folder, capsys):
    X, y = poisoned_iris()
    labels = np.array(["[red]01", "\x1b[2J", '猫, "x"'])[y]
    np.savez("odd.npz", X=X, y=labels)
    assert scan("odd.npz", "--label", "y", "--mask", "mask.csv") == 0
    table = capsys.readouterr().out
    assert "[red]01" in table and r"\x1b[2J" in table and '猫, "x"' in table
    assert "\x1b" not in table
    np.testing.assert_array_equal(mask_of()["label"], labels)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["01", "02", "1"], ["01", "02", "1"]),
        (["10", "-2", "3"], [-2, 3, 10]),
        (["True", "False", "True"], ["False", "True"]),
        (["NA", "None", " x"], [" x", "NA", "None"]),
    ],
)
def test_labels_keep_their_text(folder, capsys, labels, expected):
    X, y = poisoned_iris()
    rows = [f"{v[2]},{v[3]},{labels[c]}\n" for v, c in zip(X, y, strict=True)]
    write("data.csv", "a,b,y\n" + "".join(rows))
    assert scan("data.csv", "--label", "y", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["label"] for row in found["classes"]] == expected


def test_boolean_labels(folder, capsys):
    X, y = poisoned_iris()
    pd.DataFrame({"a": X[:, 2], "b": X[:, 3], "y": y > 1}).to_parquet("b.parquet")
    options = ["--json", "--gradient-of", "logit"]
    assert scan("b.parquet", "--label", "y", *options) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["label"] for row in found["classes"]] == [False, True]
    assert any("2 classes" in note for note in found["notes"])


# Odd files


def test_separators(folder, capsys):
    X, y = poisoned_iris()
    frame = pd.DataFrame({"a": X[:, 2], "b": X[:, 3], "y": y})
    frame.to_csv("d.csv", sep=";", index=False)
    frame.to_csv("d.tsv", sep="\t", index=False)
    frame.to_csv("t.csv", sep="\t", index=False)
    for call in (
        ["d.csv", "--separator", ";"],
        ["d.tsv"],
        ["t.csv", "--separator=tab"],
    ):
        assert scan(*call, "--label", "y", "--json") == 0
    results = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len({result["rho"] for result in results}) == 1


def test_an_index_is_no_feature(folder, capsys):
    frame = pd.read_csv("iris.csv")
    assert scan("iris.csv", "--label", "species", "--json") == 0
    frame.to_csv("counted.csv")  # pandas' index, which gives sorted classes away
    frame.to_csv("unnamed.csv", index_label="Unnamed: 0")
    frame.to_csv("r.csv", index_label="")
    for name in ("counted.csv", "unnamed.csv", "r.csv"):
        assert scan(name, "--label", "species", "--json") == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len({each["rho"] for each in found}) == 1
    assert found[1]["columns"][""] == "left out: an index, it counts the rows"
    frame.sample(frac=1, random_state=0).to_csv("mixed.csv")
    message = refused(capsys, "mixed.csv", "--label", "species")
    assert "has no name and does not count the rows" in message
    assert scan("mixed.csv", "--label", "species", "--exclude", "") == 0


def test_a_named_column_that_counts_rows_is_pointed_out(folder, capsys):
    pd.read_csv("iris.csv").to_csv("counted.csv", index_label="id")
    assert scan("counted.csv", "--label", "species") == 0
    assert "id │ number that counts the rows" in " ".join(
        capsys.readouterr().out.split()
    )
    assert scan("counted.csv", "--label", "species", "--exclude", "id", "--json") == 0
    assert "counts" not in capsys.readouterr().out


# Complete files, or none


def test_force_replaces_the_file_behind_a_link_and_keeps_its_mode(folder):
    write("real.csv", "old")
    os.chmod("real.csv", 0o640)
    os.symlink("real.csv", "link.csv")
    options = ["--label", "species", "--mask", "link.csv", "--force"]
    assert scan("iris.csv", *options) == 0
    assert os.path.islink("link.csv") and len(mask_of("real.csv")) == 150
    assert os.stat("real.csv").st_mode & 0o777 == 0o640


def test_data_that_change_meanwhile(folder, capsys, monkeypatch):
    fit = EPICFilter.fit

    def slow(*arguments):
        write("iris.csv", "changed")
        return fit(*arguments)

    monkeypatch.setattr(EPICFilter, "fit", slow)
    message = refused(capsys, "iris.csv", "--label", "species", "--out", "kept.csv")
    assert "changed while" in message and os.listdir() == ["iris.csv"]


def test_failure_or_interruption_while_writing_leaves_nothing(folder, monkeypatch):
    options = ["iris.csv", "--label", "species", "--out", "kept.csv", "--mask", "m.csv"]
    full = OSError(28, "No space left on device")
    for error, status in ((full, 2), (KeyboardInterrupt(), 130)):
        monkeypatch.setattr(
            pd.DataFrame, "to_csv", lambda *_, error=error, **__: _raise(error)
        )
        assert scan(*options) == status
        assert os.listdir() == ["iris.csv"]


def _raise(error):
    raise error


def test_killed_before_the_end_the_old_file_is_whole(folder):
    write("mask.csv", "old")
    code = (
        "import os, signal, sys\n"
        "from epic_sklearn.cli import main\n"
        "os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "main(sys.argv[1:])\n"
    )
    options = ["scan", "iris.csv", "--label", "species", "--mask", "mask.csv"]
    done = subprocess.run([sys.executable, "-c", code, *options, "--force"])
    assert done.returncode == -signal.SIGKILL
    assert (folder / "mask.csv").read_text() == "old"


def test_ctrl_c_while_it_works(folder, capsys, monkeypatch):
    monkeypatch.setattr(
        EPICFilter, "fit", lambda *_: signal.raise_signal(signal.SIGINT)
    )
    # Where tests run in the background of a shell, it lets them ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert scan("iris.csv", "--label", "species", "--out", "kept.csv") == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err.strip() == "Interrupted."
    assert os.listdir() == ["iris.csv"]


# In a shell


def test_closed_pipe_in_a_new_process(folder):
    command = (
        f"{sys.executable} -m epic_sklearn scan iris.csv --label species "
        "--mask mask.csv --fail-on-isolated | true; echo ${PIPESTATUS[0]}"
    )
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stdout == "1\n" and "Traceback" not in done.stderr
    assert len(mask_of()) == 150


@pytest.mark.parametrize("name", ["click", "rich", "pandas", "skrub"])
def test_missing_extra_is_named(capsys, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    assert main(["scan", "--help"]) == 2
    assert f"needs {name}: pip install 'epic-sklearn[cli]'" in capsys.readouterr().err


def test_missing_pyarrow_is_named(folder, capsys, monkeypatch):
    write("data.parquet", "PAR1")
    assert "no Parquet file" in refused(capsys, "data.parquet", "--label", "y")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    message = refused(capsys, "data.parquet", "--label", "y")
    assert "epic-sklearn[parquet]" in message


@pytest.mark.parametrize(
    ("rule", "options"),
    [
        (NeighborVotes(cutoff=1.5), ["--set", "cutoff=1.5"]),
        (DeepKNN(k=5), ["--set", "k=5"]),  # a number of neighbours
        (DeepKNN(k=0.5), ["--set", "k=0.5"]),  # a share of the class
        (
            IsolatedMedoids(metric="cosine", max_class_size=None),
            ["--set", "metric=cosine", "--set", "max_class_size=None"],
        ),
    ],
)
def test_a_rule_gets_its_parameters_and_what_it_reads(folder, rule, options):
    X, y = poisoned_iris()
    options = ["--rule", type(rule).__name__, *options, "--mask", "mask.csv"]
    assert scan("iris.csv", "--label", "species", *options) == 0
    direct = EPICFilter(logistic(), rule=rule, random_state=0).fit(X, SPECIES[y])
    mask = mask_of()
    np.testing.assert_array_equal(mask["kept"], direct.keep_)
    assert not mask["kept"].all()
    columns = ["row", "line", "kept", "isolation_score", *direct.details_, "label"]
    assert mask.columns.tolist() == columns


def test_help_and_version(capsys):
    assert main(["scan", "--help"]) == 0
    text = capsys.readouterr().out
    for option in cli.commands["scan"].params:
        assert option.opts[0] in text or option.name == "data"
    assert main(["--version"]) == 0
    assert CliRunner().invoke(cli, ["scan", "--label", "y"]).exit_code == 2


def test_no_partial_file_is_left_by_the_helper(tmp_path):
    target = tmp_path / ("n" * 250 + ".csv")  # a name with no room for more
    with work.all_or_none({"out": target}) as paths:
        paths["out"].write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole" and len(os.listdir(tmp_path)) == 1


def test_columns_that_have_names_of_ours_are_told_apart(folder, capsys, monkeypatch):
    pytest.importorskip("jinja2")
    monkeypatch.setenv("COLUMNS", "200")
    frame = pd.read_csv("iris.csv")
    ours = ["row", "kept", "isolation_score", "label", "data row", "class", "Line"]
    ours += ["line"]
    for name in ours:
        frame[name] = [f"{name} {i} of the file" for i in range(150)]
    frame.to_csv("names.csv", index=False)
    options = ["--mask", "mask.csv", "--report", "page.html"]
    shown = "row,data row,class,Line,line"
    options += ["--exclude", ",".join(ours[1:4]), "--show", shown]
    assert scan("names.csv", "--label", "species", *options) == 0
    table = capsys.readouterr().out.partition("most suspicious")[2]
    assert "data class" in table and "virginica" in table
    mask = mask_of()
    assert mask["row"].tolist() == list(range(150))
    assert mask["data isolation_score"][3] == "isolation_score 3 of the file"
    assert mask["data data row"][3] != mask["data row"][3]
    assert {"row 3 of the file", "data row 3 of the file"} <= set(mask.iloc[3])
    assert {"class", "Line"} <= set(mask)
    assert '"Line 0 of the file"' in (folder / "page.html").read_text()


def test_arrays_of_any_name_come_back(folder):
    X, y = poisoned_iris()
    with zipfile.ZipFile("one.npz", "w") as archive:
        for name, array in (("file", X), ("y", y)):  # a name that savez refuses
            with archive.open(f"{name}.npy", "w") as file:
                np.save(file, array)
    files.NpzFile(folder / "one.npz").write_rows(y == 1, folder / "two.npz", {"file"})
    with np.load("two.npz") as kept:
        np.testing.assert_array_equal(kept["file"], X[y == 1])
        np.testing.assert_array_equal(kept["y"], y)  # it was not named


def test_documented_tables_are_what_is_printed(tmp_path, capsys, monkeypatch):
    docs = Path(__file__).parents[1] / "docs"
    monkeypatch.chdir(docs)
    begin = "$ epic-sklearn scan flowers.csv --label species"
    blocks = [
        block.split("╭")
        for block in (docs / "command_line.md").read_text().split("```")
        if begin in block and "╭" in block
    ]
    assert len(blocks) == 2
    for block in blocks:
        arguments = block[0].partition("scan ")[2].split()
        assert main(["scan", *arguments]) == 0
        assert capsys.readouterr().out.split("╭")[1] == block[1]
