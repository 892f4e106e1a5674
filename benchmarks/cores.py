"""Wall-clock of the rules on one core, two, and all: classes side by side, and one.

    python -m benchmarks.cores

Gradients are those of ``selection.py``. The least of several runs; nothing else may
run meanwhile. ``--threads`` are torch's, which the rules follow.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

import numpy as np
import torch

from benchmarks.selection import OURS, make
from epic_sklearn.rules import Memory

CASES = [  # gradients, classes, rows of each
    ("10 wide", 10, 5_000),
    ("10 wide", 1, 20_000),
    ("10 x 512", 10, 5_000),
    ("10 x 512", 1, 20_000),
]


def seconds(rule: Any, gradients: Any, codes: np.ndarray) -> float:
    """Least of at most three runs, after one of a few rows that compiles."""
    few = np.arange(600)
    rule.judge(gradients[few], codes[few], Memory(np.ones(600, dtype=bool)))
    times: list[float] = []
    while not times or (sum(times) < 10 and len(times) < 3):
        start = time.perf_counter()
        rule.judge(gradients, codes, Memory(np.ones(len(codes), dtype=bool)))
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    n_cores = os.cpu_count() or 1
    counts = sorted({1, 2, n_cores})
    parser.add_argument("--threads", type=int, nargs="+", default=counts)
    args = parser.parse_args()
    headings = [f"{rule}, {n}" for rule in OURS for n in args.threads]
    print("| gradients | classes | rows of each | " + " | ".join(headings) + " |")
    print("|---" * (3 + len(headings)) + "|")
    for shape, n_classes, n in CASES:
        gradients = make(shape, n_classes * n)
        codes, cells = np.repeat(np.arange(n_classes), n), []
        for rule in OURS.values():
            for n_threads in args.threads:
                torch.set_num_threads(n_threads)
                cells.append(f"{seconds(rule, gradients, codes):.2f}")
        print(
            f"| {shape} | {n_classes} | {n:,} | " + " | ".join(cells) + " |", flush=True
        )


if __name__ == "__main__":
    main()
