"""Properties that hold for any data: order, names, scale, type and container."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from epic_sklearn import (
    DropSchedule,
    EPICFilter,
    EPICResampler,
    FilteredClassifier,
    OuterProductGradients,
    PrecomputedGradients,
    logit_gradients,
)
from epic_sklearn.rules import (
    DeepKNN,
    HighLoss,
    IsolatedMedoids,
    LowConfidence,
    NeighborVotes,
    SpectralSignatures,
)

RULES = [
    IsolatedMedoids(),
    IsolatedMedoids(subset_size=0.4, threshold=2),
    NeighborVotes(),
    HighLoss(),
    LowConfidence(),
    SpectralSignatures(),
    DeepKNN(k=5),
]
every_rule = pytest.mark.parametrize("rule", RULES, ids=repr)
few = settings(max_examples=15, deadline=None, derandomize=True)
seeds = st.integers(0, 10_000)


def problem(seed):
    """Last layer's gradients of two to four classes of unequal sizes."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(11, 40, size=rng.integers(2, 5))
    codes = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    logits = rng.normal(size=(len(codes), len(sizes)))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    inputs = rng.normal(size=(len(codes), 6)) + 2 * codes[:, None]
    return OuterProductGradients(logit_gradients(p, codes), inputs), codes


def kept(rule, gradients, labels):
    schedule = DropSchedule(labels, rule=rule, warmup=0, min_class_fraction=0.0)
    schedule.step(0, gradients)
    return schedule.keep


@every_rule
@given(seeds)
@few
@pytest.mark.filterwarnings("ignore:So many examples of class")
def test_rows_in_another_order_give_the_result_in_that_order(rule, seed):
    gradients, codes = problem(seed)
    order = np.random.default_rng(seed).permutation(len(codes))
    np.testing.assert_array_equal(
        kept(rule, gradients[order], codes[order]), kept(rule, gradients, codes)[order]
    )


@every_rule
@given(seeds, st.sampled_from(["numbers", "texts", "bools of two"]))
@few
@pytest.mark.filterwarnings("ignore:So many examples of class")
def test_other_names_for_the_classes_change_nothing(rule, seed, kind):
    gradients, codes = problem(seed)
    rng = np.random.default_rng(seed)
    names = rng.permutation(100)[: codes.max() + 1] - 50
    if kind == "texts":
        names = np.array([f"class {n}" for n in names])
    if kind == "bools of two" and codes.max() == 1:
        names = np.array([True, False])
    np.testing.assert_array_equal(
        kept(rule, gradients, names[codes]), kept(rule, gradients, codes)
    )


@pytest.mark.parametrize("rule", [RULES[0], RULES[1], SpectralSignatures(), DeepKNN(5)])
@given(seeds, st.integers(-60, 60))
@few
@pytest.mark.filterwarnings("ignore:So many examples of class")
def test_the_scale_of_gradients_changes_nothing(rule, seed, exponent):
    gradients, codes = problem(seed)
    given = gradients.inputs
    np.testing.assert_array_equal(
        kept(rule, given * 2.0**exponent, codes), kept(rule, given, codes)
    )


@every_rule
@given(seeds)
@few
@pytest.mark.filterwarnings("ignore:So many examples of class")
def test_a_class_is_judged_by_itself(rule, seed):
    if isinstance(rule, DeepKNN):
        return  # its neighbours are of all classes
    gradients, codes = problem(seed)
    others = np.where(codes == 0, 0, codes.max() + 1 - codes)  # other neighbours
    rows = codes == 0
    whole, renamed = kept(rule, gradients, codes), kept(rule, gradients, others)
    np.testing.assert_array_equal(whole[rows], renamed[rows])


BOXES = {
    "list": lambda X: X.tolist(),
    "frame": lambda X: pd.DataFrame(X, columns=list("abcd")),
    "nullable frame": lambda X: pd.DataFrame(X, columns=list("abcd")).convert_dtypes(),
    "Arrow in pandas": lambda X: pd.DataFrame(X, columns=list("abcd")).convert_dtypes(
        dtype_backend="pyarrow"
    ),
    "Fortran order": np.asfortranarray,
    "sparse": sp.csr_array,
    "tensor": torch.tensor,
}


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int16])
@given(seeds)
@settings(max_examples=5, deadline=None, derandomize=True)
@pytest.mark.filterwarnings("ignore:So many examples of class")
def test_the_container_and_number_type_change_nothing(box, dtype, seed):
    rng = np.random.default_rng(seed)
    X = rng.integers(-9, 9, size=(60, 4)).astype(dtype)
    y = np.arange(60) % 3
    extractor = PrecomputedGradients()
    expected = EPICFilter(extractor).fit(X.astype(np.float64), y)
    boxed = BOXES[box](X)
    np.testing.assert_array_equal(
        EPICFilter(extractor).fit(boxed, torch.tensor(y)).keep_, expected.keep_
    )
    X_kept, _ = EPICResampler(extractor).fit_resample(boxed, y.tolist())
    rows = X_kept.shape[0] if hasattr(X_kept, "shape") else len(X_kept)
    assert rows == expected.keep_.sum()


def test_a_memory_map_is_read_like_its_array(tmp_path):
    X = np.random.default_rng(0).normal(size=(60, 4))
    y = np.arange(60) % 3
    mapped = np.memmap(tmp_path / "X", dtype=X.dtype, mode="w+", shape=X.shape)
    mapped[:] = X
    model = FilteredClassifier(LogisticRegression(), EPICFilter())
    np.testing.assert_array_equal(
        model.fit(mapped, y).predict(mapped), model.fit(X, y).predict(X)
    )


def test_arrow_tables_are_refused_by_name():
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"a": np.arange(6.0), "b": np.arange(6.0) ** 2})
    for estimator in (EPICFilter(), EPICResampler(), FilteredClassifier()):
        with pytest.raises(TypeError, match=r"Table of pyarrow.*X\.to_pandas\(\)"):
            estimator.fit(table, [0, 1, 0, 1, 0, 1])


@every_rule
@given(seeds, st.integers(1, 4))
@few
@pytest.mark.filterwarnings("ignore:So many examples of class")
def test_an_interruption_at_any_epoch_changes_nothing(rule, seed, cut):
    rounds = [problem(seed)[0] for _ in range(2)]
    codes = problem(seed)[1]
    rng = np.random.default_rng(seed)
    scale = rng.uniform(0.2, 1.0, (len(codes), 1))
    rounds += [OuterProductGradients(g.errors * scale, g.inputs) for g in rounds]
    if "errors" in rule.needs:  # errors belong to their labels
        rounds = [problem(seed)[0]] * 4
    options = {"rule": rule, "warmup": 0, "every": 1, "random_state": 0}
    whole, first, second = (DropSchedule(codes, **options) for _ in range(3))
    for epoch, gradients in enumerate(rounds):
        whole.step(epoch, gradients)
        if epoch == cut:
            second.load_state_dict(first.state_dict())
        (first if epoch < cut else second).step(epoch, gradients)
    last = first if cut >= len(rounds) else second
    np.testing.assert_array_equal(last.keep, whole.keep)
    np.testing.assert_array_equal(last.isolation_score, whole.isolation_score)
