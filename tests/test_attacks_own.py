"""Attacks, trials and poisons that users make themselves."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from epic_sklearn import EPICFilter, attack_report
from epic_sklearn.attacks import (
    Attack,
    AttackTrials,
    LabelFlip,
    LookAlikes,
    Poisons,
)
from epic_sklearn.rules import Judgement, Rule

X, y = load_wine(return_X_y=True)
MODEL = make_pipeline(StandardScaler(), LogisticRegression())
DIGITS, OF_DIGITS = load_digits(return_X_y=True)
DIGITS, OF_DIGITS = DIGITS[:400] / 16, OF_DIGITS[:400]


class Copies(Attack):
    """Copies of the target; what is made of them last is the test's."""

    def craft(self, X, y, target, adversarial_label, *, target_label=None):
        rows = np.flatnonzero(y == adversarial_label)[: self.n_poisons]
        copies = np.repeat(np.asarray(target)[None], self.n_poisons, axis=0)
        return self.give(copies, rows, target, adversarial_label)

    def give(self, copies, rows, target, label):
        return Poisons(copies, rows, target, label, loss=np.empty(0))


class Sure(Rule):
    """Drops what has a very high loss, often nothing."""

    needs = ("errors",)

    def judge(self, gradients, codes, memory):
        score = -gradients.min(axis=1)
        return Judgement(score, flagged=score > 0.9)


def test_the_control_has_the_targets_on_which_nothing_was_dropped():
    model = LogisticRegression(max_iter=500)
    report = attack_report(
        *(model, DIGITS, OF_DIGITS, LookAlikes(2, share=1.0)),
        defences={"sure": EPICFilter(model, rule=Sure())},
        n_targets=8,
        random_state=0,
    )
    control = "as many as sure, at random"
    dropped = ~report.keep["sure"].all(axis=1)
    assert 0 < dropped.sum() < 8
    assert [len(rows) for rows in report.outcomes.values()] == [8] * 4
    kept = report.keep[control].sum(axis=1)
    np.testing.assert_array_equal(kept, report.keep["sure"].sum(axis=1))
    for same, other in zip(
        np.array(report.outcomes["undefended"])[~dropped],
        np.array(report.outcomes[control])[~dropped],
        strict=True,
    ):
        assert same == {**other, "seconds": same["seconds"]}


def test_an_attack_cannot_write_to_the_users_data():
    class Writes(Copies):
        def craft(self, X, y, *args, **kwargs):
            X[0] = 0
            return super().craft(X, y, *args, **kwargs)

    train, test, y_train, y_test = train_test_split(X, y, random_state=0)
    before = train.copy()
    with pytest.raises(ValueError, match="read-only") as caught:
        attack_report(MODEL, train, y_train, Writes(3), test=(test, y_test))
    assert "made poisons" in caught.value.__notes__[0]
    np.testing.assert_array_equal(train, before)
    frame, labels = load_wine(return_X_y=True, as_frame=True)
    before = frame.copy()

    class WritesFrames(LookAlikes):
        def craft(self, X, *args, **kwargs):
            X.iloc[:, 0] = 0.0
            return super().craft(X, *args, **kwargs)

    attack_report(MODEL, frame, labels, WritesFrames(3), n_targets=2, random_state=0)
    assert frame.equals(before)


def test_rows_say_what_was_trained_on():
    report = attack_report(MODEL, X, y, LookAlikes(5), n_targets=3, random_state=0)
    assert report.keep["undefended"].shape == (3, len(report.rows))
    for poisons in report.poisons:
        assert (y[report.rows[poisons.indices]] == poisons.adversarial_label).all()
    given = X[report.rows], y[report.rows]
    rest = np.setdiff1d(np.arange(len(X)), report.rows)
    again = attack_report(
        *(MODEL, *given, LookAlikes(5)), test=(X[rest], y[rest]), n_targets=3
    )
    np.testing.assert_array_equal(again.rows, np.arange(len(report.rows)))


def test_label_flips_leave_examples_and_target_in_the_users_units():
    train, test, y_train, y_test = train_test_split(X, y, random_state=0)
    report = attack_report(
        *(MODEL, train, y_train, LabelFlip(8)),
        test=(test, y_test),
        n_targets=3,
        random_state=0,
    )
    for poisons, outcome in zip(
        report.poisons, report.outcomes["undefended"], strict=True
    ):
        np.testing.assert_array_equal(poisons.insert_into(train), train)
        assert (test == poisons.target).all(axis=1).any()
        by_hand = MODEL.fit(train, poisons.relabel(y_train)).score(test, y_test)
        assert outcome["clean_accuracy"] == by_hand


def test_the_label_that_is_wanted_may_be_given():
    names = np.array(["a", "b", "c"])[y]
    report = attack_report(
        *(MODEL, X, names, LookAlikes(5)),
        adversarial_label="c",
        n_targets=4,
        random_state=0,
    )
    assert {poisons.adversarial_label for poisons in report.poisons} == {"c"}
    with pytest.raises(ValueError, match="adversarial_label='d' does not occur"):
        attack_report(MODEL, X, names, LookAlikes(5), adversarial_label="d")


def test_an_attack_may_see_the_model():
    seen = []

    class Knows(Copies):
        sees = "model"

        def craft(self, model, *args, **kwargs):
            seen.append(model)
            return super().craft(*args, **kwargs)

    report = attack_report(GaussianNB(), X, y, Knows(5), n_targets=2, random_state=0)
    assert len(report.poisons) == 2
    assert all(model.score(X, y) > 0.9 for model in seen)


GIVEN = {
    "None": (lambda *given: None, "Copies.craft gave a NoneType; let it return Poi"),
    "a tuple": (lambda *given: given, "craft gave a tuple"),
    "a mask": (
        lambda copies, rows, *more: Poisons(
            copies, np.isin(np.arange(99), rows), *more, np.empty(0)
        ),
        "of bool of shape .99,.*np.flatnonzero",
    ),
    "real rows": (
        lambda copies, rows, *more: Poisons(copies, rows / 1, *more, np.empty(0)),
        "of float64",
    ),
    "none": (
        lambda copies, rows, *more: Poisons(copies[:0], rows[:0], *more, np.empty(0)),
        "at least one",
    ),
    "one too few": (
        lambda copies, rows, *more: Poisons(copies[1:], rows, *more, np.empty(0)),
        "give one poison a row",
    ),
    "a row twice": (
        lambda copies, rows, *more: Poisons(copies, rows * 0, *more, np.empty(0)),
        "several poisons replace",
    ),
}


@pytest.mark.parametrize("case", GIVEN)
def test_what_is_not_poisons_is_refused(case, monkeypatch):
    give, message = GIVEN[case]
    monkeypatch.setattr(Copies, "give", lambda self, *given: give(*given))
    with pytest.raises((TypeError, ValueError), match=message):
        attack_report(MODEL, X, y, Copies(5), n_targets=2, random_state=0)


@pytest.mark.parametrize("kind", [list, torch.tensor])
def test_lists_and_tensors_are_arrays_of_poisons(kind):
    rows = [2, 0]
    poisons = Poisons(kind(X[:2].tolist()), kind(rows), X[3], 1, np.empty(0))
    np.testing.assert_allclose(poisons.insert_into(X)[rows], X[:2], rtol=1e-6)


@pytest.fixture
def trials():
    """What fits together."""
    wanted = (OF_DIGITS[300:303] + 1) % 10
    clean = (DIGITS[:300], OF_DIGITS[:300])
    poisons = [
        LookAlikes(5, random_state=i).craft(*clean, DIGITS[300 + i], wanted[i])
        for i in range(3)
    ]
    return {
        "X": clean[0],
        "y": clean[1],
        "X_test": DIGITS[300:],
        "y_test": OF_DIGITS[300:],
        "poisons": poisons,
        "examples": [each.examples for each in poisons],
        "targets": [DIGITS[[300 + i]] for i in range(3)],
    }


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (lambda t: {"examples": [None] * 3}, "nothing would be poisoned"),
        (lambda t: {"targets": t["targets"][::-1]}, "the target of poisons.2"),
        (lambda t: {"targets": t["targets"][:2]}, "lengths .3, 3, 2.; give one a"),
        (lambda t: {"targets": [row[0] for row in t["targets"]]}, "has shape .64,"),
    ],
)
def test_trials_that_do_not_fit_together_are_refused(trials, changed, message):
    AttackTrials(**trials)
    with pytest.raises(ValueError, match=message):
        AttackTrials(**{**trials, **changed(trials)})
