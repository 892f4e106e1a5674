"""What EPIC adds to training: same net, same data, same gradient steps, plain torch.

    python benchmarks/overhead.py

EPIC shortens epochs by what it drops. A plain loop in torch takes as many steps, on
batches of as many examples: what training itself costs. What EPICClassifier takes
more are its rounds (a forward pass over all data and the rule's judgement, timed in
the run itself) and the rest. All in seconds of the processor with one thread; each
figure is the least of `--repeats` runs, by turns.
"""

from __future__ import annotations

import argparse
import platform
import time
import warnings
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from epic_sklearn import EPICClassifier
from epic_sklearn.datasets import DigitsNet
from epic_sklearn.training.sampler import EPICSubsetSampler

LR, BATCH = 0.05, 128


def small_net() -> nn.Module:
    """Two convolutions on 16 x 16 images of three colours."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 10),
    )


def digits() -> tuple[np.ndarray, np.ndarray]:
    X, y = load_digits(return_X_y=True)
    return (X / 16).astype(np.float32).reshape(-1, 1, 8, 8), y


def noise_images(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Small images; what they show does not matter for time."""
    rng = np.random.default_rng(0)
    y = rng.integers(10, size=n)
    means = rng.random((10, 3, 16, 16), dtype=np.float32)
    noise = rng.standard_normal((n, 3, 16, 16), dtype=np.float32)
    return means[y] + 0.3 * noise, y


def plain_loop(
    module: nn.Module, X: np.ndarray, y: np.ndarray, sizes: list[int]
) -> float:
    """Processor seconds of as many steps on batches of these sizes."""
    start = time.process_time()
    inputs, labels = torch.from_numpy(X), torch.from_numpy(y)
    optimizer = torch.optim.SGD(module.parameters(), LR, momentum=0.9, nesterov=True)
    loss, order, at = nn.CrossEntropyLoss(), torch.randperm(len(y)), 0
    module.train()
    for size in sizes:
        if at + size > len(y):
            order, at = torch.randperm(len(y)), 0
        rows = order[at : at + size]
        at += size
        optimizer.zero_grad()
        loss(module(inputs[rows]), labels[rows]).backward()
        optimizer.step()
    return time.process_time() - start


def epic(
    module: Callable[[], nn.Module], X: np.ndarray, y: np.ndarray, epochs: int
) -> tuple[float, float, list[int], EPICClassifier]:
    """Processor seconds of all and of the rounds, the batches' sizes, the model."""
    in_rounds, step = [], EPICSubsetSampler.step

    def timed(self: Any, *args: Any) -> Any:
        start = time.process_time()
        result = step(self, *args)
        in_rounds.append(time.process_time() - start)
        return result

    model = EPICClassifier(
        module,
        warmup=max(1, epochs // 5),
        every=max(1, epochs // 5),
        max_epochs=epochs,
        lr=LR,
        batch_size=BATCH,
        random_state=0,
    )
    with patch.object(EPICSubsetSampler, "step", timed):
        start = time.process_time()
        model.fit(X, y)
        seconds = time.process_time() - start
    sizes = [b["train_batch_size"] for e in model.history_ for b in e["batches"]]
    return seconds, sum(in_rounds), sizes, model


def measure(
    name: str,
    module: Callable[[], nn.Module],
    X: np.ndarray,
    y: np.ndarray,
    epochs: int,
    repeats: int,
) -> str:
    """One row of the table."""
    epic(module, X[:300], y[:300], 2)  # compiles
    runs = []
    for _ in range(repeats):
        seconds, rounds, sizes, model = epic(module, X, y, epochs)
        plain = plain_loop(module(), X, y, sizes)
        runs.append((seconds, rounds, plain, seconds - rounds))
    seconds, rounds, plain, beside = np.min(runs, axis=0)
    return (
        f"| {name} | {len(sizes):,} | {plain:.2f} | {seconds:.2f} "
        f"| {len(model.rounds_)} | {rounds:.2f} "
        f"| {beside / plain - 1:+.0%} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--epochs", type=int, default=5, help="of the images")
    args = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    torch.set_num_threads(1)
    print(f"{platform.machine()}, one thread\n")
    print(
        "| data | steps | plain loop, s | EPICClassifier, s | rounds | of it rounds, s "
        "| beside the rounds |\n|---|---|---|---|---|---|---|"
    )
    print(measure("digits", DigitsNet, *digits(), 20, args.repeats), flush=True)
    images = noise_images(args.images)
    name = f"{args.images:,} small images"
    print(measure(name, small_net, *images, args.epochs, args.repeats))


if __name__ == "__main__":
    main()
