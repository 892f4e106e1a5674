"""What rules cost, over the shape of a class: processor seconds, memory, quality.

    python benchmarks/selection.py                       # the table of shapes
    python benchmarks/selection.py --rows 20000 --limit 120
    python benchmarks/selection.py --small               # many small classes
    python benchmarks/selection.py --quality --trials transfer_trials.npz

Every cell runs in a process of its own with one thread, `--limit` seconds of
processor at most, and is written to `--cells` when it is done: run again to go on.
Times are of the processor, so that a busy machine changes them little; the ratio
is to the plain float32 product of the class's inputs with themselves, timed in the
same process (above 20,000 rows a part of it, in proportion).

apricot and submodlib (``pip install submodlib-py``) get up to 20,000 rows as a plain
array, last-layer gradients as wide ones; making similarities is timed with them. A
cell over `--limit` or `--memory` is reported as such.
"""

from __future__ import annotations

import argparse
import json
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

from epic_sklearn import OuterProductGradients, find_medoids
from epic_sklearn.medoids import nearest_neighbors
from epic_sklearn.rules import IsolatedMedoids, Memory, NeighborVotes

ROWS = (1_000, 5_000, 20_000, 100_000, 500_000)
# Name: logits, inputs of the last layer (0: the errors alone are the gradient).
SHAPES = {
    "10 wide": (10, 0),
    "64 wide": (0, 64),
    "2 x 384": (2, 384),
    "10 x 512": (10, 512),
    "100 x 768": (100, 768),
}
NOISE = "2 x 384 without any structure"  # for the quality of parts
STOCK = ("apricot", "submodlib")
LARGEST_STOCK = 20_000  # rows that they get: their memory grows with n squared
SHARE = 0.2  # medoids of a class
OURS = {"IsolatedMedoids": IsolatedMedoids(SHARE), "NeighborVotes": NeighborVotes()}
RULES = (*OURS, *STOCK)


def logit_gradients(n: int, seed: int = 0, n_classes: int = 10) -> np.ndarray:
    """Gradients of one class of a half-trained net, (n, n_classes)."""
    rng = np.random.RandomState(seed)
    logits = rng.randn(n, n_classes) * 2
    logits[:, 0] += 4
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[:, 0] -= 1
    return p


def layer_inputs(n: int, width: int, seed: int = 0) -> np.ndarray:
    """Make inputs of a last layer, float32: 50 groups of unequal spread."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(50, width)).astype(np.float32)
    group = rng.integers(50, size=n)
    spread = rng.lognormal(-1, 0.5, size=50).astype(np.float32)[group, None]
    noise = rng.standard_normal((n, width), dtype=np.float32)
    return np.maximum(centres[group] + spread * noise, 0)


def make(shape: str, n: int) -> Any:
    """Gradients of one class."""
    n_logits, width = SHAPES["2 x 384" if shape == NOISE else shape]
    if shape == NOISE:
        noise = np.random.default_rng(0).standard_normal((n, width), dtype=np.float32)
        return OuterProductGradients(logit_gradients(n, n_classes=n_logits), noise)
    if not width:
        return logit_gradients(n).astype(np.float32)
    if not n_logits:
        return layer_inputs(n, width)
    return OuterProductGradients(
        logit_gradients(n, n_classes=n_logits), layer_inputs(n, width)
    )


# ------------------------------------------------------------------- what is timed


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


def plain(gradients: Any) -> np.ndarray:
    """Gradients as one wide array."""
    if isinstance(gradients, OuterProductGradients):
        return gradients.toarray()
    return gradients


def judge(rule: Any, gradients: Any) -> Any:
    n = len(gradients)
    return rule.judge(gradients, np.zeros(n, dtype=int), Memory(np.ones(n, dtype=bool)))


def work_of(name: str) -> Callable[[Any], object]:
    """Choose what is timed."""
    if name in STOCK:
        stock = stock_apricot if name == "apricot" else stock_submodlib
        return lambda X: stock(plain(X), int(SHARE * len(X)))
    return lambda X: judge(OURS[name], X)


def product_seconds(gradients: Any) -> float:
    """Processor seconds of the float32 product of all inputs with all."""
    inputs = getattr(gradients, "inputs", gradients)
    inputs = np.ascontiguousarray(inputs, dtype=np.float32)
    n, n_times, start = len(inputs), 0, 0.0
    rows = min(n, 512)
    out = np.empty((rows, n), dtype=np.float32)
    while n_times == 0 or time.process_time() - start < 0.5:  # its clock is coarse
        np.matmul(inputs[:rows], inputs.T, out=out)
        n_times += 1
        if n_times == 1:  # the first warms up
            start = time.process_time()
    return (time.process_time() - start) / (n_times - 1) * n / rows


def peak_memory(of: str = "VmHWM") -> float:
    """Largest resident memory since the last reset, or the present one, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(of)) / 1024


def run_cell(rule: str, shape: str, n: int, limit: int, memory: int) -> dict[str, Any]:
    """Time one cell in this process."""
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_CPU, (limit + 60, limit + 60))
    resource.setrlimit(resource.RLIMIT_DATA, (memory << 30, memory << 30))
    gradients = make(shape, n)
    work = work_of(rule)
    work(gradients[np.arange(min(n, 600))])  # compiles
    product = product_seconds(gradients)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, times = peak_memory("VmRSS"), []
    while not times or (sum(times) < 1 and len(times) < 5):
        start = time.process_time()
        work(gradients)
        times.append(time.process_time() - start)
    return {
        "seconds": round(min(times), 3),
        "product": round(product, 6),
        "MiB": round(peak_memory() - before),
    }


# ----------------------------------------------------------------------- the table


def cells_to_run(rows: list[int], shapes: list[str], rules: list[str]) -> Any:
    for n in sorted(rows):
        for shape in shapes:
            for rule in rules:
                if rule not in STOCK or n <= LARGEST_STOCK:
                    yield rule, shape, n


def table(path: Path, rows: list[int], shapes: list[str], rules: list[str]) -> str:
    """Render what has been measured; a dash is a cell that has not."""
    found = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        cell = json.loads(line)
        found[cell["rule"], cell["shape"], cell["n"]] = cell
    lines = ["| rows | gradients | product, s |"]
    lines[0] += "".join(f" {rule}, s | ratio | MiB |" for rule in rules)
    lines.append("|---" * (3 + 3 * len(rules)) + "|")
    for n in sorted(rows):
        for shape in shapes:
            cells = [found.get((rule, shape, n), {}) for rule in rules]
            products = [cell["product"] for cell in cells if "product" in cell]
            least = min(products, default=None)
            form = ".2g" if (least or 0) < 10 else ",.0f"
            line = f"| {n:,} | {shape} | {'-' if least is None else f'{least:{form}}'}"
            for cell in cells:
                if "seconds" not in cell:
                    over = f"over {cell['over']}" if cell else "-"
                    line += f" | {over} | - | -"
                    continue
                ratio = cell["seconds"] / cell["product"]
                line += f" | {cell['seconds']:.3g} | {ratio:.1f} | {cell['MiB']}"
            lines.append(line + " |")
    return "\n".join(lines)


def run_fresh(args: argparse.Namespace, *what: str) -> dict[str, Any]:
    """Run one cell in a process of its own: its figures, or what it was over."""
    command = [sys.executable, __file__, "--limit", str(args.limit)]
    command += ["--memory", str(args.memory), "--cell", *what]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode == 0:
        return json.loads(ran.stdout)
    if "MemoryError" in ran.stderr or "bad_alloc" in ran.stderr:
        return {"over": f"{args.memory} GiB"}
    if ran.returncode < 0:
        return {"over": f"{args.limit} s"}
    raise RuntimeError(ran.stderr)


def measure(args: argparse.Namespace) -> None:
    """Run the cells that are not in the file yet; above one that is over, none."""
    done, over = set(), {}
    for line in args.cells.read_text().splitlines() if args.cells.exists() else ():
        cell = json.loads(line)
        done.add((cell["rule"], cell["shape"], cell["n"]))
        if "over" in cell:
            over[cell["rule"], cell["shape"]] = {"over": cell["over"]}
    for rule, shape, n in cells_to_run(args.rows, args.shapes, args.rules):
        if (rule, shape, n) in done:
            continue
        found = over.get((rule, shape)) or run_fresh(args, rule, shape, str(n))
        if "over" in found:
            over[rule, shape] = found
        line = json.dumps({"rule": rule, "shape": shape, "n": n, **found})
        with args.cells.open("a") as file:
            file.write(line + "\n")
        print(line, flush=True)


def small() -> None:
    """Print what many small classes take, 64 wide, the least of three runs."""
    print(
        "| classes | rows of each | " + " | ".join(f"{r}, s | ms a class" for r in OURS)
    )
    print("|---" * 6 + "|")
    for n_classes, size in ((10_000, 5), (200, 20), (10_000, 20)):
        n, line = n_classes * size, f"| {n_classes:,} | {size}"
        gradients, codes = layer_inputs(n, 64), np.arange(n) % n_classes
        for rule in OURS.values():
            times = []
            for _ in range(4):  # the first compiles
                start = time.process_time()
                rule.judge(gradients, codes, Memory(np.ones(n, dtype=bool)))
                times.append(time.process_time() - start)
            least = min(times[1:])
            line += f" | {least:.3g} | {1000 * least / n_classes:.3f}"
        print(line + " |", flush=True)


# ------------------------------------------------------------------------- quality


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Share of the first's True that are the second's too."""
    return float((first & second).sum() / max(1, first.sum()))


def quality(n: int) -> None:
    """Print the parts of a class of n against the exact answer."""
    print("| gradients | quantity | exact | in parts |\n|---|---|---|---|")
    for shape in ("10 wide", "64 wide", "10 x 512", NOISE):
        gradients, codes = make(shape, n), np.zeros(n, dtype=int)
        exact = find_medoids(gradients, codes, max_class_size=None)
        parts = find_medoids(gradients, codes, max_class_size=n // 4, random_state=0)
        sums = [distance_to_nearest(gradients, one.indices) for one in (exact, parts)]
        alone = [one.cluster_size <= 1 for one in (exact, parts)]
        print(f"| {shape} | distance to the nearest medoid | 1 | ", end="")
        print(f"{sums[1] / sums[0]:.4f} |")
        print(f"| | isolated rows | {alone[0].sum()} | {alone[1].sum()}, ", end="")
        print(f"{overlap(*alone):.0%} of the exact ones |", flush=True)
        near = [
            nearest_neighbors(
                getattr(gradients, "inputs", gradients),
                codes,
                10,
                max_class_size=size,
            )[0][:, [0, -1]]
            for size in (None, n // 4)
        ]
        ratio = np.median(near[1] / near[0].clip(1e-15), axis=0)
        print(f"| | median d_1, d_10 | 1, 1 | {ratio[0]:.3f}, {ratio[1]:.3f} |")


def distance_to_nearest(gradients: Any, chosen: np.ndarray) -> float:
    """Sum of distances to the nearest of the chosen rows, some of them at a time."""
    from epic_sklearn.medoids import distances_between

    nearest = np.full(len(gradients), np.inf)
    every = np.arange(len(gradients))
    for start in range(0, len(chosen), 500):
        some = chosen[start : start + 500]
        away = distances_between(gradients, some, every, "euclidean")
        nearest = np.minimum(nearest, away.min(axis=0))
    return float(nearest.sum())


def poisons(path: Path) -> None:
    """Print what is found in ready features when classes of 250 are split."""
    from sklearn.linear_model import LogisticRegression

    from epic_sklearn import LastLayerGradients

    print("| rule | parts of | poisons found | clean dropped |\n|---|---|---|---|")
    data = np.load(path)
    y, gradients = data["label"].astype(int), []
    for trial in range(0, len(data["attack"]), 2):
        X, rows = data["features"].copy(), data["poison_index"][trial]
        rows = rows[rows >= 0]
        X[rows] = data["poison_features"][trial][: len(rows)]
        model = LastLayerGradients(LogisticRegression(C=1e-3, max_iter=200)).fit(X, y)
        gradients.append((model.compute(X, y), rows))
    for rule in OURS.values():
        for size in (None, 125, 60):
            rule.set_params(max_class_size=size)
            found, clean, n_poisons = 0, 0, 0
            for one, rows in gradients:
                flagged = rule.judge(one, y, Memory(np.ones(len(y), bool))).flagged
                found += int(flagged[rows].sum())
                n_poisons += len(rows)
                clean += int(flagged.sum() - flagged[rows].sum())
            share = clean / (len(gradients) * len(y) - n_poisons)
            name = type(rule).__name__
            print(f"| {name} | {size or 'whole'} | {found / n_poisons:.0%} | ", end="")
            print(f"{share:.1%} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=list(ROWS))
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=SHAPES)
    parser.add_argument("--rules", nargs="+", default=list(RULES), choices=RULES)
    parser.add_argument("--limit", type=int, default=600, help="seconds a cell")
    parser.add_argument("--memory", type=int, default=16, help="GiB a cell")
    parser.add_argument("--cells", type=Path, default=Path("cells.jsonl"))
    parser.add_argument("--small", action="store_true", help="many small classes")
    parser.add_argument("--quality", action="store_true", help="parts against exact")
    parser.add_argument("--trials", type=Path, help="ready poisoned features, .npz")
    parser.add_argument("--cell", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.cell:
        rule, shape, n = args.cell
        print(json.dumps(run_cell(rule, shape, int(n), args.limit, args.memory)))
    elif args.small:
        torch.set_num_threads(1)
        small()
    elif args.quality:
        torch.set_num_threads(1)
        quality(args.rows[0] if len(args.rows) == 1 else 20_000)
        if args.trials:
            poisons(args.trials)
    else:
        measure(args)
        print(table(args.cells, args.rows, args.shapes, args.rules))


if __name__ == "__main__":
    main()
