"""Extractors against torch.autograd, one example at a time."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from skorch import NeuralNetClassifier
from torch import nn
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    TensorDataset,
    get_worker_info,
)

from epic_sklearn import (
    EPICFilter,
    LastLayerGradients,
    LastLayerInputGradients,
    LogitGradients,
    OuterProductGradients,
    PrecomputedGradients,
    TorchClassifier,
    find_medoids,
    flag_isolated,
    logit_gradients,
)
from epic_sklearn.gradients import check_gradients


class Net(nn.Module):
    """Small net with what differs between training and evaluation mode."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5)
        )
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.body(x))


@pytest.fixture
def net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Net().double()
        module(torch.randn(64, 4).double() * 2 + 1)  # batch statistics of its own
    return module


@pytest.fixture
def data():
    rng = np.random.RandomState(0)
    return rng.randn(37, 4), rng.randint(3, size=37)


def per_example_autograd(net, X, y):
    """Gradients by backward passes, one example a pass."""
    net.eval()
    of_logits, of_inputs, of_layer = [], [], []
    for x, label in zip(torch.tensor(X), y, strict=True):
        hidden = net.body(x[None]).detach().requires_grad_()
        logits = net.head(hidden)
        logits.retain_grad()
        net.zero_grad()
        nn.functional.cross_entropy(logits, torch.tensor([label])).backward()
        of_logits.append(logits.grad[0].clone())
        of_inputs.append(hidden.grad[0].clone())
        weight_and_bias = torch.column_stack([net.head.weight.grad, net.head.bias.grad])
        of_layer.append(weight_and_bias.flatten().clone())
    net.zero_grad()
    return [torch.stack(g).numpy() for g in (of_logits, of_inputs, of_layer)]


def test_extractors_equal_autograd_per_example(net, data):
    X, y = data
    logits, inputs, layer = per_example_autograd(net, X, y)
    net.train()
    np.testing.assert_allclose(LogitGradients(net)(X, y), logits, atol=1e-12)
    np.testing.assert_allclose(LastLayerInputGradients(net)(X, y), inputs, atol=1e-12)
    outer = LastLayerGradients(net)(X, y)
    np.testing.assert_allclose(outer.toarray(), layer, atol=1e-12)
    np.testing.assert_allclose(outer.mean(), layer.mean(axis=0), atol=1e-12)
    assert all(part.training for part in net.modules()), "left in evaluation mode"
    assert all(p.grad is None or not p.grad.any() for p in net.parameters())


@pytest.mark.parametrize("kind", [LogitGradients, LastLayerGradients])
def test_mixed_modes_of_submodules_are_put_back(net, data, kind):
    net.train()
    net.body[1].eval()  # a frozen batch norm, as in fine-tuning
    kind(net)(*data)
    assert net.training and not net.body[1].training


@pytest.mark.parametrize("batch_size", [1, 10, 512])
def test_batch_size_changes_nothing(net, data, batch_size):
    X, y = data
    once = LogitGradients(net)(X, y)
    in_batches = LogitGradients(net, batch_size=batch_size)(X, y)
    np.testing.assert_allclose(once, in_batches, atol=1e-12)


def test_tiny_gradients_keep_their_digits():
    # 1 - p rounds to 0 in the label's column long before the others vanish.
    errors = logit_gradients(np.array([[1.0, 1e-20, 3e-20]]), np.array([0]))
    np.testing.assert_allclose(errors, [[-4e-20, 1e-20, 3e-20]], rtol=1e-12)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_linear_and_mlp_models_of_scikit_learn(n_classes):
    X, y = load_iris(return_X_y=True)
    X, y = X[y < n_classes], y[y < n_classes]
    for model in (
        LogisticRegression(C=0.1),
        MLPClassifier((6,), activation="tanh", max_iter=20, random_state=0),
        make_pipeline(StandardScaler(), LogisticRegression()),
    ):
        with np.errstate(all="ignore"):
            outer, fitted = _fit_and_compute(LastLayerGradients(model), X, y)
            wide, _ = _fit_and_compute(LastLayerInputGradients(model), X, y)
        probabilities = fitted.predict_proba(X)
        errors = probabilities - np.eye(n_classes)[y]
        np.testing.assert_allclose(outer.errors, errors, atol=1e-12)
        assert (outer.inputs[:, -1] == 1).all()
        assert wide.shape == (len(X), outer.inputs.shape[1] - 1)
        # The gradient with respect to the layer's input, by finite differences.
        if isinstance(model, LogisticRegression):
            _assert_is_input_gradient(fitted, X, y, wide)


def _fit_and_compute(extractor, X, y):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the MLP is not trained to convergence
        extractor.fit(X, y)
    return extractor.compute(X, y), extractor.classifier_


def _assert_is_input_gradient(model, X, y, gradients):
    def loss(X):
        return -model.predict_log_proba(X)[np.arange(len(y)), y]

    for k in range(X.shape[1]):
        step = np.zeros(X.shape[1])
        step[k] = 1e-5
        slope = (loss(X + step) - loss(X - step)) / 2e-5
        np.testing.assert_allclose(gradients[:, k], slope, atol=1e-6)


def planted(n=300, n_isolated=6):
    """Tight clouds of inputs with a few far-out ones, and a net that shows them."""
    rng = np.random.RandomState(0)
    y = np.repeat([0, 1], n // 2)
    X = rng.randn(n, 2) * 0.05 + np.array([[2.0, -2.0], [-2.0, 2.0]])[y]
    isolated = rng.choice(n, n_isolated, replace=False)
    X[isolated] += rng.randn(n_isolated, 2) * 3
    net = nn.Linear(2, 2)
    with torch.no_grad():
        net.weight.copy_(torch.eye(2) * 0.7)
        net.bias.zero_()
    return X, y, isolated, net


def test_selection_is_tied_to_example_numbers_whatever_the_loader_does():
    # A published evaluation took gradients from a shuffled loader as if they
    # were in order: 2 of 30 planted points found instead of 28.
    X, y, isolated, net = planted()
    dataset = TensorDataset(torch.tensor(X), torch.tensor(y))
    loader = DataLoader(dataset, batch_size=32, shuffle=True, drop_last=True)
    in_order = LogitGradients(net)(X, y)
    for source in (dataset, loader):
        np.testing.assert_allclose(LogitGradients(net)(source), in_order, atol=1e-7)
    flagged = flag_isolated(
        find_medoids(LogitGradients(net)(loader), y, subset_size=0.1)
    )
    assert flagged[isolated].mean() >= 0.8
    assert flagged.mean() < 0.15


def test_global_torch_state_is_not_touched(net, data):
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    LogitGradients(net)(*data)
    LogitGradients(net)(
        DataLoader(TensorDataset(torch.randn(5, 4)), shuffle=True), [0] * 5
    )
    torch.manual_seed(3)
    torch.randn(5, 4)
    assert not torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    LogitGradients(net)(*data)
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("kind", [LogitGradients, LastLayerGradients])
def test_inference_mode_changes_nothing(net, data, kind):
    def compute():
        found = kind(net)(TensorDataset(*map(torch.as_tensor, data)))
        is_outer = isinstance(found, OuterProductGradients)
        assert is_outer == (kind is LastLayerGradients)
        return found.toarray() if is_outer else found

    expected = compute()
    with torch.inference_mode():
        np.testing.assert_array_equal(compute(), expected)


def test_any_labels():
    X, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    by_number = LogitGradients().fit(X, y).compute(X, y)
    for labels in (names, y * 10 - 3):
        np.testing.assert_allclose(
            LogitGradients().fit(X, labels).compute(X, labels), by_number
        )


def test_frozen_classifier_is_not_refitted():
    X, y = load_iris(return_X_y=True)
    trained = LogisticRegression(C=1e-3).fit(X, y)
    extractor = LogitGradients(FrozenEstimator(trained)).fit(X[::9], y[::9])
    np.testing.assert_array_equal(
        extractor.compute(X, y), logit_gradients(trained.predict_proba(X), y)
    )


@pytest.mark.parametrize("gives_probabilities", [True, False])
def test_a_skorch_net_is_asked_for_its_probabilities(gives_probabilities):
    # Its module gives probabilities or logits, depending on its criterion.
    X, y = load_iris(return_X_y=True)
    layers = [nn.Linear(4, 3)] + [nn.Softmax(dim=1)] * gives_probabilities
    criterion = nn.NLLLoss if gives_probabilities else nn.CrossEntropyLoss
    net = NeuralNetClassifier(
        nn.Sequential(*layers), criterion=criterion, train_split=None, verbose=0
    ).fit(X.astype(np.float32), y)
    extractor = LogitGradients(FrozenEstimator(net)).fit(X.astype(np.float32), y)
    probabilities = net.predict_proba(X.astype(np.float32))
    np.testing.assert_allclose(
        extractor.compute(X.astype(np.float32), y),
        logit_gradients(probabilities, y),
        atol=1e-6,
    )


def test_extractors_can_be_cloned_and_reach_their_classifier():
    extractor = clone(LogitGradients(LogisticRegression()))
    extractor.set_params(classifier__C=0.5)
    assert extractor.classifier.C == 0.5


def test_fit_does_not_change_the_given_classifier():
    X, y = load_iris(return_X_y=True)
    classifier = LogisticRegression()
    LogitGradients(classifier).fit(X, y)
    assert not hasattr(classifier, "coef_")


def test_errors_say_what_to_do(net, data):
    X, y = data
    with pytest.raises(TypeError, match=r"LinearSVC has no predict_proba.*Calibrated"):
        LogitGradients(LinearSVC()).fit(X, y)
    with pytest.raises(TypeError, match="give a scikit-learn classifier or a torch"):
        LogitGradients("logistic").fit(X, y)
    with pytest.raises(NotFittedError):
        LogitGradients(LogisticRegression()).compute(X, y)
    with pytest.raises(ValueError, match=r"doesn't know: \[3\]"):
        LogitGradients(net)(X, np.where(y == 2, 3, y))
    with pytest.raises(ValueError, match="y is missing"):
        LogitGradients(net)(X)
    with pytest.raises(ValueError, match="37 examples and y 5"):
        LogitGradients(net)(X, y[:5])
    with pytest.raises(ValueError, match=r"gave a Tensor of shape \(37, 1\)"):
        LogitGradients(nn.Linear(4, 1))(X, y)
    with pytest.raises(ValueError, match=r"no torch\.nn\.Linear layer"):
        LastLayerGradients(nn.Softmax(dim=1))(X, y)
    with pytest.raises(ValueError, match="gives its output"):
        softmax = nn.Sequential(nn.Linear(4, 3), nn.Softmax(dim=1))
        LastLayerGradients(softmax)(X, y)
    with pytest.raises(ValueError, match="NaN or infinity in 1 of 37"):
        broken = X.copy()
        broken[3] = np.nan
        LogitGradients(net)(broken, y)
    with pytest.raises(ValueError, match="gives 3 columns and there are 2"):
        LogitGradients(net).fit(X, ["a"] * 30 + ["b"] * 7).compute(
            X, ["a"] * 30 + ["b"] * 7
        )
    from sklearn.ensemble import RandomForestClassifier

    forest = LastLayerGradients(RandomForestClassifier(5)).fit(X, y)
    with pytest.raises(TypeError, match="no last linear layer"):
        forest.compute(X, y)


def test_precomputed_gradients_are_passed_on_and_checked():
    gradients = np.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(
        PrecomputedGradients()(gradients, [0, 0, 1]), gradients
    )
    with pytest.raises(ValueError, match="3 rows for 2 examples"):
        PrecomputedGradients().compute(gradients, [0, 1])


def test_coefficients_that_are_pairs_of_classes_are_refused(data):
    X, y = data
    svc = CalibratedSVC(kernel="linear")
    with pytest.raises(TypeError, match=r"coef_ of CalibratedSVC.*pairs of classes"):
        LastLayerInputGradients(svc).fit(X, y).compute(X, y)
    for model in (LogisticRegression(), LogisticRegression(C=1e-3)):
        by_rows = LastLayerInputGradients(model).fit(X, y)
        assert by_rows.compute(X, y).shape == X.shape


class CalibratedSVC(SVC):
    """A linear SVC with probabilities of some kind."""

    def predict_proba(self, X):
        scores = np.exp(self.decision_function(X))
        return scores / scores.sum(axis=1, keepdims=True)


def test_a_net_may_know_more_classes_than_there_are():
    torch_net = nn.Linear(4, 3)
    X, y = np.random.RandomState(0).randn(20, 4).astype(np.float32), np.arange(20) % 2
    alone = LogitGradients(torch_net)(X, y)
    np.testing.assert_array_equal(
        LogitGradients(torch_net).fit(X, y).compute(X, y), alone
    )
    shifted = LogitGradients(torch_net).fit(X, y + 1).compute(X, y + 1)
    assert (shifted.argmin(axis=1) == y + 1).all()


@pytest.mark.parametrize("kind", [LastLayerGradients, LastLayerInputGradients])
def test_a_perceptron_of_sparse_rows_has_the_gradients_of_dense_ones(kind):
    X, y = load_iris(return_X_y=True)
    model = FrozenEstimator(MLPClassifier(random_state=0, max_iter=500).fit(X, y))
    dense, sparse = (kind(model).fit(X, y).compute(A, y) for A in (X, sp.csr_array(X)))
    if kind is LastLayerGradients:
        dense, sparse = dense.toarray(), sparse.toarray()
    np.testing.assert_allclose(sparse, dense)


class ByName(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(input=x)


def test_a_last_layer_may_be_called_by_name():
    X, y = load_iris(return_X_y=True)
    net = ByName()
    named, plain = (LastLayerGradients(module)(X, y) for module in (net, net.head))
    np.testing.assert_array_equal(named.toarray(), plain.toarray())


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_probabilities_of_one_column_are_refused_with_the_way_out(shape):
    with pytest.raises(ValueError, match=r"give .*np.c_\[1 - p, p\]"):
        logit_gradients(np.full(shape, 0.5), np.array([0, 1, 1]))


def test_gradients_in_bfloat16_are_taken_as_they_are():
    given = torch.tensor([[0.5, -0.25], [1.0, 3.0]], dtype=torch.bfloat16)
    np.testing.assert_array_equal(check_gradients(given, 2), given.float().numpy())


def trained_net():
    X, y = load_iris(return_X_y=True)
    X = X.astype(np.float32)
    return TorchClassifier(device="cpu", random_state=0).fit(X, y).module_, X, y


def test_columns_in_another_order_are_told_by_what_fits():
    net, X, y = trained_net()
    turn = nn.Linear(3, 3, bias=False)
    turn.weight.data = torch.eye(3)[[2, 0, 1]]
    with pytest.warns(UserWarning, match="label 0 taken for column 0 fits 1, label 1"):
        LogitGradients(nn.Sequential(net, turn))(X, y)
    with pytest.warns(UserWarning, match="label 2 taken for column 2 fits 1"):
        LogitGradients(net)(X[:100], y[:100] + 1)  # counted from 1; one is absent


def test_a_model_whose_classes_are_not_sorted_is_read_by_its_classes():
    class Reversed(LogisticRegression):
        def fit(self, X, y):
            super().fit(X, y)
            self.classes_ = self.classes_[::-1]
            return self

        def predict_proba(self, X):
            return super().predict_proba(X)[:, ::-1]

    X, y = load_iris(return_X_y=True)
    usual = LogitGradients().fit(X, y).compute(X, y)
    other = LogitGradients(Reversed(max_iter=1000)).fit(X, y).compute(X, y)
    np.testing.assert_allclose(other[:, ::-1], usual)


def test_what_are_no_probabilities_is_refused():
    net, X, y = trained_net()
    with pytest.raises(ValueError, match="seems to give probabilities"):
        LogitGradients(nn.Sequential(net, nn.Softmax(1)))(X, y)
    right = np.full((3, 2), 0.5)
    for wrong in (right * 100, np.array([[2.0, -1.0]] * 3)):
        with pytest.raises(ValueError, match="3 of 3 rows of probabilities"):
            logit_gradients(wrong, np.zeros(3, int))
    for codes in ([0, 1], [0, 1, -1], [0, 1, 2], [[0], [1], [1]], ["a", "b", "b"]):
        with pytest.raises(ValueError, match="codes have shape"):
            logit_gradients(right, np.array(codes))


def test_labels_in_a_column_are_labels():
    net, X, y = trained_net()
    np.testing.assert_array_equal(
        LogitGradients(net)(X, y[:, None]), LogitGradients(net)(X, y)
    )


def test_casts_for_a_module_are_checked():
    net, X, y = nn.Linear(4, 3), *load_iris(return_X_y=True)
    with pytest.raises(ValueError, match="can hardly be told apart"):
        LogitGradients(net)((X * 10).astype(np.int64) + 2**26, y)
    with pytest.raises(ValueError, match="Complex data not supported"):
        LogitGradients(net)(X + 1j, y)
    with pytest.raises(ValueError, match="a module takes real numbers"):
        LogitGradients(net)(X.astype("M8[s]"), y)


class HeadFirst(nn.Module):
    """Its head is registered before the layer that feeds it, and one is unused."""

    def __init__(self):
        super().__init__()
        self.head, self.body = nn.Linear(6, 3), nn.Linear(4, 6)
        self.unused = nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.body(x).tanh())


class OneOfSeveralTokens(HeadFirst):
    """Has logits for several tokens and takes another one of each example."""

    def forward(self, x):
        tokens = torch.stack([x, x.flip(1), x + 1], dim=1)
        logits = self.head(self.body(tokens).tanh())
        return logits[torch.arange(len(x)), torch.arange(len(x)) % 3]


@pytest.mark.parametrize("kind", [HeadFirst, OneOfSeveralTokens])
def test_the_head_is_found_wherever_it_is_registered(kind):
    torch.manual_seed(0)
    X, y = load_iris(return_X_y=True)
    X, net = X.astype(np.float32), kind()
    by_input = LastLayerInputGradients(net)(X, y)
    by_weight = LastLayerGradients(net)(X, y).toarray()
    seen = []
    net.head.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    loss = nn.functional.cross_entropy(net(torch.tensor(X)), torch.tensor(y))
    wrt_input, wrt_weight, wrt_bias = torch.autograd.grad(
        len(X) * loss, [seen[0], net.head.weight, net.head.bias]
    )
    wrt_input = wrt_input.reshape(len(X), -1, 6).sum(dim=1)
    np.testing.assert_allclose(by_input, wrt_input, atol=1e-5)
    total = by_weight.sum(axis=0).reshape(3, 7)
    np.testing.assert_allclose(total[:, :6], wrt_weight, atol=1e-3)
    np.testing.assert_allclose(total[:, 6], wrt_bias, atol=1e-3)


def test_a_module_whose_output_no_layer_gives_has_no_last_layer_gradients():
    net = nn.Sequential(nn.Linear(4, 3), nn.Tanh())
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match="something comes after the last one"):
        LastLayerGradients(net)(X, y)


class Cosine(nn.Linear):
    def forward(self, x):
        unit = nn.functional.normalize(x), nn.functional.normalize(self.weight)
        return 16 * nn.functional.linear(*unit)


class Adapted(nn.Linear):
    def forward(self, x):
        return super().forward(x) + 0.5 * x.sum(dim=1, keepdim=True) * self.bias


@pytest.mark.parametrize("kind", [Cosine, Adapted])
def test_a_linear_layer_that_does_otherwise_is_no_plain_one(kind):
    X, y = load_iris(return_X_y=True)
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), kind(6, 3))
    with pytest.raises(ValueError, match="more than to multiply its input"):
        LastLayerGradients(net)(X, y)
    assert isinstance(EPICFilter(net).fit(X, y).extractor_, LogitGradients)


class LogSoftmax(HeadFirst):
    def forward(self, x):
        return super().forward(x).log_softmax(dim=1)


class InPlace(HeadFirst):
    """What comes after the head changes the head's input."""

    def forward(self, x):
        middle = self.body(x)
        logits = self.head(middle)
        self.unused(middle.relu_())
        return logits


class WithoutTanh(HeadFirst):
    def forward(self, x):
        return self.head(self.body(x))


@pytest.mark.parametrize(
    ("change", "like"),
    [
        (LogSoftmax, HeadFirst),
        (lambda: torch.compile(HeadFirst(), backend="eager"), HeadFirst),
        (InPlace, WithoutTanh),
    ],
    ids=["log_softmax", "compiled", "in place"],
)
def test_what_does_not_change_the_gradients_does_not_hide_the_head(change, like):
    X, y = load_iris(return_X_y=True)
    X = X.astype(np.float32)
    found = []
    for make in (change, like):
        torch.manual_seed(0)
        net = make()
        with torch.no_grad():
            net(torch.tensor(X))  # compiled before anything is looked at
        found.append(EPICFilter(net).fit(X, y).extractor_)
        assert isinstance(found[-1], LastLayerGradients)
    first, second = (extractor(X, y).toarray() for extractor in found)
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_the_layer_is_not_looked_for_where_a_rule_can_do_without():
    X, y = load_iris(return_X_y=True)
    net = nn.Sequential(nn.Linear(4, 3), nn.Tanh()).double()
    assert isinstance(EPICFilter(net).fit(X, y).extractor_, LogitGradients)


def test_a_layer_without_bias_has_no_gradient_of_it():
    X, y = load_iris(return_X_y=True)
    linear = LogisticRegression(fit_intercept=False, max_iter=500)
    assert LastLayerGradients(linear).fit(X, y).compute(X, y).shape == (150, 12)
    net = nn.Linear(4, 3, bias=False).double()
    loss = nn.functional.cross_entropy(net(torch.tensor(X)), torch.tensor(y))
    (wanted,) = torch.autograd.grad(loss, net.parameters())
    found = LastLayerGradients(net)(X, y).mean()
    np.testing.assert_allclose(found.reshape(3, 4), wanted, atol=1e-12)


def test_a_net_that_has_diverged_is_called_so(data):
    net = nn.Linear(4, 3).double()
    nn.init.constant_(net.weight, torch.nan)
    with pytest.raises(ValueError, match="gave NaN or infinity for 37 of 37"):
        LastLayerGradients(net)(*data)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_without_differences_are_refused(dtype):
    largest = np.finfo(dtype).max
    with pytest.raises(ValueError, match="whose differences are infinite"):
        check_gradients(np.array([[largest], [-largest]]), 2)


def test_half_precision_is_made_single():
    gradients = np.array([[40_000.0], [-40_000.0]], dtype=np.float16)
    assert check_gradients(gradients, 2).dtype == np.float32
    assert (find_medoids(gradients, [0, 0]).cluster_size == 2).all()


class Rows(IterableDataset):
    """Shared out among workers as torch's documentation has it."""

    def __init__(self, X, y):
        self.X, self.y = torch.tensor(X), torch.tensor(y)

    def __iter__(self):
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        return iter([(self.X[i], self.y[i]) for i in range(first, len(self.X), step)])


class Batched(Dataset):
    """Its items are batches."""

    def __init__(self, X, y):
        self.X, self.y = torch.tensor(X), torch.tensor(y)

    def __len__(self):
        return len(self.X) // 10

    def __getitem__(self, i):
        return self.X[10 * i : 10 * i + 10], self.y[10 * i : 10 * i + 10]


def test_a_loader_of_the_users_keeps_the_order_and_its_batches():
    net, X, y = trained_net()
    wanted = LogitGradients(net)(X, y)
    loaders = (
        DataLoader(Rows(X, y), batch_size=8, num_workers=2),
        DataLoader(Batched(X, y), batch_size=None),
        DataLoader(TensorDataset(torch.tensor(X), torch.tensor(y)), shuffle=True),
    )
    for loader in loaders:
        np.testing.assert_allclose(LogitGradients(net)(loader), wanted, atol=1e-6)


def test_the_users_worker_options_hold():
    net, X, y = trained_net()
    dataset = TensorDataset(torch.tensor(X), torch.tensor(y))

    def fail(worker):
        raise OSError("reached")

    loader = DataLoader(dataset, num_workers=1, worker_init_fn=fail)
    with pytest.raises(OSError, match="reached"):
        LogitGradients(net)(loader)


def test_factors_of_whole_numbers_do_not_overflow():
    errors = np.array([[-120, 120], [100, -100]], np.int8)
    inputs = np.array([[100, 100], [120, 1]], np.int8)
    checked = check_gradients(OuterProductGradients(errors, inputs), 2)
    assert checked.toarray()[0, 0] == -12000
    assert OuterProductGradients(errors.tolist(), inputs.tolist()).shape == (2, 4)


class Named(nn.Module):
    """Gives its logits under a name, as transformers do."""

    def __init__(self, net, wrap):
        super().__init__()
        self.net, self.wrap = net, wrap

    def forward(self, x):
        return self.wrap(self.net(x))


@pytest.mark.parametrize("wrap", [dict, SimpleNamespace], ids=["entry", "attribute"])
@pytest.mark.parametrize("extractor", [LogitGradients, LastLayerInputGradients])
def test_logits_may_be_named_so(net, data, extractor, wrap):
    named = Named(net, lambda logits: wrap(loss=None, logits=logits))
    np.testing.assert_array_equal(extractor(named)(*data), extractor(net)(*data))
    with pytest.raises(ValueError, match="an entry or attribute 'logits'"):
        LogitGradients(Named(net, lambda logits: {"scores": logits}))(*data)


def test_a_wide_column_is_warned_of_for_a_given_linear_model():
    X, y = load_iris(return_X_y=True)
    X = np.c_[X, np.random.default_rng(0).uniform(0, 9000, 150)]
    scaled = make_pipeline(StandardScaler(), LogisticRegression())
    raw = LogisticRegression()  # need not converge
    search = GridSearchCV(raw, {"C": [1.0]}, cv=2)
    flat = np.c_[X[:, :4], X[:, 4], np.zeros((150, 9))]  # most columns constant
    cases = ((raw, X, 1), (scaled, X, 0), (search, X, 1), (raw, flat, 1))
    for model, rows, n_warnings in cases:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            LastLayerGradients(model).fit(rows, y).compute(rows, y)
        assert sum("Column 4 of X varies" in str(w.message) for w in caught) == (
            n_warnings
        )


class Tempered(nn.Module):
    """CLIP's head, whose temperature numpy makes float64."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(8, 16), nn.Linear(16, 3, bias=False)
        self.scale = nn.Parameter(torch.tensor(np.log(1 / 0.07)))

    def forward(self, x):
        return self.head(nn.functional.normalize(self.body(x))) * self.scale.exp()


def test_a_single_number_does_not_decide_the_precision_of_inputs():
    module, x = Tempered(), torch.randn(60, 8)
    errors = LogitGradients(module)(x, np.arange(60) % 3)
    with torch.no_grad():
        expected = module(x).softmax(dim=1) - torch.eye(3)[torch.arange(60) % 3]
    np.testing.assert_allclose(errors, expected, atol=1e-6)


def test_an_extractor_takes_gradients_of_the_net_that_it_has_now():
    one, other = nn.Linear(4, 3), nn.Linear(4, 3)
    X, y = np.random.default_rng(0).normal(size=(9, 4)), np.arange(9) % 3
    extractor = LogitGradients(one)
    extractor(X, y)
    extractor.set_params(classifier=other)
    np.testing.assert_array_equal(extractor(X, y), LogitGradients(other)(X, y))
    extractor.set_params(classifier=one).fit(X, y).set_params(classifier=other)
    np.testing.assert_array_equal(extractor.compute(X, y), LogitGradients(one)(X, y))


def test_probabilities_that_are_nan_are_refused():
    with pytest.raises(ValueError, match="NaN or infinity in 1 of 2 rows"):
        logit_gradients(np.array([[np.nan, 0.5], [0.5, 0.5]]), np.array([0, 1]))
