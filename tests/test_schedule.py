"""When rounds come, what they keep, and that state can be saved and loaded."""

import warnings

import numpy as np
import pytest

from epic_sklearn import DropSchedule


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
    schedule = DropSchedule(labels, subset_size=0.05, **timing)
    for epoch in range(30):
        record = schedule.step(epoch, gradients)
        assert (record is not None) == (epoch in expected)
    assert [record.epoch for record in schedule.rounds] == expected


def test_gradients_are_not_computed_when_no_round_is_due():
    schedule = DropSchedule(problem()[1], warmup=3)
    assert schedule.step(2, lambda: pytest.fail("computed")) is None


def test_a_round_is_not_run_twice():
    gradients, labels = problem()
    schedule = DropSchedule(labels, warmup=1, every=1)
    assert schedule.step(1, gradients) is not None
    assert schedule.step(1, gradients) is None


@pytest.mark.parametrize("cluster_on", ["all", "kept"])
def test_dropped_stays_dropped(cluster_on):
    labels = problem()[1]
    schedule = DropSchedule(
        labels, warmup=1, every=1, cluster_on=cluster_on, subset_size=0.1
    )
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
    schedule = DropSchedule(labels, warmup=0, every=1, subset_size=0.4)
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
        "subset_size": 0.3,
        "cluster_on": cluster_on,
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
    state = DropSchedule(labels, warmup=1, every=2).state_dict()
    with pytest.raises(ValueError, match="other labels"):
        DropSchedule(labels[::-1], warmup=1, every=2).load_state_dict(state)
    with pytest.raises(ValueError, match=r"threshold.*\(1, 2\)"):
        DropSchedule(labels, warmup=1, every=2, threshold=2).load_state_dict(state)
    with pytest.raises(ValueError, match="warmup=1, here it is 3"):
        DropSchedule(labels, warmup=3, every=2).load_state_dict(state)
    prolonged = DropSchedule(labels, warmup=1, every=2, stop=50)
    prolonged.load_state_dict(state)


def test_a_refused_round_changes_nothing():
    gradients, labels = problem()
    schedule = DropSchedule(labels, warmup=0, every=1, subset_size=0.4)
    for bad in (gradients[:5], np.full_like(gradients, np.nan)):
        with pytest.raises(ValueError, match="Gradient features"):
            schedule.step(0, bad)
    assert schedule.keep.all() and not schedule.rounds
    assert schedule.step(0, gradients).n_dropped > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"warmup": -1}, "warmup is -1"),
        ({"warmup": 2.5}, "warmup is 2.5"),
        ({"every": 0}, "every is 0"),
        ({"stop": 3}, "stop is 3.*>= warmup"),
        ({"threshold": 0}, "threshold is 0"),
        ({"threshold": True}, "threshold is True"),
        ({"subset_size": 0.0}, "subset_size is 0.0"),
        ({"cluster_on": "left"}, "cluster_on is 'left'"),
        ({"min_class_fraction": 1.5}, "min_class_fraction is 1.5"),
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
