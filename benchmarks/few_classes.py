"""Look-alikes found with few classes and with many, by the gradients looked at.

    python -m benchmarks.few_classes

The first 2, 3, 5 and 10 of scikit-learn's digits; in each of eight trials ten ones are
moved four fifths of the way to a zero. A few seconds.
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from epic_sklearn import (
    EPICFilter,
    LastLayerGradients,
    LogitGradients,
    clean_retention,
    poison_recall,
)
from epic_sklearn.attacks import LookAlikes
from epic_sklearn.rules import IsolatedMedoids, NeighborVotes

N_TRIALS = 8


def found_and_lost(detector, n_classes):
    """Means over the trials: poisons found, clean examples lost."""
    X, y = load_digits(return_X_y=True)
    X, y = X[y < n_classes] / 16, y[y < n_classes]
    shares = []
    for trial in range(N_TRIALS):
        target = np.flatnonzero(y == 0)[trial]
        rest, labels = np.delete(X, target, 0), np.delete(y, target)
        attack = LookAlikes(n_poisons=10, share=0.8, random_state=trial)
        poisons = attack.craft(rest, labels, X[target], 1, target_label=0)
        keep = detector.fit(poisons.insert_into(rest), labels).keep_
        given = keep, poisons.indices
        shares.append((poison_recall(*given), 1 - clean_retention(*given)))
    return np.mean(shares, axis=0)


if __name__ == "__main__":
    print(f"{'found, clean lost':<38}", *(f"{n:>2} classes" for n in (2, 3, 5, 10)))
    model = LogisticRegression(max_iter=1000)
    for rule in (IsolatedMedoids(), NeighborVotes()):
        for extractor in (LogitGradients(model), LastLayerGradients(model)):
            detector = EPICFilter(extractor, rule=rule)
            cells = [found_and_lost(detector, n) for n in (2, 3, 5, 10)]
            name = f"{type(rule).__name__}, {type(extractor).__name__}"
            print(f"{name:<38}", *(f"{f:5.0%}, {c:3.0%}" for f, c in cells))
