"""Data made to hide poisons, to deceive the reviewer, or to stop the program."""

import json
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cli_runs import mask_of, poisoned_iris, refused, scan, write
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import RobustScaler, StandardScaler

from epic_sklearn import EPICClassifier, EPICFilter, EPICSubsetSampler
from epic_sklearn.cli import main
from epic_sklearn.gradients import table_encoder
from epic_sklearn.reading.values import ODD, has_zone

ESCAPE = "\x1b[2J\x1b]0;owned\x07"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def with_far_row(X, y, n_columns, far):
    """One row more of the first one's class, far off in the last columns."""
    row = X[y == y[0]].mean(axis=0)
    row[len(row) - n_columns :] = far
    return np.vstack([X, row]), np.append(y, y[0])


def one_wrong(loader):
    X, y = loader(return_X_y=True)
    X, y = X[:700], y[:700].copy()
    y[0] = y[y != y[0]][0]
    return X, y


def frame_of(X, y):
    return pd.DataFrame(X).add_prefix("x").assign(y=y)


# One row that decides how columns are scaled.


@pytest.mark.parametrize("far", [100, 1e6, 1e300])
def test_a_far_row_hides_no_poison_from_a_scan(far):
    X, y = with_far_row(*poisoned_iris(), 2, far)
    frame_of(X, y).to_csv("t.csv", index=False)
    assert scan("t.csv", "--label", "y", "--mask", "m.csv") == 0
    kept = mask_of("m.csv")["kept"]
    assert not kept[0]
    assert (~kept).sum() < 10


@pytest.mark.parametrize("loader", [load_breast_cancer, load_digits])
def test_far_values_in_many_columns_hide_no_poison(loader):
    X, y = one_wrong(loader)
    n = X.shape[1] * 3 // 4
    found = []
    for part in ((X, y), with_far_row(X, y, n, 1e6)):
        frame = pd.DataFrame(part[0]).add_prefix("x").assign(word="same")
        detector = EPICFilter().fit(frame, part[1])
        assert not detector.keep_[0]
        found.append(set(detector.isolated_indices_))
    assert len(found[0] & found[1]) >= 0.7 * len(found[0])


def test_a_far_row_hides_no_poison_where_a_number_is_missing():
    X, y = with_far_row(*poisoned_iris(), 2, 1e6)
    X[-1, 1] = np.nan
    assert not EPICFilter().fit(X, y).keep_[0]


def test_one_of_two_values_does_not_decide_what_is_far():
    X = np.zeros((100, 1))
    X[:2, 0] = 1, 1e6
    encoded = table_encoder(X, has_missing=False).fit_transform(X)
    assert encoded[0] - encoded[2] > 0.05 * (encoded[1] - encoded[2])


@pytest.mark.parametrize("loader", [load_iris, load_wine])
def test_ordinary_numbers_are_encoded_as_by_a_standard_scaler(loader):
    X, _ = loader(return_X_y=True)
    encoded = table_encoder(X, has_missing=False).fit_transform(X)
    np.testing.assert_array_equal(encoded, StandardScaler().fit_transform(X))


def test_a_row_that_decides_a_users_scaler_is_warned_of():
    X, y = with_far_row(*poisoned_iris(), 2, 1e4)
    model = make_pipeline(StandardScaler(), LogisticRegression())
    with pytest.warns(
        UserWarning, match=r"Row 150 .* column 2 \(and 1 more\): .*Robust"
    ):
        EPICFilter(model).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        EPICFilter(model).fit(*poisoned_iris())
        robust = make_pipeline(RobustScaler(), LogisticRegression())
        assert not EPICFilter(robust).fit(X, y).keep_[0]


# Names that are made to look like others.


def trace_marks(ids, *marks):
    X, y = poisoned_iris()
    frame_of(X, y).assign(oid=ids).to_csv("t.csv", index=False)
    frame_of(X[[100]], [0]).assign(oid="Q").to_csv("asked.csv", index=False)
    asked = ("trace", "t.csv", "asked.csv", "--label", "y", "--id", "oid", "--force")
    more = ("--drop", *marks, "--out", "kept.csv") if marks else ()
    return main([*asked, "--top", "20", "--report", "t.html", *more])


def dropped(ids):
    kept = pd.read_csv("kept.csv", dtype=str, keep_default_na=False)["oid"]
    return sorted(set(ids) - set(kept))


def test_an_id_that_is_another_with_its_line_is_a_name_of_its_own(capsys):
    ids = [f"A{row}" for row in range(150)]
    ids[5] = ids[33] = "A33"
    ids[0] = "A33, line 35"  # where row 33 stands
    assert trace_marks(ids) == 0
    assert trace_marks(ids, '"A33, line 35"') == 2
    assert trace_marks(ids, '"A33, line 35, line 2"') == 0
    assert dropped(ids) == ["A33, line 35"]
    assert 'data-name="A33, line 35, line 35"' in Path("t.html").read_text()


def test_ids_with_brackets_are_no_list_of_others():
    ids = [f"A{row}" for row in range(150)]
    ids[0], ids[33] = "[A5", "A14]"
    assert trace_marks(ids, "[A5,A14]") == 2
    assert trace_marks(ids, '"[A5","A14]"') == 0
    assert dropped(ids) == ["A14]", "[A5"]


def test_what_turns_or_hides_text_is_shown_on_the_page_by_its_code():
    X, y = poisoned_iris()
    names = pd.Index([f"r{row}" for row in range(150)], name="id")
    names = names.where(names != "r0", "r\u202e01\u200b\u3164")
    detector = EPICFilter(LogisticRegression(max_iter=1000))
    frame = frame_of(X, y).set_axis(names).drop(columns="y")
    frame = frame.rename(columns={"x2": "x\u202e2"})
    page = detector.fit(frame, y).report(frame, y, "p.html", title="a\u202eb")
    text = page.read_text()
    assert not {"\u202e", "\u200b", "\u3164"} & set(text)
    assert "r\\\\u202e01\\\\u200b\\\\u3164" in text or "r\\u202e01" in text


# What is written, and read by others.


def test_no_cell_of_a_mask_is_a_formula():
    frame = frame_of(*poisoned_iris())
    frame["y"] = "=cmd|' /C calc'!A0" + frame["y"].astype(str)
    frame["=HYPERLINK(1)"], frame["n"] = "@x", -1
    frame.to_csv("t.csv", index=False)
    shown = ("--show", "=HYPERLINK(1)", "--show", "n")
    assert scan("t.csv", "--label", "y", *shown, "--mask", "m.csv") == 0
    mask = mask_of("m.csv")
    assert mask["'=HYPERLINK(1)"].unique().tolist() == ["'@x"]
    assert mask["label"].str.startswith("'=cmd").all()
    assert (mask["n"] == -1).all()


def test_an_object_without_names_is_a_row_of_json(capsys):
    frame_of(*poisoned_iris()).to_json("t.jsonl", orient="records", lines=True)
    write("t.jsonl", Path("t.jsonl").read_text() + "{}\n\n")
    assert "line 151" in refused(capsys, "t.jsonl", "--label", "y")
    kept = ("--skip-unlabelled", "--out", "k.jsonl")
    assert scan("t.jsonl", "--label", "y", *kept) == 0
    assert "{}" not in Path("k.jsonl").read_text()


@pytest.mark.parametrize(
    ("header", "said"),
    [('a, "b", "y"', "skipinitialspace"), ("sep=,\na,b,y", "skiprows=1")],
)
def test_what_other_readers_of_a_kept_file_must_know_is_said(header, said, capsys):
    rows = [f"{i % 7},{i % 5 + i % 2 * 9},{'uv'[i % 2]}" for i in range(60)]
    write("t.csv", "\n".join([header, *rows, ""]))
    assert scan("t.csv", "--label", "y", "--out", "k.csv") == 0
    assert said in capsys.readouterr().err


# What a terminal obeys, and what takes long.


def test_no_message_bears_what_a_terminal_obeys(capsys):
    frame = frame_of(*poisoned_iris()).astype({"x0": object})
    frame.loc[3, "x0"] = ESCAPE
    frame.to_csv("cell.csv", index=False)
    named = frame.rename(columns={"x0": f"[/x]{ESCAPE}"})
    named.to_csv("column.csv", index=False)
    table = frame_of(*poisoned_iris()).rename(columns={"x1": f"[/x]{ESCAPE}"})
    table.to_csv("shown.csv", index=False)
    for args in (
        ["cell.csv"],
        ["column.csv"],
        ["shown.csv", "--show", f"[/x]{ESCAPE}"],
    ):
        scan(*args, "--label", "y")
        captured = capsys.readouterr()
        assert not set("\x1b\x07\r") & set(captured.out + captured.err)
        assert "x1b" in captured.out + captured.err
        assert "Traceback" not in captured.err


@pytest.mark.parametrize(
    "long", ["1" + " " * 100_000 + "x", ":00+00" * 20_000, ":00" * 40_000 + "1"]
)
def test_a_long_cell_takes_no_square_of_its_length(long):
    start = time.process_time()
    ODD.fullmatch(long)
    has_zone(long)
    assert time.process_time() - start < 1  # in place of minutes


# Files that are not what their writers write.


@pytest.mark.parametrize(
    "noted", [b"{", b"\xff", b"[1]", b"3", b'{"index_columns": 5}', b"[" * 99_999]
)
def test_broken_notes_of_pandas_in_parquet_are_refused(noted, capsys):
    pq = pytest.importorskip("pyarrow.parquet")
    pa = pytest.importorskip("pyarrow")
    table = pa.Table.from_pandas(frame_of(*poisoned_iris()))
    pq.write_table(table.replace_schema_metadata({b"pandas": noted}), "t.parquet")
    assert "pandas metadata are broken" in refused(capsys, "t.parquet", "--label", "y")


@pytest.mark.parametrize(
    "changes",
    [{"stop": 10**11}, {"stop": 9}, {"step": 0}, {"start": "a"}, {"name": ["x"]}, None],
)
def test_a_counted_index_that_does_not_fit_is_left_as_it_is(changes):
    pq = pytest.importorskip("pyarrow.parquet")
    pa = pytest.importorskip("pyarrow")
    frame = frame_of(*poisoned_iris())
    frame.index = pd.RangeIndex(5, 155, name="x0")  # as a column is called
    table = pa.Table.from_pandas(frame)
    about = json.loads(table.schema.metadata[b"pandas"])
    if changes is None:
        del about["columns"]
    else:
        about["index_columns"][0].update(changes)
    noted = {b"pandas": json.dumps(about).encode()}
    pq.write_table(table.replace_schema_metadata(noted), "t.parquet")
    assert scan("t.parquet", "--label", "y", "--out", "k.parquet") == 0
    names = pq.read_table("k.parquet").column_names
    assert len(set(names)) == len(names)


def test_a_counted_index_called_as_a_column_comes_out_as_it_went_in():
    pytest.importorskip("pyarrow")
    frame = frame_of(*poisoned_iris())
    frame.index = pd.RangeIndex(5, 155, name="x0")
    frame.to_parquet("t.parquet")
    assert scan("t.parquet", "--label", "y", "--out", "k.parquet") == 0
    kept = pd.read_parquet("k.parquet")
    pd.testing.assert_frame_equal(kept, frame.loc[kept.index], check_index_type=False)
    assert len(kept) < len(frame)


@pytest.mark.parametrize("kind", [">f8", ">i4", "g"])
def test_numbers_of_other_machines_are_read_as_ours(kind, capsys):
    X, y = poisoned_iris()
    X = (X * 10).round()
    masks = []
    for dtype in ("f8", kind):
        np.savez("t.npz", X=X.astype(dtype), y=y.astype(">i8"))
        assert scan("t.npz", "--label", "y", "--mask", "m.csv", "--force") == 0
        masks.append(mask_of("m.csv"))
    pd.testing.assert_frame_equal(*masks)


def test_half_characters_in_arrays_are_refused(capsys):
    X, y = poisoned_iris()
    np.savez("t.npz", X=X, y=np.where(y == 0, "a\udc80", "b"))
    assert "half characters" in refused(capsys, "t.npz", "--label", "y")


def test_a_fault_of_ours_does_not_end_as_an_isolated_row_does(monkeypatch, capsys):
    frame_of(*poisoned_iris()).to_csv("t.csv", index=False)
    monkeypatch.setattr("epic_sklearn.cli.scan.fit", lambda *_: 1 / 0)
    assert scan("t.csv", "--label", "y", "--fail-on-isolated") == 2
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_outputs_go_through_no_link_to_nothing(capsys, tmp_path):
    frame_of(*poisoned_iris()).to_csv("t.csv", index=False)
    (tmp_path / "k.csv").symlink_to("elsewhere.csv")
    said = refused(capsys, "t.csv", "--label", "y", "--out", "k.csv")
    assert "a link to nothing" in said
    assert not (tmp_path / "elsewhere.csv").exists()


def test_a_checkpoint_writes_through_no_planted_link(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "run.pt.tmp").symlink_to(victim)
    X, y = poisoned_iris()
    path = tmp_path / "run.pt"
    EPICClassifier(random_state=0, max_epochs=2, checkpoint=path).fit(X, y)
    assert victim.read_text() == "precious"
    assert path.is_file()


@pytest.mark.parametrize("missing", ["transformers", "lightning"])
def test_callbacks_name_the_extra_that_they_need(missing):
    module = {"transformers": "huggingface"}.get(missing, missing)
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        f"import epic_sklearn.training.{module}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert f"pip install 'epic-sklearn[{module}]'" in done.stderr


def state_of(y):
    sampler = EPICSubsetSampler(y, max_epochs=8, random_state=0)
    gradients = np.random.default_rng(0).normal(size=(len(y), 3))
    for epoch in range(5):
        sampler.step(epoch, gradients)
    return sampler.state_dict()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("keep", np.zeros(150, bool)),
        ("keep", np.arange(150) >= 50),
        ("keep", np.ones((150, 2), bool)),
        ("dropped_at_epoch", np.zeros(3, int)),
        ("score", np.zeros(3)),
        ("details", {"x": np.zeros(3)}),
        ("rounds", [{"evil": 1}]),
        ("seed", "abc"),
    ],
)
def test_a_state_that_cannot_be_is_refused_and_changes_nothing(name, value):
    _, y = poisoned_iris()
    state = state_of(y)
    state["schedule"][name] = value
    sampler = EPICSubsetSampler(y, max_epochs=8, random_state=0)
    before = sampler.state_dict()
    with pytest.raises((ValueError, TypeError)):
        sampler.load_state_dict(state)
    assert repr(sampler.state_dict()) == repr(before)
