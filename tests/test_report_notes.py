"""What pages say of the rows themselves: copies, labels again, gaps."""

import html
import re

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_iris
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler

from epic_sklearn import EPICFilter, PrecomputedGradients
from epic_sklearn.rules import RandomDrop


def notes_on(path):
    found = re.search(
        r'<div class="note notes">(.*?)</ul>', path.read_text(), re.DOTALL
    )
    texts = re.findall(r"<li>(.*?)</li>", found[1]) if found else []
    return [html.unescape(text.replace("<wbr>", "")) for text in texts]


def odd_rows():
    """Iris; two rows of it twice, one of them under another label."""
    X, y = load_iris(return_X_y=True, as_frame=True)
    X, y = X.drop_duplicates(), y.loc[X.drop_duplicates().index]
    X = pd.concat([X, X.iloc[[3, 9]]]).set_axis([f"n{i}" for i in range(151)])
    return X, pd.concat([y, y.iloc[[3]], y.iloc[[9]] + 1]).set_axis(X.index)


@pytest.mark.parametrize("kind", ["pandas", "polars", "numpy"])
def test_the_page_says_what_is_odd_in_the_rows(tmp_path, kind):
    X, y = odd_rows()
    row = "index n" if kind == "pandas" else "row "
    torn, again = notes_of_kind(X, y, kind, tmp_path)
    assert torn.startswith("2 rows equal another in all features, under different")
    assert torn.endswith(f"such as {row}9 and {row}150.")
    assert again.endswith(f"under the same label, such as {row}3 and {row}149.")
    X["species"] = y.map({0: 5, 1: 7, 2: 6})  # now the torn ones differ
    _, label = notes_of_kind(X, y, kind, tmp_path)
    name = "x4" if kind == "numpy" else "species"
    assert label.startswith(f"Column {name!r} has one value for each class")


def notes_of_kind(X, y, kind, folder):
    if kind == "polars":
        polars = pytest.importorskip("polars")
        X, y = polars.DataFrame(X.to_dict("list")), y.to_numpy()
    if kind == "numpy":
        X, y = X.to_numpy(), y.to_numpy()
    detector = EPICFilter(rule=RandomDrop()).fit(X, y)
    return notes_on(detector.report(X, y, folder / "a.html", overwrite=True))


@pytest.mark.parametrize("kind", ["texts", "sparse", "zeros", "nan"])
def test_equal_rows_are_found_whatever_they_are(tmp_path, kind):
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 99, size=(60, 3)).astype(float), np.arange(60) % 2
    X[5], X[8] = [0.0, 2.0, 3.0], [-0.0, 2.0, 3.0]
    if kind == "nan":
        X[5, 0], X[8, 0] = np.nan, -np.float64("nan")
    if kind == "texts":
        X = [f"{abs(row)}" for row in X]
    if kind == "sparse":
        X = sp.csr_matrix(X)
    make = {"texts": CountVectorizer(token_pattern=r"\d+")}
    encode = make.get(kind, SimpleImputer() if kind == "nan" else MaxAbsScaler())
    detector = EPICFilter(make_pipeline(encode, LogisticRegression())).fit(X, y)
    (note,) = notes_on(detector.report(X, y, tmp_path / "a.html"))
    assert note.startswith("2 rows equal") and note.endswith("row 5 and row 8.")


@pytest.mark.parametrize("kind", ["list", "array", "polars"])
def test_nested_columns_are_shown_and_compared(tmp_path, kind):
    X, y = load_iris(return_X_y=True, as_frame=True)
    X = X.drop_duplicates()
    y = y[X.index]
    X["nested"] = [[i % 7 / 2, 1.5] for i in range(len(X))]
    if kind == "array":
        X["nested"] = X["nested"].map(np.array)
    numbers = list(X.columns[:4])
    if kind == "polars":
        polars = pytest.importorskip("polars")
        X = polars.DataFrame(X.to_dict("list"))
        X = X.with_columns(polars.col("nested").cast(polars.Array(polars.Float64, 2)))
    some = FunctionTransformer(lambda frame: frame[numbers])
    model = make_pipeline(some, LogisticRegression(max_iter=1000))
    detector = EPICFilter(model, rule=RandomDrop()).fit(X, y)
    path = detector.report(X, y.to_numpy(), tmp_path / "a.html")
    assert notes_on(path) == []
    assert '"nested"' in path.read_text()
    with pytest.raises(ValueError, match="'nested' of X holds lists or objects; give"):
        EPICFilter().fit(X, y.to_numpy())


def test_many_columns_of_which_the_same_is_said_are_counted(tmp_path):
    X, y = odd_rows()
    for i in range(20):
        X[f"again {i}"] = y
    detector = EPICFilter(rule=RandomDrop()).fit(X, y)
    notes = notes_on(detector.report(X, y, tmp_path / "a.html"))
    assert len(notes) == 1 + 5 + 1
    assert notes[-1] == "Of 15 more columns the same is true."


def test_names_in_notes_are_bounded_and_of_one_line(tmp_path):
    X, y = odd_rows()
    index = X.index.to_series()
    index.iloc[9] = "x\nWarning: all clean" + "n" * 999
    X, y = X.set_axis(index), y.set_axis(index)
    detector = EPICFilter(rule=RandomDrop()).fit(X, y)
    torn, _ = notes_on(detector.report(X, y, tmp_path / "a.html"))
    assert len(torn) < 250 and "\n" not in torn and r"x\nWarning" in torn
    assert "… (row 9) and " in torn


def test_gaps_are_counted_by_the_rounds_whatever_was_decided(tmp_path):
    X, y = load_iris(return_X_y=True, as_frame=True)
    X["extra"] = 1.0
    X.loc[:9, "extra"] = np.nan
    detector = EPICFilter(rule=RandomDrop(drop_fraction=0.02)).fit(X, y)
    detector.apply_decisions(dict.fromkeys(range(10), "drop"))
    notes = notes_on(detector.report(X, y, tmp_path / "a.html"))
    assert not any("without a value" in note for note in notes)


def test_gradients_are_not_looked_at_for_copies(tmp_path):
    X, y = odd_rows()
    X = X.to_numpy()
    detector = EPICFilter(PrecomputedGradients()).fit(X, y)
    assert notes_on(detector.report(X, y, tmp_path / "a.html")) == []
