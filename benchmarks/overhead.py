"""What EPIC adds to training: same net, same data, same number of gradient steps.

    python benchmarks/overhead.py

EPIC shortens epochs by what it drops, so its time is compared with plain
training at the same number of gradient steps. "added" is the rest, "allowed" one
forward pass over the data for each round plus 5% of the plain time.
"""

from __future__ import annotations

import argparse
import platform
import time
import warnings

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from epic_sklearn import EPICClassifier, LogitGradients, TorchClassifier
from epic_sklearn.datasets import DigitsNet

TIMING = {"warmup": 2, "every": 2}


def cifar_net() -> nn.Module:
    """Four convolutions on 32 x 32 colour images."""
    layers: list[nn.Module] = []
    for n_in, n_out in ((3, 32), (32, 64), (64, 128), (128, 128)):
        layers += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.BatchNorm2d(n_out)]
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 10))


def digits() -> tuple[np.ndarray, np.ndarray]:
    X, y = load_digits(return_X_y=True)
    return (X / 16).astype(np.float32).reshape(-1, 1, 8, 8), y


def noise_images(n: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Images of CIFAR-10's shape; what they show does not matter for time."""
    rng = np.random.RandomState(0)
    y = rng.randint(10, size=n)
    means = rng.rand(10, 3, 32, 32)
    images = means[y] + 0.3 * rng.randn(n, 3, 32, 32)
    return images.astype(np.float32), y


def measure(
    name: str, module: type[nn.Module], X: np.ndarray, y: np.ndarray, epochs: int
) -> str:
    """One row of the table."""
    settings = {"max_epochs": epochs, "lr": 0.05, "random_state": 0}
    EPICClassifier(module, warmup=1, max_epochs=2, random_state=0).fit(X[:300], y[:300])
    start = time.perf_counter()
    plain = TorchClassifier(module, **settings).fit(X, y)
    plain_seconds = time.perf_counter() - start
    start = time.perf_counter()
    epic = EPICClassifier(module, **TIMING, **settings).fit(X, y)
    epic_seconds = time.perf_counter() - start
    steps = [sum(e["train_batch_count"] for e in m.history_) for m in (plain, epic)]
    start = time.perf_counter()
    LogitGradients(plain.module_)(X, y)
    forward = time.perf_counter() - start
    rounds = len(epic.rounds_)
    selection = sum(record.seconds for record in epic.rounds_)
    same_steps = plain_seconds * steps[1] / steps[0]
    added = epic_seconds - same_steps
    allowed = rounds * forward + 0.05 * same_steps
    return (
        f"| {name} | {plain_seconds:.2f} | {epic_seconds:.2f} "
        f"| {steps[1]} of {steps[0]} | {rounds} | {added:.2f} | {allowed:.2f} "
        f"| {selection:.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    print(f"{platform.machine()}, {torch.get_num_threads()} threads\n")
    print(
        "| net | plain, s | EPIC, s | gradient steps | rounds | added, s "
        "| allowed, s | of it selection, s |\n|---|---|---|---|---|---|---|---|"
    )
    for _ in range(args.repeats):
        print(measure("digits", DigitsNet, *digits(), epochs=20))
    for _ in range(args.repeats):
        print(measure("CIFAR shape", cifar_net, *noise_images(), epochs=10))


if __name__ == "__main__":
    main()
