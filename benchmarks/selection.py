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
    print("| case | other, s | ours, s | ratio |\n|---|---|---|---|")
    single = best_time(lambda: ours(X, one, 0.2), repeats)
    apricot = best_time(lambda: stock_apricot(X, 1000), repeats)
    print(ratio_row("stock apricot, n = 5,000, d = 10, 20%", single, apricot))
    try:
        submodlib = best_time(lambda: stock_submodlib(X, 1000), repeats)
        print(ratio_row("submodlib, the same", single, submodlib))
    except ImportError:
        print("| submodlib, the same | not installed | | |")
    distances = pairwise_distances(X)
    quality = [
        (distances.max() - distances[:, chosen].min(axis=1)).sum()
        for chosen in (ours(X, one, 0.2).indices, stock_apricot(X, 1000))
    ]
    classes = [logit_gradients(5000, seed) for seed in range(N_CLASSES)]
    all_classes = np.concatenate(classes)
    y = np.repeat(np.arange(N_CLASSES), 5000)
    cifar = best_time(lambda: ours(all_classes, y, 0.2), repeats)
    ten = sum(best_time(lambda X=X: stock_apricot(X, 1000), 1) for X in classes)
    print(ratio_row("ten stock apricot fits, 10 classes of 5,000", cifar, ten))
    outer = outer_products(5000)
    hidden = outer.inputs
    layer = best_time(lambda: ours(outer, one, 0.2), repeats)
    gram = best_time(lambda: hidden @ hidden.T, repeats)
    print(
        f"\nLast layer, C = 10, H = 512, n = 5,000: {layer:.3f} s; one float32 Gram "
        f"product {gram:.3f} s + logit selection {single:.3f} s: ratio "
        f"{layer / (gram + single):.1f}"
    )
    print(f"Objective, ours over stock apricot's: {quality[0] / quality[1]:.9f}")


def many_classes(n_classes: int, size: int, width: int) -> None:
    """Time ImageNet's shape with one and two jobs of one thread each."""
    torch.set_num_threads(1)
    labels = np.arange(n_classes * size) % n_classes
    gradients = np.empty((len(labels), width), dtype=np.float32)
    for start in tqdm(range(0, len(labels), 10_000), desc="making gradients"):
        rows = gradients[start : start + 10_000]
        rows[:] = logit_gradients(len(rows), start, width)
    print(f"{n_classes:,} classes of {size:,}, d = {width:,}, budget 10%")
    print("| n_jobs | seconds | added memory, MiB |\n|---|---|---|")
    with threadpool_limits(1):
        find_medoids(gradients[: 4 * size], labels[: 4 * size] % 2, n_jobs=2)
        for n_jobs in (1, 2):
            before, start = peak_memory(), time.perf_counter()
            find_medoids(gradients, labels, subset_size=0.1, n_jobs=n_jobs, verbose=1)
            seconds = time.perf_counter() - start
            print(f"| {n_jobs} | {seconds:.1f} | {peak_memory() - before:.0f} |")


def outer_products(n: int) -> OuterProductGradients:
    """Gradients of a last layer of 512 inputs, one class."""
    hidden = np.random.RandomState(0).randn(n, 513).astype(np.float32)
    return OuterProductGradients(logit_gradients(n), np.maximum(hidden, 0))


def wide(n: int) -> np.ndarray:
    return np.random.RandomState(0).randn(n, 64).astype(np.float32)


# Name: how gradients are made and how many, classes, subset_size, times timed.
CASES: dict[str, tuple[Callable[[int], Any], int, int, float, int]] = {
    "5,000 of 10 features, 20%": (logit_gradients, 5000, 1, 0.2, 7),
    "10 classes of 5,000, 20%": (logit_gradients, 50_000, 10, 0.2, 3),
    "100 classes of 500, 10%": (logit_gradients, 50_000, 100, 0.1, 5),
    "5,000 of 64 features, 20%": (wide, 5000, 1, 0.2, 5),
    "5,000 of 10 x 513, 20%": (outer_products, 5000, 1, 0.2, 5),
    "20,000 of 10 features, 1%": (logit_gradients, 20_000, 1, 0.01, 2),
    "20,000 of 10 x 513, 1%": (outer_products, 20_000, 1, 0.01, 1),
    "20,000 of 10 x 513, 20%": (outer_products, 20_000, 1, 0.2, 1),
    "100,000 of 10 features, 1%": (logit_gradients, 100_000, 1, 0.01, 1),
}


def run_case(name: str) -> None:
    """Print least seconds, and processor seconds, of a case, and memory added."""
    make, n, n_classes, share, repeats = CASES[name]
    gradients, labels = make(n), np.arange(n) % n_classes
    find_medoids(gradients[np.arange(600)], np.zeros(600))  # compiles
    before, times = peak_memory(), []
    for _ in range(repeats):
        start, start_cpu = time.perf_counter(), time.process_time()
        find_medoids(gradients, labels, subset_size=share)
        seconds = time.perf_counter() - start
        times.append((seconds, time.process_time() - start_cpu))
    print(*np.min(times, axis=0), peak_memory() - before)


def against(other: Path, names: list[str], rounds: int) -> None:
    """Compare this checkout with another, each case by turns in fresh processes."""
    print(
        "| case | s, other | here | ratio | processor s, other | here | ratio |", end=""
    )
    print(" added MiB, other | here |\n|---" + "|---" * 8 + "|", flush=True)
    for name in names:
        runs: dict[Path, list[list[float]]] = {}
        for _ in range(rounds):
            for checkout in (other, Path(__file__).parents[1]):
                environment = {**os.environ, "PYTHONPATH": str(checkout.resolve())}
                command = [sys.executable, __file__, "--case", name]
                found = subprocess.check_output(command, env=environment, text=True)
                numbers = [float(word) for word in found.split()]
                runs.setdefault(checkout, []).append(numbers)
        a, b = (np.min(numbers, axis=0) for numbers in runs.values())
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
