"""What defences by training do to images: friendly noise, poisons of one's own, JPEG.

Written for the benchmark from the papers; images are float32 in [0, 1].
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax
from tqdm import tqdm

from epic_sklearn.gradients.modules import evaluation_mode

# ----------------------------------------------------------------- friendly noise


def friendly_noise(
    net: nn.Module,
    images: np.ndarray,
    *,
    limit: float = 16 / 255,
    n_steps: int = 30,
    lr: float = 100.0,
    weight: float = 1.0,
    seed: int = 0,
) -> np.ndarray:
    """Find noise as large as possible that hardly changes the net's output.

    Minimises, over a batch of images, the Kullback-Leibler divergence of the net's
    prediction with noise from that without, less `weight` times the noise's mean
    square. Defaults are the published code's.

    Parameters
    ----------
    net : nn.Module
        Trained for a few epochs; used in evaluation mode.
    images : ndarray of shape (n, 3, 32, 32)
        Training images.
    limit : float
        Largest change of a pixel.
    n_steps : int
        Gradient steps; the step size falls tenfold after a half and three quarters.
    lr, weight : float
        Step size, and weight of the noise's size.
    seed : int
        Of the noise to begin with, uniform within 8/255.

    Returns
    -------
    ndarray of shape (n, 3, 32, 32), float32

    References
    ----------
    Liu, Yang, Mirzasoleiman: Friendly Noise against Adversarial Noise: A Powerful
    Defense against Data Poisoning Attacks, NeurIPS 2022.
    """
    device = next(net.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    found = []
    for batch in tqdm(torch.from_numpy(images).split(128), "friendly noise"):
        start = (torch.rand(batch.shape, generator=generator) * 2 - 1) * 8 / 255
        with evaluation_mode(net):
            noise = _friendly_batch(
                net, batch.to(device), start.to(device), limit, n_steps, lr, weight
            )
        found.append(noise.cpu())
    return torch.cat(found).numpy()


def _friendly_batch(
    net: nn.Module,
    images: torch.Tensor,
    noise: torch.Tensor,
    limit: float,
    n_steps: int,
    lr: float,
    weight: float,
) -> torch.Tensor:
    noise.requires_grad_()
    optimizer = torch.optim.SGD([noise], lr=lr, momentum=0.9, nesterov=True)
    schedule = torch.optim.lr_scheduler.MultiStepLR(
        optimizer, [n_steps // 2, n_steps // 4 * 3]
    )
    with torch.no_grad():
        wanted = log_softmax(net(images), dim=1)
    for _ in range(n_steps):
        clamped = noise.clamp(-limit, limit)
        predicted = log_softmax(net((images + clamped).clamp(0, 1)), dim=1)
        divergence = kl_div(predicted, wanted, reduction="batchmean", log_target=True)
        loss = divergence - weight * clamped.square().mean()
        (noise.grad,) = torch.autograd.grad(loss, noise)
        optimizer.step()
        schedule.step()
    return noise.detach().clamp(-limit, limit)


class BernoulliNoise:
    """Change each pixel up or down by `size`, at random; then the victim's own.

    Parameters
    ----------
    size : float
        Change of a pixel.
    augment : callable or None
        The victim's augmentation, applied before.
    """

    def __init__(self, size: float, augment: Any) -> None:
        self.size, self.augment = size, augment

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Augment a batch and add noise to it."""
        if self.augment is not None:
            images = self.augment(images)
        return images + self.size * (torch.randint(0, 2, images.shape) * 2 - 1)


# ---------------------------------------------------------- adversarial poisoning


def matching_poisons(
    net: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    targets: torch.Tensor,
    eps: float,
    n_steps: int,
) -> torch.Tensor:
    """Poison a part of a batch against the rest of it, by gradient matching.

    The targets are to be taken for the commonest label among the poisons. Signed
    Adam from Gaussian noise, as in the published code, with steps of half of `eps`.
    """
    parameters = [p for p in net.parameters() if p.requires_grad]
    wanted = labels.mode().values.expand(len(targets))

    def gradient(x: torch.Tensor, y: torch.Tensor, graph: bool) -> torch.Tensor:
        loss = cross_entropy(net(x), y)
        parts = torch.autograd.grad(loss, parameters, create_graph=graph)
        return torch.cat([part.flatten() for part in parts])

    goal = gradient(targets, wanted, graph=False)
    change = (eps * torch.randn_like(images)).clamp(-eps, eps).requires_grad_()
    optimizer = torch.optim.Adam([change], lr=eps / 2)
    for _ in range(n_steps):
        ours = gradient((images + change).clamp(0, 1), labels, graph=True)
        loss = 1 - torch.cosine_similarity(ours, goal, dim=0)
        change.grad = torch.autograd.grad(loss, change)[0].sign()
        optimizer.step()
        with torch.no_grad():
            change.clamp_(-eps, eps)
    return (images + change.detach()).clamp(0, 1)


class AdversarialPoisoning(Callback):
    """Poison a share of every batch against the rest, and train on both.

    Parameters
    ----------
    share : float
        Share of each batch that is poisoned.
    eps : float
        Largest change of a pixel.
    n_steps : int
        Gradient steps an attack.

    References
    ----------
    Geiping et al.: What Doesn't Kill You Makes You Robust(er): How to Adversarially
    Train against Data Poisoning, 2021.
    """

    def __init__(self, share: float, eps: float, n_steps: int = 5) -> None:
        self.share, self.eps, self.n_steps = share, eps, n_steps

    def on_batch_begin(self, net: Any, batch: Any, **kwargs: Any) -> None:
        """Replace the first examples of the batch, which is in random order."""
        images, labels = (part.to(net.device) for part in batch)
        n = round(self.share * len(images))
        if not 0 < n < len(images):
            return
        with evaluation_mode(net.module_):
            poisons = matching_poisons(
                net.module_, images[:n], labels[:n], images[n:], self.eps, self.n_steps
            )
        batch[0] = torch.cat([poisons, images[n:]])


# --------------------------------------------------------------------------- JPEG


def jpeg(images: np.ndarray, quality: int) -> np.ndarray:
    """Compress and decompress each image.

    Parameters
    ----------
    images : ndarray of shape (n, 3, height, width)
        In [0, 1].
    quality : int
        JPEG's, 1 to 95.
    """
    from PIL import Image

    pixels = np.rint(images * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    result = np.empty_like(pixels)
    for i, image in enumerate(pixels):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=quality)
        result[i] = Image.open(buffer)
    return result.transpose(0, 3, 1, 2).astype(np.float32) / 255
