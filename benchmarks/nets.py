"""The nets that are attacked, and what their training needs besides a classifier."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import nn

from epic_sklearn.gradients.modules import evaluation_mode

# The paper's optimiser: no weight decay on biases and batch norm.
SGD: dict[str, Any] = {
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 5e-4,
    "param_groups": [
        ("*norm.weight", {"weight_decay": 0.0}),
        ("*bias", {"weight_decay": 0.0}),
    ],
}


class Standardise(nn.Module):
    """From [0, 1] to about zero mean and unit variance over natural images."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Keep the shape (n, 3, 32, 32); channels last is faster on a CPU."""
        standard = (images - 0.47) / 0.25
        return standard.contiguous(memory_format=torch.channels_last)


def conv_norm(
    n_in: int, n_out: int, size: int = 3, stride: int = 1, pool: bool = False
) -> nn.Sequential:
    """Convolution, max pooling if asked for, batch norm."""
    conv = nn.Conv2d(n_in, n_out, size, stride, padding=size // 2, bias=False)
    parts: OrderedDict[str, nn.Module] = OrderedDict(conv=conv)
    if pool:
        parts["pool"] = nn.MaxPool2d(2)
    parts["norm"] = nn.BatchNorm2d(n_out)
    return nn.Sequential(parts)


def small_net(
    channels: Sequence[int] = (32, 64, 128, 128),
    pools: Sequence[bool] = (False, True, True, True),
) -> nn.Sequential:
    """Convolutions, 3 x 32 x 32 to as many activations as the last has channels.

    Parameters
    ----------
    channels : sequence of int
        What each convolution gives.
    pools : sequence of bool
        Whether max pooling follows it. The earlier, the faster, and a little less
        accurate.
    """
    layers: list[nn.Module] = [Standardise()]
    n_in = 3
    for n_out, pool in zip(channels, pools, strict=True):
        layers += [conv_norm(n_in, n_out, pool=pool), nn.ReLU()]
        n_in = n_out
    return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten())


def tiny_net() -> nn.Sequential:
    """Three convolutions, 3 x 32 x 32 to 128 activations, trained in seconds.

    The first sees blocks of 2 x 2 pixels as channels: convolutions at full
    resolution are most of a small net's time.
    """
    layers: list[nn.Module] = [Standardise(), nn.PixelUnshuffle(2)]
    for n_in, n_out, pool in ((12, 32, True), (32, 64, True), (64, 128, False)):
        layers += [conv_norm(n_in, n_out, pool=pool), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten())


class Whitening(nn.Module):
    """Patches of 2 x 2 pixels and their negatives, uncorrelated: 24 channels.

    The filters are the eigenvectors of the first batch that it is trained on.
    """

    filters: torch.Tensor
    is_learned: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("filters", torch.eye(12).reshape(12, 3, 2, 2))
        self.register_buffer("is_learned", torch.tensor(False))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, 32, 32) to (n, 24, 31, 31)."""
        if self.training and not self.is_learned:
            self._learn(images)
        white = nn.functional.conv2d(images, self.filters)
        return torch.cat([white, -white], dim=1)

    @torch.no_grad()
    def _learn(self, images: torch.Tensor) -> None:
        patches = nn.functional.unfold(images.float(), 2)
        flat = patches.transpose(1, 2).reshape(-1, 12).double()
        values, vectors = torch.linalg.eigh(flat.T @ flat / len(flat))
        filters = vectors / (values + 1e-3).sqrt()
        self.filters.copy_(filters.T.reshape(12, 3, 2, 2))
        self.is_learned.fill_(True)


class InHalf(nn.Module):
    """A net that is trained in bfloat16 on a GPU; gradients and answers are exact."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Give what the net gives, as float32."""
        if not (self.training and images.is_cuda):
            return self.net(images)
        with torch.autocast("cuda", torch.bfloat16):
            return self.net(images).float()


def fast_net() -> nn.Sequential:
    """Give 3 x 32 x 32 to 256 activations, all of CIFAR-10 in seconds on a GPU.

    Whitened patches, then three times two convolutions, as in K. Jordan's "94% on
    CIFAR-10 in 3.29 seconds on a single GPU" (2024).
    """
    layers: list[nn.Module] = [Standardise(), Whitening(), nn.GELU()]
    n_in = 24
    for n_out in (64, 256, 256):
        layers += [conv_norm(n_in, n_out, pool=True), nn.GELU()]
        layers += [conv_norm(n_out, n_out), nn.GELU()]
        n_in = n_out
    for layer in nn.Sequential(*layers).modules():
        if isinstance(layer, nn.Conv2d):  # passes on what it gets, to begin with
            nn.init.dirac_(layer.weight[: layer.in_channels])
    return nn.Sequential(InHalf(nn.Sequential(*layers, nn.MaxPool2d(3), nn.Flatten())))


class ResidualBlock(nn.Module):
    """Two convolutions, and a way round them."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.first = conv_norm(n_in, n_out, stride=stride)
        self.second = conv_norm(n_out, n_out)
        same = stride == 1 and n_in == n_out
        self.shortcut = nn.Identity() if same else conv_norm(n_in, n_out, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shrink the image by the stride."""
        inner = self.second(nn.functional.relu(self.first(x)))
        return nn.functional.relu(inner + self.shortcut(x))


def resnet18() -> nn.Sequential:
    """ResNet-18 (He et al. 2016) for 32 x 32 images, to 512 activations."""
    layers: list[nn.Module] = [Standardise(), conv_norm(3, 64), nn.ReLU()]
    n_in = 64
    for n_out, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [ResidualBlock(n_in, n_out, stride), ResidualBlock(n_out, n_out, 1)]
        n_in = n_out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def half_resnet18() -> nn.Sequential:
    """Give the same, to be trained in half precision."""
    return nn.Sequential(InHalf(resnet18()))


class Frozen(nn.Module):
    """A trained net that stays as it is, in evaluation mode, inside another one."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Frozen:
        """Stay in evaluation mode."""
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the net."""
        return self.net(x)


class OneCycle(Callback):
    """Learning rate up to the estimator's `lr` and down to zero, along two cosines.

    It follows from the epoch and the batch alone: a resumed run needs no state.

    Parameters
    ----------
    max_epochs : int
        Epochs of the whole cycle.
    begin : int
        Epochs of it that an earlier run has trained.
    """

    rise = 0.2

    def __init__(self, max_epochs: int, begin: int = 0) -> None:
        self.max_epochs, self.begin = max_epochs, begin

    def factor(self, epochs: float) -> float:
        """Share of the highest rate after so many epochs."""
        done = min(1.0, epochs / self.max_epochs)
        if done < self.rise:
            return 0.04 + 0.96 * (1 - math.cos(math.pi * done / self.rise)) / 2
        return (1 + math.cos(math.pi * (done - self.rise) / (1 - self.rise))) / 2

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Begin to count the epoch's batches."""
        self.batch = 0

    def on_batch_begin(self, net: Any, **kwargs: Any) -> None:
        """Set the rate of the next gradient step."""
        n_batches = max(1, len(net.iterator_train__sampler) // net.batch_size)
        epochs = self.begin + len(net.history) - 1 + self.batch / n_batches
        for group in net.optimizer_.param_groups:
            group["lr"] = net.lr * self.factor(epochs)
        self.batch += 1


@torch.no_grad()
def extract(net: nn.Module, images: np.ndarray) -> np.ndarray:
    """Run a net in evaluation mode, on its own device: outputs (n, d) float32."""
    device = next(net.parameters()).device
    with evaluation_mode(net):
        batches = torch.from_numpy(images).split(500)
        outputs = [net(batch.to(device)).cpu() for batch in batches]
    return torch.cat(outputs).numpy()
