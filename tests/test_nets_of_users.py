"""Nets and items as people have them: in place, several inputs, odd outputs."""

import copy
import functools
from threading import Thread

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from epic_sklearn import (
    EPICClassifier,
    EPICFilter,
    EPICSubsetSampler,
    LastLayerGradients,
    LastLayerInputGradients,
    LogitGradients,
    TorchClassifier,
    trace,
)
from epic_sklearn.gradients.items import kept_random

RNG = np.random.default_rng(0)
Y = np.arange(120) % 3
X = (np.eye(3, 6)[Y] * 3 + RNG.normal(size=(120, 6))).astype(np.float32)
HOW = {"max_epochs": 8, "random_state": 0}


class InPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x):
        x -= 1.0
        return self.layer(x)


class Parts(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x):
        return self.layer(torch.cat(list(x), 1))


class InParts(Dataset):
    def __len__(self):
        return len(X)

    def __getitem__(self, i):
        x = torch.tensor(X[i])
        return (x[:2], x[2:]), int(Y[i])


class WithNumber(InParts):
    def __getitem__(self, i):
        return {"x": torch.tensor(X[i]), "number": i, "label": int(Y[i])}


class Aux(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x):
        logits = self.layer(x)
        return (logits, logits) if self.training else logits


def test_a_net_that_works_in_place_leaves_the_users_rows():
    given = X.copy()
    model = EPICClassifier(InPlace, **HOW).fit(given, Y)
    EPICFilter(model.module_).fit(given, Y)
    few = given[:4]
    trace(model, given, Y, few)
    first, second = model.predict(given), model.predict(given)
    np.testing.assert_array_equal(given, X)
    np.testing.assert_array_equal(first, second)
    data = TensorDataset(torch.tensor(X), torch.tensor(Y))
    of_items = EPICClassifier(InPlace, **HOW).fit(data)
    np.testing.assert_array_equal(model.keep_, of_items.keep_)
    assert torch.equal(model.module_.layer.weight, of_items.module_.layer.weight)


def test_an_input_may_have_several_parts():
    model = EPICClassifier(Parts, **HOW).fit(InParts())
    plain = EPICClassifier(functools.partial(nn.Linear, 6, 3), **HOW).fit(X, Y)
    np.testing.assert_array_equal(model.keep_, plain.keep_)
    np.testing.assert_array_equal(model.predict(InParts()), plain.predict(X))


def test_an_entry_that_forward_does_not_name_is_named():
    with pytest.raises(TypeError, match=r"It does not name \['number'\]: leave them"):
        EPICClassifier(Parts, **HOW).fit(WithNumber())


def test_outputs_that_are_logits_in_evaluation_only_are_explained():
    with pytest.raises(TypeError, match="gave a tuple in training mode; it must give"):
        EPICClassifier(Aux, **HOW).fit(X, Y)


@pytest.mark.parametrize(
    "loss",
    [
        nn.CrossEntropyLoss(weight=torch.tensor([0.0, 0.0, 1.0])),
        nn.CrossEntropyLoss(ignore_index=1),
    ],
)
def test_classes_may_weigh_nothing(loss):
    head = functools.partial(nn.Linear, 6, 3)
    model = TorchClassifier(head, batch_size=1, criterion=loss, lr=0.01, **HOW)
    assert np.isfinite(model.fit(X, Y).history_[-1]["train_loss"])


def test_class_weights_are_those_of_torch():
    loss = nn.CrossEntropyLoss(weight=torch.tensor([0.2, 1.0, 3.0]))
    head = functools.partial(nn.Linear, 6, 3)
    how = {"batch_size": 120, "optimizer_params": {}, "max_epochs": 1}
    how["random_state"] = 0
    model = TorchClassifier(head, criterion=loss, lr=0.5, **how).fit(X, Y)
    start = TorchClassifier(head, lr=1e-12, **how).fit(X, Y).module_
    start.zero_grad()
    loss(start(torch.tensor(X)), torch.tensor(Y)).backward()
    expected = start.weight - 0.5 * start.weight.grad
    torch.testing.assert_close(model.module_.weight, expected)


def test_an_embedding_in_place_of_logits_is_warned_of():
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 24))
    data = TensorDataset(torch.tensor(X), torch.tensor(Y))
    sampler = EPICSubsetSampler(data, warmup=0, every=1, random_state=0)
    nothing = "It has 24 columns for 3 classes: are these their logits"
    with pytest.warns(UserWarning, match=nothing):
        sampler.step(0, lambda: LastLayerGradients(net)(data))
    with pytest.warns(UserWarning, match=nothing):
        trace(net, X, Y, X[:2], Y[:2])


def test_saved_rounds_go_on_in_a_longer_training():
    first = EPICSubsetSampler(Y, max_epochs=8, random_state=0)
    longer = EPICSubsetSampler(Y, max_epochs=16, random_state=0)
    with pytest.warns(UserWarning, match="of another length"):
        longer.load_state_dict(first.state_dict())
    assert longer.schedule.epochs == first.schedule.epochs


class OfSizes(InParts):
    """Images of different sizes, which a batch holds as a list."""

    def __getitem__(self, i):
        return torch.tensor(X[i])[:, None].expand(6, 2 + i % 3), int(Y[i])


class OnePerImage(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x):
        return self.layer(torch.stack([image.mean(dim=1) for image in x]))


@pytest.mark.parametrize("has_labels", [True, False])
def test_a_batch_may_be_a_list_of_its_examples(has_labels):
    def listed(items):
        x, y = zip(*items, strict=True)
        return (list(x), torch.tensor(y)) if has_labels else {"x": list(x)}

    data = DataLoader(OfSizes(), 16, collate_fn=listed)
    net = OnePerImage()
    found = LogitGradients(net)(data, Y)
    expected = LogitGradients(net.layer)(X, Y)
    np.testing.assert_allclose(found, expected, atol=1e-6)


class Merging(nn.Linear):
    """A layer whose low rank update is merged into its weight in evaluation mode."""

    def __init__(self, n_in, n_out):
        super().__init__(n_in, n_out)
        self.down = nn.Parameter(torch.randn(2, n_in) / 10)
        self.up = nn.Parameter(torch.zeros(n_out, 2))
        self.weight.requires_grad_(False)
        self.is_merged = False

    def train(self, mode=True):
        super().train(mode)
        if self.is_merged == mode:
            sign = -1 if mode else 1
            self.weight.data += sign * (self.up @ self.down)
            self.is_merged = not mode
        return self

    def forward(self, x):
        output = nn.functional.linear(x, self.weight, self.bias)
        return output if self.is_merged else output + x @ self.down.T @ self.up.T


def with_merging():
    return nn.Sequential(Merging(6, 16), nn.ReLU(), nn.Linear(16, 3))


def test_after_a_round_layers_are_in_training_mode_by_their_own_train():
    net, data = with_merging(), TensorDataset(torch.tensor(X), torch.tensor(Y))
    net[1].eval()
    LastLayerGradients(net)(data)
    assert [part.training for part in net] == [True, False, True]
    assert not net[0].is_merged
    net.eval()
    LastLayerGradients(net)(data)
    assert net[0].is_merged
    model = EPICClassifier(with_merging, **HOW).fit(X, Y)
    assert model.module_[0].up.norm() > 0.1


class FrozenNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8)).requires_grad_(
            False
        )
        self.head = nn.Linear(8, 3)

    def train(self, mode=True):
        super().train(mode)
        self.body.eval()
        return self

    def forward(self, x):
        return self.head(self.body(x))


@pytest.mark.parametrize("kind", [TorchClassifier, EPICClassifier])
@pytest.mark.parametrize("given", [FrozenNorm, FrozenNorm()])
def test_what_a_module_freezes_in_its_train_stays_frozen(kind, given):
    norm = kind(given, **HOW).fit(X, Y).module_.body[1]
    assert norm.num_batches_tracked == 0
    assert norm.running_mean.norm() == 0


class Masked(nn.Module):
    def forward(self, weight):
        return nn.functional.dropout(weight, 0.3, self.training)


def with_random_weight():
    head = nn.Linear(6, 3)
    nn.utils.parametrize.register_parametrization(head, "weight", Masked())
    return head


@pytest.mark.parametrize(
    "make",
    [
        with_random_weight,
        lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(6, 3)),
    ],
)
def test_a_parametrised_head_is_read_in_evaluation_mode(make):
    net, data = make().train(), TensorDataset(torch.tensor(X), torch.tensor(Y))
    before, random = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    found = LastLayerInputGradients(net)(data)
    assert torch.equal(random, torch.get_rng_state())
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])
    inputs = torch.tensor(X, requires_grad=True)
    loss = nn.functional.cross_entropy(net.eval()(inputs), data.tensors[1])
    (expected,) = torch.autograd.grad(loss * len(X), inputs)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


class PaddedText(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(20, 8, padding_idx=0)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1)
        self.head = nn.Linear(8, 3)

    def forward(self, ids):
        encoded = self.encoder(self.words(ids), src_key_padding_mask=ids == 0)
        return self.head(encoded[:, 0])


def test_a_transformer_that_packs_padded_texts_has_a_last_layer():
    torch.manual_seed(0)
    lengths = torch.randint(2, 8, (40,))
    ids = torch.randint(1, 20, (40, 8)) * (torch.arange(8) < lengths[:, None])
    net, codes = PaddedText(), torch.arange(40) % 3
    found = LastLayerGradients(net)(TensorDataset(ids, codes))
    with torch.no_grad():
        errors = net.eval()(ids).softmax(1) - nn.functional.one_hot(codes)
    np.testing.assert_allclose(found.errors, errors, atol=1e-5)
    logits = found.inputs[:, :-1] @ net.head.weight.detach().numpy().T
    with torch.no_grad():
        given = net(ids) - net.head.bias
    np.testing.assert_allclose(logits, given, atol=1e-4)


def test_statistics_of_the_batch_are_warned_of_in_an_own_loop():
    norm = nn.BatchNorm1d(6, track_running_stats=False)
    net = nn.Sequential(norm, nn.Linear(6, 3))
    with pytest.warns(UserWarning, match="track_running_stats=False"):
        LogitGradients(net)(TensorDataset(torch.tensor(X), torch.tensor(Y)))


def dropping_net():
    return nn.Sequential(nn.Linear(6, 16), nn.Dropout(0.5), nn.Linear(16, 3))


def test_fits_in_threads_are_those_of_one_after_the_other():
    def fit(seed):
        model = EPICClassifier(dropping_net, max_epochs=4, random_state=seed)
        return model.fit(X, Y).predict_proba(X)

    random, alone = torch.get_rng_state(), [fit(seed) for seed in range(3)]
    in_threads = Parallel(3, backend="threading")(delayed(fit)(s) for s in range(3))
    np.testing.assert_array_equal(alone, in_threads)
    assert torch.equal(random, torch.get_rng_state())


def test_predictions_do_not_wait_for_a_training_in_another_thread():
    model, done = EPICClassifier(dropping_net, **HOW).fit(X, Y), []
    with kept_random():
        thread = Thread(target=lambda: done.append(model.predict(X)))
        thread.start()
        thread.join(60)
    assert done
