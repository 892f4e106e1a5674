"""What is given and cannot be right is refused or named, never guessed."""

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.datasets import load_iris
from sklearn.ensemble import IsolationForest

from epic_sklearn import (
    DropSchedule,
    EPICClassifier,
    EPICFilter,
    EPICResampler,
    FilteredClassifier,
    PrecomputedGradients,
    TorchClassifier,
)
from epic_sklearn.validation import digest, spelled_alike

X, y = load_iris(return_X_y=True)
FRAME = pd.DataFrame(X, columns=list("abcd"))
LABELS = pd.Series(y)
SHUFFLED = LABELS.sample(frac=1, random_state=0)
ESTIMATORS = {
    "filter": EPICFilter(),
    "resampler": EPICResampler(),
    "filtered": FilteredClassifier(),
    "foreign filter": FilteredClassifier(filter=IsolationForest(random_state=0)),
    "torch": TorchClassifier(max_epochs=1),
    "epic": EPICClassifier(max_epochs=2, warmup=1),
}
each_estimator = pytest.mark.parametrize("name", ESTIMATORS)


@each_estimator
def test_an_index_in_another_order_is_refused(name):
    with pytest.raises(ValueError, match="y has the index of X in another order"):
        ESTIMATORS[name].fit(FRAME, SHUFFLED)


def test_an_index_that_says_nothing_of_the_order_is_let_through():
    wanted = EPICFilter().fit(X, y).keep_
    for labels in (
        y,
        LABELS,
        LABELS.set_axis(range(7, 157)),
        LABELS.set_axis([0] * 150),
    ):
        np.testing.assert_array_equal(EPICFilter().fit(FRAME, labels).keep_, wanted)


def test_weights_and_gradients_in_another_order_are_refused():
    weights = pd.Series(np.ones(150)).sample(frac=1, random_state=0)
    with pytest.raises(ValueError, match="sample_weight has the index of X"):
        EPICFilter().fit(FRAME, y, sample_weight=weights)
    with pytest.raises(ValueError, match="y has the index of X"):
        EPICFilter(PrecomputedGradients()).fit(FRAME, SHUFFLED)
    with pytest.raises(ValueError, match="gradients has the index of labels"):
        DropSchedule(SHUFFLED, warmup=0).step(0, FRAME)


@each_estimator
def test_masked_arrays_are_refused(name):
    with pytest.raises(ValueError, match="X is a masked array: 12 masked values"):
        ESTIMATORS[name].fit(np.ma.array(X, mask=X > 7), y)
    with pytest.raises(ValueError, match="y is a masked array: 1 masked values"):
        ESTIMATORS[name].fit(X, np.ma.array(y, mask=np.arange(150) == 3))


def test_zeros_that_are_stored_change_no_digest():
    stored = csr_array((np.array([0.0, 2.0]), ([0, 1], [1, 0])), shape=(2, 2))
    plain = stored.copy()
    plain.eliminate_zeros()
    assert stored.nnz > plain.nnz and digest(stored) == digest(plain)
    assert stored.nnz == 2


@each_estimator
@pytest.mark.parametrize(
    ("labels", "types"),
    [
        ([1, "1", "2"], "int and str"),
        (["a", b"a", "b"], "bytes and str"),
        (["a", float("nan"), "b"], "float and str"),
    ],
)
def test_a_list_of_labels_of_several_types_is_refused(name, labels, types):
    with pytest.raises(ValueError, match=f"y mixes labels of the types {types}"):
        ESTIMATORS[name].fit(X, labels * 50)


@each_estimator
@pytest.mark.parametrize(
    "spellings", [("setosa", "setosa "), ("caf\u00e9", "cafe\u0301"), ("1", "1.0")]
)
def test_classes_written_in_several_ways_are_named_once(name, spellings):
    odd = np.where(np.arange(150) % 2 == 1, *reversed(spellings))
    labels = np.where(y == 0, odd, np.array(["x", "virginica", "versicolor"])[y])
    with pytest.warns(UserWarning) as caught:
        ESTIMATORS[name].fit(X, labels)
    said = [str(w.message) for w in caught if "Classes differ" in str(w.message)]
    assert len(said) == 1
    assert all(f"{spelling!a} (25 rows)" in said[0] for spelling in spellings)


def test_whole_numbers_that_floats_cannot_tell_apart_are_other_rows():
    large = np.array([[2**53], [1]])
    assert digest(large) != digest(large + [[1], [0]])
    assert digest(large - 1) == digest((large - 1).astype(float))


@pytest.mark.parametrize(
    "pair", [("1_0", "10"), ("1" + "0" * 20, "1" + "0" * 19 + "1")]
)
def test_labels_that_only_look_like_one_number_are_two_classes(pair):
    assert spelled_alike(np.array(pair)) is None
    assert "differ only" in spelled_alike(np.array(["10", "10.0", "1e1"]))
