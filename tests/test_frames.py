"""One row a training example, joined back to the user's frame."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_iris
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from skorch.dataset import ValidSplit
from torch import nn

from epic_sklearn import (
    EPICCallback,
    EPICClassifier,
    EPICFilter,
    EPICResampler,
    EPICSubsetSampler,
    FilteredClassifier,
    LastLayerGradients,
    LogitGradients,
    PrecomputedGradients,
)
from epic_sklearn.rules import IsolatedMedoids, Judgement, Rule

X, y = load_iris(return_X_y=True, as_frame=True)
X.index = y.index = [f"flower {i}" for i in range(150)]
names = np.array(["setosa", "versicolor", "virginica"])[y]
MEDOIDS = IsolatedMedoids(subset_size=0.1)


@pytest.mark.parametrize("kind", [LogitGradients, LastLayerGradients])
def test_filters_tell_of_each_row_what_they_found(kind):
    model = LogisticRegression(max_iter=1000)
    for estimator in (
        EPICFilter(kind(model), rule=MEDOIDS, n_rounds=2),
        EPICResampler(kind(model), rule=MEDOIDS, n_rounds=2),
        FilteredClassifier(None, EPICFilter(kind(model), rule=MEDOIDS, n_rounds=2)),
    ):
        frame = estimator.fit(X, names).to_frame()
        detector = getattr(estimator, "filter_", estimator)
        assert frame.index.equals(X.index)
        assert (frame["label"] == names).all()
        assert (frame["keep"] == detector.keep_).all()
        assert (frame["dropped_at_round"] == detector.dropped_at_round_).all()
        assert (frame["isolation_score"] == detector.isolation_score_).all()
        assert (frame["cluster_size"] == detector.details_["cluster_size"]).all()
        probabilities = detector.extractor_.classifier_.predict_proba(X)
        expected = detector.classes_[probabilities.argmax(axis=1)]
        assert (frame["predicted"] == expected).all()
        np.testing.assert_allclose(frame["probability"], probabilities.max(axis=1))
        assert X.join(frame).shape == (150, 4 + frame.shape[1])


def test_gradients_that_know_no_predictions_give_no_columns_of_them():
    gradients = np.random.default_rng(0).normal(size=(150, 3))
    frame = (
        EPICFilter(PrecomputedGradients(), rule=MEDOIDS).fit(gradients, y).to_frame()
    )
    assert "predicted" not in frame and frame.index.equals(y.index)


def test_what_trains_tells_the_epoch():
    model = EPICClassifier(rule=MEDOIDS, warmup=2, every=2, max_epochs=4)
    frame = model.set_params(random_state=0).fit(X, names).to_frame()
    assert frame.index.equals(X.index)
    assert (frame["dropped_at_epoch"] == model.dropped_at_epoch_).all()
    assert (frame["keep"] == model.keep_).all() and not frame["keep"].all()
    assert set(frame["predicted"]) <= set(names)


def test_callback_leaves_out_the_rows_set_aside():
    data = X.to_numpy(np.float32)
    epic = EPICCallback(rule=MEDOIDS, warmup=1, every=1, random_state=0)
    torch.manual_seed(0)
    net = NeuralNetClassifier(
        nn.Linear(4, 3),
        criterion=nn.CrossEntropyLoss,
        max_epochs=2,
        train_split=ValidSplit(5),
        callbacks=[("epic", epic)],
        verbose=0,
    )
    epic = dict(net.fit(data, y.to_numpy()).callbacks_)["epic"]
    frame = epic.to_frame()
    assert len(frame) == 120
    assert (frame["label"] == y.to_numpy()[frame.index]).all()
    assert (frame["keep"] == epic.keep_[frame.index]).all()


def test_sampler_takes_the_index_of_its_labels():
    sampler = EPICSubsetSampler(y, rule=MEDOIDS, warmup=1, every=1, random_state=0)
    gradients = np.random.default_rng(0).normal(size=(150, 5))
    sampler.step(1, gradients)
    frame = sampler.to_frame()
    assert (frame["dropped_at_epoch"] == sampler.dropped_at_epoch).all()
    assert (frame["label"] == y.to_numpy()).all()


def test_other_filters_tell_only_what_they_keep():
    model = FilteredClassifier(filter=IsolationForest(random_state=0)).fit(X, y)
    kept = pd.DataFrame({"keep": model.keep_}, index=X.index)
    pd.testing.assert_frame_equal(model.to_frame(), kept)
    inside = FilteredClassifier(filter=make_pipeline(StandardScaler(), EPICFilter()))
    assert inside.fit(X.to_numpy(), y).to_frame().index.equals(y.index)


def test_details_do_not_take_the_place_of_a_tables_columns():
    class Naming(Rule):
        def judge(self, gradients, codes, memory):
            n = len(codes)
            return Judgement(np.zeros(n), codes < 0, {"keep": np.ones(n, dtype=bool)})

    with pytest.raises(ValueError, match=r"details named \['keep'\]"):
        EPICFilter(rule=Naming()).fit(X, y)


def test_a_rule_cannot_change_the_codes():
    class Writing(Rule):
        def judge(self, gradients, codes, memory):
            codes[codes == 2] = 1
            return Judgement(np.zeros(len(codes)), codes < 0)

    with pytest.raises(ValueError, match="read-only"):
        EPICFilter(rule=Writing()).fit(X, y)


def test_before_fit_it_is_refused():
    with pytest.raises(NotFittedError):
        EPICFilter().to_frame()


def test_without_pandas_it_says_what_to_install():
    code = (
        "import sys; sys.modules['pandas'] = None\n"
        "from epic_sklearn.frames import as_frame\n"
        "try: as_frame({})\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install pandas" in done.stdout


def test_datalab_takes_our_column_as_the_documentation_shows():
    cleanlab = pytest.importorskip("cleanlab", reason="Datalab is cleanlab's")
    model = LogisticRegression(max_iter=1000)
    data, pred_probs = X.to_numpy(), model.fit(X, y).predict_proba(X)
    frame = EPICFilter(LogitGradients(model), rule=IsolatedMedoids(0.3)).fit(X, y)
    frame = frame.to_frame()
    lab = cleanlab.Datalab({"X": data, "y": y.to_numpy()}, label_name="y")
    lab.find_issues(pred_probs=pred_probs, issue_types={"label": {}})
    lab.issues = lab.issues.assign(
        is_isolated_issue=~frame["keep"].to_numpy(),
        isolated_score=1 - frame["isolation_score"].rank(pct=True).to_numpy(),
    )
    ours = lab.get_issues()
    assert ours["is_isolated_issue"].sum() == (~frame["keep"]).sum() > 0
    worst = frame["isolation_score"].iloc[ours["isolated_score"].argmin()]
    assert worst == frame["isolation_score"].max()


def test_last_layer_gradients_computed_earlier_are_taken_as_they_are():
    gradients = LastLayerGradients().fit(X, y).compute(X, y)
    ours = EPICFilter(PrecomputedGradients(), rule=MEDOIDS, n_rounds=2)
    ours.fit(gradients, y)
    expected = EPICFilter(lambda _, y: gradients.toarray(), rule=MEDOIDS, n_rounds=2)
    np.testing.assert_array_equal(ours.keep_, expected.fit(X, y).keep_)
    assert "predicted" in ours.to_frame()
    kept, labels = EPICResampler(PrecomputedGradients()).fit_resample(gradients, y)
    assert len(kept) == len(labels) < 150


def test_arrays_with_texts_are_refused_where_a_frame_would_do():
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 2))).assign(c="word")
    with pytest.raises(ValueError, match=r"'word'\. Give a DataFrame, whose columns"):
        EPICFilter().fit(X.to_numpy(), [0, 1] * 30)
