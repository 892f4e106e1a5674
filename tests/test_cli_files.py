"""What a file says is what is read: numbers, names, indexes, which rows are cut."""

import json
import unicodedata
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from cli_runs import NAMES, SPECIES, mask_of, poisoned_iris, refused, scan, write
from sklearn.linear_model import LogisticRegression

from epic_sklearn.reading.values import as_numbers

BY_SPECIES = ("--label", "species")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def iris():
    X, y = poisoned_iris()
    return pd.DataFrame(X, columns=NAMES).assign(species=SPECIES[y])


def kept(*arguments):
    """Which rows a scan keeps."""
    assert scan(*arguments, "--mask", "mask.csv", "--force") == 0
    return mask_of()["kept"].tolist()


def probabilities():
    X, y = poisoned_iris()
    return LogisticRegression(max_iter=1000).fit(X, y).predict_proba(X), y


# Probabilities from elsewhere state or prove their order


def test_an_index_of_probabilities_is_no_column(folder, capsys):
    iris().to_csv("d.csv", index=False)
    p, _ = probabilities()
    frame = pd.DataFrame(p, columns=SPECIES)
    np.save("bare.npy", p)
    frame.to_csv("plain.csv", index=False)
    frame.to_csv("index.csv")  # pandas' default
    frame.to_csv("index.tsv", sep="\t")
    frame.set_index(np.arange(150) + 1).to_parquet("index.parquet", index=True)
    by_file = [
        kept("d.csv", *BY_SPECIES, "--probabilities", name)
        for name in ("bare.npy", "plain.csv", "index.csv", "index.tsv", "index.parquet")
    ]
    assert all(each == by_file[0] for each in by_file)
    mixed = frame.sample(frac=1, random_state=0)
    mixed.to_csv("mixed.csv")
    mixed.to_parquet("mixed.parquet")
    frame[::-1].to_parquet("turned.parquet")
    for name in ("mixed.csv", "mixed.parquet", "turned.parquet"):
        message = refused(capsys, "d.csv", *BY_SPECIES, "--probabilities", name)
        assert "has an index, and it does not count the rows" in message, name


def test_probabilities_in_another_order_are_refused(folder, capsys):
    iris().to_csv("d.csv", index=False)
    p, _ = probabilities()
    np.save("p.npy", p[:, [1, 2, 0]])
    message = refused(capsys, "d.csv", *BY_SPECIES, "--probabilities", "p.npy")
    assert "better in the order ['versicolor', 'virginica', 'setosa']" in message


def test_a_header_has_to_name_the_classes(folder, capsys):
    frame = iris().assign(species=poisoned_iris()[1] + 1)
    frame.to_csv("d.csv", index=False)
    p, _ = probabilities()
    np.save("bare.npy", p)
    pd.DataFrame(p, columns=[1, 2, 3]).to_csv("named.csv", index=False)
    options = ["d.csv", *BY_SPECIES, "--probabilities"]
    assert kept(*options, "bare.npy") == kept(*options, "named.csv")
    np.savetxt("bare.csv", p, delimiter=",")
    message = refused(capsys, *options, "bare.csv")
    assert "of shape (149, 3)" in message and "names the classes" in message
    np.savetxt("more.csv", np.vstack([p[:1], p]), delimiter=",")
    message = refused(capsys, *options, "more.csv")
    assert "3 columns named" in message and "Name the columns by class" in message


def test_data_without_a_header_are_refused(folder, capsys):
    iris().to_csv("bare.csv", index=False, header=False)
    message = refused(capsys, "bare.csv", "--label", "setosa")
    assert "looks like a row of data: 6.3, 3.3, 6.0, 2.5, setosa" in message
    X, y = poisoned_iris()
    pd.DataFrame(np.column_stack([X, y])).to_csv("counted.csv", index=False)
    assert scan("counted.csv", "--label", "4") == 0  # pandas numbers nameless columns


# Arrays are cut where they were declared


def test_test_arrays_are_never_cut(folder, capsys):
    X, y = poisoned_iris()
    arrays = {"X": X[::2], "y": y[::2], "X_test": X[1::2], "y_test": y[1::2]}
    np.savez("d.npz", **arrays, ids=np.arange(75))
    options = ["d.npz", "--label", "y", "--features", "X", "--mask", "m.csv"]
    assert scan(*options, "--out", "kept.npz", "--show", "ids") == 0
    assert "--out writes 'X_test', 'y_test' whole" in capsys.readouterr().err
    keep = mask_of("m.csv")["kept"].to_numpy()
    assert not keep.all()
    with np.load("kept.npz") as found:
        for name in ("X", "y"):
            np.testing.assert_array_equal(found[name], arrays[name][keep])
        np.testing.assert_array_equal(found["ids"], np.flatnonzero(keep))
        for name in ("X_test", "y_test"):
            np.testing.assert_array_equal(found[name], arrays[name])


def test_with_a_model_elsewhere_what_to_cut_is_asked_for(folder, capsys):
    X, y = poisoned_iris()
    np.save("p.npy", probabilities()[0])
    np.savez("two.npz", X=X, y=y)
    options = ["--label", "y", "--probabilities", "p.npy", "--out", "kept.npz"]
    assert scan("two.npz", *options) == 0
    with np.load("kept.npz") as found:
        assert len(found["X"]) == len(found["y"]) < 150
    np.savez("three.npz", X=X, y=y, X_test=X)
    message = refused(capsys, "three.npz", *options, "--force")
    assert "for instance with --features X" in message
    assert scan("three.npz", *options, "--force", "--features", "X") == 0
    with np.load("kept.npz") as found:
        assert len(found["X"]) < len(found["X_test"]) == 150


# Numbers are read right, or refused by name


def test_decimal_commas(folder, capsys):
    iris().to_csv("en.csv", index=False)
    iris().to_csv("de.csv", index=False, sep=";", decimal=",")
    german = ["de.csv", *BY_SPECIES, "--separator", ";"]
    message = refused(capsys, *german)
    assert "4 columns cannot be used" in message and "'petal width (cm)'" in message
    assert "give --decimal ," in message
    expected = kept("en.csv", *BY_SPECIES, "--set", "cutoff=1.5")
    assert not all(expected)
    found = kept(*german, "--decimal", ",", "--set", "cutoff=1.5")
    assert found == expected
    write("mixed.csv", "a;b;y\n" + "1,5;1.500;u\n2,5;2.500;v\n" * 6)
    message = refused(
        capsys, "mixed.csv", "--label", "y", "--separator", ";", "--decimal", ","
    )
    assert "Column 'b' holds numbers" in message and "--thousands ." in message


def test_decimal_commas_in_quotes(folder):
    frame = iris()
    frame.to_csv("en.csv", index=False)
    texts = frame.map(str).map(lambda text: text.replace(".", ","))
    texts.to_csv("quoted.csv", index=False)
    found = kept("quoted.csv", *BY_SPECIES, "--decimal", ",")
    assert found == kept("en.csv", *BY_SPECIES)


@pytest.mark.parametrize(
    "values",
    [
        ("1,5", "2,25"),
        ("1.234,5", "2.000,0"),
        ("1,234.5", "12"),
        ("12 %", "7 %"),
        ("€ 5", "€ 6"),
        ("12:30", "13:00:05"),
        ("1 234", "5 678"),
    ],
)
def test_numbers_and_times_written_as_text_are_named(folder, capsys, values):
    frame = pd.DataFrame({"good": np.arange(12) % 5, "bad": values * 6})
    frame.assign(y=["u", "v"] * 6).to_csv("d.csv", index=False)
    message = refused(capsys, "d.csv", "--label", "y")
    assert "Column 'bad' holds numbers or times that are written as text" in message


@pytest.mark.parametrize("values", [("18-25", "26-40"), ("a1", "2"), ("1/2", "x")])
def test_texts_with_digits_are_texts(folder, values):
    frame = pd.DataFrame({"good": np.arange(12) % 5, "text": values * 6})
    frame.assign(y=["u", "v"] * 6).to_csv("d.csv", index=False)
    assert scan("d.csv", "--label", "y") == 0


BASE = 1_700_000_000_000_000_000
DAYS = BASE + np.arange(150) % 7 * 86_400_000_000_000


@pytest.mark.parametrize("suffix", ["csv", "parquet", "npz"])
def test_large_whole_numbers(folder, capsys, suffix):
    path = f"d.{suffix}"
    for column, is_held in ((DAYS, True), (BASE + np.arange(150) % 7, False)):
        frame = iris().assign(t=column)
        if suffix == "npz":
            np.savez(path, t=frame["t"], species=frame["species"].to_numpy(str))
        else:
            frame = frame[["t", "species"]]
            frame.to_csv(path) if suffix == "csv" else frame.to_parquet(path)
        if is_held:
            assert scan(path, *BY_SPECIES) == 0
        else:
            message = refused(capsys, path, *BY_SPECIES)
            assert "'t' holds whole numbers beyond 2**53" in message


def test_numbers_of_any_length():
    assert as_numbers([str(BASE)]).tolist() == [float(BASE)]
    for text in (str(BASE + 1), "9" * 400, "9" * 5000):
        assert np.isnan(as_numbers([text])).all()


def test_decimals_in_parquet_are_numbers(folder, capsys):
    frame = iris().rename(columns={NAMES[0]: "a"})
    frame.to_parquet("float.parquet")
    assert scan("float.parquet", *BY_SPECIES, "--json") == 0
    frame["a"] = [Decimal(str(value)) for value in frame["a"].round(1)]
    frame["species"] = [Decimal(int(code)) for code in poisoned_iris()[1]]
    frame.to_parquet("decimal.parquet")
    assert scan("decimal.parquet", *BY_SPECIES, "--json") == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["rho"] == pytest.approx(second["rho"])
    assert [each["label"] for each in second["classes"]] == [0, 1, 2]
    frame["a"] = Decimal(BASE + 1)
    frame.to_parquet("decimal.parquet")
    message = refused(capsys, "decimal.parquet", *BY_SPECIES)
    assert "'a' holds whole numbers beyond 2**53" in message


def test_numbers_and_dates_may_be_classes(folder, capsys):
    days = pd.to_datetime("2020-01-01") + pd.to_timedelta(poisoned_iris()[1], "D")
    iris().assign(species=days).to_parquet("days.parquet")
    assert scan("days.parquet", *BY_SPECIES, "--json") == 0
    iris().assign(species=poisoned_iris()[1] + 0.5).to_parquet("half.parquet")
    assert scan("half.parquet", *BY_SPECIES, "--json") == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["classes"][1]["label"].startswith("2020-01-02 00:00:00")
    assert [each["label"] for each in second["classes"]] == ["0.5", "1.5", "2.5"]
    assert first["isolated"] == second["isolated"]


def test_a_long_text_is_read(folder):
    rows = [f"{i % 5},{'uv'[i % 2]},{'x' * 200_000 * (i == 3)} note" for i in range(20)]
    write("long.csv", "\n".join(["a,y,note", *rows]))
    assert scan("long.csv", "--label", "y") == 0


# One class written in several ways


@pytest.mark.parametrize(
    ("name", "other", "shown"),
    [
        ("setosa", "setosa ", "'setosa' (25 rows), 'setosa ' (25 rows)"),
        ("setosa", "Setosa", "'Setosa' (25 rows), 'setosa' (25 rows)"),
        ("iris setosa", "iris\u00a0 setosa", "'iris setosa' (25 rows)"),
        ("setosa", "set\u200bosa", "'setosa' (25 rows)"),
        ("café", unicodedata.normalize("NFD", "café"), r"'cafe\u0301' (25 rows)"),
    ],
)
def test_near_equal_spellings_are_named(folder, capsys, name, other, shown):
    frame = iris()
    frame.loc[:49, "species"] = [name, other] * 25
    frame.to_csv("d.csv", index=False)
    assert scan("d.csv", *BY_SPECIES, "--json") == 0
    (warning,) = json.loads(capsys.readouterr().out)["warnings"]
    assert shown in warning and "versicolor" not in warning


# Arrow's view types


def test_view_types_of_arrow(folder):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    if not hasattr(arrow, "string_view"):
        pytest.skip("this version of pyarrow has no view types")
    colours = ["red", "blue", "green"] * 50
    table = arrow.Table.from_pandas(iris().assign(colour=colours))
    for name in ("colour", "species"):
        place = table.column_names.index(name)
        view = table[name].cast(arrow.string()).cast(arrow.string_view())
        table = table.set_column(place, name, view)
    extra = arrow.array([b"x"] * 150).cast(arrow.binary_view())
    table = table.append_column("extra", extra)
    parquet.write_table(table, "view.parquet")
    iris().assign(colour=colours).to_csv("d.csv", index=False)
    expected = kept("d.csv", *BY_SPECIES)
    options = [*BY_SPECIES, "--exclude", "extra", "--out", "kept.parquet"]
    assert kept("view.parquet", *options) == expected
    found = parquet.read_table("kept.parquet")
    assert found.schema.equals(parquet.read_schema("view.parquet"))
    assert found["species"].to_pylist() == iris()["species"][expected].tolist()


def test_a_table_is_read_alike_from_every_format(folder, capsys):
    frame = iris()
    frame["flag"] = frame[NAMES[0]] > 5.8
    pytest.importorskip("pyarrow")
    frame.to_csv("t.csv", index=False)
    frame.to_json("t.jsonl", orient="records", lines=True)
    frame.to_parquet("t.parquet")
    found = []
    for suffix in ("csv", "jsonl", "parquet"):
        assert scan(f"t.{suffix}", *BY_SPECIES, "--json") == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[0]["columns"]["flag"] == "category, 2 different"
    for name in ("columns", "isolated", "suspicious"):
        assert found[0][name] == found[1][name] == found[2][name]


def test_a_name_that_comes_twice_in_a_line_of_json_is_refused(folder, capsys):
    line = '{"a": 1.5, "b": 2, "a": 99, "y": 0}\n'
    (folder / "t.jsonl").write_text(line * 30)
    assert scan("t.jsonl", "--label", "y") == 2
    assert "line 1: the name 'a' comes twice" in capsys.readouterr().err
