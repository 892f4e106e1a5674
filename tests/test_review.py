"""Every door has the filter's page, takes its decisions, and refuses other rows."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from skorch.dataset import ValidSplit
from test_report import data_of, pixels_of
from torch.utils.data import TensorDataset

from epic_sklearn import (
    EPICCallback,
    EPICClassifier,
    EPICFilter,
    EPICResampler,
    EPICSubsetSampler,
    FilteredClassifier,
    LogitGradients,
    TorchClassifier,
)
from epic_sklearn.gradients import gradient_norm_change
from epic_sklearn.plotting import GradientSpaceDisplay
from epic_sklearn.report import fit_id
from epic_sklearn.rules import IsolatedMedoids, NeighborVotes

RULE = IsolatedMedoids(subset_size=0.3)
HOW = {"rule": RULE, "warmup": 2, "every": 3}


def problem():
    X, y = load_iris(return_X_y=True)
    X[0] = X[100]
    return X.astype(np.float32), y


def by_filter():
    X, y = problem()
    return EPICFilter(rule=RULE).fit(X, y), X, y, {}


def by_resampler():
    X, y = problem()
    return EPICResampler(rule=RULE).fit(X, y), X, y, {}


def by_filtered():
    X, y = problem()
    return FilteredClassifier(None, EPICFilter(rule=RULE)).fit(X, y), X, y, {}


def by_classifier():
    X, y = problem()
    model = EPICClassifier(max_epochs=6, random_state=0, **HOW).fit(X, y)
    return model, X, y, {}


def by_callback():
    X, y = problem()
    net = NeuralNetClassifier(
        torch.nn.Linear(4, 3),
        criterion=torch.nn.CrossEntropyLoss,
        lr=0.1,
        max_epochs=6,
        train_split=ValidSplit(5, random_state=None),
        callbacks=[("epic", EPICCallback(random_state=0, **HOW))],
        verbose=0,
    ).fit(X, y)
    return dict(net.callbacks_)["epic"], X, y, {}


def by_sampler():
    X, y = problem()
    torch.manual_seed(0)
    dataset, net = TensorDataset(*map(torch.tensor, (X, y))), torch.nn.Linear(4, 3)
    sampler = EPICSubsetSampler(dataset, random_state=0, **HOW)
    for epoch in range(4):
        sampler.step(epoch, lambda: LogitGradients(net)(dataset))
    return sampler, X, y, {"gradients": lambda: LogitGradients(net)(dataset)}


DOORS = [
    *(by_filter, by_resampler, by_filtered, by_classifier, by_callback, by_sampler)
]


def kept(door):
    return door.keep if isinstance(door, EPICSubsetSampler) else door.keep_


@pytest.mark.parametrize("make", DOORS)
def test_every_door_has_the_page_and_takes_its_decisions(tmp_path, make):
    door, X, y, extra = make()
    path = door.report(X, y, tmp_path / "a.html", **extra)
    page, data = path.read_text(encoding="utf-8"), data_of(path)
    assert sorted(data["table"]["row"]) == np.flatnonzero(~kept(door)).tolist()
    assert f"{type(door).__name__}.apply_decisions" in page
    for i, row in enumerate(data["table"]["row"]):
        assert data["table"]["label"][i] == y[row]
        assert y[data["table"]["near"][i]] == y[row]
    given_back, by_hand = data["table"]["row"][0], data["spaces"][0]["kept"][0]
    text = f"row,decision,fit\n{given_back},keep,{data['fit']}\n{by_hand},drop,"
    (tmp_path / "d.csv").write_text(f"{text}{data['fit']}\n")
    before = kept(door).copy()
    assert door.apply_decisions(tmp_path / "d.csv") is door
    changed = np.flatnonzero(kept(door) != before).tolist()
    assert changed == sorted([given_back, by_hand])
    assert kept(door)[given_back] and not kept(door)[by_hand]
    if not isinstance(door, EPICSubsetSampler):
        assert door.isolated_indices_.tolist() == np.flatnonzero(~door.keep_).tolist()
    again = door.report(X, y, tmp_path / "b.html", **extra)
    assert "1 given back" in again.read_text(encoding="utf-8")
    table = data_of(again)["table"]
    words = dict(zip(table["row"], table["decision"], strict=True))
    assert (words[given_back], words[by_hand]) == ("keep", "drop")
    assert data_of(again)["fit"] == data["fit"] == fit_id(door._schedule)


@pytest.mark.parametrize("make", DOORS)
def test_other_rows_are_refused_before_any_work(tmp_path, make, monkeypatch):
    door, X, y, extra = make()
    extra |= {"gradients": None} if extra else {}  # never looked at
    for name in ("LogitGradients.compute", "LogitGradients.__call__"):
        monkeypatch.setattr(f"epic_sklearn.gradients.extractors.{name}", None)
    other = np.r_[1:50, 0, 50:150]  # rows of one class, in another order
    nearly = X.copy()
    nearly[7, 2] = np.nextafter(nearly[7, 2], np.float32(1))
    for rows, labels, said in (
        (X[other], y, "not what was given to fit"),
        (nearly, y, "not what was given to fit"),
        (X[1:], y[1:], "149 labels, and 150 rows"),
        (X, y[::-1], "of 150 labels in y are not those"),
    ):
        with pytest.raises(ValueError, match=said):
            door.report(rows, labels, tmp_path / "a.html", **extra)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("steps", [StandardScaler(), PCA(3)])
@pytest.mark.parametrize("last", [by_filtered, by_classifier])
def test_rows_pass_through_the_steps_before(tmp_path, steps, last):
    X, y = load_iris(return_X_y=True, as_frame=True)
    X = X.set_index(X.index + 1000).rename_axis("flower")
    pipeline = make_pipeline(steps, clone(last()[0])).fit(X, y.to_numpy())
    with pytest.raises(ValueError, match=r"give steps=pipeline\[:-1\]|features"):
        pipeline[-1].report(X.to_numpy()[:, :3], y, tmp_path / "a.html")
    path = tmp_path / "a.html"
    pipeline[-1].report(X, y.to_numpy(), path, steps=pipeline[:-1])
    data = data_of(path)
    assert data["features"] == X.columns.tolist()  # as they are before the steps
    assert data["rowKind"] == "flower"
    assert data["names"][str(data["table"]["row"][0])].startswith("1")
    how = {"steps": pipeline[:-1], "target": X[:2], "target_label": 1}
    space = GradientSpaceDisplay.from_estimator(pipeline[-1], X, y.to_numpy(), **how)
    assert space.points.shape == (150, 2) and space.targets.shape == (2, 2)
    pipeline[-1].refit(X, y.to_numpy(), steps=pipeline[:-1])
    with pytest.raises(ValueError, match="passed through `steps`"):
        rows = X.iloc[::-1]
        pipeline[-1].report(rows, y.to_numpy(), tmp_path / "b", steps=pipeline[:-1])


@pytest.mark.parametrize("make", [by_filtered, by_classifier])
def test_refit_is_training_on_the_decided_rows_alone(make):
    door, X, y, _ = make()
    door.apply_decisions({0: "drop", 60: "drop", 70: "keep"})
    keep = door.keep_.copy()
    assert door.refit(X, y) is door
    if isinstance(door, EPICClassifier):
        plain = TorchClassifier(max_epochs=6, random_state=0)
    else:
        plain = LogisticRegression(max_iter=1000)
    plain.fit(X[keep], y[keep])
    np.testing.assert_array_equal(door.predict_proba(X), plain.predict_proba(X))
    np.testing.assert_array_equal(door.keep_, keep)
    with pytest.raises(ValueError, match="not what was given to fit"):
        door.refit(X[::-1], y)


def test_refit_follows_decisions_put_to_its_filter():
    X, y = problem()
    model = FilteredClassifier(KNeighborsClassifier(1), EPICFilter(rule=RULE)).fit(X, y)
    dropped = model.isolated_indices_[0]
    model.filter_.apply_decisions({dropped: "keep", 3: "drop"})
    model.refit(X, y)
    np.testing.assert_array_equal(model.keep_, model.filter_.keep_)
    assert model.classifier_.n_samples_fit_ == model.keep_.sum()
    assert model.keep_[dropped] and not model.keep_[3]


def test_a_filter_that_is_not_ours_has_no_page(tmp_path):
    X, y = problem()
    model = FilteredClassifier(None, IsolationForest(random_state=0)).fit(X, y)
    for call in (
        lambda: model.report(X, y, tmp_path / "a.html"),
        lambda: model.apply_decisions({0: "drop"}),
        lambda: model.refit(X, y),
    ):
        with pytest.raises(TypeError, match="no audit page"):
            call()


def test_rho_on_the_page_is_that_of_the_decided_rows(tmp_path):
    detector, X, y, _ = by_filter()
    detector.apply_decisions({i: "drop" for i in range(60, 80)})
    page = detector.report(X, y, tmp_path / "a.html").read_text(encoding="utf-8")
    gradients = detector.extractor_.compute(X, y)
    rho = gradient_norm_change(gradients, detector.keep_)
    assert f"<dd>{rho:.3g}</dd>" in page and rho != detector.rho_


def test_rounds_that_follow_leave_what_was_decided():
    X, y = problem()
    gradients = LogitGradients().fit(X, y).compute(X, y)
    sampler = EPICSubsetSampler(y, random_state=0, **HOW)
    sampler.step(2, gradients)
    row = int(np.flatnonzero(~sampler.keep)[0])
    sampler.apply_decisions({row: "keep"})
    resumed = EPICSubsetSampler(y, **HOW)
    resumed.load_state_dict(sampler.state_dict())
    for going_on in (sampler, resumed):
        going_on.step(5, gradients)
        assert going_on.keep[row] and len(going_on.rounds) == 2


def test_images_and_texts_are_shown_as_what_they_are(tmp_path):
    X, y = load_digits(return_X_y=True)
    images = (X[:200].reshape(-1, 1, 8, 8) - 8) / 4  # normalised
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    model = EPICClassifier(net, max_epochs=4, random_state=0, **HOW)
    path = model.fit(images, y[:200]).report(images, y[:200], tmp_path / "a.html")
    data = data_of(path)
    (thumbnail, *_) = data["thumbnails"].values()
    assert pixels_of(thumbnail).shape[:2] == (8, 8) and data["features"] is None
    assert "from the lowest value of all usual ones, -2," in path.read_text(
        encoding="utf-8"
    )
    images[model.isolated_indices_[0], ..., 0] = 40  # a stripe hides no other image
    path = model.fit(images, y[:200]).report(images, y[:200], tmp_path / "c.html")
    brightest = [pixels_of(t).max() for t in data_of(path)["thumbnails"].values()]
    assert min(brightest) > 150
    texts = np.array([f"flower {i} " + "blue " * (i % 50) for i in range(150)], object)
    detector = EPICFilter(lambda X, y: problem()[0], rule=RULE).fit(texts, problem()[1])
    data = data_of(detector.report(texts, problem()[1], tmp_path / "b.html"))
    (text,) = data["asides"]
    for row, near in zip(data["table"]["row"], data["table"]["near"], strict=True):
        assert text["values"][str(row)] == texts[row]
        assert text["values"][str(near)] == texts[near]


def test_long_texts_of_a_table_are_no_differences(tmp_path):
    X, y = problem()
    frame = pd.DataFrame(X, columns=list("abcd"))
    frame["note"] = [f"note {i} " + "on a flower " * 6 for i in range(150)]
    detector = EPICFilter(lambda X, y: problem()[0], rule=RULE).fit(frame, y)
    data = data_of(detector.report(frame, y, tmp_path / "a.html"))
    assert data["features"] == list("abcd")
    assert [aside["name"] for aside in data["asides"]] == ["note"]


def test_a_mixed_table_needs_no_preparation(tmp_path):
    X, y = load_iris(return_X_y=True, as_frame=True)
    X.columns = list("abcd")
    X["colour"] = np.where(y == 0, "blue", "pink")
    X["day"] = pd.date_range("2024-01-01", periods=150)
    X.loc[3:9, "a"] = np.nan
    model = FilteredClassifier().fit(X, y)
    assert model.score(X, y) > 0.9 and not model.keep_.all()
    assert data_of(model.report(X, y, tmp_path / "a.html"))["features"][4] == "colour"
    with pytest.raises(ValueError, match=r"NaN or infinity in the columns \['a'\]"):
        EPICFilter().fit(X.assign(a=np.inf), y)


def test_missing_skrub_is_named(monkeypatch):
    X, y = load_iris(return_X_y=True, as_frame=True)
    monkeypatch.setitem(__import__("sys").modules, "skrub", None)
    EPICFilter().fit(X, y)  # numbers alone need none
    with pytest.raises(ImportError, match=r"epic-sklearn\[cli\]"):
        EPICFilter().fit(X.assign(colour="blue"), y)


def test_columns_may_have_the_names_of_a_last_layers_parts(tmp_path):
    X, y = load_iris(return_X_y=True, as_frame=True)
    X.columns = ["errors", "inputs", "columns", "shape"]
    detector = EPICFilter().fit(X, y)
    page = data_of(detector.report(X, y, tmp_path / "a.html"))
    assert page["features"] == list(X.columns)
    with pytest.raises(ValueError, match="is not what was given to fit"):
        detector.report(X.assign(columns=X["shape"]), y, tmp_path / "b.html")


def test_a_later_page_knows_the_rows_that_were_confirmed(tmp_path):
    X, y = load_iris(return_X_y=True)
    detector = EPICFilter(rule=NeighborVotes(1.5)).fit(X, y)
    first, second, *others = detector.isolated_indices_.tolist()
    detector.apply_decisions({first: "drop", second: "keep"})
    path = detector.report(X, y, tmp_path / "a.html")
    assert "1 given back,\n    1 confirmed, 0 more dropped" in path.read_text("utf-8")
    table = data_of(path)["table"]
    words = dict(zip(table["row"], table["decision"], strict=True))
    assert words == {first: "drop", second: "keep"} | dict.fromkeys(others, "")
