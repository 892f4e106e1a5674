"""What the audit page contains, and what it refuses."""

import base64
import io
import json
import re
import sys

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import NotFittedError

from epic_sklearn import (
    EPICFilter,
    LastLayerGradients,
    LogitGradients,
    PrecomputedGradients,
)
from epic_sklearn.base import nearest_kept
from epic_sklearn.plotting import GradientSpaceDisplay
from epic_sklearn.report._data import differences
from epic_sklearn.report._looks import check_images, thumbnails
from epic_sklearn.rules import (
    DeepKNN,
    IsolatedMedoids,
    Judgement,
    NeighborVotes,
    RandomDrop,
    Rule,
)


@pytest.fixture
def iris():
    X, y = load_iris(return_X_y=True)
    return X, load_iris().target_names[y]


@pytest.fixture
def detector(iris):
    return EPICFilter(rule=IsolatedMedoids(subset_size=0.2)).fit(*iris)


def data_of(path):
    """The data block of a page, as its script reads it."""
    page = path.read_text(encoding="utf-8")
    block = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)
    return json.loads(block[1])


# ------------------------------------------------------------------- contents


def test_page_shows_every_flagged_row_most_isolated_first(tmp_path, iris, detector):
    table = data_of(detector.report(*iris, tmp_path / "a.html"))["table"]
    assert sorted(table["row"]) == detector.isolated_indices_.tolist()
    assert table["score"] == sorted(table["score"], reverse=True)
    predictions = detector.extractor_.classifier_.predict(iris[0])
    labels = detector.classes_[table["prediction"]]
    assert labels.tolist() == predictions[table["row"]].tolist()


def test_an_earlier_review_is_shown(tmp_path, iris, detector):
    first = int(detector.isolated_indices_[0])
    detector.apply_decisions({first: "keep", 3: "drop"})
    path = detector.report(*iris, tmp_path / "a.html")
    table = data_of(path)["table"]
    marked = dict(zip(table["row"], table["decision"], strict=True))
    assert marked[first] == "keep" and marked[3] == "drop"
    assert "1 given back" in path.read_text(encoding="utf-8")


def test_rounds_are_numbered_in_table_and_history(tmp_path, iris):
    detector = EPICFilter(LastLayerGradients(), n_rounds=3).fit(*iris)
    dropped = [record.n_dropped for record in detector.rounds_]
    at = detector.dropped_at_round_
    assert [int((at == i).sum()) for i in (1, 2, 3)] == dropped
    table = data_of(detector.report(*iris, tmp_path / "a.html"))["table"]
    assert table["round"] == at[table["row"]].tolist()


def test_nearest_kept_matches_brute_force():
    rng = np.random.default_rng(0)
    X, codes = rng.normal(size=(60, 3)), rng.integers(0, 3, 60)
    keep = rng.random(60) < 0.6
    rows = np.arange(60)
    found = nearest_kept(rows, X, codes, keep, "euclidean")
    for i in rows:
        others = [j for j in rows if keep[j] and codes[j] == codes[i] and j != i]
        assert found[i] == min(others, key=lambda j: np.linalg.norm(X[i] - X[j]))
    alone = nearest_kept(np.array([0]), X, np.eye(60)[0].astype(int), keep, "cosine")
    assert alone.tolist() == [0]


class Curious(Rule):
    """Flags the first rows of a class, and has much to say."""

    flags = "the first `n` of each class"
    score_is = "<b>no</b> score"

    def __init__(self, n=2, score=1.0):
        self.n = n
        self.score = score

    def judge(self, gradients, codes, memory):
        place = np.zeros(len(codes), int)
        for code in np.unique(codes):
            place[codes == code] = np.arange((codes == code).sum())
        details = {
            "how_far": np.where(place == 0, np.nan, place / 3),
            "kind": np.where(place == 0, "first", "<later>"),
            "medoid": place,
        }
        score = self.score - 1e-9 * place
        return Judgement(score, place < self.n, details)


def test_details_of_a_users_own_rule_are_columns(tmp_path, iris):
    detector = EPICFilter(rule=Curious()).fit(*iris)
    page = detector.report(*iris, tmp_path / "a.html")
    columns = data_of(page)["table"]["details"]
    assert [c["title"] for c in columns] == ["How far", "Kind"]
    assert columns[0]["values"] == [None] * 3 + [0.33333] * 3
    assert columns[1]["values"] == ["first"] * 3 + ["<later>"] * 3
    text = page.read_text(encoding="utf-8")
    assert "Curious flags the first <code>n = 2</code> of each class" in text
    assert "&lt;b&gt;no&lt;/b&gt; score" in text


@pytest.mark.parametrize(
    ("rule", "titles"),
    [
        (IsolatedMedoids(subset_size=0.3), ["Cluster size"]),
        (NeighborVotes(cutoff=1.5), []),
        (DeepKNN(), []),
    ],
)
def test_the_page_says_which_rule_ran_and_with_which_settings(
    tmp_path, iris, rule, titles
):
    detector = EPICFilter(LastLayerGradients(), rule=rule).fit(*iris)
    path = detector.report(*iris, tmp_path / "a.html")
    details = data_of(path)["table"]["details"]
    assert [column["title"] for column in details] == titles
    page = re.sub("<wbr>", "", path.read_text(encoding="utf-8"))
    words = rule.flags.replace("`", "")
    for name, value in rule.get_params().items():
        words = re.sub(rf"\b{name}\b", f"<code>{name} = {value}</code>", words)
    assert f"{type(rule).__name__} flags {words}" in page and rule.score_is in page
    for name, value in rule.get_params().items():
        assert f"<dt>rule__{name}</dt><dd>{value}</dd>" in page
    assert "<dt>n_rounds</dt><dd>1</dd>" in page


def test_the_page_has_the_settings_of_the_fit_whatever_was_set_since(iris):
    detector = EPICFilter(rule=IsolatedMedoids()).fit(*iris)
    before = detector._case(*iris).settings
    detector.set_params(n_rounds=7, min_class_fraction=0.9)
    assert detector._case(*iris).settings == before


def test_scores_that_would_all_read_the_same_are_ranks(tmp_path, iris):
    for score, name, texts in (
        (1.0, "Isolation rank", ["1", "1", "1", "4", "4", "4"]),
        (1e-9, "Isolation score", ["1.000e-09"] * 3 + ["0.000"] * 3),
    ):
        detector = EPICFilter(rule=Curious(score=score)).fit(*iris)
        data = data_of(detector.report(*iris, tmp_path / f"{score}.html"))
        assert data["scoreName"] == name
        assert data["table"]["scoreTexts"] == texts


def test_differences_are_those_of_a_plain_loop():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 20)) * np.arange(1, 21)
    rows, others = rng.permutation(300), rng.permutation(300)
    found = differences(X, rows, others)
    for pair, i, j in zip(found, rows, others, strict=True):
        gap = np.abs(X[i] - X[j]) / X.std(axis=0)
        best = np.argsort(-gap, kind="stable")[: 0 if i == j else 12]
        assert pair[::4] == best.tolist()
        assert pair[1::4] == [f"{X[i, k]:.5g}" for k in best]
        assert pair[2::4] == [f"{X[j, k]:.5g}" for k in best]
    assert differences(sp.csr_matrix(X), rows, others) == found
    assert differences(pd.DataFrame(X), rows, others) == found


def test_differences_of_mixed_columns_compare_what_is_no_number_as_text():
    frame = pd.DataFrame(
        {"n": [1, 1, 3], "colour": ["red", "blue", "red"], "gone": [None, "x", "x"]}
    )
    (pair,) = differences(frame, np.array([0]), np.array([1]))
    assert pair == [1, "red", "blue", 1.0, 2, "missing", "x", 1.0]


def test_a_missing_number_differs_from_one_that_is_there(tmp_path):
    X = np.array([[1.0, np.nan, np.nan], [3.0, 2.0, np.nan]])
    (pair,) = differences(X, np.array([0]), np.array([1]))
    assert pair == [0, "1", "3", 2.0, 1, "missing", "2", 1.0]
    assert differences(pd.DataFrame(X), np.array([0]), np.array([1])) == [pair]
    X, y = load_iris(return_X_y=True)
    X[0, 0] = np.nan
    model = HistGradientBoostingClassifier(max_iter=5)
    data_of(EPICFilter(model, rule=Curious()).fit(X, y).report(X, y, tmp_path / "a"))


def test_categories_of_a_dataframe_are_shown_as_they_are():
    frame = pd.DataFrame({"colour": pd.Categorical(["red", "blue"]), "n": [1.0, 2.0]})
    (pair,) = differences(frame, np.array([0]), np.array([1]))
    assert pair == [1, "1", "2", 2.0, 0, "red", "blue", 1.0]


def test_names_of_features(iris, detector, tmp_path):
    X, y = iris
    path = detector.report(X, y, tmp_path / "none.html")
    assert data_of(path)["features"] == ["x0", "x1", "x2", "x3"]
    path = detector.report(X, y, tmp_path / "a.html", feature_names=["a", 2, "c", "d"])
    assert data_of(path)["features"] == ["a", "2", "c", "d"]
    with pytest.raises(ValueError, match="2 names and X has 4 columns"):
        detector.report(X, y, tmp_path / "b.html", feature_names=["a", "b"])
    with pytest.raises(ValueError, match="1 names and X has 0 columns"):
        images = X.reshape(-1, 1, 2, 2)
        of_images = EPICFilter(lambda X, y: X.reshape(len(X), -1)).fit(images, y)
        of_images.report(images, y, tmp_path / "c.html", feature_names=["a"])


# ----------------------------------------------------------------- thumbnails


def decoded(png):
    pyplot = pytest.importorskip("matplotlib.image")
    return np.rint(255 * pyplot.imread(io.BytesIO(png))).astype(np.uint8)


def pixels_of(thumbnail):
    return decoded(base64.b64decode(thumbnail))


@pytest.mark.parametrize("channels", [1, 3])
def test_thumbnails_of_small_images_are_read_back_pixel_by_pixel(channels):
    pixels = np.random.default_rng(0).integers(0, 256, (7, 5, channels), np.uint8)
    np.testing.assert_array_equal(
        pixels_of(thumbnails({0: pixels})[0]), pixels.squeeze()
    )


def test_every_format_of_images_gives_the_same_thumbnails():
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (700, 3, 40, 50), np.uint8)
    made = thumbnails(dict(enumerate(check_images(colours, 700))))
    for row, thumbnail in made.items():
        expected = np.moveaxis(colours[row], 0, 2)
        np.testing.assert_array_equal(pixels_of(thumbnail), expected)
    for same in (
        np.moveaxis(colours, 1, 3),
        colours / 255,
        (colours / 255).astype(np.float32),
        torch.from_numpy(colours / 255),
        colours.astype(np.int64),
    ):
        assert thumbnails(dict(enumerate(check_images(same, 700)))) == made


def test_images_of_a_type_that_numpy_lacks():
    images = torch.tensor([0, 0.25, 1]).bfloat16()[:, None, None, None]
    found = check_images(images.expand(3, 1, 4, 4), 3)
    np.testing.assert_array_equal(found[:, 0, 0, 0], [0, 0.25, 1])


def test_large_images_are_averaged_down():
    image = np.zeros((1, 130, 100))
    image[0, :3, :3] = 1
    small = pixels_of(thumbnails({7: check_images(image, 1)[0]})[7])
    assert small.shape[:2] == (44, 34)
    assert small[0, 0] == 255 and small[1:].max() == 0


def test_many_thumbnails_shrink_to_fit_the_page(monkeypatch):
    monkeypatch.setattr("epic_sklearn.report._looks.MOST_PIXELS", 50 * 16 * 16)
    images = check_images(np.full((60, 32, 32), 0.5), 60)
    small = pixels_of(thumbnails(dict(enumerate(images)))[59])
    assert small.shape[:2] == (11, 11)
    assert (small == 128).all()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 8)), r"shape \(2, 8\)"),
        (np.zeros((2, 8, 8, 2)), "1 or 3 channels"),
        (np.zeros((3, 8, 8)), r"shape \(3, 8, 8\) for 2 rows"),
        (np.full((2, 8, 8), 16.0), "from 16 to 16"),
        (np.full((2, 8, 8), np.nan), "from nan to nan"),
        (np.full((2, 8, 8), -1), "from -1 to -1"),
        (np.full((2, 8, 8), "a"), "numbers"),
    ],
)
def test_images_that_cannot_be_shown_are_refused(images, message):
    with pytest.raises(ValueError, match=message):
        check_images(images, 2)


def test_thumbnails_belong_to_flagged_and_nearest_kept_rows(iris, detector, tmp_path):
    images = np.arange(150, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), int)
    data = data_of(detector.report(*iris, tmp_path / "a.html", images=images))
    pictures, table = data["thumbnails"], data["table"]
    assert {str(row) for row in table["row"] + table["near"]} <= set(pictures)
    for row, thumbnail in pictures.items():
        assert (pixels_of(thumbnail) == int(row)).all()
    assert data["features"] is None  # x0, x1, ... of an image say nothing


# -------------------------------------------------------------- rows and file


def test_rows_that_were_not_fitted_on_are_refused(tmp_path, iris, detector):
    X, y = iris
    path = tmp_path / "a.html"
    with pytest.raises(ValueError, match="149 labels, and 150 rows"):
        detector.report(X[1:], y[1:], path)
    with pytest.raises(ValueError, match="150 of 150 labels"):
        detector.report(X, np.roll(y, 50), path)
    with pytest.raises(ValueError, match="features"):
        detector.report(X[:, :3], y, path)
    with pytest.raises(NotFittedError):
        EPICFilter().report(X, y, path)
    assert not path.exists()


def test_an_existing_file_is_replaced_only_when_asked(tmp_path, iris, detector):
    path = tmp_path / "a.html"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        detector.report(*iris, path)
    assert path.read_text() == "mine"
    assert detector.report(*iris, str(path), overwrite=True) == path
    with pytest.raises(IsADirectoryError):
        detector.report(*iris, tmp_path, overwrite=True)
    with pytest.raises(FileNotFoundError, match="no folder"):
        detector.report(*iris, tmp_path / "no" / "a.html")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.html"]


def test_an_interrupted_write_leaves_nothing(tmp_path, iris, detector, monkeypatch):
    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        detector.report(*iris, tmp_path / "a.html")
    assert not list(tmp_path.iterdir())


def test_two_reports_of_one_fit_are_the_same_file(tmp_path, iris, detector):
    a = detector.report(*iris, tmp_path / "a.html").read_bytes()
    assert detector.report(*iris, tmp_path / "b.html").read_bytes() == a


@pytest.mark.parametrize(("module", "name"), [("jinja2", "jinja2"), ("PIL", "pillow")])
def test_what_is_missing_is_named(tmp_path, iris, detector, monkeypatch, module, name):
    monkeypatch.setitem(sys.modules, module, None)
    detector.extractor_ = None  # before any work
    with pytest.raises(ImportError, match=rf"{name}: .*epic-sklearn\[report\]"):
        detector.report(*iris, tmp_path / "a.html")


@pytest.mark.parametrize(
    "make",
    [
        lambda X: PrecomputedGradients(),
        lambda X: lambda X, y: np.asarray(X),
        lambda X: LastLayerGradients(),
        lambda X: torch.nn.Linear(X.shape[1], 3),
        lambda X: LogitGradients(torch.nn.Linear(X.shape[1], 3)),
    ],
)
def test_every_kind_of_extractor_has_a_page(tmp_path, make):
    X, y = load_iris(return_X_y=True)
    torch.manual_seed(0)
    detector = EPICFilter(make(X), rule=IsolatedMedoids(subset_size=0.3)).fit(X, y)
    data = data_of(detector.report(X, y, tmp_path / "a.html"))
    model = getattr(detector.extractor_, "classifier_", None)
    assert (data["table"]["prediction"] is None) == (model is None)
    if isinstance(model, torch.nn.Module):
        rows = data["table"]["row"]
        expected = model(torch.tensor(X[rows]).float()).argmax(dim=1)
        assert data["table"]["prediction"] == expected.tolist()


def test_dataframes_keep_their_index_and_column_names(tmp_path):
    X, y = load_iris(return_X_y=True, as_frame=True)
    X.index = [f"flower {i}" for i in range(150)]
    detector = EPICFilter(rule=IsolatedMedoids(subset_size=0.2)).fit(X, y)
    data = data_of(detector.report(X, y, tmp_path / "a.html"))
    rows = data["table"]["row"]
    assert [data["names"][str(i)] for i in rows] == [f"flower {i}" for i in rows]
    assert data["rowKind"] == "Index"
    assert data["features"] == X.columns.tolist()


def test_many_kept_points_are_sampled_and_flagged_ones_never(tmp_path):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(8000, 2)), np.arange(8000) % 2
    rule = RandomDrop(drop_fraction=0.02)
    detector = EPICFilter(PrecomputedGradients(), rule=rule).fit(X, y)
    data = data_of(detector.report(X, y, tmp_path / "a.html"))
    for code, space in enumerate(data["spaces"]):
        flagged = detector.isolated_indices_[detector.isolated_indices_ % 2 == code]
        assert len(space["kept"]) == 1500 and space["nKept"] == 4000 - len(flagged)
        rows = np.array(data["table"]["row"])[space["flagged"]]
        assert sorted(rows) == flagged.tolist()
        assert len(space["x"]) == len(space["kept"]) + len(space["flagged"])


def test_one_distant_row_does_not_make_the_others_one_point(tmp_path):
    X, y = np.random.default_rng(0).normal(size=(200, 2)) + 3, np.arange(200) % 2
    X[0] = 1e7
    detector = EPICFilter(PrecomputedGradients(), rule=RandomDrop()).fit(X, y)
    data = data_of(detector.report(X, y, tmp_path / "a.html"))
    for space in data["spaces"]:
        assert len(set(zip(space["x"], space["y"], strict=True))) == 100


def test_labels_cannot_end_the_script_element(tmp_path, iris):
    text = "</script><!--&\u2028\u2029\ud800"
    labels = np.where(iris[1] == "setosa", text, "other")
    path = (
        EPICFilter(rule=Curious())
        .fit(iris[0], labels)
        .report(iris[0], labels, tmp_path / "a.html")
    )
    assert data_of(path)["labels"] == [text[:-1] + "?", "other"]
    block = path.read_text(encoding="utf-8").split('id="data">')[1]
    assert not set(block.split("</script>")[0]) & set("<>&\u2028\u2029")


def test_the_page_names_no_address_and_forbids_the_network(tmp_path, iris, detector):
    page = detector.report(*iris, tmp_path / "a.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|@import|url\(|\bsrc=|//[a-z]+\.", page)
    assert "default-src &#39;none&#39;" in page


def test_rows_in_another_order_are_refused(iris, tmp_path):
    X, y = iris
    detector = EPICFilter().fit(X, y)
    other = np.r_[1:50, 0, 50:150]  # of the same labels
    with pytest.raises(ValueError, match="not what was given to fit"):
        detector.report(X[other], y, tmp_path / "page.html")
    with pytest.raises(ValueError, match="not what was given to fit"):
        GradientSpaceDisplay.from_estimator(detector, X[other], y)


def test_nullable_columns_with_gaps_are_shown(tmp_path):
    X, y = load_iris(return_X_y=True, as_frame=True)
    X = X.round().astype("Int64").mask(X > 7)
    detector = EPICFilter(HistGradientBoostingClassifier(max_iter=5)).fit(X, y)
    assert detector.report(X, y, tmp_path / "page.html").exists()
