"""Medoid selection against stock apricot and submodlib: ratios in one run.

    python benchmarks/selection.py                 # the ratios
    python benchmarks/selection.py --growth growth.png
    python benchmarks/selection.py --many-classes 1000 1300 1000

submodlib-py is timed if it can be imported (``pip install submodlib-py``). All
times are the best of `--repeats` on the same data, similarity or kernel
included, after one run to compile.
"""

from __future__ import annotations

import argparse
import platform
import resource
import time
from collections.abc import Callable
from pathlib import Path

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
    hidden = np.random.RandomState(0).randn(5000, 513).astype(np.float32)
    outer = OuterProductGradients(X, np.maximum(hidden, 0))
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
    args = parser.parse_args()
    print(f"{platform.machine()}, {torch.get_num_threads()} threads\n")
    if args.growth:
        growth(args.growth, args.sizes)
    elif args.many_classes:
        many_classes(*args.many_classes)
    else:
        ratios(args.repeats)


if __name__ == "__main__":
    main()
