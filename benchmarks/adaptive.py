"""Poisons that know the rules: added several times, or kept near their class.

    python -m benchmarks.adaptive --page docs/home.md

On a small net's frozen features of digits, a layer is trained: bullseye polytope, ten
poisons among about 70 digits of their class. Copies take the places of further examples
of it, and may be moved at random by a part of each feature's standard deviation; a
poison that is held back is moved only part of the way from the example that it was made
of.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from benchmarks.defaults import Case, digits_on_features, measure
from benchmarks.render import fill
from benchmarks.table import existing_file
from epic_sklearn import EPICClassifier, TorchClassifier
from epic_sklearn.datasets import make_poisoned_digits
from epic_sklearn.rules import IsolatedMedoids

ATTACKS = {
    "as crafted": {},
    "each added twice": {"times": 2},
    "the second moved by 1%": {"times": 2, "moved": 0.01},
    "the second moved by 30%": {"times": 2, "moved": 0.3},
    "each added four times": {"times": 4},
    "90% of the way": {"share": 0.9},
    "80% of the way": {"share": 0.8},
    "70% of the way": {"share": 0.7},
}


def cases(
    seed: int, times: int = 1, moved: float = 0.0, share: float = 1.0
) -> Iterator[Case]:
    """Change the poisons of each trial."""
    before = make_poisoned_digits(8, random_state=seed).X
    for number, case in enumerate(digits_on_features(None, seed)):
        assert case.poisons is not None
        X, rng = case.X.copy(), np.random.default_rng([seed, number])
        X[case.poisons] += (1 - share) * (before - X)[case.poisons]
        same = np.flatnonzero(case.y == case.adversarial_label)
        others = rng.permutation(np.setdiff1d(same, case.poisons))
        copies = others[: (times - 1) * len(case.poisons)]
        X[copies] = X[np.resize(case.poisons, len(copies))]
        X[copies] += moved * X.std(axis=0) * rng.standard_normal(X[copies].shape)
        yield replace(case, X=X, poisons=np.concatenate([case.poisons, copies]))


def estimators(n_features: int, seed: int) -> dict[str, Any]:
    net = functools.partial(nn.Linear, n_features, 10)
    return {
        "undefended": TorchClassifier(net, random_state=seed),
        "EPIC (`IsolatedMedoids`)": EPICClassifier(
            net, rule=IsolatedMedoids(), random_state=seed
        ),
        "default (`NeighborVotes`)": EPICClassifier(net, random_state=seed),
    }


def table(seed: int) -> str:
    """Successes, poisons left and clean examples lost of each attack."""
    lines = []
    for name, how in tqdm(ATTACKS.items()):
        found: dict[str, list[dict[str, float]]] = {}
        for case in cases(seed, **how):
            for label, estimator in estimators(case.X.shape[1], seed).items():
                found.setdefault(label, []).append(measure(case, estimator))
        if not lines:
            lines = [
                "| poisons | " + " | ".join(found) + " |",
                "|---" * (len(found) + 1) + "|",
            ]
        cells = []
        for rows in found.values():
            successes = sum(int(row["success"]) for row in rows)
            left = np.mean([row["poisons_left"] for row in rows])
            lost = np.mean([row["clean_lost"] for row in rows])
            cells.append(f"{successes} of {len(rows)}; {left:.0%} left, {lost:.0%}")
        cells[0] = cells[0].partition(";")[0]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--page", type=existing_file, help="page for the table")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)  # small tensors are slower in threads
    found = table(args.seed)
    print(found)
    if args.page:
        args.page.write_text(fill(args.page.read_text(), "adaptive", found))


if __name__ == "__main__":
    main()
