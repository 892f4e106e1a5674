"""Where a scan says that its result is worth little, and what its page shows."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from cli_runs import SPECIES, mask_of, poisoned_iris, scan, write, write_iris


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with iris.csv, and shuffled.csv where labels mean nothing."""
    monkeypatch.chdir(tmp_path)
    write_iris()
    frame = pd.read_csv("iris.csv")
    order = np.random.default_rng(0).permutation(len(frame))
    frame["species"] = frame["species"].to_numpy()[order]
    frame.to_csv("shuffled.csv", index=False)
    return tmp_path


def page_data(path):
    page = path.read_text(encoding="utf-8")
    block = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)
    return page, json.loads(block[1])


def test_a_model_that_learned_nothing_is_warned_of_everywhere(folder, capsys):
    pytest.importorskip("jinja2")
    options = ["shuffled.csv", "--label", "species", "--report", "audit.html"]
    assert scan(*options) == 0
    out = capsys.readouterr().out
    assert re.search(r"^Warning: The model has learned next to nothing", out, re.M)
    assert scan(*options, "--force", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["warnings"]) == 1 and found["warnings"][0] in out
    assert found["warnings"][0] in page_data(folder / "audit.html")[0]


def test_a_model_that_learned_is_not_warned_of(folder, capsys):
    pytest.importorskip("jinja2")
    for model in ("logistic", "mlp"):
        options = ["iris.csv", "--label", "species", "--model", model]
        assert scan(*options, "--report", "audit.html", "--force") == 0
        assert "Warning" not in capsys.readouterr().out
        assert "Warning" not in page_data(folder / "audit.html")[0]
    assert scan(*options, "--json") == 0
    assert json.loads(capsys.readouterr().out)["warnings"] == []


def test_probabilities_from_elsewhere_are_looked_at_too(folder, capsys):
    pytest.importorskip("jinja2")
    y = poisoned_iris()[1]
    rng = np.random.default_rng(0)
    noise = rng.dirichlet(np.ones(3), 150)
    options = ["iris.csv", "--label", "species", "--probabilities", "p.csv"]
    pd.DataFrame(noise, columns=SPECIES).to_csv("p.csv", index=False)
    assert scan(*options, "--report", "audit.html") == 0
    assert "Warning: The model has learned next to" in capsys.readouterr().out
    assert "learned next to nothing" in page_data(folder / "audit.html")[0]
    good = 0.2 * noise + 0.8 * np.eye(3)[y]
    pd.DataFrame(good, columns=SPECIES).to_csv("p.csv", index=False)
    assert scan(*options, "--report", "audit.html", "--force") == 0
    assert "Warning" not in capsys.readouterr().out
    table = page_data(folder / "audit.html")[1]["table"]
    assert table["prediction"] == good.argmax(axis=1)[table["row"]].tolist()


def test_the_page_shows_texts_and_no_codes(folder, capsys):
    pytest.importorskip("jinja2")
    X, y = poisoned_iris()
    rng = np.random.default_rng(0)
    colours, towns = np.array(["red", "dark blue", ""]), np.array(["Rome", "Oslo"])
    frame = pd.DataFrame({"a": X[:, 2], "colour": colours[rng.integers(3, size=150)]})
    frame["b"], frame["town"] = X[:, 3], towns[rng.integers(2, size=150)]
    frame["y"] = y
    frame.to_csv("t.csv", index=False)
    options = ["--label", "y", "--rule", "IsolatedMedoids", "--report", "t.html"]
    assert scan("t.csv", *options) == 0
    data = page_data(folder / "t.html")[1]
    assert data["features"] == ["a", "colour", "b", "town"]
    table, shown = data["table"], {1: set(), 3: set()}
    for row, near, flat in zip(
        table["row"], table["near"], table["differences"], strict=True
    ):
        for j, ours, theirs, gap in zip(*[iter(flat)] * 4, strict=True):
            if j in shown:
                pair = [frame.iat[i, j] or "missing" for i in (row, near)]
                assert [ours, theirs] == pair and gap == 1
                shown[j] |= set(pair)
    assert shown == {1: {"red", "dark blue", "missing"}, 3: {"Rome", "Oslo"}}


def test_gaps_neither_outweigh_all_numbers_nor_go_unnoticed(folder, capsys):
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=600)
    columns = {"a": y + rng.normal(size=600) / 3, "noise": rng.normal(size=600)}
    frame = pd.DataFrame(columns).assign(label=np.array(["x", "y", "z"])[y])
    gaps = rng.choice(600, 20, replace=False)
    frame.loc[gaps, "noise"] = np.nan
    frame.to_csv("gaps.csv", index=False)
    how = ["--label", "label", "--set", "cutoff=1.6"]
    assert scan("gaps.csv", *how, "--mask", "mask.csv") == 0
    assert "rows without a value in 'noise'" in capsys.readouterr().err
    assert 0 < (~mask_of()["kept"])[gaps].mean() < 0.9


def test_labels_that_read_as_missing_and_repeated_ids_are_noted(folder, capsys):
    frame = pd.read_csv("iris.csv")
    frame["species"] = frame["species"].replace(frame["species"][0], "NA")
    frame["id"] = np.arange(len(frame)).clip(3)
    frame.to_csv("noted.csv", index=False)
    assert scan("noted.csv", "--label", "species", "--id", "id", "--json") == 0
    notes = json.loads(capsys.readouterr().out)["notes"]
    assert any("Class 'NA' may be labels that are missing" in note for note in notes)
    assert any("3 rows repeat the --id of another" in note for note in notes)
    options = ["--label", "species", "--id", "id", "--missing", "NA"]
    assert scan("noted.csv", *options) == 2


def test_columns_that_are_the_label_again_are_noted(folder, capsys):
    frame = pd.read_csv("iris.csv")
    classes = frame["species"].unique().tolist()
    frame["again"] = frame["species"].map(classes.index)
    frame["named"] = frame["species"].str.upper()
    frame["nearly"] = frame["named"].where(frame.index > 0, classes[1].upper())
    frame.to_csv("leak.csv", index=False)
    assert scan("leak.csv", "--label", "species", "--json") == 0
    notes = " ".join(json.loads(capsys.readouterr().out)["notes"])
    assert "Column 'again' has one value for each class" in notes
    assert "Column 'named' has one value for each class" in notes
    assert "'nearly'" not in notes and "'petal" not in notes


def test_only_rules_that_could_use_it_are_advised_of_the_last_layer(folder, capsys):
    advised = {}
    for rule in ("HighLoss", "LowConfidence", "IsolatedMedoids"):
        assert scan("iris.csv", "--label", "species", "--rule", rule) == 0
        advised[rule] = "Gradients of a last layer tell more" in capsys.readouterr().err
    assert advised == {
        "HighLoss": False,
        "LowConfidence": False,
        "IsolatedMedoids": True,
    }


def test_rows_named_as_equal_bear_the_labels_that_are_said(folder, capsys):
    rows = "1,1,a\n1,1,b\n1,1,a\n1,1,b\n"
    rest = "".join(f"{i},{i * 7 % 13},{'ab'[i % 2]}\n" for i in range(2, 58))
    write("equal.csv", f"u,v,label\n{rows}{rest}")
    assert scan("equal.csv", "--label", "label", "--json") == 0
    notes = " ".join(json.loads(capsys.readouterr().out)["notes"])
    assert "under different labels, such as line 2 and line 3." in notes
    assert "under the same label, such as line 2 and line 4." in notes
