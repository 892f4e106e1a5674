"""Which arrays and columns a scan uses: nothing doubtful is chosen in silence."""

import shlex

import numpy as np
import pandas as pd
import pytest
from cli_runs import poisoned_iris, refused, scan, write


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (lambda X, y: X, "'other' of shape (150, 4)."),
        (lambda X, y: X + 1, "'other' of shape (150, 4)."),
        (lambda X, y: y, "'other' of shape (150,)."),
        (lambda X, y: y[::-1], "'other' of shape (150,)."),
        (lambda X, y: X[:3], "'other' of shape (3, 4)."),
    ],
)
def test_of_several_arrays_one_is_asked_for(folder, capsys, other, said):
    X, y = poisoned_iris()
    np.savez("two.npz", X=X, other=other(X, y), y=y)
    message = refused(capsys, "two.npz", "--label", "y")
    assert "several arrays besides the label 'y': 'X' of shape (150, 4);" in message
    assert said in message and "with --features X;" in message
    assert scan("two.npz", "--label", "y", "--features", "X") == 0
    assert "on 4 features." in capsys.readouterr().out
    assert scan("two.npz", "--label", "y", "--exclude", "other") == 0


def test_empty_labels_and_unusable_columns_are_named_in_one_error(folder, capsys):
    rows = table()
    rows.loc[3, "label"] = ""
    rows.to_csv("t.csv", index=False)
    assert scan("t.csv", "--label", "label") == 2
    error = capsys.readouterr().err
    assert "Label column 'label' is empty in line 5" in error
    assert "4 columns cannot be used" in error


def test_several_arrays_may_be_used(folder, capsys):
    X, y = poisoned_iris()
    np.savez("two.npz", a=X[:, :2], b=X[:, 2:], y=y)
    assert scan("two.npz", "--label", "y", "--features", "a,b") == 0
    assert "on 4 features." in capsys.readouterr().out


def table():
    n = 80
    return pd.DataFrame(
        {
            "first name": [f"{i} %" for i in range(n)],
            "good": np.arange(n) % 7,
            "x,y": [f"{i},5" for i in range(n)],
            "holes": [np.inf, *range(n - 1)],
            "note": ["9" * 300 + str(i) for i in range(n)],
            "colour": ["red", "blue"] * (n // 2),
            "label": ["u", "v"] * (n // 2),
        }
    )


def test_all_unusable_columns_are_named_in_one_error(folder, capsys):
    table().to_csv("t.csv", index=False)
    assert scan("t.csv", "--label", "label") == 2
    error = capsys.readouterr().err
    assert "4 columns cannot be used" in error
    assert "'first name' holds numbers or times that are written as text" in error
    assert "'x,y' holds numbers or times that are written as text" in error
    assert "'note' holds whole numbers beyond 2**53" in error
    assert "'holes' has an infinite number in line 2 (1 of 80 rows" in error
    assert "'good'" not in error and "'colour'" not in error
    assert max(map(len, error.splitlines())) < 250
    advice = shlex.split(error[error.index("--exclude") :])
    assert scan("t.csv", "--label", "label", *advice[:2]) == 0


def test_a_parquet_file_names_all_columns_of_other_types_at_once(folder, capsys):
    pytest.importorskip("pyarrow")
    frame = table()[["good", "label"]]
    frame["day"] = [{"of": 1}] * len(frame)
    frame["pair"] = [[1, 2]] * len(frame)
    frame.to_parquet("t.parquet")
    message = refused(capsys, "t.parquet", "--label", "label")
    assert "'day' is of type struct" in message and "'pair' is of type" in message
    assert "--exclude day,pair" in message
    options = ["--label", "label", "--exclude", "day,pair"]
    assert scan("t.parquet", *options) == 0


def test_one_unusable_column_is_one_line(folder, capsys):
    rows = "".join(f"{i} %,{'uv'[i % 2]}\n" for i in range(80))
    write("t.csv", "a,y\n" + rows)
    assert scan("t.csv", "--label", "y") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "Leave it out with --exclude a or" in error
