"""What a scan makes of texts, and what it asks about."""

import json

import numpy as np
import pandas as pd
import pytest
from cli_runs import SPECIES, mask_of, poisoned_iris, refused, scan, write

from epic_sklearn.cli import main
from epic_sklearn.reading.columns import text_column
from epic_sklearn.reading.errors import Unusable
from epic_sklearn.reading.values import Reading

N = 120


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def column(values, **how):
    return text_column("a", pd.Series(values, dtype=object), Reading(**how))


def days(written, n=N):
    first = np.datetime64("2019-02-01") + 31 * np.arange(n)
    return pd.to_datetime(first).strftime(written).tolist()


def two_classes(**columns):
    rows = np.arange(N)
    frame = pd.DataFrame({"x": rows % 13, **columns})
    return frame.assign(y=np.where(rows % 3, "u", "v"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([*days("%Y-%m-%d"), "unbekannt"], "holds dates, and 'unbekannt'"),
        ([*map(str, range(110)), *(f"c{i}" for i in range(10))], "'c4' and 5 more"),
        ([f"<0.{i}" for i in range(10, 60)] + ["1.5"] * 9, "written as text, such as"),
        ([f"{i}.5-" for i in range(50)] + ["7"], "written as text, such as '0.5-'"),
        ([f"${i}.47" for i in range(50)] + ["n/k"], r"such as '\$0.47', and 'n/k':"),
        ([f"{i}.47kg" for i in range(50)], "written as text, such as '0.47kg'"),
        ([f"{i},5 EUR" for i in range(50)], "written as text, such as '0,5 EUR'"),
        ([f"({i})" for i in range(50)], r"written as text, such as '\(0\)'"),
        ([f"\u2212{i}" for i in range(50)] + ["7"], "written as text"),
        (["850", "920", "1.234", "2.105"], "--thousands . if it marks thousands"),
        (["2024-01-01T08:00", "2024-01-02T08:00+02:00"], "with a zone.*and without"),
        (["01/02/2024 08:30 AM", "03/04/2024 09:10 PM"], "%p"),
        (["1", "2", *"3456789", "?", "gone"], "--missing '[?]' --missing gone"),
    ],
)
def test_what_can_be_meant_in_several_ways_is_asked(values, message):
    with pytest.raises(Unusable, match=message):
        column(values)


def test_few_numbers_and_texts_are_a_category():
    assert column(["0", "1", "2", "3+"] * 9).what == "category, 4 different"
    assert column(["5kg", "10kg", "20kg"] * 9).what == "category, 3 different"
    mixed = [f"{i}{'abc'[i % 3]}" for i in range(50)]  # no unit
    assert column(mixed).what.startswith("left out: an id")


def test_the_answers_are_taken():
    thousands = column(["850", "1.234", "2.105"], thousands=".")
    assert thousands.values.tolist() == [850, 1234, 2105]
    decimals = column(["850", "1.234", "2.105"], decimal=".")
    assert decimals.values.tolist() == [850, 1.234, 2.105]
    noon = column(["01/02/2024 08:30 AM"], date_format="%d/%m/%Y %I:%M %p")
    assert noon.values[0] == np.datetime64("2024-02-01T08:30")
    gone = column([*days("%Y-%m-%d"), "unbekannt"], missing=("unbekannt",))
    assert gone.what == "date, ISO, 1 missing"
    for codes in (["1E05", "2E10"], ["00714", "1"], ["20210419", "20211231"]):
        assert "a code?" in column(codes).what


@pytest.mark.parametrize("written", ["%d-%b-%Y", "%d %B %Y", "%b %d, %Y", "%d %b %Y"])
def test_months_may_be_names(written):
    found = column(days(written))
    assert found.what == f"date, {written}"
    assert found.values[0] == np.datetime64("2019-02-01")


def test_a_format_that_is_given_decides_on_plain_digits():
    dates = column(["20210419", "20211231"], date_format="%Y%m%d")
    assert dates.values[0] == np.datetime64("2021-04-19")
    codes = column(["20210419", "97802014"], date_format="%Y%m%d")
    assert codes.what.startswith("number, or a code?")


def test_a_format_that_fits_nothing_is_reported(capsys):
    two_classes().to_csv("plain.csv", index=False)
    scan("plain.csv", "--label", "y", "--date-format", "%d/%m/%Y")
    assert "--date-format %d/%m/%Y fits no column" in capsys.readouterr().err


@pytest.mark.parametrize("names", [[2019, 2020, 2021], range(400, 500, 20)])
def test_years_and_wavelengths_are_names(names):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(N, len(names))), columns=list(names))
    frame.assign(y=two_classes()["y"]).to_csv("wide.csv", index=False)
    assert scan("wide.csv", "--label", "y", "--mask", "mask.csv") == 0
    assert len(mask_of()) == N


def test_a_row_of_numbers_is_no_header(capsys):
    write("bare.csv", "".join(f"{i},{i + 2},{'uv'[i % 2]}\n" for i in range(150, 270)))
    assert "looks like a row of data" in refused(capsys, "bare.csv", "--label", "u")


def test_years_may_come_first_with_two_digits():
    with pytest.raises(Unusable, match=r"%d-%m-%y or --date-format %y-%m-%d"):
        column(["21-06-25", "19-02-19"])
    assert column(["21-06-45", "19-02-19"]).what == "date, %d-%m-%y"
    assert column(["45-06-21", "19-02-19"]).what == "date, %y-%m-%d"


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_numbers_of_any_file_may_be_gaps_or_text(capsys, suffix):
    rows = np.arange(N)
    frame = two_classes(ward=rows % 4 + 100, lab=np.where(rows % 5, rows * 0.5, -999.0))
    frame["wide"] = np.array([850.0, 1.234, 2.105])[rows % 3]  # of numbers: no question
    frame["is_old"] = rows % 2 == 0
    if suffix == "csv":
        frame = frame.drop(columns="wide")
    if suffix == "csv":
        frame.to_csv("d.csv", index=False)
    else:
        pytest.importorskip("pyarrow")
        frame.to_parquet("d.parquet")
    options = ["--label", "y", "--text", "ward", "--missing", "-999", "--json"]
    assert scan(f"d.{suffix}", *options, "--missing", "quatsch") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["columns"]["ward"] == "category, 4 different"
    assert found["columns"]["lab"] == "number, 24 missing"
    assert found["columns"]["is_old"] == "category, 2 different"
    if suffix == "parquet":
        assert found["columns"]["wide"] == "number"
    assert "--missing quatsch occurs in no column of the model." in found["notes"]
    assert not any("--text" in note for note in found["notes"])
    assert scan(f"d.{suffix}", *options, "--exclude", "ward") == 0
    note = "--text 'ward' names no column of the model."
    assert note in json.loads(capsys.readouterr().out)["notes"]


def test_the_index_of_a_parquet_file_may_name_its_rows(capsys):
    pytest.importorskip("pyarrow")
    frame = two_classes().set_index(pd.Index([f"p{i}" for i in range(N)], name="pid"))
    frame.to_parquet("d.parquet")
    assert scan("d.parquet", "--label", "y", "--id", "pid", "--mask", "mask.csv") == 0
    assert mask_of()["pid"].tolist() == frame.index.tolist()
    what = "left out: the index (--id or --features)"
    assert json_columns(capsys, "d.parquet")["pid"] == what


def json_columns(capsys, path):
    capsys.readouterr()
    assert scan(path, "--label", "y", "--json") == 0
    return json.loads(capsys.readouterr().out)["columns"]


def test_a_quote_that_swallows_rows_is_refused(capsys):
    lines = [f"{i % 7};{'uv'[i % 2]};fine" for i in range(60)]
    lines[20], lines[44] = '3;u;"unclear', '3;u;see above"'
    write("stray.csv", "\n".join(["a;y;note", *lines]))
    message = refused(capsys, "stray.csv", "--separator", ";", "--label", "y")
    assert "line 22: the field 'note' goes on for 25 lines" in message


@pytest.mark.parametrize(
    "text",
    [
        '3;u;"two\nlines; so"',
        '3;u;"Dear all;\nno; really; no.\nBye"',  # an inner line of three fields
        '3;u;"no line before\nis; for; one\n3;u;that ends so"',
    ],
)
def test_texts_of_several_lines_are_no_rows(text):
    lines = [f"{i % 7};{'uv'[i % 2]};fine" for i in range(60)]
    write("notes.csv", "\n".join(["a;y;note", *lines, text]))
    assert scan("notes.csv", "--separator", ";", "--label", "y") == 0


def test_ids_that_repeat_are_told_apart(capsys):
    X, y = poisoned_iris()
    frame = pd.DataFrame(X).add_prefix("x").assign(species=SPECIES[y])
    frame["pid"] = ["", "", *(f"p{i // 2}" for i in range(148))]
    frame.to_csv("d.csv", index=False)
    options = ["--label", "species", "--id", "pid"]
    assert scan("d.csv", *options, "--rule", "RandomDrop", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (
        "75 rows repeat the --id of another; the line stands behind." in found["notes"]
    )
    for row, at in zip(found["suspicious"], found["suspicious_at"], strict=True):
        name = frame["pid"][row]
        assert at == f"{name}, line {row + 2}".removeprefix(", ")


def test_examples_without_labels_of_arrays_in_a_column(capsys):
    rows = np.arange(N)
    X, y = np.column_stack([rows % 13, rows % 3]) * 1.0, (rows % 3 > 0)[:, None]
    np.savez("d.npz", X=X, y=y.astype(int))
    np.savez("asked.npz", X=X[:2])
    assert main(["trace", "d.npz", "asked.npz", "--label", "y", "--top", "1"]) == 0
    np.savez("asked.npz", Z=X[:2])
    assert main(["trace", "d.npz", "asked.npz", "--label", "y", "--top", "1"]) == 2
    assert "no array of the examples 'X'" in capsys.readouterr().err


def test_examples_need_only_what_the_model_uses(capsys):
    frame = two_classes(sex=np.array(["m", "w"])[np.arange(N) % 2])
    frame["pid"] = [f"p{i}" for i in range(N)]
    frame.to_csv("d.csv")  # with an index
    command = ["trace", "d.csv", "asked.csv", "--label", "y", "--top", "1"]
    frame[["sex", "x"]][:2].to_csv("asked.csv", index=False)
    assert main(command) == 0
    assert "left out: an id" in capsys.readouterr().out  # as a scan says it
    frame[["x", "pid"]][:2].to_csv("asked.csv", index=False)
    assert main(command) == 2
    message = capsys.readouterr().err
    assert "no column of the examples 'sex'" in message and "--exclude sex" in message
    frame[["sex", "x"]][:2].to_csv("asked.csv", index=False, sep=";")
    assert main(command) == 2
    assert "is that the --separator?" in capsys.readouterr().err
    frame[["sex", "x"]][:2].assign(sex=["m", "W"]).to_csv("asked.csv", index=False)
    assert main(command) == 0
    told = capsys.readouterr().err
    assert "line 3 of asked.csv has 'W' in 'sex', which no row of the data has" in told


def test_what_a_second_walk_met():
    with pytest.raises(Unusable, match="fifty years apart"):
        column(["01.01.85", "31.02.41".replace("31.02", "28.02"), "31.12.93"])
    assert column(["01.01.85", "31.12.93"]).what == "date, %d.%m.%y"
    with pytest.raises(Unusable, match="hours before %p are %I"):
        column(["01/02/2024 08:30 AM"], date_format="%d/%m/%Y %H:%M %p")
    iso = column(["2024-01-01", "2024-12-12"], date_format="%d/%m/%Y")
    assert iso.what == "date, ISO"
    with pytest.raises(Unusable, match="written as text"):
        column(["0.547", "1.355"], decimal=",", thousands=".")
    said = column(["None", "Mild", "Severe"] * 9, as_text=("a",))
    assert said.what == "category, 3 different"
