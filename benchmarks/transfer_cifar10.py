"""Attack success in transfer learning on CIFAR-10, undefended and with EPIC.

A small convolutional net is trained on 30,000 clean images and frozen. The victim
trains a linear head on its features of 2,500 other images, a few of which are
poisons made for one target each. Every trial is trained undefended and with EPIC.

    python benchmarks/transfer_cifar10.py --targets 20 --out results.jsonl

Finished trials are read back from ``--out`` and skipped, so an interrupted run goes
on where it stopped. Without ``--cifar10`` the images come from OpenML.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cifar10 import (
    N_CLASSES,
    extract,
    load_extractor,
    read_cifar10,
    split_cifar10,
)
from torch import nn
from tqdm import tqdm

from epic_sklearn import EPICClassifier, TorchClassifier
from epic_sklearn.attacks import BullseyePolytope, FeatureCollision, Poisons
from epic_sklearn.metrics import clean_retention, poison_recall

ATTACKS: dict[str, Callable[..., BullseyePolytope | FeatureCollision]] = {
    "bullseye polytope, 5 poisons": functools.partial(BullseyePolytope, n_poisons=5),
    "feature collision, 1 poison": functools.partial(FeatureCollision, n_poisons=1),
    "feature collision, 5 poisons": functools.partial(FeatureCollision, n_poisons=5),
}
RANDOM = "as many at random"
# The paper's settings for 40 epochs, not tuned to any outcome here.
HEAD: dict[str, Any] = {
    "max_epochs": 40,
    "lr": 0.1,
    "lr_milestones": (25, 35),
    "batch_size": 128,
    "optimizer_params": {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4},
}


# ------------------------------------------------------------------------- trials


@dataclass(frozen=True)
class Problem:
    """What all trials share; features are (n, `N_FEATURES`)."""

    extractor: nn.Module
    images: np.ndarray
    features: np.ndarray
    labels: np.ndarray
    test_features: np.ndarray
    test_labels: np.ndarray


@dataclass(frozen=True)
class Target:
    """One example to be misclassified, (3, 32, 32)."""

    image: np.ndarray
    features: np.ndarray
    true_label: int
    adversarial_label: int


def train_head(
    X_features: np.ndarray,
    y: np.ndarray,
    *,
    defended: bool,
    random_state: int,
    subset_size: float = 0.2,
    threshold: int = 1,
) -> TorchClassifier:
    """Train the victim's linear head on frozen features.

    Parameters
    ----------
    X_features : ndarray of shape (n, N_FEATURES), float32
        The training set as the extractor sees it, poisons included.
    y : ndarray of shape (n,)
        Labels.
    defended : bool
        Whether EPIC drops isolated examples at the end of epochs 1 to 9.
    random_state : int
        Seed of the head's initial weights and of the batches' order.
    subset_size : float, default=0.2
        EPIC's medoids as a fraction of each class.
    threshold : int, default=1
        The largest cluster that EPIC drops.

    Returns
    -------
    TorchClassifier
        Fitted; an EPICClassifier, with `keep_`, if `defended`.
    """
    head = functools.partial(nn.Linear, X_features.shape[1], N_CLASSES)
    settings = {**HEAD, "random_state": random_state}
    if defended:
        classifier = EPICClassifier(
            head,
            warmup=1,
            every=1,
            stop=9,
            subset_size=subset_size,
            threshold=threshold,
            **settings,
        )
    else:
        classifier = TorchClassifier(head, **settings)
    return classifier.fit(X_features, y)


def drop_at_random(y: np.ndarray, keep: np.ndarray, random_state: int) -> np.ndarray:
    """Keep mask that drops as many of each class as `keep`, but any of them.

    The control: what a defence gains over it comes from which examples it drops.
    """
    rng = np.random.default_rng(random_state)
    drawn = np.ones(len(y), dtype=bool)
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        drawn[rng.choice(rows, int((~keep[rows]).sum()), replace=False)] = False
    return drawn


def draw_targets(
    problem: Problem, candidates: tuple[np.ndarray, np.ndarray], seed: int
) -> Iterator[Target]:
    """Test images that an undefended head gets right, each with another label."""
    images, labels = candidates
    clean = train_head(
        problem.features, problem.labels, defended=False, random_state=seed
    )
    rng = np.random.default_rng([seed, 1])
    for i in rng.permutation(len(images)):
        features = extract(problem.extractor, images[i : i + 1])
        shift = rng.integers(1, N_CLASSES)
        if clean.predict(features)[0] == labels[i]:
            yield Target(
                image=images[i],
                features=features,
                true_label=int(labels[i]),
                adversarial_label=int((labels[i] + shift) % N_CLASSES),
            )


def craft(problem: Problem, target: Target, attack: str, trial: int) -> Poisons:
    """Make the poisons of one trial; its number draws the base examples."""
    return ATTACKS[attack](random_state=trial).craft(
        problem.extractor,
        problem.images,
        problem.labels,
        target.image,
        target.adversarial_label,
    )


def run_trial(
    problem: Problem,
    target: Target,
    poisons: Poisons,
    defence: str,
    args: argparse.Namespace,
) -> dict[str, float | int | bool]:
    """Train one head on poisoned features and measure everything about it."""
    features = problem.features.copy()
    features[poisons.indices] = extract(problem.extractor, poisons.examples)
    settings = {"random_state": args.seed}
    epic = {"subset_size": args.subset_size, "threshold": args.threshold}
    keep = np.ones(len(features), dtype=bool)
    if defence == RANDOM:
        head = train_head(features, problem.labels, defended=True, **epic, **settings)
        keep = drop_at_random(problem.labels, head.keep_, args.seed)
    started = time.perf_counter()
    if defence.startswith("EPIC"):
        head = train_head(features, problem.labels, defended=True, **epic, **settings)
        keep = head.keep_
    else:
        head = train_head(
            features[keep], problem.labels[keep], defended=False, **settings
        )
    seconds = time.perf_counter() - started
    predicted = head.predict(target.features)
    return {
        "success": bool(predicted[0] == target.adversarial_label),
        "still_correct": bool(predicted[0] == target.true_label),
        "accuracy": float(head.score(problem.test_features, problem.test_labels)),
        "poisons": len(poisons.indices),
        "poisons_left": 1 - poison_recall(keep, poisons.indices),
        "clean_lost": 1 - clean_retention(keep, poisons.indices),
        "seconds": round(seconds, 3),
    }


def make_problem(args: argparse.Namespace) -> tuple[Problem, list[Target]]:
    """Build everything that the trials share, and their targets."""
    split = split_cifar10(*read_cifar10(args.cifar10), seed=args.seed)
    extractor = load_extractor(split, args.seed, args.cache)
    problem = Problem(
        extractor=extractor,
        images=split.victim[0],
        features=extract(extractor, split.victim[0]),
        labels=split.victim[1],
        test_features=extract(extractor, split.test[0]),
        test_labels=split.test[1],
    )
    targets = draw_targets(problem, split.candidates, args.seed)
    return problem, list(itertools.islice(targets, args.targets))


def run_all(args: argparse.Namespace) -> None:
    """Run what is not in `args.out` yet, one line a trial."""
    defences = (
        "none",
        f"EPIC {args.subset_size:g}, threshold {args.threshold}",
        RANDOM,
    )
    todo = [
        (attack, trial, defence)
        for trial in range(args.targets)
        for attack in ATTACKS
        for defence in defences
    ]
    done = {trial_key(record) for record in read_records(args.out)}
    todo = [key for key in todo if (args.seed, *key) not in done]
    if not todo:
        return
    problem, targets = make_problem(args)
    crafted = functools.lru_cache(maxsize=1)(
        lambda attack, trial: craft(problem, targets[trial], attack, trial)
    )
    with args.out.open("a") as file:
        for attack, trial, defence in tqdm(todo, desc="trials"):
            target, poisons = targets[trial], crafted(attack, trial)
            record = {
                "seed": args.seed,
                "attack": attack,
                "trial": trial,
                "defence": defence,
                "true_label": target.true_label,
                "adversarial_label": target.adversarial_label,
                "attack_loss": [float(poisons.loss[0]), float(poisons.loss.min())],
                **run_trial(problem, target, poisons, defence, args),
            }
            file.write(json.dumps(record) + "\n")
            file.flush()


# ------------------------------------------------------------------------ summary


def trial_key(record: dict[str, Any]) -> tuple[int, str, int, str]:
    """Return what tells one trial from the others."""
    return record["seed"], record["attack"], record["trial"], record["defence"]


def read_records(path: Path) -> list[dict[str, Any]]:
    """All finished trials; a last line cut off by an interruption is left out."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        path.write_text("".join(lines[:-1]))
        lines.pop()
    return [json.loads(line) for line in lines]


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """95% confidence interval of a proportion (Wilson's score interval)."""
    z = 1.959964
    centre = (successes + z**2 / 2) / (n + z**2)
    half = z / (n + z**2) * math.sqrt(successes * (n - successes) / n + z**2 / 4)
    return max(0.0, centre - half), min(1.0, centre + half)


def markdown_table(records: list[dict[str, Any]]) -> str:
    """Summarise the trials, a row for each attack and defence."""
    rows = [
        "| attack | defence | attack success (95% interval) | clean accuracy "
        "| poisons left | clean examples lost | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for record in records:
        groups.setdefault((record["attack"], record["defence"]), []).append(record)
    for (attack, defence), trials in sorted(groups.items()):
        k, n = sum(trial["success"] for trial in trials), len(trials)
        low, high = wilson_interval(k, n)
        mean = {
            name: sum(trial[name] for trial in trials) / n
            for name in ("accuracy", "poisons_left", "clean_lost", "seconds")
        }
        rows.append(
            f"| {attack} | {defence} | {k} of {n} ({low:.0%} to {high:.0%}) "
            f"| {mean['accuracy']:.1%} | {mean['poisons_left']:.0%} "
            f"| {mean['clean_lost']:.1%} | {mean['seconds']:.1f} |"
        )
    return "\n".join(rows)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cifar10", type=Path, help="npz file; default: from OpenML")
    parser.add_argument("--targets", type=int, default=20, help="trials an attack")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results.jsonl"))
    parser.add_argument("--cache", type=Path, help="folder for the trained extractor")
    parser.add_argument("--subset-size", type=float, default=0.2)
    parser.add_argument("--threshold", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    run_all(args)
    records = [r for r in read_records(args.out) if r["seed"] == args.seed]
    print(markdown_table(records))


if __name__ == "__main__":
    main()
