"""What every rule keeps to, in a filter and in training alike."""

import inspect
import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier

import epic_sklearn.rules as rules
from epic_sklearn import (
    DropSchedule,
    EPICClassifier,
    EPICFilter,
    EPICResampler,
    FilteredClassifier,
    LastLayerGradients,
    LogitGradients,
    OuterProductGradients,
    PrecomputedGradients,
)
from epic_sklearn.rules import Rule

# The data have no small cluster: a half is small enough here.
CHANGES = {rules.ActivationClustering: {"size_threshold": 0.5}}
RULES = [
    member(**CHANGES.get(member, {}))
    for _, member in inspect.getmembers(rules, inspect.isclass)
    if issubclass(member, Rule) and member is not Rule
]
pytestmark = pytest.mark.filterwarnings("ignore:So many examples of class")
every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda r: type(r).__name__)


@pytest.fixture
def overlapping():
    """Three classes in four dimensions that overlap."""
    return make_blobs(150, 4, centers=3, center_box=(-3, 3), random_state=0)


def small_net():
    """Untrained, the same at each call."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Sequential(
            torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3)
        )


class Growing(Rule):
    """Keeps its score and gradients in memory, and goes on with them in place."""

    def judge(self, gradients, codes, memory):
        if "score" not in memory:
            memory["score"] = np.zeros(len(codes))
        memory["score"] *= 0.5
        memory["score"] += gradients[:, 0]
        before = memory.get("before", np.zeros_like(gradients))
        changed = np.abs(gradients - before).sum(axis=1)
        memory["before"] = gradients
        score = memory["score"]
        return rules.Judgement(score, score > np.inf, {"changed": changed})


def test_a_rule_may_change_its_memory_in_place():
    schedule = DropSchedule([0, 0, 1, 1], rule=Growing(), warmup=0)
    gradients = np.array([[4.0], [3.0], [2.0], [1.0]])
    for epoch in range(3):
        schedule.step(epoch, gradients)
        assert (schedule.details["changed"] > 0).all() == (epoch != 1)
        if epoch == 1:
            gradients[:] = -gradients
    np.testing.assert_array_equal(schedule.isolation_score, [6.0, 4.5, 3.0, 1.5])


def test_what_memory_holds_at_first_is_what_it_keeps():
    memory = rules.Memory(np.ones(3, dtype=bool))
    default = np.zeros(1)
    for n_rounds in (1, 2):
        count = memory.setdefault("rounds", default)
        count += 1
        assert memory["rounds"] == [n_rounds]
    assert default == [0]


@pytest.mark.parametrize("needs", [("errors",), ("errors", "inputs")])
def test_columns_of_errors_are_the_codes_of_labels(needs):
    """Also where a model knows labels that the data lack, or in another order."""

    class Loss(Rule):
        def judge(self, gradients, codes, memory):
            errors = getattr(gradients, "errors", gradients)
            own = errors[np.arange(len(codes)), codes]
            np.testing.assert_array_equal(own, errors.min(axis=1))
            return rules.Judgement(-own, own < -0.9)

    Loss.needs = needs
    X, y = make_blobs(120, centers=6, random_state=0)
    X += np.random.default_rng(0).normal(scale=3.0, size=X.shape)
    model = FrozenEstimator(LogisticRegression(max_iter=500).fit(X, y))
    for rows in (y >= 0, y > 0, (y == 1) | (y == 4)):
        detector = EPICFilter(model, rule=Loss()).fit(X[rows], y[rows])
        assert 0 < detector.keep_.mean() < 1
    found = LastLayerGradients(model).fit(X, y).compute(X, y)
    turned = OuterProductGradients(found.errors[:, ::-1], found.inputs)
    assert DropSchedule(y, rule=Loss(), warmup=0).step(0, turned).n_dropped > 0


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("prefers", "logits", "None or of"),
        ("watches", 2.0, "a share, from 0 to 1"),
        ("watches", -1.0, "a share"),
        ("metric", "l1", "one of .'euclidean'"),
    ],
)
def test_what_a_rules_class_says_is_checked(name, value, wanted):
    rule = type("Own", (Growing,), {name: value})()
    with pytest.raises(ValueError, match=f"Own.{name} is .*{wanted}"):
        rules.resolve_rule(rule)


def test_all_rules_are_here():
    assert {type(rule).__name__ for rule in RULES} == {
        "ActivationClustering",
        "DeepKNN",
        "HighLoss",
        "IsolatedMedoids",
        "LowConfidence",
        "NeighborVotes",
        "RandomDrop",
        "SpectralSignatures",
    }


@every_rule
def test_filter_resampler_and_schedule_drop_the_same(rule, overlapping):
    X, y = overlapping
    detector = EPICFilter(rule=rule, random_state=0).fit(X, y)
    gradients = detector.extractor_.compute(X, y)
    schedule = DropSchedule(y, rule=rule, warmup=0, random_state=0)
    schedule.step(0, gradients)
    np.testing.assert_array_equal(schedule.keep, detector.keep_)
    X_kept, _ = EPICResampler(rule=rule, random_state=0).fit_resample(X, y)
    np.testing.assert_array_equal(X_kept, X[detector.keep_])
    assert 0 < detector.keep_.mean() < 1
    assert detector.details_.keys() == schedule.details.keys()
    model = FilteredClassifier(LogisticRegression(), clone(detector)).fit(X, y)
    np.testing.assert_array_equal(model.keep_, detector.keep_)


@every_rule
def test_every_rule_runs_in_training_rounds(rule, overlapping):
    X, y = overlapping
    model = EPICClassifier(
        rule=rule,
        gradients="last_layer",
        warmup=1,
        every=1,
        stop=2,
        max_epochs=3,
        random_state=0,
    ).fit(X, y)
    assert [record.epoch for record in model.rounds_] == [1, 2]
    assert 0 < model.keep_.mean() < 1
    assert type(model.rule_) is type(rule) and model.rule_ is not rule


@every_rule
def test_two_fits_are_identical_and_leave_global_states_and_parameters(
    rule, overlapping
):
    before = [*np.random.get_state(), torch.get_rng_state().numpy()]
    params = repr(rule.get_params())
    detector = EPICFilter(rule=rule, random_state=0)
    first = detector.fit(*overlapping).isolation_score_
    np.testing.assert_array_equal(first, detector.fit(*overlapping).isolation_score_)
    after = [*np.random.get_state(), torch.get_rng_state().numpy()]
    np.testing.assert_equal(after, before)
    assert repr(rule.get_params()) == params
    loaded = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(loaded.keep_, detector.keep_)


@every_rule
def test_scores_of_rows_dropped_in_one_round_are_above_those_kept(rule, overlapping):
    X, y = overlapping
    detector = EPICFilter(rule=rule, random_state=0).fit(X, y)
    for label in range(3):
        score, keep = detector.isolation_score_[y == label], detector.keep_[y == label]
        if not keep.all():
            assert score[~keep].min() >= score[keep].max()


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@every_rule
def test_a_bare_model_is_read_as_the_rule_needs_it(rule, overlapping):
    X, y = overlapping
    read = LogitGradients
    if "inputs" in rule.needs or rule.prefers == "last_layer":
        read = LastLayerGradients
    for model in (small_net(), MLPClassifier(5, max_iter=5, random_state=0)):
        bare = EPICFilter(model, rule=rule, random_state=0).fit(X, y)
        wrapped = EPICFilter(read(model), rule=rule, random_state=0).fit(X, y)
        assert isinstance(bare.extractor_, read)
        np.testing.assert_array_equal(bare.isolation_score_, wrapped.isolation_score_)


@every_rule
def test_gradients_that_lack_what_a_rule_needs_are_refused_first(rule, overlapping):
    begun = []

    def module():
        begun.append(True)
        return torch.nn.Linear(4, 3)

    for kind, gives in (("logit", {"errors"}), ("last_layer_input", set())):
        model = EPICClassifier(module, rule=rule, gradients=kind, warmup=1)
        if set(rule.needs) <= gives:
            continue
        with pytest.raises(ValueError, match=r"looks at .*set gradients='last_layer'"):
            model.fit(*overlapping)
    if rule.needs:
        extractor = LogitGradients(small_net())
        extractor.gives = ()
        with pytest.raises(ValueError, match=r"LastLayerGradients\(classifier\)"):
            EPICFilter(extractor, rule=rule)._extractor(rule)
    assert not begun


@every_rule
def test_sparse_input_frames_and_images_are_read(rule, overlapping):
    X, y = overlapping
    make = {"rule": rule, "random_state": 0}
    keep = EPICFilter(**make).fit(X, y).keep_
    sparse = EPICFilter(**make)
    sanitised = sparse.fit_transform(sp.csr_array(X), y)
    np.testing.assert_array_equal(sparse.keep_, keep)
    assert sp.issparse(sanitised) and sp.issparse(sparse.transform(sp.csc_array(X)))
    frame = pd.DataFrame(X, columns=list("abcd"), index=np.arange(150)[::-1] + 7)
    of_frame = EPICFilter(**make)
    sanitised = of_frame.fit_transform(frame, y)
    np.testing.assert_array_equal(of_frame.keep_, keep)
    assert list(sanitised.index) == list(frame.index)
    changed = (sanitised.to_numpy() != X).any(axis=1)
    np.testing.assert_array_equal(changed, ~keep)


def test_grid_search_over_rules_and_their_parameters(overlapping):
    model = FilteredClassifier(LogisticRegression(), EPICFilter())
    grid = [
        {
            "filter__rule": [rules.SpectralSignatures()],
            "filter__rule__eps": [0.01, 0.1],
        },
        {"filter__rule": [rules.DeepKNN()], "filter__rule__k": [5, 1.0]},
        {"filter__rule": [rules.HighLoss(), rules.RandomDrop(), None]},
    ]
    search = GridSearchCV(model, grid, cv=3, error_score="raise").fit(*overlapping)
    assert search.best_score_ > 0.8 and len(search.cv_results_["params"]) == 7


def test_sample_weights_reach_the_model(overlapping):
    X, y = overlapping
    weights = np.random.RandomState(0).rand(150)
    rule = rules.HighLoss()
    weighted = EPICFilter(LogisticRegression(), rule=rule).fit(X, y, weights)
    p = LogisticRegression().fit(X, y, weights).predict_proba(X)
    np.testing.assert_allclose(weighted.isolation_score_, -np.log(p[np.arange(150), y]))


@every_rule
def test_a_rule_says_in_words_what_it_does(rule):
    assert {rule.flags, rule.score_is, rule.to_drop_less}.isdisjoint(
        {Rule.flags, Rule.score_is, Rule.to_drop_less}
    )
    named = rule.to_drop_less.replace(",", " ").split()
    assert set(named) & set(rule.get_params())


@every_rule
def test_precomputed_arrays_are_taken_where_they_have_what_is_needed(rule, overlapping):
    X, y = overlapping
    detector = EPICFilter(PrecomputedGradients(), rule=rule, random_state=0)
    if "errors" in rule.needs:
        with pytest.raises(ValueError, match="looks at"):
            detector.fit(X, y)
    else:
        assert 0 < detector.fit(X, y).keep_.mean() < 1
