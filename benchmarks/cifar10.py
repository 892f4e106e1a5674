"""CIFAR-10 in disjoint parts, and a small net trained on one of them."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

N_CLASSES = 10
N_EXTRACTOR = 30_000
N_PER_CLASS = 250
N_TEST = 2_000
EXTRACTOR_EPOCHS = 20
N_FEATURES = 128


@dataclass(frozen=True)
class Split:
    """Images (n, 3, 32, 32) float32 in [0, 1] and labels (n,) int64 of each part."""

    extractor: tuple[np.ndarray, np.ndarray]
    victim: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    candidates: tuple[np.ndarray, np.ndarray]


def read_cifar10(path: Path | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images (60000, 3, 32, 32) uint8, labels (60000,), and which are test images.

    The file is an npz with `jpeg` (all files' bytes, one after the other), `offset`
    (60001,), `label` (60000,) and `is_test` (60000,).
    """
    if path is None:
        from sklearn.datasets import fetch_openml

        images, labels = fetch_openml(
            "CIFAR_10", version=1, as_frame=False, return_X_y=True
        )
        is_test = np.arange(len(labels)) >= 50_000
        images = images.reshape(-1, 3, 32, 32).astype(np.uint8)
        return images, labels.astype(np.int64), is_test

    from PIL import Image

    with np.load(path) as file:
        jpeg, offset = file["jpeg"].tobytes(), file["offset"]
        labels, is_test = file["label"].astype(np.int64), file["is_test"]
    images = np.empty((len(labels), 32, 32, 3), dtype=np.uint8)
    for i in tqdm(range(len(labels)), desc="decode images"):
        images[i] = Image.open(io.BytesIO(jpeg[offset[i] : offset[i + 1]]))
    return images.transpose(0, 3, 1, 2), labels, is_test


def split_cifar10(
    images: np.ndarray, labels: np.ndarray, is_test: np.ndarray, seed: int
) -> Split:
    """Disjoint parts, drawn by `seed`: extractor, victim, test, target candidates."""
    rng = np.random.default_rng(seed)
    train, test = (rng.permutation(np.flatnonzero(m)) for m in (~is_test, is_test))
    rest = train[N_EXTRACTOR:]
    victim = np.concatenate(
        [rest[labels[rest] == c][:N_PER_CLASS] for c in range(N_CLASSES)]
    )

    def part(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return images[rows].astype(np.float32) / 255, labels[rows]

    return Split(
        extractor=part(train[:N_EXTRACTOR]),
        victim=part(rng.permutation(victim)),
        test=part(test[:N_TEST]),
        candidates=part(test[N_TEST:]),
    )


class Standardise(nn.Module):
    """From [0, 1] to zero mean and unit variance over natural images."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Keep the shape (n, 3, 32, 32)."""
        return (images - 0.47) / 0.25


def make_extractor() -> nn.Sequential:
    """Four convolutions, 3 x 32 x 32 to `N_FEATURES` activations."""
    layers: list[nn.Module] = [Standardise()]
    n_in = 3
    for n_out, pool in ((32, True), (64, True), (128, False), (N_FEATURES, True)):
        layers.append(nn.Conv2d(n_in, n_out, 3, padding=1, bias=False))
        if pool:
            layers.append(nn.MaxPool2d(2))
        layers += [nn.BatchNorm2d(n_out), nn.ReLU()]
        n_in = n_out
    return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten())


def flip_and_shift(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Mirror half of the images and shift each batch by up to 4 pixels."""
    mirrored = torch.rand(len(images), generator=generator) < 0.5
    images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    padded = nn.functional.pad(images, (4, 4, 4, 4), mode="reflect")
    row, column = torch.randint(0, 9, (2,), generator=generator).tolist()
    return padded[:, :, row : row + 32, column : column + 32]


def train_extractor(images: np.ndarray, labels: np.ndarray, seed: int) -> nn.Module:
    """Train the net with its own linear head, one-cycle SGD."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    extractor = make_extractor()
    net = nn.Sequential(extractor, nn.Linear(N_FEATURES, N_CLASSES))
    net = net.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        net.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    batch_size = 128
    n_batches = len(images) // batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.2, total_steps=EXTRACTOR_EPOCHS * n_batches, pct_start=0.2
    )
    X, y = torch.from_numpy(images), torch.from_numpy(labels)
    net.train()
    for _ in tqdm(range(EXTRACTOR_EPOCHS), desc="train the extractor"):
        order = torch.randperm(len(X), generator=generator)
        for rows in order[: n_batches * batch_size].view(n_batches, batch_size):
            batch = flip_and_shift(X[rows], generator)
            batch = batch.contiguous(memory_format=torch.channels_last)
            loss = nn.functional.cross_entropy(net(batch), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return extractor.eval()


def load_extractor(split: Split, seed: int, cache: Path | None) -> nn.Module:
    """Take the trained extractor from the cache, or train it and put it there."""
    path = cache / f"extractor_seed{seed}.pt" if cache else None
    if path is not None and path.exists():
        extractor = make_extractor()
        extractor.load_state_dict(torch.load(path, weights_only=True))
        return extractor.eval()
    extractor = train_extractor(*split.extractor, seed=seed)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(extractor.state_dict(), path)
    return extractor


@torch.no_grad()
def extract(extractor: nn.Module, images: np.ndarray) -> np.ndarray:
    """Features (n, `N_FEATURES`) float32 of images (n, 3, 32, 32)."""
    batches = torch.from_numpy(images).split(500)
    return torch.cat([extractor(batch) for batch in batches]).numpy()
