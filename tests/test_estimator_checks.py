"""The estimators against scikit-learn's and imbalanced-learn's own checks."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from sklearn.utils.estimator_checks import parametrize_with_checks

from epic_sklearn import (
    EPICClassifier,
    EPICFilter,
    EPICResampler,
    FilteredClassifier,
    TorchClassifier,
)
from epic_sklearn.rules import (
    ActivationClustering,
    DeepKNN,
    HighLoss,
    IsolatedMedoids,
    LowConfidence,
    NeighborVotes,
    RandomDrop,
    SpectralSignatures,
)


@pytest.fixture(autouse=True)
def one_thread():
    # Nets this small gain nothing from a second thread, and on a busy machine
    # torch's threads wait for each other: 60 times slower was seen.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@parametrize_with_checks(
    [
        EPICFilter(),
        EPICFilter(rule=IsolatedMedoids()),
        EPICResampler(),
        FilteredClassifier(),
        TorchClassifier(max_epochs=20),
        EPICClassifier(max_epochs=20),
    ]
)
def test_scikit_learn_estimator_checks(estimator, check):
    # Repeated rows are compared to seven digits, which single precision doesn't keep.
    needs_double = "weight_equivalence" in str(check)
    torch.set_default_dtype(torch.float64 if needs_double else torch.float32)
    try:
        check(estimator)
    finally:
        torch.set_default_dtype(torch.float32)


# EPICFilter round rules that always drop a share replaces rows in fit_transform on
# purpose, which these checks forbid: such rules are checked in the resampler.
@parametrize_with_checks(
    [
        EPICResampler(rule=NeighborVotes()),
        EPICFilter(rule=DeepKNN()),
        EPICResampler(rule=SpectralSignatures()),
        EPICResampler(rule=ActivationClustering()),
        EPICResampler(rule=HighLoss()),
        EPICResampler(rule=LowConfidence()),
        EPICResampler(rule=RandomDrop()),
    ]
)
# The data of some checks are random labels: neighbours outvote most examples.
@pytest.mark.filterwarnings("ignore:So many examples of class")
def test_scikit_learn_estimator_checks_with_every_rule(estimator, check):
    check(estimator)


def test_fit_transform_replaces_isolated_rows_where_transform_changes_nothing():
    # The data of scikit-learn's checks has no isolated rows, so they pass; on
    # other data fit_transform is not fit().transform(), as documented.
    X, y = load_iris(return_X_y=True)
    X[0] = X[100]
    detector = EPICFilter()
    sanitised = detector.fit_transform(X, y)
    changed = np.flatnonzero((sanitised != X).any(axis=1))
    assert 0 in changed
    assert set(changed) <= set(detector.isolated_indices_)
    np.testing.assert_array_equal(EPICFilter().fit(X, y).transform(X), X)


# Not here, because they ask for what EPICResampler does not have on purpose:
# - check_samplers_fit, check_samplers_sampling_strategy_fit_resample: the
#   parameter sampling_strategy; EPIC balances nothing and needs no target count.
# - check_samplers_multiclass_ova: one-hot y, which only imbalanced-learn's own
#   base class turns into labels.
# - check_samplers_sample_indices, parametrize_with_checks: tags of its own base
#   class (sampler_tags, input_tags.dataframe); using that would make
#   imbalanced-learn a requirement.
# - check_samplers_string, check_samplers_nan: for samplers with tags that say so.
IMBLEARN_CHECKS = [
    "check_target_type",
    "check_samplers_one_label",
    "check_samplers_fit_resample",
    "check_samplers_sparse",
    "check_samplers_pandas",
    "check_samplers_pandas_sparse",
    "check_samplers_list",
    "check_samplers_preserve_dtype",
    "check_samplers_2d_target",
]


@pytest.mark.parametrize("check", IMBLEARN_CHECKS)
@pytest.mark.filterwarnings("ignore:A column-vector y was passed")
# Its data are random labels: so much is isolated that a class meets its floor.
@pytest.mark.filterwarnings("ignore:So many examples of class")
def test_imbalanced_learn_sampler_checks(check):
    checks = pytest.importorskip("imblearn.utils.estimator_checks")
    getattr(checks, check)("EPICResampler", EPICResampler())
