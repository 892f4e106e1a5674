"""A reviewer's decisions: what is applied, and what is refused."""

import csv

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator

from epic_sklearn import EPICFilter, FilteredClassifier
from epic_sklearn.metrics import poison_recall
from epic_sklearn.plotting import ClusterSizeDisplay
from epic_sklearn.report import fit_id
from epic_sklearn.rules import IsolatedMedoids


@pytest.fixture
def iris():
    X, y = load_iris(return_X_y=True)
    return X, load_iris().target_names[y]


@pytest.fixture
def detector(iris):
    return EPICFilter(rule=IsolatedMedoids(subset_size=0.2)).fit(*iris)


def write_csv(path, fit, lines, header="row,decision,fit", end="\r\n"):
    body = [f"{row},{word},{fit}" for row, word in lines]
    path.write_text(end.join([header, *body, ""]), encoding="utf-8")
    return path


def test_decisions_give_back_and_drop_rows(detector):
    first, *others = detector.isolated_indices_.tolist()
    kept = int(np.flatnonzero(detector.keep_)[0])
    before = detector.rounds_, detector.rho_, detector.dropped_at_round_.copy()
    assert detector.apply_decisions({first: "keep", kept: "drop"}) is detector
    assert detector.keep_[first] and not detector.keep_[kept]
    assert detector.isolated_indices_.tolist() == sorted([kept, *others])
    assert (detector.rounds_, detector.rho_) == before[:2]
    np.testing.assert_array_equal(detector.dropped_at_round_, before[2])


def test_a_file_says_the_same_as_a_mapping_however_a_spreadsheet_saved_it(
    tmp_path, iris
):
    path = tmp_path / "decisions.csv"
    masks = []
    for separator, mark, end in [
        (",", "", "\n"),
        (";", "\ufeff", "\r\n"),
        ("\t", "", "\r\n"),
    ]:
        detector = EPICFilter(rule=IsolatedMedoids(subset_size=0.2)).fit(*iris)
        first = detector.isolated_indices_[0]
        lines = [(first, "Keep "), (3, "drop")]
        text = write_csv(path, fit_id(detector._schedule), lines, end=end).read_text()
        path.write_text(mark + text.replace(",", separator), encoding="utf-8")
        masks.append(detector.apply_decisions(path).keep_)
        by_hand = EPICFilter(rule=IsolatedMedoids(subset_size=0.2)).fit(*iris)
        by_hand.apply_decisions({first: "keep", 3: "drop"})
        np.testing.assert_array_equal(masks[-1], by_hand.keep_)


@pytest.mark.parametrize("label", ["setosa", " Setosa", "", "what Excel made of it"])
def test_a_line_may_say_its_rows_label(tmp_path, detector, label):
    fit = fit_id(detector._schedule)
    path = tmp_path / "decisions.csv"
    path.write_text(f"row,decision,fit,label\n3,drop,{fit},{label}\n")
    assert not detector.apply_decisions(path).keep_[3]


def test_row_numbers_moved_against_their_lines_are_refused(tmp_path, detector):
    fit = fit_id(detector._schedule)
    path = tmp_path / "decisions.csv"
    path.write_text(f"row,decision,fit,label\n3,drop,{fit},virginica\n")
    with pytest.raises(ValueError, match="class 'setosa', and its line says 'virginic"):
        detector.apply_decisions(path)
    assert detector.keep_[3]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([(150, "keep")], "no row 150, rows are 0 to 149"),
        ([("-1", "keep")], "line 2: row is '-1', which is no row number"),
        ([("1.0", "keep")], "line 2: row is '1.0'"),
        ([("", "keep")], "line 2: row is ''"),
        (
            [(3, "keep"), (4, "drop"), (3, "keep")],
            "line 4: row is '3', .*occurs a second time",
        ),
        ([(3, "maybe")], "The decision on row 3 is 'maybe', not 'keep' or 'drop'"),
        ([(3, "")], "The decision on row 3 is ''"),
        ([(i, "drop") for i in range(50)], "no row of class 'setosa'"),
    ],
)
def test_a_bad_file_is_refused_as_a_whole(tmp_path, detector, lines, message):
    path = write_csv(tmp_path / "d.csv", fit_id(detector._schedule), lines)
    before = detector.keep_.copy()
    with pytest.raises(ValueError, match=message):
        detector.apply_decisions(path)
    np.testing.assert_array_equal(detector.keep_, before)


def test_files_of_other_fits_and_other_files_are_refused(tmp_path, iris, detector):
    X, y = iris
    other = EPICFilter(rule=IsolatedMedoids(subset_size=0.3)).fit(X, y)
    path = write_csv(tmp_path / "d.csv", fit_id(other._schedule), [(3, "keep")])
    with pytest.raises(ValueError, match="another fit"):
        detector.apply_decisions(path)
    order = np.random.default_rng(0).permutation(len(X))
    shuffled = EPICFilter(rule=IsolatedMedoids(subset_size=0.2)).fit(X[order], y[order])
    assert fit_id(shuffled._schedule) != fit_id(detector._schedule)
    path.write_text("name,age\nAda,36\n")
    with pytest.raises(ValueError, match="no column row, decision, fit"):
        detector.apply_decisions(path)
    path.write_text("row,decision,fit,row\n3,keep,x,4\n")
    with pytest.raises(ValueError, match="several columns row"):
        detector.apply_decisions(path)
    path.write_text("")
    with pytest.raises(ValueError, match="no column"):
        detector.apply_decisions(path)
    path.write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(ValueError, match="not a text file"):
        detector.apply_decisions(path)
    with pytest.raises(FileNotFoundError):
        detector.apply_decisions(tmp_path / "none.csv")
    with pytest.raises(TypeError, match="mapping"):
        detector.apply_decisions([(3, "keep")])
    with pytest.raises(ValueError, match="no row True"):
        detector.apply_decisions({True: "keep"})
    with pytest.raises(NotFittedError):
        EPICFilter().apply_decisions({})


def test_a_fit_keeps_its_name_when_repeated_or_reviewed(iris, detector):
    name = fit_id(detector._schedule)
    assert (
        fit_id(EPICFilter(rule=IsolatedMedoids(subset_size=0.2)).fit(*iris)._schedule)
        == name
    )
    assert fit_id(detector.apply_decisions({3: "drop"})._schedule) == name


def test_fitting_again_forgets_decisions(iris, detector):
    kept = detector.keep_.copy()
    detector.apply_decisions({3: "drop"}).fit(*iris)
    np.testing.assert_array_equal(detector.keep_, kept)


def test_csv_columns_are_those_that_are_read(tmp_path, detector):
    first = int(detector.isolated_indices_[0])
    path = write_csv(
        tmp_path / "d.csv",
        f"{fit_id(detector._schedule)},'=cmd()",
        [(first, "keep")],
        header="row,decision,fit,label",
    )
    with path.open(newline="") as file:
        assert next(csv.DictReader(file))["label"] == "'=cmd()"
    assert detector.apply_decisions(path).keep_[first]


def test_decisions_by_the_index_of_a_frame(iris):
    X, y = iris
    frame = pd.DataFrame(X, index=np.arange(1, len(X) + 1))
    detector = EPICFilter().fit(frame, pd.Series(y, index=frame.index))
    first = int(detector.isolated_indices_[0])
    with pytest.raises(ValueError, match="is not the row whose index is"):
        detector.apply_decisions({first + 1: "keep"})
    for wrong in ([0], [151], [3, 3]):
        with pytest.raises(ValueError, match="decisions"):
            detector.apply_decisions(pd.Series("drop", index=wrong))
    detector.apply_decisions(pd.Series("keep", index=[first + 1]))
    assert detector.keep_[first]
    with pytest.raises(ValueError, match="does not name rows of the fit"):
        EPICFilter().fit(X, y).apply_decisions(pd.Series("keep", index=[first]))


def test_a_reviewed_filter_drops_what_was_decided_where_it_is_frozen(iris):
    X, y = iris
    detector = EPICFilter().fit(X, y)
    back = int(detector.isolated_indices_[0])
    detector.apply_decisions({back: "keep"})
    model = FilteredClassifier(None, FrozenEstimator(detector)).fit(X, y)
    np.testing.assert_array_equal(model.keep_, detector.keep_)
    assert model.apply_decisions({back: "drop"}).refit(X, y).keep_.sum() == (
        detector.keep_.sum()
    )
    for rows, labels in ((np.roll(X, 1, axis=1), y), (X[::-1], y[::-1])):
        with pytest.raises(ValueError, match="it would drop others"):
            model.fit(rows, labels)
    with pytest.warns(UserWarning, match="give FrozenEstimator"):
        FilteredClassifier(None, detector).fit(X, y)


def test_displays_and_the_page_tell_of_the_rounds_after_decisions(tmp_path, iris):
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    X, y = iris
    detector = EPICFilter(rule=IsolatedMedoids(subset_size=0.4), n_rounds=2).fit(X, y)
    dropped = ~detector.keep_
    sizes = detector.details_["cluster_size"]
    assert (sizes[dropped] == 1).all()  # when they were dropped
    before = ClusterSizeDisplay.from_estimator(detector)
    by_hand = int(np.flatnonzero(detector.keep_)[0])
    detector.apply_decisions({by_hand: "drop", int(np.flatnonzero(dropped)[0]): "keep"})
    after = ClusterSizeDisplay.from_estimator(detector)
    np.testing.assert_array_equal(before.dropped, after.dropped)
    assert before.dropped.sum() == pytest.approx(dropped.mean())


def test_an_index_is_not_taken_for_row_numbers(iris):
    X, y = iris
    detector = EPICFilter().fit(X, y)
    with pytest.raises(TypeError, match="poison_indices is a pandas Index"):
        poison_recall(detector.keep_, pd.Index([0, 41]))


@pytest.mark.parametrize("mark", ["\x0b", "\x85", "\u2028"])
def test_what_spreadsheets_do_not_take_for_the_end_of_a_line(tmp_path, detector, mark):
    row = int(detector.isolated_indices_[0])
    path = tmp_path / "decisions.csv"
    line = f"{row},keep,{fit_id(detector._schedule)},a{mark}b\r\n"
    path.write_text(f"row,decision,fit,name\r\n{line}", encoding="utf-8", newline="")
    assert detector.apply_decisions(path).keep_[row]
