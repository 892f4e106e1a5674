"""From import to the first result, with no compiled loops on disk and with them.

    python benchmarks/first_use.py

Each line is a process of its own. "nothing compiled" has an empty NUMBA_CACHE_DIR, as a
fresh installation does; "compiled before" runs after it with the same one. Seconds are
of the processor, user and system; the files of the installation are in the page cache.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile

STEPS = {
    "import of torch, scikit-learn, numba alone": (
        "import torch, sklearn.linear_model, numba"
    ),
    "import": "import epic_sklearn; epic_sklearn.find_medoids",
    "IsolatedMedoids": "fit(rules.IsolatedMedoids())",
    "NeighborVotes": "fit(rules.NeighborVotes())",
    "IsolatedMedoids, last layer": "fit(rules.IsolatedMedoids(), last_layer)",
}
PREPARE = """
import numpy as np
from epic_sklearn import EPICFilter, OuterProductGradients, rules
rng = np.random.default_rng(0)
X, y = rng.normal(size=(200, 10)).astype(np.float32), np.arange(200) % 2
last_layer = OuterProductGradients(X, X)
def fit(rule, gradients=X):
    rule.judge(gradients, y, rules.Memory(np.ones(200, dtype=bool)))
"""


def seconds(code: str, cache: str) -> float:
    """Processor seconds of a fresh interpreter that runs the code."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    env = {**os.environ, "NUMBA_CACHE_DIR": cache, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code]
    subprocess.run(command, check=True, env=env, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    print("| from the start of Python to | nothing compiled, s | compiled before, s |")
    print("|---|---|---|")
    seconds(PREPARE, tempfile.gettempdir())  # files into the page cache
    for name, step in STEPS.items():
        code = step if name.startswith("import") else f"{PREPARE}\n{step}"
        with tempfile.TemporaryDirectory() as cache:
            first, again = seconds(code, cache), seconds(code, cache)
        print(f"| {name} | {first:.1f} | {again:.1f} |", flush=True)
    command = "from epic_sklearn.cli import main; main(['--help'])"
    least = min(seconds(command, tempfile.gettempdir()) for _ in range(5))
    print(f"| epic-sklearn --help | {least:.2f} | |")


if __name__ == "__main__":
    main()
