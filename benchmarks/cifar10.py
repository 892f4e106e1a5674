"""CIFAR-10, and the parts that an experiment cuts it into."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

# airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck
ALL_CLASSES = tuple(range(10))

Examples = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class Split:
    """Images (n, 3, 32, 32) float32 in [0, 1] and labels (n,) int64 of each part.

    Attributes
    ----------
    pretrain : tuple of ndarray
        What a feature extractor is trained on.
    victim : tuple of ndarray
        The training set, of which some examples become poisons.
    test : tuple of ndarray
        For clean accuracy.
    candidates : tuple of ndarray
        Test images from which targets are drawn.
    """

    pretrain: Examples
    victim: Examples
    test: Examples
    candidates: Examples


@dataclass(frozen=True, eq=False)
class CIFAR10:
    """Images (n, 3, 32, 32) uint8, their labels, and which are for tests."""

    images: np.ndarray
    labels: np.ndarray
    is_test: np.ndarray

    def examples(self, rows: np.ndarray) -> Examples:
        """Images as float32 in [0, 1], and labels, of these rows."""
        return self.images[rows].astype(np.float32) / 255, self.labels[rows]

    def only(self, classes: Sequence[int]) -> CIFAR10:
        """Keep the images of these classes; labels become positions among them."""
        rows = np.flatnonzero(np.isin(self.labels, classes))
        position = np.zeros(len(ALL_CLASSES), dtype=np.int64)
        position[list(classes)] = np.arange(len(classes))
        return CIFAR10(
            self.images[rows], position[self.labels[rows]], self.is_test[rows]
        )


def read_cifar10(path: Path | None) -> CIFAR10:
    """Read from OpenML, or from an npz file.

    The file has `jpeg` (all files' bytes, one after the other), `offset` (60001,),
    `label` (60000,) and `is_test` (60000,).
    """
    if path is None:
        from sklearn.datasets import fetch_openml

        images, labels = fetch_openml(
            "CIFAR_10", version=1, as_frame=False, return_X_y=True
        )
        is_test = np.arange(len(labels)) >= 50_000
        images = images.reshape(-1, 3, 32, 32).astype(np.uint8)
        return CIFAR10(images, labels.astype(np.int64), is_test)

    from PIL import Image

    with np.load(path) as file:
        jpeg, offset = file["jpeg"].tobytes(), file["offset"]
        labels, is_test = file["label"].astype(np.int64), file["is_test"]
    images = np.empty((len(labels), 32, 32, 3), dtype=np.uint8)
    for i in tqdm(range(len(labels)), desc="decode images"):
        images[i] = Image.open(io.BytesIO(jpeg[offset[i] : offset[i + 1]]))
    return CIFAR10(images.transpose(0, 3, 1, 2), labels, is_test)


def split_cifar10(
    data: CIFAR10, n_pretrain: int, n_per_class: int, n_test: int, seed: int
) -> Split:
    """Draw the parts; all are disjoint, unless pretraining takes everything.

    Parameters
    ----------
    data : CIFAR10
        All images.
    n_pretrain : int
        Images to pretrain on. The victim's are others while enough are left.
    n_per_class : int
        Images of each class in the victim's training set.
    n_test : int
        Test images for clean accuracy. Targets are drawn from the rest, or, if
        nothing is left, from the same.
    seed : int
        Of the draw.
    """
    rng = np.random.default_rng(seed)
    train = rng.permutation(np.flatnonzero(~data.is_test))
    test = rng.permutation(np.flatnonzero(data.is_test))
    rest = train[n_pretrain:]
    n_classes = int(data.labels.max()) + 1
    if len(rest) < n_per_class * n_classes:
        rest = train
    victim = np.concatenate(
        [rest[data.labels[rest] == c][:n_per_class] for c in range(n_classes)]
    )
    return Split(
        pretrain=data.examples(train[:n_pretrain]),
        victim=data.examples(rng.permutation(victim)),
        test=data.examples(test[:n_test]),
        candidates=data.examples(test[n_test:] if n_test < len(test) else test),
    )
