"""What the command line refuses, before any work, and what it says."""

import os

import numpy as np
import pandas as pd
import pytest
from cli_runs import poisoned_iris, refused, scan, write, write_iris

from epic_sklearn import EPICFilter


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder that holds iris.csv only."""
    monkeypatch.chdir(tmp_path)
    write_iris()
    return tmp_path


ROWS = "".join(f"{i % 7},{i % 5},{'uv'[i % 2]}\n" for i in range(12))
BAD = {
    "empty.csv": ("", "is empty"),
    "header.csv": ("a,b,y\n", "no rows"),
    "semicolon.csv": ("a;b;y\n1;2;u\n", "is one column: is that the --separator?"),
    "close.csv": ("a,b, Y \n" + ROWS, "did you mean ' Y '?"),
    "ragged.csv": ("a,b,y\n" + ROWS + "1,2\n", "line 14: 2 fields"),
    "quote.csv": ('a,b,y\n1,"2,u\n', "quote left open"),
    "unlabelled.csv": ("a,b,y\n" + ROWS + "1,2,\n", "empty in line 14"),
    "infinite.csv": ("a,b,y\n1,inf,u\n" + ROWS, "'b' has an infinite number in line 2"),
    "one.csv": ("a,b,y\n1,2,u\n3,4,u\n", "only one class, 'u'"),
    "twice.csv": ("a,a,y\n" + ROWS, "several columns named 'a'"),
    "alone.csv": ("y\nu\nv\n", "No column of features"),
    "regression.csv": (
        "a,y\n" + "".join(f"1,{i}.5\n" for i in range(20)),
        "20 different values in 20 rows",
    ),
    "id.csv": (
        "a,y\n" + "".join(f"id-{i},{'uv'[i % 2]}\n" for i in range(80)),
        "No column of features is left",
    ),
    "empty_column.csv": ("a,y\n,u\n,v\n,u\n,v\n", "No column of features is left"),
    "data.txt": ("a,b,y\n" + ROWS, "the formats read are"),
    "joined.csv": ("a,b,y\n" + ROWS + "a,b,y\n" + ROWS, "is the header again"),
}


@pytest.mark.parametrize("name", BAD)
def test_data_that_cannot_be_used(folder, capsys, name):
    text, message = BAD[name]
    write(name, text)
    out = "kept.txt" if name.endswith("txt") else "kept.csv"
    assert message in refused(capsys, name, "--label", "y", "--out", out)
    assert not (folder / out).exists()


def test_text_that_is_not_utf8(folder, capsys):
    write("latin.csv", "a,y\n1,é\n", encoding="latin-1")
    message = "latin.csv, line 2, is not UTF-8 text: invalid"
    assert message in refused(capsys, "latin.csv", "--label", "y")


def test_options_of_text_files_are_refused_for_others(folder, capsys):
    X, y = poisoned_iris()
    np.savez("d.npz", X=X, y=y)
    for option in (["--separator", ";"], ["--encoding", "utf-8"]):
        assert "are for text" in refused(capsys, "d.npz", "--label", "y", *option)


def test_pickles_are_never_loaded(folder, capsys):
    class Payload:
        def __reduce__(self):
            return open, ("owned", "w")

    X, y = poisoned_iris()
    np.savez("bad.npz", X=X, y=y, meta=np.array([Payload()], dtype=object))
    message = refused(capsys, "bad.npz", "--label", "y", "--exclude", "meta")
    assert "'meta' in bad.npz holds Python objects" in message
    np.save("bad.npy", np.array([Payload()] * 150, dtype=object))
    (folder / "bad.npy").rename("pickle.npy")
    refused(capsys, "iris.csv", "--label", "species", "--probabilities", "pickle.npy")
    assert not (folder / "owned").exists()


MEDOIDS = ["--rule", "IsolatedMedoids"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--features", "sepal"], "There is no column 'sepal'"),
        (["--exclude", "petal width"], "did you mean 'petal width (cm)'?"),
        (["--features", "species"], "is the label"),
        (["--id", "species"], "'species' is the label; it cannot be"),
        (
            [*MEDOIDS, "--set", "subset_size=0"],
            "'subset_size' parameter of IsolatedMedoids must",
        ),
        (
            [*MEDOIDS, "--set", "subset_size=0"],
            "defaults: cluster_on=all, max_class_size=20000",
        ),
        ([*MEDOIDS, "--set", "threshold=few"], "Got 'few' instead"),
        ([*MEDOIDS, "--set", "treshold=2"], "did you mean 'threshold'?"),
        ([*MEDOIDS, "--set", "threshold"], "give NAME=VALUE"),
        ([*MEDOIDS, "--set", "cutoff=2"], "no IsolatedMedoids parameter 'cutoff'"),
        (["--rule", "NeighbourVotes"], "is not one of 'NeighborVotes', 'IsolatedM"),
        (["--rule", "Rule"], "'Rule' is not one of"),
        (["--rule", "HighLoss", "--set", "drop_fraction=2"], "'drop_fraction' param"),
        (["--rule", "DeepKNN", "--gradient-of", "logit"], "Leave --gradient-of"),
        (["--rule", "DeepKNN", "--probabilities", "p.npy"], "last layer's inputs"),
        (["--decimal", ","], "such as '6.3': give --decimal ."),
        (["--thousands", "xx"], "'xx' is not one of"),
        (["--decimal", ",", "--thousands", ","], "are the same"),
        (["--decimal", ",,"], "',,' is not one of"),
        (["--separator", "ab"], "one character"),
        (["--model", "tree"], "'tree' is not one of"),
        (["--probabilities", "p.npy", "--rounds", 2], "there is none to fit"),
        (["--probabilities", "p.npy", "--model", "mlp"], "--model is for a model fitt"),
        (["--probabilities", "no.npy"], "does not exist"),
        (["--probabilities", "p.npy"], "1 of 150 rows of probabilities"),
        (["--probabilities", "short.npy"], "has probabilities of shape (149, 3)"),
        (["--probabilities", "wide.npy"], "4 columns without names"),
        (["--probabilities", "renamed.csv"], "3 columns named ['a', 'b', 'c']"),
        (["--probabilities", "words.csv"], "could not convert"),
        (["--probabilities", "nan.npy"], "not finite in 1 rows"),
        (["--out", "kept.parquet"], "ends in .csv"),
        (["--out", "no/kept.csv"], "there is no folder"),
        (["--out", "iris.csv", "--force"], "is the input iris.csv as well"),
        (["--out", "soft.csv", "--force"], "as well"),
        (["--out", "k.csv", "--mask", "./k.csv"], "is the file of --out as well"),
        (["--mask", "old.csv"], "exists; give --force"),
        (["--mask", "folder.csv", "--force"], "not a regular file"),
        (["--mask", "mask.npz"], "give a name that ends in .csv"),
        (["--report", "page.pdf"], ".html"),
    ],
)
def test_arguments_that_cannot_be_used(folder, capsys, monkeypatch, options, message):
    p = np.full((150, 3), 1 / 3)
    np.save("short.npy", p[1:])
    np.save("wide.npy", np.full((150, 4), 1 / 4))
    pd.DataFrame(p, columns=list("abc")).to_csv("renamed.csv", index=False)
    pd.DataFrame({"a": ["x"] * 150}).to_csv("words.csv", index=False)
    p[3] = 2 / 3
    np.save("p.npy", p)
    p[3, 0] = np.nan
    np.save("nan.npy", p)
    os.symlink("iris.csv", "soft.csv")
    write("old.csv", "mine")
    os.mkdir("folder.csv")
    monkeypatch.setattr(EPICFilter, "fit", None)  # never reached
    before = sorted(os.listdir())
    assert message in refused(capsys, "iris.csv", "--label", "species", *options)
    assert sorted(os.listdir()) == before
    assert (folder / "old.csv").read_text() == "mine"


def test_text_in_arrays_that_cannot_be_read(folder, capsys):
    X, y = poisoned_iris()
    np.savez("bytes.npz", X=X, y=np.array([b"\xff", b"b"])[y % 2])
    assert "not UTF-8 text" in refused(capsys, "bytes.npz", "--label", "y")
    np.savez("numbers.npz", X=X, y=X[:, 0] + np.arange(150) / 7)
    assert "these are no classes" in refused(capsys, "numbers.npz", "--label", "y")
    np.savez("short.npz", X=X, y=y, other=X[1:])
    message = refused(capsys, "short.npz", "--label", "y", "--features", "X,other")
    assert "'other' has shape (149, 4)" in message
    np.savez("texts.npz", X=X, y=y, t=X.astype(str))
    options = ["--label", "y", "--features", "t"]
    assert "neither of numbers nor one text" in refused(capsys, "texts.npz", *options)
    np.savez("dates.npz", X=X, y=y, t=np.arange(150).astype("datetime64[D]"))
    assert scan("dates.npz", *options) == 0
    assert "date, ISO" in capsys.readouterr().out


def test_broken_archives(folder, capsys):
    X, y = poisoned_iris()
    np.savez("whole.npz", X=X, y=y)
    data = (folder / "whole.npz").read_bytes()
    (folder / "cut.npz").write_bytes(data[: len(data) // 2])
    (folder / "turned.npz").write_bytes(data[:400] + b"XXXX" + data[404:])
    (folder / "noise.npz").write_bytes(b"nothing of the kind")
    (folder / "noise.parquet").write_bytes(b"nothing of the kind")
    for name in ("cut.npz", "turned.npz", "noise.npz", "noise.parquet"):
        refused(capsys, name, "--label", "y")
