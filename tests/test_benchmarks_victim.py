"""The victim's nets and the defences written for the benchmarks do what they say."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from benchmark_problem import tiny_net
from torch import nn

from benchmarks.nets import OneCycle, Whitening, fast_net, half_resnet18, resnet18
from benchmarks.perturbations import (
    AdversarialPoisoning,
    friendly_noise,
    jpeg,
    matching_poisons,
)


@pytest.fixture
def net():
    return tiny_net()


def divergence(net, images, noise):
    with torch.no_grad():
        p, q = (net(x).log_softmax(1) for x in (images, images + noise))
    return float((p.exp() * (p - q)).sum(1).mean())


def test_friendly_noise_is_large_and_friendly(net):
    images = np.random.RandomState(0).rand(64, 3, 32, 32).astype("f4")
    net[1].weight.data *= 5  # so that plain noise changes the prediction
    noise = friendly_noise(net, images, seed=1)
    assert np.abs(noise).max() <= 16 / 255 + 1e-6
    x, friendly = torch.from_numpy(images), torch.from_numpy(noise)
    shuffled = friendly[torch.randperm(64)]  # as large, for other images
    assert divergence(net, x, friendly) < divergence(net, x, shuffled)
    assert np.abs(noise).mean() > 4 / 255


def test_own_poisons_match_the_targets_gradient(net):
    torch.manual_seed(0)
    images, targets = torch.rand(8, 3, 32, 32), torch.rand(4, 3, 32, 32)
    labels = torch.tensor([3] * 5 + [1, 2, 4])

    def cosine(poisons):
        gradients = []
        for x, y in ((poisons, labels), (targets, torch.full((4,), 3))):
            loss = nn.functional.cross_entropy(net(x), y)
            parts = torch.autograd.grad(loss, list(net.parameters()))
            gradients.append(torch.cat([part.flatten() for part in parts]))
        return torch.cosine_similarity(*gradients, dim=0).item()

    poisons = matching_poisons(net, images, labels, targets, eps=0.1, n_steps=10)
    assert (poisons - images).abs().max() <= 0.1 + 1e-6
    assert poisons.min() >= 0 and poisons.max() <= 1
    assert cosine(poisons) > cosine(images) + 0.05


def test_adversarial_poisoning_poisons_its_share_of_a_batch(net):
    images, labels = torch.rand(8, 3, 32, 32), torch.arange(8) % 3
    batch = [images.clone(), labels]
    callback = AdversarialPoisoning(share=0.25, eps=0.1)
    callback.on_batch_begin(SimpleNamespace(device="cpu", module_=net), batch)
    changed = (batch[0] != images).flatten(1).any(dim=1)
    assert changed.tolist() == [True] * 2 + [False] * 6
    assert all(p.grad is None for p in net.parameters())


def test_dp_sgd_without_noise_or_clipping_is_sgd():
    pytest.importorskip("opacus")
    from benchmarks.dp_sgd import FixedNorm, private_module, private_sgd
    from epic_sklearn import TorchClassifier

    rng = np.random.RandomState(0)
    X, y = rng.randn(64, 6).astype("f4"), rng.randint(0, 3, 64)
    settings = {"max_epochs": 3, "lr": 0.1, "batch_size": 32, "random_state": 0}
    plain = TorchClassifier(lambda: nn.Linear(6, 3), **settings).fit(X, y)
    private = TorchClassifier(
        private_module(lambda: nn.Linear(6, 3)),
        optimizer=private_sgd(0.0, 1e6, batch_size=32),
        optimizer_params={"momentum": 0.9, "nesterov": True},
        **settings,
    ).fit(X, y)
    expected = plain.predict_proba(X)
    np.testing.assert_allclose(private.predict_proba(X), expected, rtol=1e-4)

    norm = nn.BatchNorm2d(16)
    x = torch.rand(4, 16, 5, 5)
    norm(x)
    torch.testing.assert_close(FixedNorm(norm)(x), norm.eval()(x))


def test_jpeg_of_best_quality_changes_little():
    pytest.importorskip("PIL")
    images = np.full((2, 3, 32, 32), 0.5, dtype="f4")
    images[1, 0] = 0.7
    assert np.abs(jpeg(images, quality=95) - images).max() < 0.03


def test_one_cycle_rises_and_falls_to_zero():
    factors = [OneCycle(10).factor(epoch) for epoch in (0, 1, 2, 6, 10)]
    assert factors[0] < factors[1] < factors[2] == 1 > factors[3] > factors[4] == 0


def test_resnet_has_the_usual_size():
    net = resnet18()
    assert net(torch.rand(2, 3, 32, 32)).shape == (2, 512)
    n_parameters = sum(p.numel() for p in net.parameters())
    assert n_parameters + 512 * 10 + 10 == 11_173_962  # of the CIFAR ResNet-18


def test_whitened_patches_are_uncorrelated_and_later_batches_change_nothing():
    layer = Whitening()
    images = torch.rand(8, 1, 32, 32).expand(-1, 3, -1, -1) + 0.1 * torch.rand(
        8, 3, 32, 32
    )
    images = images - images.mean()
    white = layer(images)[:, :12].transpose(0, 1).flatten(1)
    products = white @ white.T / white.shape[1]
    torch.testing.assert_close(products, products.diag().diag(), atol=0.01, rtol=0)
    filters = layer.filters.clone()
    layer(5 * images)
    torch.testing.assert_close(layer.filters, filters)


@pytest.mark.parametrize(("make", "width"), [(fast_net, 256), (half_resnet18, 512)])
def test_nets_of_the_gpu_scenarios_give_their_activations(make, width):
    net = make()
    assert net(torch.rand(2, 3, 32, 32)).shape == (2, width)
    assert net.eval()(torch.rand(1, 3, 32, 32)).dtype is torch.float32
