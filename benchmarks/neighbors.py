"""Searches for near neighbours side by side: seconds, memory, error, rows flagged.

    python benchmarks/neighbors.py                      # the table
    python benchmarks/neighbors.py --rows 20000 --features 64 --threads 1

The geometry of NeighborVotes asks for the distances d_1 and d_10 of every row of a
class among the others, all scaled to length 1. One class of float32 inputs, in which
40 groups of 5 rows collide (poisons), goes to each search in a process of its own,
which is warm: compiled loops run once on few rows, and the seconds of that first run
stand in a column. pynndescent and faiss (faiss-cpu) are in no extra of ours.

"off" is the mean of d / exact d - 1; "same" the share of the rows whose geometry is
above 3 by exact distances that have it by these; "groups" the share of the colliding
rows that do. Seconds are of the processor. Cells that are done stay in `--cells`: run
again to go on.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from benchmarks.selection import layer_inputs, peak_memory
from epic_sklearn.medoids import nearest_neighbors
from epic_sklearn.rules.neighbor_votes import geometry

K = 10
FAR = 3  # of the geometry, in standard deviations
N_GROUPS, GROUP_SIZE = 40, 5


def problem(n: int, n_features: int) -> tuple[np.ndarray, np.ndarray]:
    """Give inputs of a class, and the rows (200,) that collide in groups."""
    rng = np.random.default_rng(1)
    inputs = layer_inputs(n, n_features)
    groups = rng.choice(n, (N_GROUPS, GROUP_SIZE), replace=False)
    noise = rng.standard_normal((N_GROUPS, GROUP_SIZE, n_features), dtype=np.float32)
    inputs[groups] = np.maximum(inputs[groups[:, :1]] + 0.05 * noise, 0)
    return inputs, groups.ravel()


# --------------------------------------------------------------------- the searches
# Each takes unit rows (n, d) and returns an array (2, n, 10): distances to the nearest
# others, and their row numbers.


def ours(size: int | None) -> Callable[[np.ndarray], np.ndarray]:
    def search(unit: np.ndarray) -> np.ndarray:
        codes = np.zeros(len(unit), dtype=int)
        return np.stack(nearest_neighbors(unit, codes, K, max_class_size=size))

    return search


def scikit_learn(algorithm: str) -> Callable[[np.ndarray], np.ndarray]:
    n_jobs = torch.get_num_threads()
    search = NearestNeighbors(n_neighbors=K, algorithm=algorithm, n_jobs=n_jobs)
    return lambda unit: np.stack(search.fit(unit).kneighbors())


def without_own(names: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Take each row from its own K + 1 neighbours, or the last if it is not there."""
    own = names == np.arange(len(names))[:, None]
    own[:, -1] |= ~own.any(axis=1)
    return np.stack([distances[~own], names[~own]]).reshape(2, len(names), K)


def pynndescent(unit: np.ndarray) -> np.ndarray:
    from pynndescent import NNDescent

    index = NNDescent(
        unit, n_neighbors=K + 1, n_jobs=torch.get_num_threads(), random_state=0
    )
    return without_own(*index.neighbor_graph)


def faiss(is_exact: bool) -> Callable[[np.ndarray], np.ndarray]:
    import faiss

    def search(unit: np.ndarray) -> np.ndarray:
        faiss.omp_set_num_threads(torch.get_num_threads())
        index = flat = faiss.IndexFlatL2(unit.shape[1])
        if not is_exact:
            n_cells = int(2 * len(unit) ** 0.5)
            index = faiss.IndexIVFFlat(flat, unit.shape[1], n_cells)
            index.nprobe = max(1, n_cells // 20)
            index.train(unit)
        index.add(unit)
        squares, names = index.search(unit, K + 1)
        return without_own(names, np.sqrt(squares.clip(0)))

    return search


SEARCHES: dict[str, Callable[[], Any]] = {
    "ours, exact": lambda: ours(None),
    "ours": lambda: ours(20_000),
    "ours, parts of 5,000": lambda: ours(5_000),
    "scikit-learn, brute": lambda: scikit_learn("brute"),
    "scikit-learn, kd_tree": lambda: scikit_learn("kd_tree"),
    "faiss, flat": lambda: faiss(is_exact=True),
    "faiss, IVF": lambda: faiss(is_exact=False),
    "pynndescent": lambda: pynndescent,
}
EXACT = "scikit-learn, brute"  # double precision


# --------------------------------------------------------------------- one cell


def run_cell(name: str, n: int, n_features: int, n_threads: int, limit: int) -> Any:
    """Time one search in this process; its distances go to a file for `compare`."""
    torch.set_num_threads(n_threads)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
    unit = normalize(problem(n, n_features)[0])
    search = SEARCHES[name]()
    start = time.process_time()
    search(unit[:1_000])
    first = time.process_time() - start
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, cpu = peak_memory("VmRSS"), time.process_time()
    found = search(unit)
    return found, {
        "search": name,
        "n": n,
        "features": n_features,
        "threads": n_threads,
        "cpu": round(time.process_time() - cpu, 2),
        "first": round(first, 1),
        "MiB": round(peak_memory() - before),
    }


def flagged(distances: np.ndarray) -> np.ndarray:
    """Flag the rows of a class with such distances (n, k) to their neighbours."""
    n, k = distances.shape
    codes = np.zeros(n, dtype=int)
    return geometry(distances.astype(np.float64), codes, np.full(n, k)) > FAR


def compare(found: np.ndarray, exact: np.ndarray, n: int, n_features: int) -> Any:
    """Error of the distances, and of what is flagged by them."""
    _, groups = problem(n, n_features)
    off = (found[0] / exact[0].clip(1e-7) - 1).mean(axis=0)
    by_exact, by_found = flagged(exact[0]), flagged(found[0])
    same = (by_exact & by_found).sum() / by_exact.sum()
    return {
        "off_1": round(float(off[0]), 4),
        "off_10": round(float(off[-1]), 4),
        "same": round(float(same), 4),
        "groups": round(float(by_found[groups].mean()), 3),
    }


def measure(args: argparse.Namespace) -> None:
    """Run the cells that are not in the file yet, the exact search first."""
    done = [
        tuple(cell[key] for key in ("search", "n", "features", "threads"))
        for cell in cells_of(args.cells)
    ]
    names = sorted(args.searches, key=lambda name: name != EXACT)
    for n in args.rows:
        for n_features in args.features:
            exact = args.cells.with_suffix(f".{n}.{n_features}.npy")
            for n_threads in args.threads:
                for name in names:
                    what = (name, n, n_features, n_threads)
                    if what not in done:
                        run_fresh(args, what, exact)


def run_fresh(args: argparse.Namespace, what: tuple[Any, ...], exact: Path) -> None:
    """Run one cell in a process of its own and keep what it says."""
    command = [sys.executable, "-m", "benchmarks.neighbors", "--cell"]
    command += [*map(str, what), str(exact), "--limit", str(args.limit)]
    threads = dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), str(what[3])
    )
    ran = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **threads}
    )
    line = ran.stdout.strip()
    if ran.returncode < 0:  # by the limit
        keys = ("search", "n", "features", "threads")
        line = json.dumps(dict(zip(keys, what, strict=True)) | {"over": args.limit})
    elif ran.returncode:
        print(ran.stderr, file=sys.stderr)
        return
    with args.cells.open("a") as file:
        file.write(line + "\n")
    print(line, flush=True)


def cells_of(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text().splitlines() if path.exists() else ()
    return [json.loads(line) for line in lines]


def table(cells: list[dict[str, Any]]) -> str:
    """Render the cells, one row a search and shape, one column of seconds a thread."""
    lines = [
        "| rows | features | search | s, 1 thread | s, 2 | first run, s | MiB "
        "| d_1 off | d_10 off | same | groups |",
        "|---" * 11 + "|",
    ]
    keys = dict.fromkeys(
        (cell["n"], cell["features"], cell["search"]) for cell in cells
    )
    for n, n_features, name in sorted(keys, key=lambda key: key[:2]):
        row = [f"{n:,}", n_features, name]
        some = {
            cell["threads"]: cell
            for cell in cells
            if (cell["n"], cell["features"], cell["search"]) == (n, n_features, name)
        }
        for n_threads in (1, 2):
            cell = some.get(n_threads, {})
            over = f"over {cell['over']}" if "over" in cell else "-"
            row.append(f"{cell['cpu']:.3g}" if "cpu" in cell else over)
        one = some.get(1) or some[2]
        row += [one.get("first", "-"), one.get("MiB", "-")]
        row += [
            f"{one[key]:.1%}" if key in one else "-"
            for key in ("off_1", "off_10", "same", "groups")
        ]
        lines.append("| " + " | ".join(map(str, row)) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 100_000])
    parser.add_argument("--features", type=int, nargs="+", default=[64, 384])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--searches", nargs="+", default=list(SEARCHES))
    parser.add_argument("--limit", type=int, default=300, help="processor seconds")
    parser.add_argument("--cells", type=Path, default=Path("neighbors.jsonl"))
    parser.add_argument("--cell", nargs=5, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not args.cell:
        measure(args)
        print(table(cells_of(args.cells)))
        return
    name, n, n_features, n_threads = args.cell[0], *map(int, args.cell[1:4])
    found, cell = run_cell(name, n, n_features, n_threads, args.limit)
    exact = Path(args.cell[4])
    if name == EXACT and not exact.exists():
        np.save(exact, found)
    if exact.exists():
        cell |= compare(found, np.load(exact), n, n_features)
    print(json.dumps(cell))


if __name__ == "__main__":
    main()
