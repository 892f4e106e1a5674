"""What a schedule hands on, copies, saves and restores; and what rounding may not."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris

from epic_sklearn import DropSchedule, EPICClassifier, EPICFilter, EPICSubsetSampler
from epic_sklearn.rules import IsolatedMedoids, Judgement, RandomDrop, Rule

LABELS = np.arange(120) % 3
GRADIENTS = np.random.RandomState(0).dirichlet(np.full(4, 0.4), 120)
MEDOIDS = {"rule": IsolatedMedoids(0.3), "warmup": 1, "every": 1}
X, y = load_iris(return_X_y=True)


class Says(Rule):
    """Scores and flags by what the gradients of the round say."""

    watches = 0.0

    def judge(self, gradients, codes, memory):
        score = gradients[:, 0]
        return Judgement(score, score > 5, {"length": score})


def stepped(*columns, warmup):
    schedule = DropSchedule(np.arange(8) % 2, rule=Says(), warmup=warmup, every=1)
    for epoch, column in enumerate(columns, 1):
        schedule.step(epoch, np.array(column, dtype=float)[:, None])
    return schedule


def test_a_saved_seed_takes_the_place_of_ones_own():
    how = {"rule": RandomDrop(0.3), "warmup": 0, "every": 1}
    saved = DropSchedule(LABELS, random_state=0, **how)
    resumed = DropSchedule(LABELS, random_state=1, **how)
    resumed.load_state_dict(saved.state_dict())
    saved.step(0, GRADIENTS)
    resumed.step(0, GRADIENTS)
    np.testing.assert_array_equal(resumed.keep, saved.keep)


def test_another_floor_is_another_run():
    state = DropSchedule(LABELS, warmup=1).state_dict()
    other = DropSchedule(LABELS, warmup=1, min_class_fraction=0.9)
    with pytest.raises(ValueError, match=r"min_class_fraction': \(0.5, 0.9\)"):
        other.load_state_dict(state)


@pytest.mark.filterwarnings("ignore:So many examples of class")
def test_a_floor_is_not_raised_by_rounding():
    codes = np.repeat([0, 1], 100)  # 0.55 * 100 is 55.000...01
    schedule = DropSchedule(codes, rule=Says(), warmup=0, min_class_fraction=0.55)
    schedule.step(0, np.full((200, 1), 9.0))
    assert np.bincount(codes[schedule.keep]).tolist() == [55, 55]


def test_scores_of_rounds_that_only_watch_do_not_count():
    schedule = stepped([9] * 8, [1] * 8, [2] * 8, warmup=2)
    assert schedule.isolation_score.tolist() == [2.0] * 8


def test_details_of_a_dropped_example_are_those_of_the_round_that_dropped_it():
    schedule = stepped([9, *[1] * 7], [2] * 8, warmup=1)
    assert schedule.details["length"].tolist() == [9.0, *[2.0] * 7]


def test_a_loaded_state_is_left_as_it_was():
    state = DropSchedule(LABELS, **MEDOIDS).state_dict()
    first, second = DropSchedule(LABELS, **MEDOIDS), DropSchedule(LABELS, **MEDOIDS)
    first.load_state_dict(state)
    first.step(1, GRADIENTS)
    second.load_state_dict(state)
    assert second.keep.all()
    assert (second.dropped_at_epoch == -1).all()


def test_decisions_change_no_array_given_before():
    schedule = stepped([9, *[1] * 7], warmup=1)
    before = schedule.keep
    schedule.decide(np.array([3]), np.array([False]))
    assert before[3]
    assert not schedule.keep[3]


def test_a_rule_that_writes_to_its_memorys_keep_drops_nothing_by_it():
    class Writes(Rule):
        def judge(self, gradients, codes, memory):
            memory.keep[:] = False
            return Judgement(np.zeros(len(codes)), np.zeros(len(codes), dtype=bool))

    schedule = DropSchedule(LABELS, rule=Writes(), warmup=0, every=1)
    schedule.step(0, GRADIENTS)
    assert schedule.keep.all()


def test_a_rule_may_go_on_with_its_own_arrays():
    class Reuses(Rule):
        def judge(self, gradients, codes, memory):
            if not hasattr(self, "said"):
                self.said = np.zeros(len(codes))
            self.said[:] = gradients[:, 0]
            return Judgement(self.said, self.said > 5)

    schedule = DropSchedule(np.arange(24) % 2, rule=Reuses(), warmup=0, every=1)
    schedule.step(0, np.full((24, 1), 3.0))
    schedule.step(1, np.full((24, 1), 1.0))
    assert schedule.isolation_score.tolist() == [3.0] * 24


def test_a_schedule_takes_the_index_of_its_labels():
    labels = pd.Series(np.arange(24) % 2, index=np.arange(24) + 100)
    schedule = DropSchedule(labels, rule=IsolatedMedoids(), warmup=0)
    schedule.step(0, np.random.default_rng(0).normal(size=(24, 3)))
    assert schedule.to_frame().index.equals(labels.index)


def test_what_follows_from_the_length_of_the_training():
    def epochs(**given):
        return DropSchedule(LABELS, rule=Says(), **given).epochs

    assert epochs(max_epochs=30).warmup == 8  # a quarter, rounded up
    assert epochs(max_epochs=40, stop=2).warmup == 2
    assert epochs(warmup=5).first == 1  # before training there is nothing to watch


def test_a_small_class_is_warned_of_once():
    codes = np.repeat([0, 1], [5, 60])
    with pytest.warns(UserWarning, match="too small to judge") as caught:
        schedule = DropSchedule(codes, rule=Says(), warmup=0)
        schedule.step(0, np.where(codes == 0, 9.0, 1.0)[:, None])
    assert len(caught) == 1


def sampler_of(labels, **how):
    return EPICSubsetSampler(labels, rule=Says(), warmup=0, random_state=0, **how)


def test_a_resumed_sampler_shuffles_as_the_saved_one_did():
    saved, resumed = sampler_of(LABELS, shuffle=False), sampler_of(LABELS)
    resumed.load_state_dict(saved.state_dict())
    assert list(resumed) == list(range(120))


def test_a_sampler_drops_no_class_below_the_floor_that_it_is_given():
    sampler = sampler_of(np.arange(40) % 2, min_class_fraction=0.9)
    with pytest.warns(UserWarning, match="to keep 90% of the class"):
        sampler.step(0, np.full((40, 1), 9.0))
    assert sampler.keep.sum() == 36


def test_a_stepped_sampler_that_loads_and_is_never_stepped_again_says_so():
    sampler = sampler_of(LABELS)
    sampler.step(0, np.zeros((120, 1)))
    sampler.load_state_dict(sampler.state_dict())
    list(sampler)
    with pytest.warns(UserWarning, match="since it was loaded"):
        list(sampler)


class Asks(Rule):
    def judge(self, gradients, codes, memory):
        n_jobs = np.full(len(codes), memory.n_jobs or 0)
        return Judgement(np.zeros(len(codes)), n_jobs < 0, {"n_jobs": n_jobs})


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_rules_are_told_how_many_jobs_there_are(n_jobs):
    found = EPICFilter(rule=Asks(), n_jobs=n_jobs).fit(X, y)
    assert (found.details_["n_jobs"] == n_jobs).all()


def test_a_saved_run_goes_on_with_other_jobs_and_another_end(tmp_path):
    how = {"checkpoint": tmp_path / "run.pt", "random_state": 0, "warmup": 1}
    EPICClassifier(max_epochs=2, **how).fit(X, y)
    longer = EPICClassifier(max_epochs=3, n_jobs=2, stop=2, **how).fit(X, y)
    assert len(longer.history_) == 3


def test_masked_weights_are_refused():
    weights = np.ma.masked_array(np.ones(150), mask=np.arange(150) == 3)
    with pytest.raises(ValueError, match="sample_weight is a masked array"):
        EPICFilter().fit(X, y, sample_weight=weights)
