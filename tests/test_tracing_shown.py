"""What people see of a trace: display, page, command line."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cli_runs import SPECIES, poisoned_iris, write_iris
from sklearn.datasets import load_iris
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from torch import nn

from epic_sklearn import EPICCallback, EPICClassifier, TraceDisplay, trace
from epic_sklearn.cli import main
from epic_sklearn.rules import RandomDrop

X, Y = poisoned_iris()
TARGET = X[[0, 60]]


@pytest.fixture(scope="module")
def found():
    model = LogisticRegression(max_iter=1000).fit(X, Y)
    return trace(model, X, Y, TARGET, [0, 1], n_top=5)


def test_display_shows_the_example_and_then_its_rows(found):
    images = np.repeat(np.linspace(0, 1, 150), 4).reshape(-1, 2, 2)
    display = TraceDisplay.from_trace(found, images, images[:2], poison_indices=[0])
    assert display.axes_.shape == (2, 6)
    for line, rows in zip(display.axes_, found.indices, strict=True):
        for ax, row in zip(line[1:], rows, strict=True):
            shown = ax.images[0].get_array()
            np.testing.assert_allclose(shown, images[row])
            assert ax.get_title().startswith(f"row {row}: ")
            assert ax.get_title().endswith(f"\n{Y[row]}")
    assert display.marked[0][:2] == [False, True]


def test_a_list_of_texts_is_traced_and_shown(tmp_path):
    texts = [("blue " if i % 2 else "pink ") + f"flower {i}" for i in range(40)]
    model = make_pipeline(CountVectorizer(), LogisticRegression())
    model.fit(texts, np.arange(40) % 2)
    found = trace(model, texts, np.arange(40) % 2, texts[:1], n_top=1)
    assert found.to_frame()["row"].tolist() == [0]
    page = found.report(texts, texts[:1], tmp_path / "why.html").read_text()
    assert page.count("pink flower 0") == 2


def test_display_writes_values_and_texts(found):
    frame = pd.DataFrame(X, columns=["a$b", "c", "d", "e"])
    display = TraceDisplay.from_trace(found, frame, frame[:2], n_top=2)
    assert display.panels[0][0].startswith(r"a\$b")
    texts = [f"text {i}" for i in range(150)]
    display = TraceDisplay.from_trace(found, texts, texts[:2], n_top=2)
    assert display.panels[0][1] == f"text {found.indices[0, 0]}"
    display.figure_.canvas.draw()


def test_a_frame_in_another_order_is_not_shown(tmp_path):
    X = pd.DataFrame(np.eye(4), index=list("abcd"))
    model = LogisticRegression().fit(X, [0, 0, 1, 1])
    found = trace(model, X, [0, 0, 1, 1], X[:1])
    TraceDisplay.from_trace(found, X, X[:1])
    with pytest.raises(ValueError, match="X has the index of traced in another order"):
        found.report(X[::-1], X[:1], tmp_path / "why.html")
    with pytest.raises(ValueError, match="X has the index of traced in another order"):
        TraceDisplay.from_trace(found, X[::-1], X[:1])


def test_what_is_not_of_the_trace_is_not_shown(found, tmp_path):
    with pytest.raises(ValueError, match="149 rows and 2 examples"):
        TraceDisplay.from_trace(found, X[1:], TARGET)
    with pytest.raises(ValueError, match="150 rows and 1 examples"):
        found.report(X, TARGET[:1], tmp_path / "why.html")
    assert not list(tmp_path.iterdir())


def test_page_has_each_row_with_a_mark_and_runs_only_its_own_script(found, tmp_path):
    path = found.report(X, TARGET, tmp_path / "why.html", n_top=3, title="<b>why")
    page = path.read_text()
    assert "&lt;b&gt;why" in page and "<b>why" not in page
    marks = re.findall(r'data-row="(\d+)"', page)
    assert marks == [str(row) for row in found.indices[:, :3].ravel()]
    assert "script-src &#39;sha256-" in page and "default-src &#39;none" in page
    with pytest.raises(FileExistsError):
        found.report(X, TARGET, path)
    texts = ["<script>alert(1)</script>"] * 150
    found.report(texts, texts[:2], path, overwrite=True)
    assert "<script>alert" not in path.read_text()
    images = np.zeros((150, 1, 8, 8))
    found.report(images, images[:2], path, overwrite=True)
    assert page != path.read_text() and "data:image/png" in path.read_text()


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_iris()
    table = pd.read_csv("iris.csv")
    asked = table.iloc[[0, 60]]
    asked.to_csv("asked.csv", index=False)
    asked.drop(columns="species").to_csv("bare.csv", index=False)


def run(capsys, *arguments, status=0):
    capsys.readouterr()
    assert main(["trace", *arguments, "--label", "species"]) == status
    shown = capsys.readouterr()
    return " ".join((shown.err if status else shown.out).split())


def test_command_finds_what_python_finds(files, capsys):
    given = json.loads(run(capsys, "iris.csv", "asked.csv", "--json"))
    assert (given[0]["label"], given[0]["row"], given[0]["index"]) == ("setosa", 0, 2)
    assert [line["example"] for line in given] == [0] * 10 + [1] * 10
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    direct = trace(model.fit(X, SPECIES[Y]), X, SPECIES[Y], TARGET, SPECIES[[0, 1]])
    assert [line["row"] for line in given] == direct.indices[:, :10].ravel().tolist()
    bare = json.loads(run(capsys, "iris.csv", "bare.csv", "--json", "--top", "3"))
    assert {line["label"] for line in bare} <= set(SPECIES)
    assert "line 2" in run(capsys, "iris.csv", "asked.csv", "--top", "1")
    less = ["--exclude", "sepal width (cm)", "--json"]
    assert len(json.loads(run(capsys, "iris.csv", "asked.csv", *less))) == 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["iris.csv", "short.csv"], "There is no column of the examples"),
        (["iris.csv", "other.csv"], "No training row bears the labels ['rose']"),
        (["iris.csv", "asked.csv", "--report", "r.npz"], "--report: r.npz: give a"),
        (
            ["iris.csv", "asked.csv", "--report", "asked.csv"],
            "--report: asked.csv: giv",
        ),
        (["iris.csv", "asked.csv", "--top", "0"], "--top"),
    ],
)
def test_command_refuses(files, capsys, arguments, message):
    pd.read_csv("bare.csv").iloc[:, 1:].to_csv("short.csv", index=False)
    pd.read_csv("asked.csv").assign(species="rose").to_csv("other.csv", index=False)
    assert message in run(capsys, *arguments, status=2)


def test_rows_are_named_as_a_scan_names_them(files, capsys, monkeypatch):
    """By their line, or by --id; columns that the examples lack may be shown."""
    monkeypatch.setenv("COLUMNS", "200")
    table = pd.read_csv("iris.csv")
    table["tag"] = [f"F{i:03d}" for i in range(150)]
    table["score"] = [f"seen by reader {i}" for i in range(150)]
    table.to_csv("tagged.csv", index=False)
    page = ["--report", "why.html", "--top", "2"]
    run(capsys, "iris.csv", "asked.csv", *page)
    text = Path("why.html").read_text()
    assert ">Line</th>" in text and 'data-row="0" data-name="2"' in text
    options = ["--id", "tag", "--show", "score", "--force"]
    out = run(capsys, "tagged.csv", "asked.csv", *page, *options)
    assert "F000, line 2" in out and "data score" in out  # one of ours is "score"
    assert "seen by reader 0" in out
    text = Path("why.html").read_text()
    assert ">tag</th>" in text and 'data-row="0" data-name="F000"' in text
    assert "score seen by reader 0" in text


def test_pictures_are_shown_as_such(files, capsys):
    pixels = np.random.default_rng(0).random((150, 1, 4, 4))
    pixels[:, 0, 0, :2] += 3 * X[:, 2:4]
    np.savez("train.npz", X=pixels, species=Y)
    np.savez("asked.npz", X=pixels[:2])
    run(capsys, "train.npz", "asked.npz", "--report", "why.html", "--top", "2")
    assert Path("why.html").read_text().count("data:image/png") == 6


def test_rows_kept_of_another_training_set_are_not_taken_for_those_traced():
    X, y = load_iris(return_X_y=True)
    model = EPICClassifier(max_epochs=4, warmup=1, random_state=0).fit(X, y)
    assert trace(model, X, y, X[:1], y[:1]).keep is not None
    some = trace(model, X[::2], y[::2], X[:1], y[:1])
    assert some.keep is None
    assert "keep" not in some.to_frame()


def test_a_trace_says_what_a_callback_of_a_skorch_net_kept():
    X, y = load_iris(return_X_y=True)
    net = NeuralNetClassifier(
        nn.Linear(4, 3),
        criterion=nn.CrossEntropyLoss,
        max_epochs=12,
        lr=0.1,
        train_split=None,
        verbose=0,
        callbacks=[("epic", EPICCallback(RandomDrop(0.2), warmup=9, every=9))],
    ).fit(X.astype(np.float32), y)
    keep = dict(net.callbacks_)["epic"].keep_
    assert not keep.all()
    found = trace(net, X.astype(np.float32), y, X[:1].astype(np.float32))
    np.testing.assert_array_equal(found.keep, keep)
