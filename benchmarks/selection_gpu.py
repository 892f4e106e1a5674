"""Medoids chosen on a GPU and on the processor of the same machine, wall-clock.

    python -m benchmarks.selection_gpu

Gradients are those of ``selection.py``: on the GPU plain float32 rows (last-layer
gradients as wide ones), on the processor what an extractor gives, with all cores.
The least of several runs; the ratio is to the plain float32 product of the same
rows with themselves on the GPU. "same" is the share of the processor's isolated
rows that are isolated on the GPU, too.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.selection import SHARE, make, plain
from epic_sklearn import find_medoids

CASES = [  # gradients, classes, rows of each
    ("10 wide", 1, 1_000),
    ("10 wide", 1, 5_000),
    ("10 wide", 1, 20_000),
    ("10 wide", 1, 100_000),
    ("10 wide", 10, 5_000),
    ("64 wide", 1, 5_000),
    ("64 wide", 1, 20_000),
    ("10 x 512", 1, 5_000),
    ("10 x 512", 1, 20_000),
    ("10 x 512", 10, 5_000),
]


def least_seconds(work: Callable[[], Any], limit: float = 3.0) -> tuple[float, Any]:
    """Seconds of the fastest of at most five runs, and what it gave."""
    times: list[float] = []
    while not times or (sum(times) < limit and len(times) < 5):
        start = time.perf_counter()
        result = work()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times), result


def product(rows: torch.Tensor, n_classes: int) -> None:
    for part in rows.chunk(n_classes):
        for some in part.split(20_000):  # as large classes are split, too
            some @ some.T


def main() -> None:
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    print(f"{torch.cuda.get_device_name()}, {torch.get_num_threads()} cores")
    print("| gradients | classes | rows of each | product, s | GPU, s | ratio ", end="")
    print("| processor, s | same |\n" + "|---" * 8 + "|")
    for shape, n_classes, n in CASES:
        gradients = make(shape, n_classes * n)
        y = np.repeat(np.arange(n_classes), n)
        there = torch.tensor(plain(gradients), dtype=torch.float32, device="cuda")
        for warm in (there, gradients):
            find_medoids(warm[:600], y[:600], subset_size=SHARE)
        least, _ = least_seconds(lambda X=there, c=n_classes: product(X, c))
        found = [
            least_seconds(lambda X=X, y=y: find_medoids(X, y, subset_size=SHARE))
            for X in (there, gradients)
        ]
        alone = [medoids.cluster_size <= 1 for _, medoids in found]
        same = (alone[0] & alone[1]).sum() / max(1, alone[1].sum())
        print(f"| {shape} | {n_classes} | {n:,} | {least:.2g} ", end="")
        print(f"| {found[0][0]:.3g} | {found[0][0] / least:.0f} ", end="")
        print(f"| {found[1][0]:.3g} | {same:.1%} |", flush=True)


if __name__ == "__main__":
    main()
