"""Many rows: a million in two classes, a memory map, dask workers.

    python -m benchmarks.large million
    python -m benchmarks.large memory-map --rows 10000000 --max-class-size 1000
    python -m benchmarks.large workers --rows 100000         # needs the dask extra

Gradients are 64 wide, float32. Seconds are of the processor and by the clock. Workers
also have theirs: of the one that worked longest, which is what the clock would show on
as many idle cores, and of the process that sends and collects. MiB are the peak of this
process's own memory less what it held before, without pages of the file that is mapped.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.selection import OURS, layer_inputs, peak_memory
from epic_sklearn import find_medoids
from epic_sklearn.rules import Memory

WIDTH = 64
CHUNK = 500_000  # rows made at a time


@contextmanager
def measured(what: str) -> Iterator[None]:
    """Print processor seconds and memory of what is done inside."""

    def held() -> float:  # lists of candidates lie in a mapping that counts as shared
        return peak_memory("RssAnon") + peak_memory("RssShmem")

    before, peak, over = held(), [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            peak[0] = max(peak[0], held() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    start, clock = time.process_time(), time.perf_counter()
    yield
    seconds, clock = time.process_time() - start, time.perf_counter() - clock
    over.set()
    watcher.join()
    print(f"| {what} | {seconds:.0f} | {clock:.0f} | {peak[0]:.0f} |", flush=True)


def heading(first: str) -> None:
    print(f"| {first} | processor, s | by the clock, s | MiB |\n|---|---|---|---|")


def million(n: int) -> None:
    """Judge n rows in two classes by each rule, each in a process of its own."""
    heading(f"{n:,} rows, two classes")
    for name in OURS:
        process = multiprocessing.get_context("spawn").Process(
            target=judge, args=(name, n)
        )
        process.start()
        process.join()


def judge(name: str, n: int) -> None:
    """Judge n rows in two classes by a rule, after a few that compile."""
    gradients, codes = layer_inputs(n, WIDTH), np.arange(n) % 2
    rule, few = OURS[name], slice(600)
    rule.judge(gradients[few], codes[few], Memory(np.ones(600, dtype=bool)))
    with measured(name):
        rule.judge(gradients, codes, Memory(np.ones(n, dtype=bool)))


def memory_map(n: int, max_class_size: int) -> None:
    """Choose medoids of n rows in two classes that lie in a file."""
    with tempfile.TemporaryDirectory() as folder:
        path, shape = Path(folder, "gradients"), (n, WIDTH)
        mapped = np.memmap(path, np.float32, "w+", shape=shape)
        for start in range(0, n, CHUNK):
            part = mapped[start : start + CHUNK]
            part[:] = layer_inputs(len(part), WIDTH, seed=start)
        mapped.flush()
        gradients = np.memmap(path, np.float32, "r", shape=shape)
        find_medoids(gradients[:600], np.arange(600) % 2)
        heading(f"{n:,} rows in a file, parts of {max_class_size:,}")
        with measured("find_medoids"):
            find_medoids(gradients, np.arange(n) % 2, max_class_size=max_class_size)


def workers(counts: list[int], n: int) -> None:
    """Choose medoids of a class of n rows in ten parts on dask workers."""
    from distributed import Client, LocalCluster
    from joblib import parallel_config

    gradients = layer_inputs(n, WIDTH)
    how = {"max_class_size": n // 10, "n_jobs": -1, "random_state": 0}
    columns = ("by the clock, s", "busiest worker, s", "this process, s")
    print(f"| workers, {n:,} rows | " + " | ".join(columns) + " |")
    print("|---|---|---|---|")
    for count in counts:
        with (
            LocalCluster(
                n_workers=count, threads_per_worker=1, dashboard_address=None
            ) as cluster,
            Client(cluster) as client,
            parallel_config("dask"),
        ):
            client.run(find_medoids, gradients[:600], np.zeros(600, int))  # compiles
            before = client.run(time.process_time)
            clock, own = time.perf_counter(), time.process_time()
            find_medoids(gradients, np.zeros(n, dtype=int), **how)
            clock, own = time.perf_counter() - clock, time.process_time() - own
            after = client.run(time.process_time)
        busiest = max(after[worker] - before[worker] for worker in before)
        print(f"| {count} | {clock:.1f} | {busiest:.1f} | {own:.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["million", "memory-map", "workers"])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--max-class-size", type=int, default=20_000)
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 2])
    args = parser.parse_args()
    if args.what == "million":
        million(args.rows)
    elif args.what == "memory-map":
        memory_map(args.rows, args.max_class_size)
    else:
        workers(args.counts, args.rows)


if __name__ == "__main__":
    main()
