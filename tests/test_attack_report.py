"""One call that attacks a user's own model, with and without defences."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_array
from scipy.stats import binomtest
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.ensemble import IsolationForest, RandomForestClassifier, VotingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    StandardScaler,
)
from skorch import NeuralNetClassifier
from torch import nn

from epic_sklearn import (
    EPICCallback,
    EPICClassifier,
    EPICFilter,
    FilteredClassifier,
    LastLayerGradients,
    TorchClassifier,
    TradeoffDisplay,
    attack_report,
)
from epic_sklearn.attacks import (
    Attack,
    AttackReport,
    BadNets,
    BullseyePolytope,
    FeatureCollision,
    GradientMatching,
    LabelFlip,
    LookAlikes,
)
from epic_sklearn.rules import IsolatedMedoids, NeighborVotes, RandomDrop

LINEAR = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
X, y = load_breast_cancer(return_X_y=True)
X, y = X[:300], y[:300]
DIGITS, OF_DIGITS = load_digits(return_X_y=True)
DIGITS = (DIGITS[:300] / 16).astype(np.float32)
OF_DIGITS = OF_DIGITS[:300]
Z = StandardScaler().fit(X)


def perceptron():
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


@pytest.fixture(scope="module")
def copies():
    """Three copies of each target, and a filter that finds them."""
    defences = {
        "far": EPICFilter(LastLayerGradients(LINEAR), rule=NeighborVotes()),
        "gentle": GaussianNB(),
    }
    return attack_report(
        KNeighborsClassifier(1),
        X,
        y,
        LookAlikes(n_poisons=3, share=1.0),
        defences=defences,
        n_targets=4,
        random_state=0,
    )


def test_arms_are_measured_side_by_side(copies):
    rows = {record["name"]: record for record in copies.records}
    assert list(rows) == [
        "undefended",
        "far",
        "gentle",
        "as many as far, at random",
        "poisons alone dropped",
    ]
    assert rows["undefended"]["n_success"] == 4
    assert rows["far"]["n_success"] == rows["poisons alone dropped"]["n_success"] == 0
    assert rows["far"]["poisons_left"] == 0 < rows["far"]["clean_lost"] < 0.1
    assert rows["poisons alone dropped"]["poisons_left"] == 0
    assert rows["undefended"]["clean_lost"] == rows["gentle"]["clean_lost"] == 0
    assert rows["as many as far, at random"]["poisons_left"] > 0.5
    assert all(0.8 < row["clean_accuracy"] <= 1 for row in rows.values())


def test_as_many_rows_of_each_class_are_dropped_at_random(copies):
    far, other = copies.keep["far"], copies.keep["as many as far, at random"]
    assert (far.sum(axis=1) == other.sum(axis=1)).all()
    assert not np.array_equal(far, other)
    oracle = copies.keep["poisons alone dropped"]
    for keep, poisons in zip(oracle, copies.poisons, strict=True):
        np.testing.assert_array_equal(np.flatnonzero(~keep), np.sort(poisons.indices))


def test_table_has_wilsons_intervals_and_can_be_drawn(copies):
    frame = copies.to_frame()
    for record in copies.records:
        test = binomtest(record["n_success"], 4)
        assert (record["low"], record["high"]) == test.proportion_ci(method="wilson")
        assert record["name"] in frame.index
        assert f"{record['n_success']} of 4" in str(copies)
    for quantities in ({}, {"x": "clean_lost", "y": "poisons_left"}):
        display = TradeoffDisplay.from_report(copies, **quantities)
        assert display.names == frame.index.tolist()
    assert display.intervals.shape == (5, 2)


def skorch_net(**options):
    return NeuralNetClassifier(
        perceptron,
        criterion=nn.CrossEntropyLoss,
        max_epochs=3,
        lr=0.5,
        train_split=None,
        verbose=0,
        **options,
    )


CALLBACKS = [("epic", EPICCallback(RandomDrop(0.2), warmup=1, every=1))]


def skorch_net_with_epic():
    linear = {"module__in_features": 30, "module__out_features": 2}
    return skorch_net(callbacks=CALLBACKS, **linear).set_params(module=nn.Linear)


def test_same_seed_same_table_and_global_state_untouched():
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    tables = [
        attack_report(
            skorch_net(),
            DIGITS,
            OF_DIGITS,
            FeatureCollision(3, eps=0.5, n_steps=5),
            defences={"callback": skorch_net(callbacks=CALLBACKS)},
            n_targets=1,
            random_state=7,
        )
        for _ in range(2)
    ]
    assert torch.equal(before[0], torch.random.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])
    assert str(tables[0]) == str(tables[1])
    assert not tables[0].keep["callback"].all()


def test_trained_module_gets_a_new_last_layer_on_frozen_features():
    net = TorchClassifier(perceptron, max_epochs=8, random_state=0)
    module = net.fit(DIGITS[:200], OF_DIGITS[:200]).module_
    state = {name: value.clone() for name, value in module.state_dict().items()}
    report = attack_report(
        module,
        DIGITS,
        OF_DIGITS,
        BullseyePolytope(10, eps=0.5, n_steps=50),
        defences={"EPICFilter": EPICFilter(rule=NeighborVotes())},
        n_targets=1,
        random_state=0,
    )
    assert list(report.outcomes)[:2] == ["undefended", "EPICFilter"]
    (poisons,) = report.poisons
    assert poisons.examples.shape == (10, 64)  # pixels, not features
    assert poisons.loss[-1] < 0.1 * poisons.loss[0]
    assert all(torch.equal(state[k], v) for k, v in module.state_dict().items())


@pytest.mark.parametrize("attack", [FeatureCollision, GradientMatching])
def test_net_that_drops_while_it_trains_is_a_defence(attack):
    net = {"module": perceptron, "max_epochs": 3}
    epic = EPICClassifier(rule=RandomDrop(0.3), warmup=1, every=1, **net)
    report = attack_report(
        *(TorchClassifier(**net), DIGITS, OF_DIGITS, attack(5, eps=0.5, n_steps=3)),
        defences={"EPIC": epic},
        n_targets=1,
        random_state=0,
    )
    assert list(report.outcomes)[:2] == ["undefended", "EPIC"]
    assert report.keep["undefended"].all()
    assert report.records[1]["clean_lost"] > 0.2


@pytest.mark.parametrize(
    "steps",
    [
        (EPICFilter(rule=RandomDrop(0.3)), StandardScaler(), LogisticRegression()),
        (StandardScaler(), FilteredClassifier(filter=EPICFilter(rule=RandomDrop(0.3)))),
        (StandardScaler(), EPICClassifier(rule=RandomDrop(0.3), max_epochs=3)),
        (StandardScaler(), FunctionTransformer(np.float32), skorch_net_with_epic()),
    ],
    ids=["step", "last step", "net", "callback"],
)
def test_pipeline_that_drops_is_a_defence(steps):
    report = attack_report(
        *(LINEAR, X, y, LookAlikes(3)),
        defences={"pipeline": make_pipeline(*steps)},
        n_targets=1,
        random_state=0,
    )
    assert report.keep["undefended"].all()
    assert report.records[0]["clean_lost"] == 0 < report.records[1]["clean_lost"]


@pytest.mark.parametrize("wrap", [lambda f: f, lambda f: make_pipeline(Z, f)])
def test_a_classifier_that_is_not_trained_is_refused(wrap):
    frozen = wrap(FrozenEstimator(LogisticRegression(max_iter=5000).fit(X, y)))
    attack = X, y, LookAlikes(3)
    with pytest.raises(TypeError, match=r"model predicts by Frozen.* no poison"):
        attack_report(frozen, *attack, n_targets=1)
    for given in (frozen, FilteredClassifier(frozen)):
        with pytest.raises(TypeError, match="the defence 'a' predicts by Frozen"):
            attack_report(LINEAR, *attack, defences={"a": given}, n_targets=1)


def test_a_frozen_transformer_is_no_frozen_classifier():
    model = make_pipeline(FrozenEstimator(Z), LogisticRegression())
    report = attack_report(model, X, y, LookAlikes(3), n_targets=1, random_state=0)
    assert report.keep["undefended"].all()


def test_names_that_read_the_same_are_refused():
    same = {1: EPICFilter(), "1": EPICFilter()}
    with pytest.raises(ValueError, match=r"the same name, \{'1'\}"):
        attack_report(LINEAR, X, y, LookAlikes(3), defences=same, n_targets=1)


def test_what_does_not_say_which_rows_it_kept_is_refused():
    inside = FilteredClassifier(filter=EPICFilter(rule=RandomDrop(0.3)))
    voting = VotingClassifier([("one", inside)])
    with pytest.raises(TypeError, match="holds FilteredClassifier and does not say"):
        attack_report(LINEAR, X, y, LookAlikes(3), defences={"a": voting}, n_targets=1)


def test_mixed_table_with_missing_values():
    rng = np.random.default_rng(0)
    label = np.repeat(["low", "high"], 60)
    frame = pd.DataFrame(
        {
            "size": np.where(label == "low", 1.0, 3.0) + rng.normal(size=120),
            "count": rng.integers(0, 100, 120),
            "kind": pd.Categorical(np.where(rng.random(120) < 0.5, "a", "b")),
            "when": pd.date_range("2024-01-01", periods=120),
        },
        index=rng.permutation(120),
    )
    frame.iloc[3, 0] = np.nan
    given = frame.copy()
    encode = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["size", "count"]),
        (OneHotEncoder(), ["kind"]),
    )
    model = make_pipeline(encode, LogisticRegression())
    plain = LogisticRegression()
    defended = make_pipeline(encode, FilteredClassifier(plain, EPICFilter(plain)))
    for attack in (LookAlikes(5), LabelFlip(5)):
        report = attack_report(
            *(model, frame, label, attack),
            defences={"in a pipeline": defended},
            n_targets=2,
            random_state=0,
        )
        assert len(report.records) == 4
        assert not report.keep["in a pipeline"].all()
    pd.testing.assert_frame_equal(frame, given)


def test_look_alikes_of_a_frame_keep_its_columns():
    frame = pd.DataFrame({"n": [0, 0, 10], "kind": ["a", "b", "c"]}, index=[7, 8, 9])
    target = pd.DataFrame({"n": [3], "kind": ["z"]})
    poisons = LookAlikes(1, 0.5, random_state=0).craft(
        frame, ["no", "no", "yes"], target, "yes"
    )
    moved = poisons.insert_into(frame)
    expected = pd.DataFrame({"n": [0, 0, 6], "kind": ["a", "b", "z"]}, index=[7, 8, 9])
    pd.testing.assert_frame_equal(moved, expected)


def test_texts_are_attacked_by_wrong_labels():
    texts = [f"{word} {i}" for i in range(20) for word in ("apple pear", "car road")]
    labels = ["food", "street"] * 20
    model = make_pipeline(TfidfVectorizer(), LogisticRegression())
    report = attack_report(
        *(model, texts, labels, LabelFlip(8)), n_targets=2, random_state=0
    )
    assert report.records[0]["n_trials"] == 2


REFUSED = {
    "no torch module": (
        {"attack": BullseyePolytope()},
        "BullseyePolytope needs a torch module",
    ),
    "features, from scratch": ({"attack": GradientMatching()}, "from scratch"),
    "trigger": ({"attack": BadNets()}, "Those with a trigger"),
    "no attack": ({"attack": "flip"}, "give an attack on targets"),
    "no model": ({"model": 3}, "give a classifier, a Pipeline"),
    "search inside": (
        {"model": GridSearchCV(FilteredClassifier(filter=EPICFilter()), {})},
        "model is or holds EPICFilter, which drops rows",
    ),
    "a net that drops": ({"model": EPICClassifier()}, "is or holds EPICClassifier"),
    "a step that drops": (
        {"model": make_pipeline(EPICFilter(), LogisticRegression())},
        "is or holds EPICFilter",
    ),
    "a callback that drops": (
        {"model": make_pipeline(StandardScaler(), skorch_net(callbacks=CALLBACKS))},
        "is or holds EPICCallback",
    ),
    "two nets": (
        {"model": nn.Linear(30, 2), "feature_extractor": nn.Identity()},
        "give one of them",
    ),
    "a rule": ({"defences": {"EPIC": IsolatedMedoids()}}, r"EPICFilter\(rule=...\)"),
    "a list": ({"defences": [EPICFilter()]}, "give a dict"),
    "no test part": ({"test": X}, r"give \(X_test, y_test\)"),
    "too few targets": ({"n_targets": 5000}, "Ask for fewer"),
    "class too small": ({"attack": LookAlikes(400)}, "n_poisons=400"),
    "outside clip": (
        {"attack": BullseyePolytope(), "feature_extractor": nn.Identity()},
        "outside clip",
    ),
    "texts without a pipeline": (
        {"X": X.astype(str).astype(object), "model": RandomForestClassifier(2)},
        "LabelFlip looks for the target's neighbours",
    ),
    "a taken name": ({"defences": {"undefended": EPICFilter()}}, "the same name"),
    "a filter alone": ({"defences": EPICFilter()}, "give a dict"),
    "a regressor": ({"model": LinearRegression()}, "give a classifier"),
    "a detector": ({"model": IsolationForest()}, "give a classifier"),
    "a class": ({"model": GaussianNB}, "give a classifier"),
    "a defence's class": ({"defences": {"EPIC": EPICFilter}}, "give a filter, such as"),
    "sparse look-alikes": (
        {"X": csr_array(X), "attack": LookAlikes(5)},
        "sparse rows; attack with LabelFlip",
    ),
    "one class": ({"y": np.zeros(len(y))}, "only one class"),
}


def test_an_attack_that_never_works_is_said_to_show_nothing():
    report = attack_report(
        *(LINEAR, *load_iris(return_X_y=True), LabelFlip(1)),
        n_targets=2,
        random_state=0,
    )
    says_nothing = "succeeds on no target without a defence either" in str(report)
    assert says_nothing == (report.records[0]["n_success"] == 0)
    assert says_nothing


def test_labels_of_small_classes_can_be_flipped():
    report = attack_report(
        LINEAR, *load_iris(return_X_y=True), LabelFlip(), n_targets=5, random_state=0
    )
    assert len(report.poisons) == 5


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_attacked_is_refused(case):
    changed, message = REFUSED[case]
    given = {"model": LINEAR, "X": X, "y": y, "attack": LabelFlip(5), **changed}
    with pytest.raises((TypeError, ValueError), match=message):
        attack_report(random_state=0, **given)


def test_the_control_trains_what_a_whole_defence_trains():
    """Not the undefended model, or a better classifier would pass for a defence."""
    shallow = {"max_epochs": 3, "random_state": 0}
    defences = {
        "bayes": FilteredClassifier(GaussianNB(), EPICFilter(rule=RandomDrop(0.05))),
        "net": EPICClassifier(rule=RandomDrop(0.05), warmup=1, every=1, **shallow),
    }
    attack = LookAlikes(n_poisons=3, share=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # three epochs teach little
        report = attack_report(
            *(KNeighborsClassifier(1), X[:200], y[:200], attack),
            test=(X[200:], y[200:]),
            defences=defences,
            n_targets=2,
            random_state=0,
        )
    plain = {"bayes": GaussianNB(), "net": TorchClassifier(**shallow)}
    assert report.records[0]["n_success"] == 2
    for name, model in plain.items():
        control = f"as many as {name}, at random"
        for i, poisons in enumerate(report.poisons):
            rows, keep = poisons.insert_into(X[:200]), report.keep[control][i]
            fitted = clone(model).fit(rows[keep], poisons.relabel(y[:200])[keep])
            predicted = fitted.predict(poisons.target[None])[0]
            assert report.outcomes[control][i]["predicted"] == predicted


def test_controls_do_not_depend_on_other_defences():
    how = {"n_targets": 2, "random_state": 0}
    ours = EPICFilter(LINEAR, rule=IsolatedMedoids())
    alone, beside = (
        attack_report(LINEAR, X, y, LookAlikes(5), defences=defences, **how)
        for defences in (
            {"f": ours},
            {"g": EPICFilter(rule=RandomDrop(0.2)), "f": ours},
        )
    )
    name = "as many as f, at random"
    np.testing.assert_array_equal(alone.keep[name], beside.keep[name])


def test_own_attacks_on_texts_are_refused_before_any_work():
    class Own(Attack):
        def craft(self, *given, **how):
            raise AssertionError("not refused")

    texts = np.array(["spam ham", "eggs"] * 150, dtype=object)
    model = make_pipeline(TfidfVectorizer(), LogisticRegression())
    for given, what in ((texts, "text"), (csr_array(X), "sparse rows")):
        chosen = model if what == "text" else LogisticRegression()
        with pytest.raises(TypeError, match=f"Own puts rows .*of {what}"):
            attack_report(chosen, given, y, Own(5), random_state=0)


def test_columns_of_a_hundred_targets_stand_apart():
    one = {"predicted": 1, "attack_success": True, "clean_accuracy": 1.0}
    one |= {"poisons_left": 1.0, "clean_lost": 0.0, "seconds": 1.0}
    names = "undefended", "as many as EPIC, at random"
    report = AttackReport({name: [one] * 100 for name in names}, {}, [], np.arange(3))
    assert "at random  100 of 100  96%" in str(report)
