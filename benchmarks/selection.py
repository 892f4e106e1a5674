"""Medoid selection against stock apricot and submodlib: ratios in one run.

    python benchmarks/selection.py                 # the ratios
    python benchmarks/selection.py --growth growth.png
    python benchmarks/selection.py --many-classes 1000 1300 1000
    python benchmarks/selection.py --against ../other-checkout

submodlib-py is timed if it can be imported (``pip install submodlib-py``). All
times are the best of `--repeats` on the same data, similarity or kernel
included, after one run to compile.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from apricot import FacilityLocationSelection
from sklearn.metrics import pairwise_distances
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from epic_sklearn import OuterProductGradients, find_medoids

N_CLASSES = 10


def logit_gradients(n: int, seed: int = 0, n_classes: int = N_CLASSES) -> np.ndarray:
    """Gradients of one class of a half-trained net, (n, n_classes)."""
    rng = np.random.RandomState(seed)
    logits = rng.randn(n, n_classes) * 2
    logits[:, 0] += 4
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[:, 0] -= 1
    return p


def best_time(work: Callable[[], object], repeats: int) -> float:
    """Shortest of several runs, in seconds, after one to warm up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def stock_apricot(X: np.ndarray, k: int) -> np.ndarray:
    distances = pairwise_distances(X)
    similarity = distances.max() - distances
    selection = FacilityLocationSelection(k, metric="precomputed", optimizer="lazy")
    return np.asarray(selection.fit(similarity).ranking)


def stock_submodlib(X: np.ndarray, k: int) -> np.ndarray:
    from submodlib import FacilityLocationFunction

    function = FacilityLocationFunction(
        n=len(X), mode="dense", data=X, metric="euclidean", separate_rep=False
    )
    chosen = function.maximize(
        budget=k, optimizer="LazyGreedy", show_progress=False, verbose=False
    )
    return np.array([i for i, _ in chosen])


def ours(X: np.ndarray | OuterProductGradients, y: np.ndarray, share: float) -> object:
    return find_medoids(X, y, subset_size=share)


def ratio_row(name: str, seconds: float, other: float) -> str:
    return f"| {name} | {other:.2f} | {seconds:.3f} | {other / seconds:.1f} |"


def ratios(repeats: int) -> None:
    X, one = logit_gradients(5000), np.zeros(5000)
    print(
        "| case | s, other | here | ratio | processor s, other | here | ratio | ",
        end="",
    )
    print("added MiB, other | here |\n|---" + "|---" * 8 + "|")
    for name in names:
        results: dict[Path, list[list[float]]] = {}
        for _ in range(rounds):
            for checkout in (other, Path(__file__).parents[1]):
                environment = {**os.environ, "PYTHONPATH": str(checkout.resolve())}
                command = [sys.executable, __file__, "--case", name]
                found = subprocess.check_output(command, env=environment, text=True)
                numbers = [float(word) for word in found.split()]
                results.setdefault(checkout, []).append(numbers)
        a, b = (np.min(runs, axis=0) for runs in results.values())
        pairs = " | ".join(
            f"{a[i]:.3f} | {b[i]:.3f} | {b[i] / a[i]:.2f}" for i in range(2)
        )
        print(f"| {name} | {pairs} | {a[2]:.0f} | {b[2]:.0f} |", flush=True)


def peak_memory() -> float:
    """Largest resident memory of the process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def growth(path: Path, sizes: list[int]) -> None:
    """Time one class of growing size, budget 1%, and draw it."""
    import matplotlib.pyplot as plt

    find_medoids(logit_gradients(300), np.zeros(300))
    seconds = []
    print("| n | seconds | added memory, MiB |\n|---|---|---|")
    for n in tqdm(sizes, desc="growth"):
        X, y = logit_gradients(n), np.zeros(n)
        before = peak_memory()
        start = time.perf_counter()
        find_medoids(X, y, subset_size=0.01)
        seconds.append(time.perf_counter() - start)
        tqdm.write(f"| {n:,} | {seconds[-1]:.1f} | {peak_memory() - before:.0f} |")
    figure, axes = plt.subplots(figsize=(5.5, 3.6), layout="constrained")
    axes.loglog(sizes, seconds, "o-", color="#0072B2", label="measured")
    guide = seconds[0] * (np.array(sizes) / sizes[0]) ** 2
    axes.loglog(sizes, guide, "--", color="grey", label="n squared")
    axes.set(
        xlabel="examples in the class", ylabel="seconds", title="Budget 1%, d = 10"
    )
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--growth", type=Path, help="time growing classes; the plot")
    parser.add_argument(
        "--sizes",
        type=int,
        nargs="+",
        default=[10_000, 20_000, 40_000, 80_000, 100_000],
    )
    parser.add_argument(
        "--many-classes",
        type=int,
        nargs=3,
        metavar=("CLASSES", "SIZE", "WIDTH"),
        help="time many classes with one and two jobs",
    )
    parser.add_argument("--against", type=Path, help="another checkout, by turns")
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        run_case(args.case)
        return
    print(f"{platform.machine()}, {torch.get_num_threads()} threads\n")
    if args.against:
        against(args.against, args.cases, args.repeats)
    elif args.growth:
        growth(args.growth, args.sizes)
    elif args.many_classes:
        many_classes(*args.many_classes)
    else:
        ratios(args.repeats)


if __name__ == "__main__":
    main()
