"""Files that were misread or could not be used, and the options that read them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cli_runs import mask_of, refused, scan, write

from epic_sklearn.reading.columns import text_column
from epic_sklearn.reading.errors import Unusable
from epic_sklearn.reading.values import Reading

N = 60
RNG = np.random.default_rng(0)
TABLE = pd.DataFrame({"a": RNG.normal(size=N).round(3), "b": RNG.normal(size=N)})
MONTHS = "Jan", "May", "Jul"
TABLE["y"] = np.where(TABLE["a"] > 0, "u", "v")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def kept(*arguments):
    assert scan(*arguments, "--mask", "mask.csv", "--force") == 0
    return mask_of()["kept"].tolist()


def read(path):
    return Path(path).read_text(encoding="utf-8")


def columns_of(capsys, *arguments):
    capsys.readouterr()
    assert scan(*arguments, "--label", "y", "--json") == 0
    return json.loads(capsys.readouterr().out)["columns"]


def test_numbers_of_json_mean_what_they_say(capsys):
    texts = TABLE["a"].map(lambda v: f"{v:.1f}".replace(".", ","))
    TABLE.assign(s=texts).to_json("d.jsonl", orient="records", lines=True)
    options = ["--decimal", ",", "--thousands", "."]
    found = columns_of(capsys, "d.jsonl", *options)
    assert found["a"] == found["s"] == "number"
    TABLE.to_csv("plain.csv", index=False)
    assert kept("plain.csv", "--label", "y") == kept(
        "d.jsonl", "--label", "y", "--exclude", "s", *options
    )


def test_a_column_may_be_plain_where_others_are_not(capsys):
    texts = TABLE["a"].map(lambda v: f"{v:.1f}".replace(".", ","))
    TABLE.assign(s=texts).to_csv("d.csv", index=False, sep=";")
    given = ["d.csv", "--label", "y", "--separator", ";"]
    assert "give --decimal ," in refused(capsys, *given)
    message = refused(capsys, *given, "--decimal", ",")
    assert "give --decimal . (--plain for this column alone)" in message
    assert scan(*given, "--decimal", ",", "--plain", "a,b") == 0


def test_what_a_mark_of_thousands_does_is_shown():
    how = Reading(decimal=",", thousands=".")
    column = text_column("a", pd.Series(["12", "1.234", "2.105"]), how)
    assert column.what == "number, 1.234 is 1234"


@pytest.mark.parametrize("value", [[1.0, 2.0], {"p": 1}])
def test_lists_and_objects_are_refused_but_as_text(capsys, value):
    records = TABLE.assign(e=[value] * N).to_dict("records")
    write("d.jsonl", "".join(json.dumps(record) + "\n" for record in records))
    message = refused(capsys, "d.jsonl", "--label", "y")
    assert "'e' holds lists or objects: give a column for each" in message
    assert scan("d.jsonl", "--label", "y", "--text", "e") == 0
    assert scan("d.jsonl", "--label", "y", "--exclude", "e") == 0


def test_rows_that_nobody_marked_are_told(capsys):
    assert scan(*write_three(), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    rows = np.flatnonzero(~np.array(kept(*write_three())))
    assert found["isolated"] == len(rows) > 1
    assert not any("not marked" in note for note in found["notes"])
    assert scan(*write_three(), "--report", "p.html") == 0
    text = f"row,decision,fit\n{rows[0]},keep,{fit_of('p.html')}\n"
    write("decisions.csv", text)
    capsys.readouterr()
    assert scan(*write_three(), "--decisions", "decisions.csv", "--json") == 0
    (note,) = [n for n in json.loads(capsys.readouterr().out)["notes"] if "marked" in n]
    assert note.startswith(f"1 rows are decided; {len(rows) - 1} others")


def write_three():
    TABLE.to_csv("three.csv", index=False)
    return ["three.csv", "--label", "y", "--set", "cutoff=1.2"]


def fit_of(path):
    text = read(path)
    start = text.index('"fit"')
    return text[start:].split('"')[3]


def test_long_texts_are_compared_on_the_page_and_here(capsys):
    good, bad = "fine and warm and dry, day after day, week after week, as ever", "not"
    texts = [f"{good} {i % 7}" if i % 2 else f"{bad} {good}" for i in range(N)]
    frame = pd.DataFrame({"t": texts, "y": ["u" if i % 2 else "v" for i in range(N)]})
    frame.loc[1, "t"], frame.loc[0, "t"] = frame.loc[0, "t"], frame.loc[1, "t"]
    frame.to_csv("d.csv", index=False)
    how = ["--rule", "HighLoss", "--report", "p.html", "--text", "t"]
    assert scan("d.csv", "--label", "y", *how) == 0
    assert f"{bad} {good}"[:20] in capsys.readouterr().out
    assert '"hasTexts":true' in read("p.html").replace(" ", "")


def test_yes_is_true_is_1(capsys):
    frame = TABLE.assign(y=np.where(np.arange(N) % 3, TABLE["a"] > 0, 1))
    frame["y"] = frame["y"].astype(int).map({0: "no", 1: "1"})
    frame.loc[::5, "y"] = frame["y"].map({"no": "False", "1": "yes"})
    frame.to_csv("d.csv", index=False)
    assert scan("d.csv", "--label", "y", "--json") == 0
    warnings = json.loads(capsys.readouterr().out)["warnings"]
    assert any("'1' (" in text and "'yes' (" in text for text in warnings)


def test_durations_are_seconds(capsys):
    pytest.importorskip("pyarrow")
    frame = TABLE.assign(t=pd.to_timedelta(np.arange(N) % 9, unit="min"))
    frame.to_parquet("d.parquet")
    assert columns_of(capsys, "d.parquet")["t"] == "number"


@pytest.mark.parametrize("written", ["May {} 2023", "May {}, 2023", "{}. May 2023"])
def test_more_dates_with_the_months_name(written):
    texts = pd.Series([written.format(day + 1) for day in range(28)])
    assert text_column("a", texts, Reading()).what.startswith("date, %")


def test_months_in_other_languages_are_asked_about():
    texts = pd.Series([f"{day + 1}. März 2023" for day in range(28)])
    with pytest.raises(Unusable, match="dates in no one format that is known"):
        text_column("a", texts, Reading())


@pytest.mark.parametrize("above", ["Report,,\nof,2024,\n", "Report\n\nof 2024\n"])
def test_the_header_may_stand_lower(capsys, above):
    text = above + TABLE.to_csv(index=False)
    write("d.csv", text)
    line = text[: text.index("a,b,y")].count("\n") + 1
    assert "give --header LINE" in refused(capsys, "d.csv", "--label", "y")
    how = ["--label", "y", "--header", str(line), "--set", "cutoff=1.2"]
    assert scan("d.csv", *how, "--mask", "mask.csv", "--out", "k.csv") == 0
    mask = mask_of()
    assert mask["line"].tolist() == list(range(line + 1, line + 1 + N))
    lines, kept_lines = text.splitlines(), read("k.csv").splitlines()
    expected = lines[:line] + [lines[n - 1] for n in mask["line"][mask["kept"]]]
    assert kept_lines == expected and not mask["kept"].all()


def test_a_blank_before_a_quote_is_none_of_the_field(capsys):
    rows = [f'"{a}", "{b}", "{y}"\n' for a, b, y in TABLE.itertuples(index=False)]
    write("d.csv", '"a", "b", "y"\n' + "".join(rows))
    TABLE.to_csv("plain.csv", index=False)
    assert kept("d.csv", "--label", "y") == kept("plain.csv", "--label", "y")


def test_an_open_quote_is_where_it_opens(capsys):
    lines = TABLE.to_csv(index=False).splitlines()
    lines[20] = lines[20].replace(",u", ',"u').replace(",v", ',"v')
    write("d.csv", "\n".join(lines))
    assert "line 21: unexpected end" in refused(capsys, "d.csv", "--label", "y")


def test_an_array_of_json_is_none_of_lines(capsys):
    TABLE.to_json("d.jsonl", orient="records")
    assert "a JSON array" in refused(capsys, "d.jsonl", "--label", "y")


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet", "npz"])
def test_rows_without_a_label_may_be_left_out(capsys, suffix):
    frame = TABLE.assign(y=TABLE["y"].mask(np.arange(N) % 7 == 3, ""))
    labelled = frame[frame["y"] != ""].reset_index(drop=True)
    for name, part in (("d", frame), ("l", labelled)):
        if suffix == "csv":
            part.to_csv(f"{name}.csv", index=False)
        elif suffix == "jsonl":
            part.to_json(f"{name}.jsonl", orient="records", lines=True)
        elif suffix == "parquet":
            pytest.importorskip("pyarrow")
            part.to_parquet(f"{name}.parquet")
        else:
            X, y = part[["a", "b"]].to_numpy(), part["y"].to_numpy(dtype=str)
            np.savez(f"{name}.npz", X=X, y=y)
    how = ["--label", "y", "--set", "cutoff=1.2"]
    assert "give --skip-unlabelled" in refused(capsys, f"d.{suffix}", *how)
    options = ["--mask", "mask.csv", "--out", f"k.{suffix}", "--json"]
    assert scan(f"d.{suffix}", *how, *options, "--skip-unlabelled") == 0
    found, mask = json.loads(capsys.readouterr().out), mask_of()
    assert f"{N - len(labelled)} rows without a label are left out." in found["notes"]
    assert kept(f"l.{suffix}", *how) == mask["kept"].tolist()
    assert (frame["y"][mask["row"]] == mask["label"].to_numpy()).all()
    assert set(found["suspicious"]) <= set(mask["row"])
    if suffix == "csv":
        lines, rows = read("d.csv").splitlines(), mask["row"][mask["kept"]]
        expected = [lines[0], *(lines[1 + row] for row in rows)]
        assert read("k.csv").splitlines() == expected
    elif suffix == "npz":
        rows = mask["row"][mask["kept"]]
        np.testing.assert_array_equal(
            np.load("k.npz")["X"], frame[["a", "b"]].loc[rows]
        )


def test_probabilities_are_of_all_rows(capsys):
    y = TABLE["y"].mask(np.arange(N) % 7 == 3, "")
    TABLE.assign(y=y).to_csv("d.csv", index=False)
    p = np.clip(0.5 + TABLE["a"].to_numpy(), 0.01, 0.99)
    np.save("p.npy", np.column_stack([p, 1 - p]))
    how = ["--label", "y", "--probabilities", "p.npy", "--skip-unlabelled"]
    assert scan("d.csv", *how, "--mask", "mask.csv") == 0
    assert len(mask_of()) == (y != "").sum()


@pytest.mark.parametrize(
    ("how", "what"),
    [
        (lambda i: f"{i % 28 + 1:02d}/{i % 12 + 1:02d}/2023 ", "date, %d/%m/%Y"),
        (lambda i: f" 2023-{i % 12 + 1:02d}-{i % 28 + 1:02d}", "date, ISO"),
        (lambda i: f"{i % 28 + 1:02d}-{MONTHS[i % 3]}-21", "date, %d-%b-%y"),
        (lambda i: f"{i % 12 + 1:02d}.{2015 + i % 9}", "number, or a code? --text"),
    ],
)  # fmt: skip
def test_dates_and_codes_as_databases_write_them(capsys, how, what):
    TABLE.assign(c=list(map(how, range(N)))).to_csv("d.csv", index=False)
    assert columns_of(capsys, "d.csv")["c"].startswith(what)


@pytest.mark.parametrize(
    "index",
    [
        pd.RangeIndex(5_000_000, 5_000_000 + N, name="patient"),
        pd.RangeIndex(100, 100 + 2 * N, 2),
        pd.RangeIndex(N),
    ],
)
def test_kept_rows_of_parquet_keep_their_index(index):
    pytest.importorskip("pyarrow", reason="pyarrow is missing")
    table = TABLE.set_axis(index, axis=0)
    table.to_parquet("d.parquet")
    how = ["--label", "y", "--set", "cutoff=1.5"]
    is_kept = kept("d.parquet", *how, "--out", "kept.parquet")
    expected = table[is_kept]
    assert not all(is_kept)
    if index[0] == 0:  # numbers of rows, which are new ones
        expected = expected.reset_index(drop=True)
    found = pd.read_parquet("kept.parquet")
    pd.testing.assert_frame_equal(found, expected, check_index_type=False)


def test_texts_of_few_words_are_no_column_that_outweighs_all(capsys):
    words = RNG.choice(["pain", "fall", "cough", "fever"], size=(N, 12))
    TABLE.assign(note=list(map(" ".join, words))).to_csv("d.csv", index=False)
    assert scan("d.csv", "--label", "y") == 0
    assert "times as much" not in capsys.readouterr().err
