"""What a user gets who sets nothing: bare defaults, under attack and on clean data.

    python -m benchmarks.defaults --out docs/results/defaults.jsonl

Each problem is small and bundled or made here. Under attack: how many attacks that
work undefended still do, poisons and clean rows dropped. On clean data: accuracy with
and without, and the largest share that any class loses.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import sem
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from tqdm import tqdm

from benchmarks.records import append_record, group_by, read_records
from benchmarks.render import fill
from benchmarks.table import existing_file
from epic_sklearn import (
    EPICClassifier,
    EPICFilter,
    FilteredClassifier,
    TorchClassifier,
)
from epic_sklearn.attacks import FeatureCollision
from epic_sklearn.attacks.features import features_of
from epic_sklearn.datasets import make_poisoned_digits
from epic_sklearn.rules import IsolatedMedoids, NeighborVotes, RandomDrop

# ----------------------------------------------------------------------- problems


@dataclass
class Case:
    """A training set, perhaps poisoned, and what is to be predicted."""

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    poisons: np.ndarray | None = None
    target: np.ndarray | None = None
    adversarial_label: int | None = None


def digits_on_features(attack: Any, seed: int) -> Iterator[Case]:
    """Poisons among 70 digits of a class, on a small net's frozen features."""
    problem = make_poisoned_digits(8, random_state=seed)
    for number, bullseye in enumerate(problem.poisons):
        poisons, examples = bullseye, problem.examples[number]
        if attack is not None:
            poisons = attack(random_state=number).craft(
                problem.feature_extractor,
                problem.images,
                problem.y,
                bullseye.target,
                bullseye.adversarial_label,
            )
            examples = features_of(problem.feature_extractor, poisons.examples)
        X = problem.X.copy()
        X[poisons.indices] = examples
        yield Case(
            X,
            problem.y,
            problem.X_test,
            problem.y_test,
            poisons.indices,
            problem.targets[number],
            poisons.adversarial_label,
        )


def embeddings(copies: bool, seed: int) -> Iterator[Case]:
    """Eight rows near one target among 2,000 unit vectors of 384 numbers, 4 classes.

    Made to resemble sentence embeddings: a class is a mixture of six directions.
    """
    for number in range(8):
        rng = np.random.default_rng([seed, number])
        topics = rng.normal(size=(4, 6, 384))
        y = np.repeat(np.arange(4), 1000)
        weights = rng.dirichlet(np.full(6, 0.7), size=len(y))
        X = np.einsum("nt,ntd->nd", weights, topics[y])
        X += 0.6 * rng.normal(size=X.shape)
        X /= np.linalg.norm(X, axis=1, keepdims=True)
        X = X.astype(np.float32)
        X, X_test, y, y_test = train_test_split(X, y, random_state=number)
        target = X_test[:1].copy()
        adversarial = (y_test[0] + rng.integers(1, 4)) % 4
        poisons = rng.choice(np.flatnonzero(y == adversarial), 8, replace=False)
        spread = 0.0 if copies else 0.25 / np.sqrt(384)
        near = target + spread * rng.normal(size=(8, 384))
        X[poisons] = near / np.linalg.norm(near, axis=1, keepdims=True)
        yield Case(X, y, X_test, y_test, poisons, target, int(adversarial))


def clean(load: Callable[..., Any], scale: float = 1.0) -> Iterator[Case]:
    """Split a bundled data set as it is; not as when a round's weight was chosen."""
    X, y = load(return_X_y=True)
    for number in range(100, 124):
        parts = train_test_split(X / scale, y, random_state=number, stratify=y)
        X_train, X_test, y_train, y_test = parts
        yield Case(
            X_train.astype(np.float32), y_train, X_test.astype(np.float32), y_test
        )


def conv_net() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 10),
    )


PROBLEMS: dict[str, Callable[[int], Iterator[Case]]] = {
    "digits, bullseye polytope": functools.partial(digits_on_features, None),
    "digits, 5 colliding": functools.partial(
        digits_on_features, functools.partial(FeatureCollision, 5, eps=0.5)
    ),
    "embeddings, near": functools.partial(embeddings, False),
    "embeddings, copies": functools.partial(embeddings, True),
    "clean digits": lambda seed: clean(load_digits, 16.0),
    "clean iris": lambda seed: clean(load_iris),
    "clean wine": lambda seed: clean(load_wine),
    "clean breast cancer": lambda seed: clean(load_breast_cancer),
}


# ----------------------------------------------------------------------- defences


def net_for(case: Case) -> Callable[[], nn.Module] | None:
    """Give a layer on features, a convolutional net on digits, else the default."""
    if case.poisons is not None:
        n_classes = len(np.unique(case.y))
        return functools.partial(nn.Linear, case.X.shape[1], n_classes)
    return conv_net if case.X.shape[1] == 64 else None


def undefended_filter(case: Case, seed: int) -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


def estimators(case: Case, seed: int) -> dict[str, Any]:
    """Name what is compared: a net and a linear model, bare and defended."""
    net, model = net_for(case), undefended_filter(case, seed)
    return {
        "net": TorchClassifier(net, random_state=seed),
        "EPICClassifier(net)": EPICClassifier(net, random_state=seed),
        "EPICClassifier(net, rule=IsolatedMedoids())": EPICClassifier(
            net, rule=IsolatedMedoids(), random_state=seed
        ),
        "model": model,
        "FilteredClassifier(model, EPICFilter(model))": FilteredClassifier(
            model, EPICFilter(model, random_state=seed)
        ),
        # The whole score of its round, of which seven eighths count.
        "the same, rule=NeighborVotes(1.62)": FilteredClassifier(
            model, EPICFilter(model, rule=NeighborVotes(1.62), random_state=seed)
        ),
        "the same, rule=IsolatedMedoids()": FilteredClassifier(
            model, EPICFilter(model, rule=IsolatedMedoids(), random_state=seed)
        ),
        "the same, rule=RandomDrop(0.1)": FilteredClassifier(
            model, EPICFilter(model, rule=RandomDrop(0.1), random_state=seed)
        ),
    }


def measure(case: Case, estimator: Any) -> dict[str, float]:
    """Fit one estimator and look at it."""
    fitted = clone(estimator).fit(case.X, case.y)
    keep = getattr(fitted, "keep_", np.ones(len(case.y), dtype=bool))
    is_clean = np.ones(len(case.y), dtype=bool)
    result = {"accuracy": fitted.score(case.X_test, case.y_test)}
    if case.poisons is not None:
        assert case.target is not None
        is_clean[case.poisons] = False
        predicted = fitted.predict(case.target)[0]
        result["success"] = predicted == case.adversarial_label
        result["poisons_left"] = keep[case.poisons].mean()
    lost = [1 - keep[is_clean & (case.y == c)].mean() for c in np.unique(case.y)]
    result["clean_lost"] = 1 - keep[is_clean].mean()
    result["most_lost_by_a_class"] = max(lost)
    return {name: round(float(value), 5) for name, value in result.items()}


def run(out: Path, seed: int, chosen: list[str]) -> None:
    """Measure what is not in the file yet."""
    done = {(r["problem"], r["trial"], r["defence"]) for r in read_records(out)}
    for problem in chosen:
        for trial, case in enumerate(tqdm(PROBLEMS[problem](seed), desc=problem)):
            for name, estimator in estimators(case, seed).items():
                if (problem, trial, name) not in done:
                    key = {"problem": problem, "trial": trial, "defence": name}
                    append_record(out, {**key, **measure(case, estimator)})


def gained(rows: list[dict[str, Any]], undefended: list[dict[str, Any]]) -> str:
    """Points of accuracy beyond the undefended one's, with their standard error."""
    pairs = zip(rows, undefended, strict=True)
    gains = [100 * (row["accuracy"] - other["accuracy"]) for row, other in pairs]
    return f" ({np.mean(gains):+.1f} ± {sem(gains):.1f})"


def table(out: Path) -> str:
    """Lay the results out: attacks that work undefended, and what is lost."""
    lines = ["| problem | defence | attacks that work | accuracy | poisons left | "]
    lines[0] += "clean lost (most by a class) |"
    lines.append("|---|---|---|---|---|---|")
    undefended: list[dict[str, Any]] = []
    for (problem,), records in group_by(read_records(out), "problem").items():
        for (defence,), rows in group_by(records, "defence").items():
            if defence in ("net", "model"):
                undefended = rows
            mean = {
                k: 100 * np.mean([r[k] for r in rows if k in r])
                for k in rows[0]
                if k not in ("problem", "trial", "defence")
            }
            success = left = ""
            if "success" in rows[0]:
                success = f"{sum(r['success'] for r in rows):.0f} of {len(rows)}"
                left = f"{mean['poisons_left']:.0f}%"
            more = "" if success or rows is undefended else gained(rows, undefended)
            lost = f"{mean['clean_lost']:.1f}% ({mean['most_lost_by_a_class']:.0f}%)"
            lines.append(
                f"| {problem} | {defence} | {success} | {mean['accuracy']:.1f}{more} | "
                f"{left} | {lost} |"
            )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=Path, default=Path("defaults.jsonl"), help="results")
    add("--seed", type=int, default=0)
    add("--problems", nargs="+", choices=list(PROBLEMS), default=list(PROBLEMS))
    add("--page", type=existing_file, help="markdown page to put the table into")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)  # small tensors are slower in threads
    run(args.out, args.seed, args.problems)
    found = table(args.out)
    print(found)
    if args.page:
        args.page.write_text(fill(args.page.read_text(), "defaults", found))


if __name__ == "__main__":
    main()
