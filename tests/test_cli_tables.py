"""Ordinary messy tables: missing cells, dates, dialects, packed files, JSON lines."""

import gzip
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cli_runs import SPECIES, mask_of, poisoned_iris, refused, scan, write
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from epic_sklearn.cli import commands, main
from epic_sklearn.reading.columns import text_column
from epic_sklearn.reading.errors import Unusable
from epic_sklearn.reading.values import Reading, as_numbers

BY_SPECIES = ("--label", "species")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def messy():
    """Iris with a hole, dates, notes, ids, an empty column and categories."""
    X, y = poisoned_iris()
    frame = pd.DataFrame(X, columns=list("abcd"))
    frame["e"] = 1000 + 100 * X[:, 2]
    frame.loc[7, "b"] = np.nan
    days = pd.Timestamp("2020-01-28") + pd.to_timedelta(np.arange(150) * 3, "D")
    frame["day"] = days
    frame["note"] = [f"seen near the pond number {i * 7 % 150}" for i in range(150)]
    frame["id"] = [f"x{i * 7 % 150:03d}" for i in range(150)]
    frame["nothing"] = np.nan
    frame["colour"] = pd.Series(["red", "blue", None] * 50)
    return frame.assign(species=SPECIES[y])


def what_is_read(capsys, *arguments):
    assert scan(*arguments, *BY_SPECIES, "--json") == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


EXPECTED = {
    **dict.fromkeys("acde", "number"),
    "b": "number, 1 missing",
    "day": "date, ISO",
    "note": "text, 150 different",
    "id": "left out: an id (--text uses it)",
    "nothing": "left out: empty",
    "colour": "category, 2 different, 50 missing",
}


def test_one_messy_table_in_every_format_is_read_alike(folder, capsys):
    frame = messy()
    frame.to_csv("m.csv", index=False)
    frame.to_csv("m.csv.gz", index=False)
    frame.to_csv("m.tsv", index=False, sep="\t")
    frame.to_csv("m16.csv", index=False, encoding="utf-16")
    frame.to_csv("de.csv", index=False, sep=";", decimal=",")
    frame.to_json("m.jsonl", orient="records", lines=True, date_format="iso")
    frame.to_parquet("m.parquet")
    found = [
        what_is_read(capsys, "m.csv"),
        what_is_read(capsys, "m.csv.gz"),
        what_is_read(capsys, "m.tsv"),
        what_is_read(capsys, "m16.csv", "--encoding", "utf-16"),
        what_is_read(capsys, "de.csv", "--separator", ";", "--decimal", ","),
        what_is_read(capsys, "m.jsonl"),
        what_is_read(capsys, "m.parquet"),
    ]
    assert all(each["columns"] == EXPECTED for each in found)
    assert {tuple(each["suspicious"]) for each in found} == {
        tuple(found[0]["suspicious"])
    }
    assert {round(each["rho"], 6) for each in found} == {round(found[0]["rho"], 6)}


def test_missing_numbers_are_filled_by_the_median_and_indicated(folder, capsys):
    frame = messy()[["a", "b", "c", "d", "species"]]
    frame.to_csv("m.csv", index=False)
    fill = SimpleImputer(strategy="median", add_indicator=True)
    model = make_pipeline(fill, StandardScaler(), LogisticRegression(max_iter=1000))
    y = frame.pop("species")
    model.fit(frame, y)
    p = pd.DataFrame(model.predict_proba(frame), columns=model.classes_)
    p.to_csv("p.csv", index=False)
    options = ["--rule", "IsolatedMedoids", "--mask", "m1.csv"]
    assert scan("m.csv", *BY_SPECIES, *options) == 0
    elsewhere = ["--probabilities", "p.csv", *options[:3], "m2.csv"]
    assert scan("m.csv", *BY_SPECIES, *elsewhere) == 0
    np.testing.assert_array_equal(mask_of("m1.csv")["kept"], mask_of("m2.csv")["kept"])


@pytest.mark.parametrize("model", commands.MODELS)
def test_every_model_takes_a_messy_table(folder, capsys, model):
    messy().to_csv("m.csv", index=False)
    options = ["--model", model, "--rounds", 2, "--report", "page.html"]
    assert scan("m.csv", *BY_SPECIES, *options) == 0
    assert "left out: an id" in capsys.readouterr().out


@pytest.mark.parametrize("n", [44, 60])
def test_small_tables_with_texts(folder, capsys, n):
    messy()[:: 150 // n][:n].drop(columns="id").to_csv("m.csv", index=False)
    assert scan("m.csv", *BY_SPECIES, "--rounds", 2) == 0
    assert "text" in capsys.readouterr().out


def test_a_table_of_long_texts_alone(folder, capsys):
    words = np.random.default_rng(0).choice(list("abcdefg"), size=(100, 60))
    texts = [" ".join([*line, "xy"[i % 2] * 3]) for i, line in enumerate(words)]
    pd.DataFrame({"text": texts, "kind": list("xy") * 50}).to_csv("t.csv", index=False)
    assert scan("t.csv", "--label", "kind", "--report", "page.html") == 0
    assert "│ text " in capsys.readouterr().out


def test_a_rule_of_the_last_layer_takes_a_messy_table(folder):
    messy().to_csv("m.csv", index=False)
    assert scan("m.csv", *BY_SPECIES, "--rule", "NeighborVotes", "--out", "k.csv") == 0


@pytest.mark.parametrize("name", ["m.csv.gz", "m.jsonl", "m.jsonl.gz", "m16.csv"])
def test_kept_lines_come_out_as_they_went_in(folder, name):
    frame = messy()
    how = {"encoding": "utf-16"} if name == "m16.csv" else {}
    if "csv" in name:
        frame.to_csv(name, index=False, **how)
    else:
        frame.to_json(name, orient="records", lines=True)
    options = ["--out", f"kept.{name.partition('.')[2]}", "--mask", "mask.csv"]
    options += [f"--{k}={v}" for k, v in how.items()]
    assert scan(name, *BY_SPECIES, *options) == 0
    opened = gzip.open if name.endswith("gz") else open
    with opened(name, "rt", newline="", **how) as file:
        lines = file.readlines()
    kept = mask_of()["kept"].tolist()
    assert not all(kept)
    kept = [True, *kept] if "csv" in name else kept
    with opened(options[1], "rt", newline="", **how) as file:
        assert file.readlines() == [t for t, k in zip(lines, kept, strict=True) if k]


def test_the_ten_most_suspicious_rows_are_printed(folder, capsys):
    messy().to_csv("m.csv", index=False)
    assert scan("m.csv", *BY_SPECIES, "--set", "cutoff=0.5") == 0
    table = capsys.readouterr().out.partition("most suspicious")[2]
    assert table.count("line ") == 10
    assert table.index("line 2 ") < table.index("line", table.index("line 2 ") + 5)


def test_progress_is_shown_only_when_asked_for(folder, capsys):
    messy().to_csv("m.csv", index=False)
    assert scan("m.csv", *BY_SPECIES, "--rule", "HighLoss") == 0
    assert capsys.readouterr().err == ""
    assert scan("m.csv", *BY_SPECIES, "--verbose", "--json") == 0
    captured = capsys.readouterr()
    assert "round 1: dropped" in captured.err and captured.out.startswith("{")


def test_no_home_directory_is_needed(folder):
    messy().to_csv("m.csv", index=False)
    write("home", "a file")
    command = [sys.executable, "-m", "epic_sklearn", "scan", "m.csv", *BY_SPECIES]
    env = {
        **os.environ,
        "HOME": str(folder / "home" / "x"),
        "MPLCONFIGDIR": str(folder),
    }
    env.pop("SKB_DATA_DIRECTORY", None)
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# What may be meant in several ways is asked for, by an option that works


def texts(*values):
    return pd.Series([*values] * 6)


@pytest.mark.parametrize(
    ("values", "option", "how", "numbers"),
    [
        (("1,5", "2,25"), "--decimal ,", Reading(","), (1.5, 2.25)),
        (("1,234", "7"), "--thousands ,", Reading(".", ","), (1234, 7)),
        (
            ("1.234,5", "2,0"),
            "--decimal , --thousands .",
            Reading(",", "."),
            (1234.5, 2),
        ),
        (("1 234", "5\u202f678"), "--thousands ' '", Reading(".", " "), (1234, 5678)),
        (("1'234.5", "2"), "--thousands", Reading(".", "'"), (1234.5, 2)),
    ],
)
def test_the_option_that_a_message_names_reads_the_numbers(
    values, option, how, numbers
):
    with pytest.raises(Unusable) as refusal:
        text_column("a", texts(*values), Reading())
    assert option in str(refusal.value)
    assert tuple(text_column("a", texts(*values), how).values[:2]) == numbers


def test_dates_that_can_be_read_in_two_ways_are_asked_for(folder, capsys):
    with pytest.raises(Unusable, match="--date-format %d/%m/%Y or --date-format %m/%d"):
        text_column("a", texts("01/02/2020", "03/04/2020"), Reading())
    how = Reading(date_format="%d/%m/%Y")
    column = text_column("a", texts("01/02/2020", "03/04/2020"), how)
    assert column.values[0].astype("M8[D]") == np.datetime64("2020-02-01")
    column = text_column("a", texts("31.12.2020", "03.04.2020", ""), Reading())
    assert column.values[1].astype("M8[D]") == np.datetime64("2020-04-03")
    assert np.isnat(column.values[2])


def test_a_few_texts_among_numbers_may_stand_for_missing_values(folder, capsys):
    values = pd.Series([*map(str, range(60)), "?", "?"])
    with pytest.raises(Unusable, match=r"--missing '\?'"):
        text_column("a", values, Reading())
    assert text_column("a", values, Reading(missing=("?",))).what == "number, 2 missing"
    as_text = text_column("a", values, Reading(as_text=("a",)))
    assert as_text.what == "text, 61 different"


def test_ids_are_left_out_unless_they_are_asked_for(folder, capsys):
    messy().to_csv("m.csv", index=False)
    for option in (["--text", "id"], ["--features", "a,b,c,d,id"]):
        read = what_is_read(capsys, "m.csv", *option)["columns"]
        assert read["id"] == "text, 150 different"


def test_whole_numbers_beyond_floats_can_be_read_as_text(folder, capsys):
    frame = messy()[["a", "c", "species"]]
    frame["key"] = 2**60 + np.arange(150) % 5
    frame.to_csv("m.csv", index=False)
    assert "(--text)" in refused(capsys, "m.csv", *BY_SPECIES)
    read = what_is_read(capsys, "m.csv", "--text", "key")["columns"]
    assert read["key"] == "category, 5 different"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": 1, "y": "u"}\n{"a": 2\n', "line 2: Expecting"),
        ('{"a": 1, "y": "u"}\n[1]\n', "line 2: a line of JSON must be an object"),
        ('{"a": 1, "y": "u"}\n{"b": 2}\n', "empty in line 2"),
        ("\n\n", "is empty"),
        ("[" * 100_000, "line 1: "),
        ('{"a": "\\ud800", "y": "u"}\n', "surrogates not allowed"),
    ],
)
def test_json_lines_that_cannot_be_used(folder, capsys, content, message):
    write("bad.jsonl", content)
    assert message in refused(capsys, "bad.jsonl", "--label", "y")


def test_files_that_are_not_what_they_say(folder, capsys):
    write("bad.csv.gz", "a,y\n1,u\n")
    refused(capsys, "bad.csv.gz", "--label", "y")
    packed = gzip.compress(b"a,y\n1,u\n2,v\n" * 9)
    (folder / "cut.csv.gz").write_bytes(packed[:-12])
    refused(capsys, "cut.csv.gz", "--label", "y")
    write("m.csv", "a,y\n1,u\n")
    assert "--encoding" in refused(capsys, "m.csv", "--label", "y", "--encoding", "no")


def test_numbers_are_what_floats_take_and_no_python():
    assert as_numbers(["1", " 2.5"]).tolist() == [1, 2.5]
    assert as_numbers(["1.200,5"], ",", ".").tolist() == [1200.5]
    for texts in (["1", "1_0"], ["1,5"], ["9007199254740993"]):
        assert np.isnan(as_numbers(texts)).any()


def test_grouped_digits_only_where_they_are_groups():
    for odd in ("1,23", "1234,567", "1.5,234", ",234", "1,234,5"):
        assert np.isnan(as_numbers([odd, "1,234"], ".", ",")).tolist() == [True, False]
    assert as_numbers(["1,234,567.5", "1"], ".", ",").tolist() == [1234567.5, 1]


def test_what_stands_out_and_what_is_to_be_shown_is_printed(folder, capsys):
    messy().to_csv("m.csv", index=False)
    how = [*BY_SPECIES, "--show", "note", "--set", "cutoff=1.6"]
    assert scan("m.csv", *how) == 0
    table = capsys.readouterr().out.partition("most suspicious")[2]
    assert "(nearest kept)" in table and "note" in table
    assert "number 0" in " ".join(table.replace("│", " ").split())


def test_what_stands_for_a_gap_does_so_everywhere(folder, capsys):
    frame = pd.DataFrame({"a": np.arange(60) % 7, "b": ["NAN", "-nan", *["1.5"] * 58]})
    frame.assign(species=list("cd") * 30).to_csv("m.csv", index=False)
    read = what_is_read(capsys, "m.csv")["columns"]
    assert read == {"a": "number", "b": "number, 2 missing"}
    frame.assign(species=["c", "?", "d"] * 20).to_csv("m.csv", index=False)
    assert scan("m.csv", *BY_SPECIES, "--missing", "?") == 2
    assert "'?', which is no label, in line 3" in capsys.readouterr().err


def test_columns_are_typed_by_the_data_and_not_by_examples(folder, capsys):
    data, found = messy(), []
    data.to_csv("m.csv")  # with an index, which counts the rows
    for ids in (data["id"][:3].tolist(), ["q1", "q2", "q3"]):
        data[:3].assign(id=ids).to_csv("asked.csv")
        files = "m.csv", "asked.csv"
        assert main(["trace", *files, *BY_SPECIES, "--json", "--top", "3"]) == 0
        found.append(capsys.readouterr().out)
    assert found[0] == found[1]


def test_a_value_of_the_examples_changes_nothing_of_the_model(folder, capsys):
    rows = np.arange(80)
    columns = {
        "number": rows % 13,
        "date": pd.date_range("2024-01-01", periods=80).strftime("%d/%m/%Y"),
        "color": np.array(["red", "green", "blue", "red"])[rows % 4],
        "gap": np.where(rows % 2, rows * 0.1, np.pi),
    }
    data = pd.DataFrame(columns).assign(y=np.where(rows % 3, "cat", "dog"))
    data.to_csv("data.csv", index=False)
    command = ["trace", "data.csv", "asked.csv", "--label", "y", "--json"]
    plain, found = data[:2].astype(object), []
    for column, value in (("color", "blue"), ("color", "black"), ("gap", "")):
        asked = plain.copy()
        asked.loc[1, column] = value
        asked.to_csv("asked.csv", index=False)
        assert main(command) == 0
        found.append(pd.read_json(io.StringIO(capsys.readouterr().out)))
    for other in found[1:]:  # the first example is the same in all
        pd.testing.assert_frame_equal(
            other[other["example"] == 0], found[0][found[0]["example"] == 0]
        )
    wrong = {"number": "n. a.", "date": "2024-02-30", "gap": "1,5"}
    for column, value in wrong.items():
        asked = plain.copy()
        asked.loc[1, column] = value
        asked.to_csv("asked.csv", index=False)
        assert main(command) == 2
        message = capsys.readouterr().err
        kind = "dates" if column == "date" else "numbers"
        assert f"Column {column!r} holds {kind} in the data" in message
        assert f"{value!r} in line 3 of asked.csv" in message


@pytest.mark.parametrize(
    ("data", "asked"),
    [("gap", "whole"), ("whole", "gap"), ("number", "text"), ("text", "number")],
)
def test_examples_may_be_of_another_type_than_the_data(folder, capsys, data, asked):
    pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    numbers = np.arange(60)
    columns = {
        "whole": pd.array(numbers, "Int64"),
        "gap": pd.array([None, *numbers[1:]], "Int64"),
        "number": numbers * 0.5,
        "text": (numbers * 0.5).astype(str),
    }
    y = np.where(numbers % 2, "cat", "dog")
    for name in (data, asked):
        frame = pd.DataFrame({"a": columns[name], "b": numbers % 7, "y": y})
        frame.to_parquet(f"{name}.parquet")
        frame.to_csv(f"{name}.csv", index=False)
    for one, other in (("parquet", "parquet"), ("csv", "parquet"), ("parquet", "csv")):
        files = f"{data}.{one}", f"{asked}.{other}"
        assert main(["trace", *files, "--label", "y", "--json", "--top", "1"]) == 0
        assert len(json.loads(capsys.readouterr().out)) == 60


@pytest.mark.parametrize("shape", [(60, 2), (60, 1, 4, 4)])
def test_unlabelled_arrays_are_traced(folder, capsys, shape):
    X = np.random.default_rng(0).normal(size=shape)
    y = (X.reshape(60, -1)[:, 0] > 0).astype(int)
    np.savez("train.npz", X=X, y=y)
    np.savez("asked.npz", X=X[:3])
    files = ["train.npz", "asked.npz", "--label", "y"]
    assert main(["trace", *files, "--json", "--top", "1"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 3


def test_a_trace_names_rows_of_both_files_and_warns_of_a_useless_model(folder, capsys):
    data = messy()
    data.to_csv("m.csv", index=False)
    data[3:5].to_csv("asked.csv", index=False)
    command = ["trace", "m.csv", "asked.csv", *BY_SPECIES, "--top", "1"]
    assert main(command) == 0
    told = capsys.readouterr()
    assert "line 2 of asked.csv" in told.out and "next to nothing" not in told.err
    assert main([*command, "--id", "id"]) == 0
    assert f"{data['id'][3]}, line 2" in capsys.readouterr().out
    data["species"] = np.random.default_rng(0).permutation(data["species"])
    data.to_csv("m.csv", index=False)
    assert main([*command, "--features", "a", "--json"]) == 0
    told = capsys.readouterr()
    assert "Note: The model has learned next to nothing" in told.err
    assert len(json.loads(told.out)) == 2


def test_a_trace_of_labels_alone_is_refused(folder, capsys):
    write("alone.csv", "y\na\nb\na\nb\n")
    write("asked.csv", "x\n1\n")
    assert main(["trace", "alone.csv", "asked.csv", "--label", "y"]) == 2
    assert "No column of features is left in alone.csv" in capsys.readouterr().err


def test_a_row_of_numbers_and_a_label_is_no_header(folder, capsys):
    lines = [f"{i % 5},{i % 3},{'cat' if i % 2 else 'dog'}" for i in range(40)]
    write("bare.csv", "\n".join(["0,1,cat", *lines]))
    assert "looks like a row of data" in refused(capsys, "bare.csv", "--label", "cat")


def test_large_numbers_are_shown_in_full(folder, capsys):
    rows = [f"{20 + i % 40},{100000 + i * 1234.5},{i % 2}" for i in range(60)]
    write("pay.csv", "\n".join(["age,pay,y", *rows]))
    assert scan("pay.csv", "--label", "y", "--set", "cutoff=0.5") == 0
    out = capsys.readouterr().out
    assert "pay 1" in out and "e+05" not in out


def test_marks_of_a_trace_become_a_file_without_these_rows(folder, capsys):
    pytest.importorskip("jinja2")
    data = messy()
    data.to_csv("m.csv", index=False)
    data[:2].to_csv("asked.csv", index=False)
    command = ["trace", "m.csv", "asked.csv", *BY_SPECIES, "--top", "2"]
    assert main([*command, "--report", "why.html", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    page = Path("why.html").read_text()
    assert "Example line 2 of asked.csv" in page and "--drop" in page
    rows = [each["row"] for each in found]
    assert found[0]["index"] == rows[0] + 2  # its line
    assert found[0]["example_index"] == "line 2 of asked.csv"
    marked = f"{rows[0] + 2},{rows[1] + 2}"  # by line
    assert main([*command, "--drop", marked, "--out", "left.csv"]) == 0
    assert f"all rows but line {min(rows[:2]) + 2}, line" in capsys.readouterr().err
    lines = Path("m.csv").read_text().splitlines()
    left = [line for i, line in enumerate(lines) if i - 1 not in rows[:2]]
    assert Path("left.csv").read_text().splitlines() == left
    other = next(row for row in range(len(data)) if row not in rows)
    for wrong in (f"{other + 2}", "3;4", "1.5"):
        capsys.readouterr()
        assert main([*command, "--drop", wrong, "--out", "no.csv"]) == 2
        assert "is no line that this trace ranks" in capsys.readouterr().err
        assert not Path("no.csv").exists()
    assert main([*command, "--drop", "1"]) == 2
    by_id = [*command, "--id", "id", "--out", "by_id.csv"]
    assert main([*by_id, "--drop", ",".join(data["id"][rows[:2]])]) == 0
    assert Path("by_id.csv").read_bytes() == Path("left.csv").read_bytes()
    data["id"] = [f"A[{i}]" for i in range(len(data))]
    data.to_csv("m.csv", index=False)
    marked = ",".join(data["id"][rows[:2]])
    assert main([*by_id, "--force", "--drop", marked]) == 0
    assert len(Path("by_id.csv").read_text().splitlines()) == len(left)


def test_copies_and_nested_values_are_told_as_they_are(folder, capsys):
    rows = [{"a": i % 7, "b": i * 0.5, "y": "uv"[i % 2]} for i in range(20)]
    rows += [rows[3], rows[4] | {"y": "v"}]
    write("d.jsonl", "\n".join(json.dumps(row | {"t": [1, 2.5]}) for row in rows))
    options = ["--label", "y", "--show", "t", "--features", "a,b", "--mask", "mask.csv"]
    assert scan("d.jsonl", *options, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    told = [note for note in found["notes"] if "rows equal another" in note]
    assert (
        told[0].startswith("2 ") and "different labels, such as line 5 and" in told[0]
    )
    assert told[1].startswith("2 ") and "same label, such as line 4 and" in told[1]
    assert set(mask_of()["t"]) == {"[1, 2.5]"}


def test_the_separator_that_excel_writes_above_the_header(folder):
    X, y = poisoned_iris()
    frame = pd.DataFrame(X).add_prefix("x").assign(species=SPECIES[y])
    frame.to_csv("plain.csv", index=False)
    text = "sep=;\n" + frame.to_csv(index=False, sep=";")
    write("excel.csv", text)
    assert scan("plain.csv", *BY_SPECIES, "--out", "kept_plain.csv") == 0
    assert scan("excel.csv", *BY_SPECIES, "--out", "kept.csv") == 0
    kept = Path("kept.csv").read_text().splitlines()
    assert kept[0] == "sep=;"
    assert [line.replace(";", ",") for line in kept[1:]] == (
        Path("kept_plain.csv").read_text().splitlines()
    )


def test_rows_that_decisions_leave_open_fail_a_script(folder, capsys):
    pytest.importorskip("jinja2")
    X, y = poisoned_iris()
    frame = pd.DataFrame(X).add_prefix("x").assign(species=SPECIES[y])
    frame.to_csv("d.csv", index=False)
    command = ["d.csv", *BY_SPECIES, "--fail-on-isolated"]
    assert scan(*command, "--mask", "mask.csv", "--report", "page.html") == 1
    fit = re.search(r'"fit":"([^"]+)"', Path("page.html").read_text())[1]
    dropped = np.flatnonzero(~mask_of()["kept"]).tolist()
    lines = [f"{row},drop,{fit}" for row in dropped]
    write("all.csv", "\n".join(["row,decision,fit", *lines]))
    write("some.csv", "\n".join(["row,decision,fit", *lines[:-1]]))
    assert scan(*command, "--decisions", "all.csv") == 0
    assert scan(*command, "--decisions", "some.csv") == 1


def test_codes_and_times_elsewhere_are_called_so(folder, capsys):
    rows = np.arange(40)
    frame = pd.DataFrame({"code": [f"{i % 9:04}" for i in rows], "x": rows % 11})
    frame["at"] = [f"2024-01-{1 + i % 28:02}T10:00:00+02:00" for i in rows]
    frame.assign(y=np.where(rows % 3, "u", "v")).to_csv("d.csv", index=False)
    assert scan("d.csv", "--label", "y", "--json") == 0
    read = json.loads(capsys.readouterr().out)["columns"]
    assert "or a code?" in read["code"] and read["at"] == "date, ISO, shown in UTC"
    frame["price"] = frame["cost"] = [f"{i},5" for i in rows]
    frame.assign(y=np.where(rows % 3, "u", "v")).to_csv("d.csv", index=False)
    message = refused(capsys, "d.csv", "--label", "y")
    assert message.count("--decimal ,") == 1 and "; alike: 'cost'" in message
