"""Training rows traced from a prediction, against gradients built in full."""

import copy
import tracemalloc
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_iris, make_blobs
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from skorch.callbacks import LRScheduler
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from training_problem import StopAfter, classifier, make_net, problem

import epic_sklearn.tracing
from epic_sklearn import (
    EPICFilter,
    FilteredClassifier,
    LastLayerGradients,
    LogitGradients,
    RememberStates,
    TorchClassifier,
    trace,
)

X, Y = problem()
EXAMPLES, GOT = X[:7] + 0.1, np.array([2, 0, 1, 1, 0, 2, 2])


@pytest.fixture(scope="module")
def nets():
    """States along a training, as a user's own loop would copy them."""
    models = [
        TorchClassifier(make_net(), max_epochs=n, device="cpu", random_state=0)
        for n in (2, 5, 9)
    ]
    return [model.fit(X, Y).module_ for model in models]


def autograd_gradients(net, X, y):
    """Gradients of the last layer's parameters, one backward pass a row."""
    rows = []
    for x, label in zip(torch.tensor(X), torch.tensor(y), strict=True):
        loss = nn.functional.cross_entropy(net.double()(x[None].double()), label[None])
        given = torch.autograd.grad(loss, list(net[-1].parameters()))
        rows.append(torch.cat([part.ravel() for part in given]).numpy())
    net.float()
    return np.array(rows)


def products_by_hand(net, unit):
    of_examples = autograd_gradients(net, EXAMPLES, GOT)
    of_rows = autograd_gradients(net, X, Y)
    if unit:
        of_examples /= np.linalg.norm(of_examples, axis=1)[:, None]
        of_rows /= np.linalg.norm(of_rows, axis=1)[:, None]
    return of_examples @ of_rows.T


@pytest.mark.parametrize("block", [5, 2048])
def test_scores_are_those_of_gradients_by_autograd(nets, block, monkeypatch):
    monkeypatch.setattr(epic_sklearn.tracing, "BLOCK", block)
    given = X, Y, EXAMPLES, GOT
    every = {"n_top": None, "all_labels": True}
    cosine = np.mean([products_by_hand(net, unit=True) for net in nets], axis=0)
    found = trace(nets, *given, **every)
    np.testing.assert_allclose(found.scores_by_row(), cosine, rtol=1e-3, atol=1e-5)
    rates = [0.1, 0.01, 0.0]
    parts = [products_by_hand(net, unit=False) for net in nets]
    tracin = np.tensordot(rates, parts, axes=1)
    found = trace(nets, *given, score="contribution", learning_rates=rates, **every)
    scale = np.abs(tracin).max()
    np.testing.assert_allclose(found.scores_by_row(), tracin, atol=1e-4 * scale)
    np.testing.assert_array_equal(found.indices[:, 0], tracin.argmax(axis=1))


def test_the_best_rows_of_the_label_are_those_of_all_scores(nets, monkeypatch):
    monkeypatch.setattr(epic_sklearn.tracing, "BLOCK", 13)
    every = trace(nets, X, Y, EXAMPLES, GOT, n_top=None, all_labels=True)
    found = trace(nets, X, Y, EXAMPLES, GOT, n_top=10)
    for scores, label, rows in zip(
        every.scores_by_row(), GOT, found.indices, strict=True
    ):
        scores[label != Y] = -np.inf
        np.testing.assert_array_equal(rows, np.argsort(-scores, kind="stable")[:10])
    assert (found.row_labels == GOT[:, None]).all()


def test_contribution_is_that_of_captum(nets):
    influence = pytest.importorskip("captum.influence", reason="needs captum")

    class WithOne(nn.Module):
        """The last layer's bias as the weight of a 1: captum leaves a bias out."""

        def __init__(self, net):
            super().__init__()
            self.body, head = copy.deepcopy(net[:-1]), net[-1]
            self.head = nn.Linear(head.in_features + 1, head.out_features, bias=False)
            with torch.no_grad():
                self.head.weight[:] = torch.column_stack([head.weight, head.bias])

        def forward(self, x):
            inputs = self.body(x)
            return self.head(torch.column_stack([inputs, torch.ones(len(inputs))]))

    rates, module = [0.3, 0.2, 0.1], WithOne(nets[0])

    def load(model, state):
        rate, net = state
        model.load_state_dict(WithOne(net).state_dict())
        return rate

    captum = influence.TracInCPFast(
        module,
        module.head,
        TensorDataset(torch.tensor(X), torch.tensor(Y)),
        list(zip(rates, nets, strict=True)),
        load,
        nn.CrossEntropyLoss(reduction="sum"),
        batch_size=64,
    )
    expected = captum.influence((torch.tensor(EXAMPLES), torch.tensor(GOT))).numpy()
    options = {"n_top": None, "all_labels": True, "learning_rates": rates}
    found = trace(nets, X, Y, EXAMPLES, GOT, score="contribution", **options)
    np.testing.assert_allclose(
        found.scores_by_row(), expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max()
    )


@pytest.mark.parametrize("kind", ["TorchClassifier", "EPICClassifier", "skorch"])
def test_a_net_is_traced_through_the_states_it_remembers(kind):
    decay = LRScheduler("MultiStepLR", milestones=[3])
    callbacks = [RememberStates(2), decay]
    options = {"lr": 0.05, "max_epochs": 5, "random_state": 0, "callbacks": callbacks}
    if kind == "skorch":
        model = NeuralNetClassifier(
            make_net(), criterion=nn.CrossEntropyLoss, lr=0.05, max_epochs=5,
            train_split=None, callbacks=callbacks, verbose=0,
        ).fit(X, Y)  # fmt: skip
        net = model
    else:
        make = TorchClassifier if kind == "TorchClassifier" else classifier
        extra = {} if kind == "TorchClassifier" else {"warmup": 2, "stop": 4}
        given = {} if kind == "EPICClassifier" else {"module": make_net()}
        model = make(**given, **options, **extra).fit(X, Y)
        net = model.net_
    expected_rates = [0.05, 0.005, 0.005]
    assert [state["epoch"] for state in net.remembered_] == [2, 4, 5]
    modules = []
    for state in net.remembered_:
        modules.append(make_net())
        modules[-1].load_state_dict(state["weights"])
    for score in ("cosine", "contribution"):
        found = trace(model, X, Y, EXAMPLES, GOT, score=score)
        same = trace(
            modules, X, Y, EXAMPLES, GOT, score=score, learning_rates=expected_rates
        )
        np.testing.assert_array_equal(found.indices, same.indices)
        np.testing.assert_allclose(found.scores, same.scores, rtol=1e-5)


def test_states_are_of_one_net_and_of_one_training():
    callback = RememberStates(1)
    options = {"max_epochs": 2, "callbacks": [callback], "random_state": 0}
    first = TorchClassifier(make_net(), **options).fit(X, Y)
    before = first.net_.remembered_[0]["weights"]["0.weight"].clone()
    second = TorchClassifier(make_net(), **options).fit(X, 2 - Y)
    torch.testing.assert_close(first.net_.remembered_[0]["weights"]["0.weight"], before)
    assert len(first.net_.remembered_) == len(second.net_.remembered_) == 2
    assert len(second.fit(X, Y).net_.remembered_) == 2


def test_states_are_saved_with_an_interrupted_run(tmp_path):
    options = {"max_epochs": 5, "random_state": 0, "checkpoint": tmp_path / "run.pt"}
    stopped = [RememberStates(2), StopAfter(3)]
    with pytest.raises(KeyboardInterrupt):
        TorchClassifier(make_net(), callbacks=stopped, **options).fit(X, Y)
    resumed = TorchClassifier(make_net(), callbacks=[RememberStates(2)], **options)
    whole = TorchClassifier(
        make_net(), callbacks=[RememberStates(2)], **{**options, "checkpoint": None}
    )
    states = resumed.fit(X, Y).net_.remembered_
    assert [state["epoch"] for state in states] == [2, 4, 5]
    for state, same in zip(states, whole.fit(X, Y).net_.remembered_, strict=True):
        assert state["lr"] == same["lr"]
        torch.testing.assert_close(state["weights"], same["weights"], rtol=0, atol=0)


def test_planted_labels_are_found():
    X, y = make_blobs([120] * 3, centers=np.eye(3, 8) * 6, random_state=0)
    wrong = np.flatnonzero(y == 1)[:12]
    y[wrong] = 0
    examples = X[y == 1][:20]
    how = {"max_epochs": 10, "lr": 0.02, "callbacks": [RememberStates(2)]}
    model = TorchClassifier(random_state=0, **how).fit(X, y)
    for score, share in {"contribution": 0.95, "cosine": 0.4}.items():
        found = trace(model, X, y, examples, [0] * 20, score=score, n_top=12)
        assert np.isin(found.indices, wrong).mean() > share  # 12 of 120 bear the label


def test_rows_that_all_have_one_score_are_warned_of():
    X, y = load_iris(return_X_y=True)
    two, y_two = X[50:], y[50:]
    forest = RandomForestClassifier(20, min_samples_leaf=5, random_state=0)
    forest.fit(two, y_two)
    logits = LogitGradients(FrozenEstimator(forest)).fit(two, y_two)
    unsure = np.argsort(np.abs(forest.predict_proba(two)[:, 1] - 0.5))[:2]
    with pytest.warns(UserWarning, match="Of 2 of 2 examples the first rows"):
        trace(logits, two, y_two, two[unsure])
    linear = LogisticRegression(max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trace(logits, two, y_two, two[unsure], score="contribution")
        trace(linear.fit(two, y_two), two, y_two, two[unsure])
        trace(linear.fit(X, y), X, y, X[[60]], n_top=2, all_labels=True)


def test_the_learning_rate_is_that_of_the_last_layer():
    X, y = load_iris(return_X_y=True)
    groups = {"param_groups": [("0.*", {"lr": 0.001})], "momentum": 0.9}
    how = {"lr": 0.05, "optimizer_params": groups, "callbacks": [RememberStates(2)]}
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    model = TorchClassifier(net, max_epochs=3, random_state=0, **how).fit(X, y)
    assert [state["lr"] for state in model.net_.remembered_] == [0.05, 0.05]


def test_whatever_is_fitted_can_be_traced():
    X, y = load_iris(return_X_y=True, as_frame=True)
    y = y.map({0: "setosa", 1: "versicolor", 2: "virginica"})
    examples = X.iloc[[60, 120]]
    linear = LogisticRegression(max_iter=1000)
    pipeline = make_pipeline(StandardScaler(), linear).fit(X, y)
    found = trace(pipeline, X, y, examples)
    assert found.labels.tolist() == pipeline.predict(examples).tolist()
    scaled = (np.asarray(each) for each in map(pipeline[0].transform, (X, examples)))
    rows, asked = scaled
    given = LastLayerGradients(FrozenEstimator(pipeline[-1])).fit(rows, y)
    same = trace(given, rows, y, asked, found.labels)
    np.testing.assert_array_equal(found.indices, same.indices)
    model = FilteredClassifier(linear, EPICFilter()).fit(X, y)
    inner = trace(model.classifier_, X, y, examples)
    np.testing.assert_array_equal(trace(model, X, y, examples).indices, inner.indices)
    search = GridSearchCV(model, {"filter__n_rounds": [1]}, cv=2).fit(X, y)
    found = trace(search, X, y, examples)
    np.testing.assert_array_equal(found.indices, inner.indices)
    np.testing.assert_array_equal(found.keep, model.keep_)
    forest = RandomForestClassifier(10, random_state=0).fit(X, y)
    with pytest.raises(TypeError, match="use LogitGradients"):
        trace(forest, X, y, examples)
    logits = LogitGradients(FrozenEstimator(forest)).fit(X, y)
    assert trace(logits, X, y, examples, n_top=3).indices.shape == (2, 3)
    net = TorchClassifier(max_epochs=3, callbacks=[RememberStates(2)], random_state=0)
    steps = make_pipeline(StandardScaler(), net).fit(X, y)
    alone = trace(steps[-1], rows, y, asked)
    np.testing.assert_array_equal(trace(steps, X, y, examples).indices, alone.indices)


def test_a_function_may_give_any_gradients():
    gradients = np.random.RandomState(0).randn(40, 6)
    y = np.arange(40) % 2
    found = trace(lambda X, y: X, gradients, y, gradients[:4], [1, 0, 1, 0], n_top=1)
    assert found.indices.ravel().tolist() != [0, 1, 2, 3]  # another label's
    found = trace(
        lambda X, y: X, gradients, y, gradients[:4], [1] * 4, n_top=1, all_labels=True
    )
    assert found.indices.ravel().tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="labels is missing"):
        trace(lambda X, y: X, gradients, y, gradients[:4])


def test_a_module_predicts_as_its_columns_are_named(nets):
    names = np.array(["a", "b", "c"])
    found = trace(nets, X, names[Y], EXAMPLES)
    columns = nets[-1](torch.tensor(EXAMPLES)).argmax(dim=1).numpy()
    assert found.labels.tolist() == names[columns].tolist()
    by_number = trace(nets, X, Y, EXAMPLES)
    np.testing.assert_array_equal(found.indices, by_number.indices)


class Dictionaries(Dataset):
    """Items by name, with labels that are texts."""

    def __getitem__(self, i):
        return {"input": torch.tensor(X[i]), "label": NAMES[Y[i]].item()}

    def __len__(self):
        return len(X)


def hugging_face():
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    return datasets.Dataset.from_dict({"input": X, "label": NAMES[Y]})


NAMES = np.array(["cat", "dog", "emu"])
PAIRS = TensorDataset(torch.tensor(X), torch.tensor(Y))
DATA_SETS = {
    "pairs": (lambda: PAIRS, Y),
    "loader": (lambda: DataLoader(PAIRS, 50, shuffle=True, num_workers=2), Y),
    "dictionaries": (Dictionaries, NAMES[Y]),
    "Hugging Face": (hugging_face, NAMES[Y]),
    "loader of it": (lambda: DataLoader(hugging_face(), 50), NAMES[Y]),
}


@pytest.mark.parametrize(
    ("kind", "score"), zip(DATA_SETS, ["cosine", "contribution"] * 3, strict=False)
)
def test_a_data_set_is_traced_as_the_arrays_are(kind, score):
    make, labels = DATA_SETS[kind]
    options = {"max_epochs": 4, "random_state": 0, "callbacks": [RememberStates(2)]}
    model = TorchClassifier(make_net(), **options).fit(X, labels)
    same = trace(model, X, labels, X[:7], score=score)
    found = trace(model, make(), None, X[:7], score=score)
    np.testing.assert_array_equal(found.indices, same.indices)
    np.testing.assert_allclose(found.scores, same.scores, rtol=1e-5)
    # Examples may be items, whose own labels are not those that they got.
    got = np.roll(labels, 1)
    same = trace(model, X, labels, X, got, score=score, n_top=3)
    found = trace(model, X, labels, make(), got, score=score, n_top=3)
    np.testing.assert_array_equal(found.indices, same.indices)
    predicted = trace(model, make(), None, make(), score=score, n_top=3).labels
    np.testing.assert_array_equal(predicted, model.predict(X))


def test_each_item_of_a_data_set_is_read_once_whatever_the_states(nets, monkeypatch):
    monkeypatch.setattr(epic_sklearn.tracing, "FEW", 1)
    reads = np.zeros(len(X), dtype=int)

    class Counting(Dataset):
        def __getitem__(self, i):
            reads[i] += 1
            return {"input": torch.tensor(X[i]), "label": int(Y[i])}

        def __len__(self):
            return len(X)

    trace(nets, Counting(), Y, EXAMPLES, [2] * len(GOT))
    assert (reads[1:] == (Y[1:] == 2)).all()


def test_a_frame_joins_back_to_the_users(nets):
    frame = pd.DataFrame(X, index=[f"id{i}" for i in range(len(X))])
    y = pd.Series(Y, index=frame.index)
    lines = trace(nets, frame, y, EXAMPLES, GOT, n_top=4).to_frame()
    assert len(lines) == 4 * len(GOT)
    assert (frame.index[lines["row"]] == lines["index"]).all()
    assert (y[lines["index"]].to_numpy() == lines["label"]).all()
    assert (lines.groupby("example")["score"].diff().dropna() <= 0).all()
    assert lines["rank"].tolist()[:5] == [1, 2, 3, 4, 1]


def test_classes_of_unlike_size_are_filled_up(nets):
    few = np.concatenate([np.flatnonzero(Y == 0), np.flatnonzero(Y == 1)[:3]])
    found = trace(nets, X[few], Y[few], EXAMPLES[:2], [0, 1], n_top=5)
    assert (found.indices[0] >= 0).all()
    assert found.indices[1, 3:].tolist() == [-1, -1]
    assert np.isnan(found.scores[1, 3:]).all() and len(found.to_frame()) == 8
    assert (~np.isnan(found.scores_by_row())).sum(axis=1).tolist() == [5, 3]


def test_ties_go_to_the_lowest_row_and_zeros_are_no_failure():
    gradients = np.zeros((90, 3))
    gradients[30:60] = [1e-200, 0, 0]
    y = np.zeros(90, int)
    y[-1] = 1
    found = trace(lambda X, y: X, gradients, y, gradients[[30, 0]], [0, 0], n_top=3)
    assert found.indices.tolist() == [[30, 31, 32], [0, 1, 2]]
    np.testing.assert_allclose(found.scores, [[1, 1, 1], [0, 0, 0]])


def test_memory_does_not_grow_with_the_training_set():
    def peak(n):
        rng = np.random.RandomState(0)
        rows = rng.randn(n, 20).astype(np.float32)
        y = np.arange(n) % 4
        with torch.random.fork_rng():
            net = nn.Linear(20, 4)
        tracemalloc.start()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its columns mean nothing
            trace(net, rows, y, rows[:50], y[:50])
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    small, large = peak(5_000), peak(35_000)
    # A few numbers a row: labels, codes and row numbers; 50 scores would be 400 bytes.
    assert large - small < 30_000 * 80


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": Y[:-1]}, "X has 211 rows and y 210 labels"),
        ({"labels": GOT[:-1]}, "7 examples and 6 labels"),
        ({"labels": [2, 0, 1, 1, 0, 2, 5]}, r"No training row bears the labels \[5\]"),
        ({"labels": [str(label) for label in GOT]}, "No training row bears"),
        ({"examples": EXAMPLES[0], "labels": [2]}, r"of one, examples\[None\]"),
        ({"examples": EXAMPLES[:, :3]}, "rows are like those of X"),
        ({"examples": EXAMPLES[:0], "labels": []}, "examples is empty"),
        ({"learning_rates": [0.1]}, "3 states"),
        ({"learning_rates": [0.1, -1, 0.1]}, "3 states"),
        ({"model": []}, "0 states"),
        ({"n_top": 0}, "n_top"),
        ({"score": "dot"}, "score"),
        ({"y": np.zeros(len(Y))}, "only one class"),
        ({"X": pd.DataFrame(X), "y": pd.Series(Y)[::-1]}, "in another order"),
        (
            {"model": nn.Sequential(make_net(), nn.Softmax(1))},
            "gives its output",
        ),
    ],
)
def test_what_cannot_be_traced_is_refused(nets, change, message):
    given = {"model": nets, "X": X, "y": Y, "examples": EXAMPLES, "labels": GOT}
    with pytest.raises(ValueError, match=message):
        trace(**{**given, **change})


def test_labels_unknown_to_the_model_are_refused(nets):
    model = LogisticRegression().fit(X, np.where(Y == 2, 1, Y))
    with pytest.raises(ValueError, match=r"doesn't know: \[2\]"):
        trace(model, X, Y, EXAMPLES)


@pytest.mark.parametrize(
    "model", [TorchClassifier(), LogisticRegression(), NeuralNetClassifier(make_net)]
)
def test_a_model_that_is_not_fitted_is_refused(model):
    with pytest.raises(NotFittedError):
        trace(model, X, Y, EXAMPLES)


@pytest.mark.parametrize("every", [0, 1.5, "all"])
def test_a_wrong_distance_of_states_is_refused(every):
    with pytest.raises(ValueError, match="every"):
        TorchClassifier(callbacks=[RememberStates(every)]).fit(X, Y)


def test_what_a_pipelines_last_step_dropped_is_marked():
    model = make_pipeline(StandardScaler(), FilteredClassifier()).fit(X, Y)
    found = trace(model, X, Y, EXAMPLES, GOT)
    np.testing.assert_array_equal(found.keep, model[-1].keep_)


def test_examples_are_named_by_their_index(tmp_path, nets):
    pytest.importorskip("jinja2")
    asked = pd.DataFrame(EXAMPLES, index=[f"case {i}" for i in range(len(EXAMPLES))])
    found = trace(nets, pd.DataFrame(X), Y, asked, GOT, n_top=2)
    frame = found.to_frame()
    assert (asked.index[frame["example"]] == frame["example_index"]).all()
    page = found.report(X, EXAMPLES, tmp_path / "a.html").read_text()
    assert "Example case 1" in page
    with pytest.raises(ValueError, match="in another order"):
        found.report(X, asked[::-1], tmp_path / "b.html")


def test_weights_of_the_training_count_in_contributions():
    X, y = load_iris(return_X_y=True)
    X[0] = X[100]
    weights = np.ones(150)
    weights[0], weights[1:50:2] = 0, 3
    model = LogisticRegression(max_iter=1000).fit(X, y, sample_weight=weights)
    how = {"score": "contribution", "n_top": None}
    plain = trace(model, X, y, X[[100]], [0], **how)
    found = trace(model, X, y, X[[100]], [0], **how, sample_weight=weights)
    given, weighed = plain.scores_by_row()[0], found.scores_by_row()[0]
    np.testing.assert_allclose(weighed[1:50], (given * weights)[1:50])
    assert np.isnan(weighed[0]) and 0 not in found.indices
    with pytest.raises(ValueError, match="0 for every row that would be ranked"):
        trace(model, X, y, X[[100]], [0], sample_weight=(y > 0).astype(float))
