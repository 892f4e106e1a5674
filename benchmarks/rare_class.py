"""Rows of a rare class that bear the frequent label: who finds them.

    python -m benchmarks.rare_class

Three rows of the rare class get the label of the frequent one, in scikit-learn's
own data and generated ones; a filter on logistic regression looks for them. Of clean
data it says what is lost.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from epic_sklearn import EPICFilter
from epic_sklearn.rules import HighLoss, IsolatedMedoids, NeighborVotes

N_PLANTED, N_SEEDS = 3, 4
RULES = {
    "NeighborVotes": NeighborVotes(),
    "IsolatedMedoids": IsolatedMedoids(),
    "HighLoss(0.03)": HighLoss(0.03),
}


def problems(seed: int) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, X and y, of which 1 is the rare class."""
    rng = np.random.default_rng(seed)
    for n, share in ((600, 0.03), (2000, 0.02), (3000, 0.05)):
        given = make_classification(
            *(n, 8),
            n_informative=5,
            n_redundant=1,
            weights=[1 - share],
            class_sep=2.0,
            flip_y=0,
            random_state=seed,
        )
        yield f"generated, {n:,} rows", *given
    X, y = load_breast_cancer(return_X_y=True)
    rare = rng.choice(np.flatnonzero(y == 0), 20, replace=False)
    rows = np.r_[np.flatnonzero(y == 1), rare]
    yield "breast cancer", StandardScaler().fit_transform(X[rows]), 1 - y[rows]
    X, y = load_digits(return_X_y=True)
    rare = rng.choice(np.flatnonzero(y == 8), 25, replace=False)
    rows = np.r_[np.flatnonzero(y != 8), rare]
    yield "digits, 8 or not", X[rows] / 16, (y[rows] == 8).astype(int)


def kept(rule: object, X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Which rows a filter on logistic regression keeps."""
    model = LogisticRegression(max_iter=500)
    return EPICFilter(model, rule=rule, random_state=0).fit(X, y).keep_


def main() -> None:
    """Print the table."""
    found: dict[str, list[list[float]]] = {}
    for seed in range(N_SEEDS):
        for name, X, y in problems(seed):
            rare = np.flatnonzero(y == 1)
            planted = np.random.default_rng(seed).choice(rare, N_PLANTED, replace=False)
            wrong = y.copy()
            wrong[planted] = 0
            row = [len(rare) / len(y)]
            for rule in RULES.values():
                row += [float((~kept(rule, X, wrong)[planted]).sum())]
                row += [float((~kept(rule, X, y)).mean())]
            found.setdefault(name, []).append(row)
    print("| data | rare class |", " | ".join(RULES), "|")
    print("|---" * (2 + len(RULES)) + "|")
    for name, rows in found.items():
        share, *cells = np.mean(rows, axis=0)
        texts = [
            f"{n * N_SEEDS:.0f} of {N_PLANTED * N_SEEDS}, {lost:.1%}"
            for n, lost in zip(cells[::2], cells[1::2], strict=True)
        ]
        print(f"| {name} | {share:.1%} |", " | ".join(texts), "|")


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        main()
