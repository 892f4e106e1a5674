"""When rounds come, what they keep, and that state can be saved and loaded."""

import warnings

import numpy as np
import pytest

from epic_sklearn import DropSchedule, OuterProductGradients, logit_gradients
from epic_sklearn.gradients import gradient_norm_change
from epic_sklearn.rules import (
    IsolatedMedoids,
    Judgement,
    Memory,
    RandomDrop,
    Rule,
)
from epic_sklearn.schedule import drop_within_floor
from epic_sklearn.validation import check_labels


def problem(n=120, seed=0):
    rng = np.random.RandomState(seed)
    return rng.dirichlet(np.full(4, 0.4), n), np.arange(n) % 3


@pytest.mark.parametrize(
    ("timing", "expected"),
    [
        ({"warmup": 10, "every": 5}, [10, 15, 20, 25]),
        ({"warmup": 0, "every": 10}, [0, 10, 20]),
        ({"warmup": 1, "every": 1, "stop": 4}, [1, 2, 3, 4]),
        ({"warmup": 3, "every": 4, "stop": 12}, [3, 7, 11]),
        ({"warmup": 5, "every": 1, "stop": 5}, [5]),
    ],
)
def test_rounds_come_after_warmup_every_so_often_until_stop(timing, expected):
    gradients, labels = problem()
    schedule = DropSchedule(labels, rule=IsolatedMedoids(subset_size=0.05), **timing)
    for epoch in range(30):
        record = schedule.step(epoch, gradients)
        assert (record is not None) == (epoch in expected)
    assert [record.epoch for record in schedule.rounds] == expected


def test_gradients_are_not_computed_when_no_round_is_due():
    schedule = DropSchedule(problem()[1], warmup=3)
    assert schedule.step(0, lambda: pytest.fail("computed")) is None


def test_a_round_is_not_run_twice():
    gradients, labels = problem()
    schedule = DropSchedule(labels, warmup=1, every=1)
    assert schedule.step(1, gradients) is not None
    assert schedule.step(1, gradients) is None


@pytest.mark.parametrize("cluster_on", ["all", "kept"])
def test_dropped_stays_dropped(cluster_on):
    labels = problem()[1]
    rule = IsolatedMedoids(subset_size=0.1, cluster_on=cluster_on)
    schedule = DropSchedule(labels, rule=rule, warmup=1, every=1)
    before = schedule.keep.copy()
    for epoch in range(1, 6):
        schedule.step(epoch, problem(seed=epoch)[0])
        assert not (schedule.keep & ~before).any()
        newly = before & ~schedule.keep
        assert (schedule.dropped_at_epoch[newly] == epoch).all()
        assert schedule.rounds[-1].n_dropped == newly.sum()
        before = schedule.keep.copy()
    assert (schedule.dropped_at_epoch[schedule.keep] == -1).all()


def test_rho_is_the_change_of_the_mean_gradients_norm():
    gradients, labels = problem()
    schedule = DropSchedule(labels, rule=IsolatedMedoids(0.4), warmup=0, every=1)
    record = schedule.step(0, gradients)
    kept = np.linalg.norm(gradients[schedule.keep].mean(axis=0))
    everything = np.linalg.norm(gradients.mean(axis=0))
    assert record.rho == pytest.approx(abs(kept - everything))
    assert record.rho > 0


@pytest.mark.parametrize("cluster_on", ["all", "kept"])
def test_state_goes_on_where_it_was_saved(cluster_on):
    labels = problem()[1]
    options = {
        "warmup": 1,
        "every": 2,
        "rule": IsolatedMedoids(subset_size=0.3, cluster_on=cluster_on),
        "min_class_fraction": 0.0,
    }
    unbroken = DropSchedule(labels, **options)
    for cut in range(8):
        first, second = DropSchedule(labels, **options), DropSchedule(labels, **options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for epoch in range(8):
                gradients = problem(seed=epoch)[0]
                if epoch == cut:
                    second.load_state_dict(first.state_dict())
                (first if epoch < cut else second).step(epoch, gradients)
                if cut == 0:
                    unbroken.step(epoch, gradients)
        np.testing.assert_array_equal(second.keep, unbroken.keep)
        np.testing.assert_array_equal(
            second.dropped_at_epoch, unbroken.dropped_at_epoch
        )
        np.testing.assert_array_equal(second.isolation_score, unbroken.isolation_score)
        assert [r.n_kept for r in second.rounds] == [r.n_kept for r in unbroken.rounds]


def test_state_of_other_data_or_options_is_refused():
    labels = problem()[1]
    rule = IsolatedMedoids()
    state = DropSchedule(labels, rule=rule, warmup=1, every=2).state_dict()
    with pytest.raises(ValueError, match="other labels"):
        DropSchedule(labels[::-1], rule=rule, warmup=1, every=2).load_state_dict(state)
    with pytest.raises(ValueError, match=r"rule__threshold.*\(1, 2\)"):
        other = IsolatedMedoids(threshold=2)
        DropSchedule(labels, rule=other, warmup=1, every=2).load_state_dict(state)
    with pytest.raises(
        ValueError, match=r"'rule': \('IsolatedMedoids', 'RandomDrop'\)"
    ):
        other = RandomDrop()
        DropSchedule(labels, rule=other, warmup=1, every=2).load_state_dict(state)
    with pytest.raises(ValueError, match=r"warmup': \(1, 3\)"):
        DropSchedule(labels, rule=rule, warmup=3, every=2).load_state_dict(state)
    prolonged = DropSchedule(labels, rule=rule, warmup=1, every=2, stop=50)
    prolonged.load_state_dict(state)


def test_a_refused_round_changes_nothing():
    gradients, labels = problem()
    schedule = DropSchedule(labels, rule=IsolatedMedoids(0.4), warmup=0, every=1)
    for bad in (gradients[:5], np.full_like(gradients, np.nan)):
        with pytest.raises(ValueError, match="Gradient features"):
            schedule.step(0, bad)
    assert schedule.keep.all() and not schedule.rounds
    assert schedule.step(0, gradients).n_dropped > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"warmup": -1}, "'warmup' parameter of DropSchedule .* Got -1"),
        ({"warmup": 2.5}, "'warmup' .* Got 2.5"),
        ({"every": 0}, "'every' .* Got 0"),
        ({"stop": 3}, "stop is 3 and warmup 4"),
        ({"min_class_fraction": 1.5}, "'min_class_fraction' .* Got 1.5"),
        ({"rule": IsolatedMedoids(threshold=0)}, "'threshold' .* IsolatedMedoids"),
        ({"rule": IsolatedMedoids(subset_size=0.0)}, "'subset_size' .* Got 0.0"),
        ({"rule": IsolatedMedoids(cluster_on="left")}, "'cluster_on' .* 'left'"),
        ({"labels": [1, 1, 1]}, "only one class"),
        ({"labels": []}, "y is empty"),
        ({"labels": [0.0, np.nan]}, "NaN or None in 1 of 2"),
        ({"labels": np.array(["a", None], dtype=object)}, "NaN or None in 1 of 2"),
    ],
)
def test_bad_options_say_what_was_given(change, message):
    arguments = {"labels": [0, 1, 0, 1], "warmup": 4, **change}
    with pytest.raises(ValueError, match=message):
        DropSchedule(arguments.pop("labels"), **arguments)


@pytest.mark.parametrize("rule", ["medoids", IsolatedMedoids, 3])
def test_what_is_no_rule_is_refused(rule):
    with pytest.raises(TypeError, match="give an instance of a rule"):
        DropSchedule([0, 1], rule=rule, warmup=1)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "empty"),
        (["a", "a"], "only one class, 'a'"),
        ([0.0, np.nan], "NaN or None in 1 of 2"),
        (["a", None, "b", None], "NaN or None in 2 of 4"),
        (np.array(["a", 1], dtype=object), "types that cannot be sorted"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        check_labels(labels)


# ------------------------------------------------------------- the floor, and rho


@pytest.mark.parametrize("fraction", [0.0, 0.5, 0.9, 1.0])
def test_floor_gives_back_the_least_flagged(fraction):
    rng = np.random.RandomState(0)
    codes, score = rng.randint(3, size=60), rng.rand(60)
    flagged = rng.rand(60) < 0.7
    keep, floored = drop_within_floor(
        np.ones(60, bool), flagged, score, codes, fraction
    )
    for c in range(3):
        mine = codes == c
        floor = max(1, int(np.ceil(fraction * mine.sum())))
        wanted = max(floor, (mine & ~flagged).sum())
        assert keep[mine].sum() == wanted
        assert (c in floored) == (wanted > (mine & ~flagged).sum())
        assert keep[mine & ~flagged].all()
        given_back, dropped = mine & flagged & keep, mine & ~keep
        if given_back.any() and dropped.any():
            assert score[given_back].max() < score[dropped].min()


def test_floor_never_gives_back_what_an_earlier_round_dropped():
    keep = np.array([False, False, True, True])
    flagged = np.array([False, False, True, True])
    after, floored = drop_within_floor(
        keep, flagged, np.array([0.1, 0.2, 0.9, 0.8]), np.zeros(4, int), 0.75
    )
    np.testing.assert_array_equal(after, keep)  # both given back, no more to give
    assert floored == [0]


def test_rho_is_zero_when_nothing_is_dropped_and_naive_otherwise():
    X, _ = problem()
    assert gradient_norm_change(X, np.ones(len(X), bool)) == 0.0
    keep = np.arange(len(X)) % 3 > 0
    by_hand = np.sqrt((X[keep].mean(0) ** 2).sum()) - np.sqrt((X.mean(0) ** 2).sum())
    assert gradient_norm_change(X, keep) == pytest.approx(abs(by_hand), rel=1e-12)


# ------------------------------------------------- what a rule may keep and answer


class MeanLength(Rule):
    """Flags what is long on the average of all rounds."""

    def judge(self, gradients, codes, memory):
        n_before = memory.get("n", np.zeros(1))
        length = np.linalg.norm(gradients, axis=1)
        mean = (memory.get("mean", 0) * n_before + length) / (n_before + 1)
        memory["mean"], memory["n"] = mean, n_before + 1
        return Judgement(mean, mean > 0.9, {"rounds": np.full(len(mean), n_before[0])})


def test_what_a_rule_remembers_is_saved_and_loaded_exactly():
    labels = problem()[1]
    whole, first, second = (
        DropSchedule(labels, rule=MeanLength(), warmup=0, every=1) for _ in range(3)
    )
    for epoch in range(6):
        gradients = problem(seed=epoch)[0]
        whole.step(epoch, gradients)
        if epoch == 3:
            second.load_state_dict(first.state_dict())
        (first if epoch < 3 else second).step(epoch, gradients)
    assert not whole.keep.all()
    assert whole.details["rounds"][0] == 5
    np.testing.assert_array_equal(second.keep, whole.keep)
    np.testing.assert_array_equal(second.isolation_score, whole.isolation_score)


def answering(**changes):
    class Answers(Rule):
        def judge(self, gradients, codes, memory):
            n = len(codes)
            right = {"score": np.zeros(n), "flagged": np.zeros(n, dtype=bool)}
            return Judgement(**{**right, **changes})

    return Answers()


@pytest.mark.parametrize(
    "changes",
    [
        {"score": np.zeros(3)},
        {"score": np.zeros(3), "details": {"score": np.zeros(120)}},
        {"score": np.full(120, np.nan)},
        {"flagged": np.zeros(120)},
        {"flagged": np.array([5, 7])},
        {"details": {"size": np.zeros(7)}},
        {"details": {"why": np.array([None] * 120)}},
    ],
)
def test_an_answer_that_does_not_fit_the_rows_is_refused_and_nothing_changes(changes):
    gradients, labels = problem()
    schedule = DropSchedule(labels, rule=answering(**changes), warmup=0)
    with pytest.raises(ValueError, match="gave a Judgement that cannot be used"):
        schedule.step(0, gradients)
    assert schedule.keep.all() and not schedule.rounds


def test_a_masked_score_is_refused():
    gradients, labels = problem()
    masked = np.ma.array(np.zeros(120), mask=np.arange(120) == 7)
    schedule = DropSchedule(labels, rule=answering(score=masked), warmup=0)
    with pytest.raises(ValueError, match="score is a masked array"):
        schedule.step(0, gradients)


def test_a_rule_reads_what_it_says_it_needs():
    gradients, labels = problem()
    errors = gradients.copy()
    errors[np.arange(120), labels] -= 1
    given = OuterProductGradients(errors, np.ones((120, 2)))
    seen = []

    class Reads(Rule):
        def judge(self, gradients, codes, memory):
            seen.append(gradients)
            return Judgement(np.zeros(120), np.zeros(120, dtype=bool))

    for needs in ((), ("errors",), ("inputs",), ("errors", "inputs")):
        Reads.needs = needs
        DropSchedule(labels, rule=Reads(), warmup=0).step(0, given)
    for whole in (seen[0], seen[3]):
        np.testing.assert_array_equal(whole.errors, errors)
        np.testing.assert_array_equal(whole.inputs, given.inputs)
    np.testing.assert_array_equal(seen[1], errors)
    np.testing.assert_array_equal(seen[2], np.ones((120, 2)))
    Reads.needs = ("errors",)
    DropSchedule(labels, rule=Reads(), warmup=0).step(0, errors)
    shuffled = np.random.RandomState(0).permutation(120)
    for wrong in (gradients, errors[shuffled], np.ones((120, 2)), -errors):
        with pytest.raises(ValueError, match=r"their label|another order"):
            DropSchedule(labels, rule=Reads(), warmup=0).step(0, wrong)
    Reads.needs = ("errors", "inputs")
    with pytest.raises(ValueError, match=r"shape \(120, 4\)"):
        DropSchedule(labels, rule=Reads(), warmup=0).step(0, errors)


def test_gradients_that_show_another_order_are_refused():
    gradients, labels = problem()
    probabilities = np.exp(gradients) / np.exp(gradients).sum(axis=1, keepdims=True)
    errors = logit_gradients(probabilities, labels)
    shuffled = np.random.RandomState(0).permutation(120)
    for given in (errors, OuterProductGradients(errors, np.ones((120, 2)))):
        assert DropSchedule(labels, warmup=0).step(0, given) is not None
        with pytest.raises(ValueError, match="in another order than the labels"):
            DropSchedule(labels, warmup=0).step(0, given[shuffled])
    # The net may tell apart more classes than the labels do.
    assert DropSchedule(labels > 0, warmup=0).step(0, errors) is not None


def test_an_answer_that_is_no_judgement_says_what_to_return():
    gradients, labels = problem()

    class Pair(Rule):
        def judge(self, gradients, codes, memory):
            return np.zeros(120), np.zeros(120, dtype=bool)

    with pytest.raises(TypeError, match=r"return Judgement\(score, flagged\)"):
        DropSchedule(labels, rule=Pair(), warmup=0).step(0, gradients)


def test_a_rule_cannot_change_the_gradients_that_it_was_given():
    gradients, labels = problem()
    given = gradients.copy()

    class Writes(Rule):
        def judge(self, gradients, codes, memory):
            gradients -= gradients.mean(axis=0)

    with pytest.raises(ValueError, match="read-only"):
        DropSchedule(labels, rule=Writes(), warmup=0).step(0, given)
    np.testing.assert_array_equal(given, gradients)


def test_memory_takes_arrays_of_numbers_only():
    memory = Memory(np.ones(3, dtype=bool))
    memory["mean"] = [1, 2, 3]
    assert isinstance(memory["mean"], np.ndarray)
    for value in (["a"], {"a": 1}, None):
        with pytest.raises(TypeError, match="arrays of numbers or bools only"):
            memory.setdefault("other", value)


class WithParameter(Rule):
    def __init__(self, value=None):
        self.value = value

    def judge(self, gradients, codes, memory):
        return Judgement(np.zeros(len(codes)), np.zeros(len(codes), dtype=bool))


@pytest.mark.parametrize(
    ("value", "other"),
    [(np.nan, 1.0), (np.arange(5000), np.arange(5000) ** 2), (np.sum, np.max)],
)
def test_settings_are_compared_by_what_they_are(value, other):
    gradients, labels = problem()
    schedule = DropSchedule(labels, rule=WithParameter(value), warmup=0)
    schedule.step(0, gradients)
    state = schedule.state_dict()
    DropSchedule(labels, rule=WithParameter(value), warmup=0).load_state_dict(state)
    with pytest.raises(ValueError, match="other settings"):
        changed = WithParameter(other)
        DropSchedule(labels, rule=changed, warmup=0).load_state_dict(state)


@pytest.mark.parametrize("needs", ["errors", ("logits",), ["errors"]])
def test_needs_that_no_gradients_have_are_refused(needs):
    rule = WithParameter()
    rule.needs = needs
    with pytest.raises(TypeError, match="it must be a tuple of some of"):
        DropSchedule([0, 1], rule=rule, warmup=1)
