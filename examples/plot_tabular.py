"""
Does it work on a table, with a classifier that is no net?
==========================================================

`FilteredClassifier` puts any scikit-learn classifier behind a filter; here a random
forest on scikit-learn's breast cancer data. Forests have no gradients, so the filter
takes them from a logistic regression of its own. The attack is *feature collision*
for tables: a few rows labelled benign are moved to where a malignant case of the test
set is, so that the forest takes that case for benign. Ten cases are attacked, in two
ways, and three rules are compared.
"""

# %%
# Two ways to tamper
# ------------------
#
# Either ten benign rows are moved nine tenths of the way to the target, or three rows
# are made equal to it. Their labels stay what they were.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from epic_sklearn import (
    EPICFilter,
    FilteredClassifier,
    LastLayerGradients,
    attack_success_rate,
    clean_retention,
    poison_recall,
)
from epic_sklearn.rules import FarNeighbors, IsolatedMedoids, RandomDrop

MALIGNANT, BENIGN = 0, 1
X, y = load_breast_cancer(return_X_y=True, as_frame=True)
X_train, X_test, y_train, y_test = train_test_split(
    X, y, test_size=0.4, stratify=y, random_state=0
)
forest = RandomForestClassifier(50, random_state=0)
rng = np.random.default_rng(0)
read_right = forest.fit(X_train, y_train).predict(X_test) == y_test
targets = rng.choice(
    np.flatnonzero(read_right & (y_test == MALIGNANT)), 10, replace=False
)
ATTACKS = {"10 rows near the target": (10, 0.9), "3 copies of the target": (3, 1.0)}


def tamper(target, n_poisons, share, seed):
    """Training rows with some benign ones moved to a row of the test set."""
    draw = np.random.default_rng(seed)
    benign = np.flatnonzero(y_train == BENIGN)
    rows = draw.choice(benign, n_poisons, replace=False)
    tampered = X_train.copy()
    moved = (1 - share) * X_train.iloc[rows] + share * X_test.iloc[target]
    tampered.iloc[rows] = moved.to_numpy()
    return tampered, rows


# %%
# The rules
# ---------
#
# With two classes the gradients with respect to the logits lie on a line, so the
# rules look at those of the whole last layer. The scaler is part of the model that
# they are taken from.

gradients = LastLayerGradients(
    make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
)
rules = {
    "no filter": RandomDrop(drop_fraction=0.0),
    "EPIC": IsolatedMedoids(),
    "EPIC, threshold=3": IsolatedMedoids(threshold=3),
    "FarNeighbors": FarNeighbors(),
}

results = {}
for attack, (n_poisons, share) in ATTACKS.items():
    for name, rule in rules.items():
        detector = EPICFilter(gradients, rule=rule)
        read, rows = [], []
        for seed, target in enumerate(targets):
            tampered, poisons = tamper(target, n_poisons, share, seed)
            model = FilteredClassifier(forest, detector).fit(tampered, y_train)
            read.append(model.predict(X_test.iloc[[target]])[0])
            rows.append(
                (
                    1 - poison_recall(model.keep_, poisons),
                    1 - clean_retention(model.keep_, poisons),
                    model.score(X_test, y_test),
                )
            )
        left, lost, accuracy = np.mean(rows, axis=0)
        results[attack, name] = (attack_success_rate(read, BENIGN), lost)
        print(
            f"{attack:<24} {name:<23} success {results[attack, name][0]:4.0%}  "
            f"poisons left {left:4.0%}  clean lost {lost:4.0%}  accuracy {accuracy:.1%}"
        )

# %%
# What they stop and what they cost
# ---------------------------------
#
# Ten targets for each attack. Shorter is better in both panels.

figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained", sharey=True)
styles = zip(ATTACKS, ("#D55E00", "#0072B2"), (-0.19, 0.19), strict=True)
for attack, colour, shift in styles:
    for column, ax in enumerate(axes):
        values = [results[attack, name][column] for name in rules]
        bars = ax.barh(
            np.arange(len(rules)) + shift,
            values,
            height=0.36,
            color=colour,
            label=attack if column == 0 else None,
        )
        ax.bar_label(bars, [f"{value:.0%}" for value in values], padding=3)
for ax, title in zip(axes, ("attack success", "clean examples lost"), strict=True):
    ax.set(title=title, xlim=(0, 1.12), xticks=[])
    ax.spines[["top", "right", "bottom"]].set_visible(False)
axes[0].set_yticks(range(len(rules)), rules)
axes[0].invert_yaxis()
figure.legend(loc="outside lower center", ncols=2, frameon=False)
plt.show()

# %%
# Look before you drop
# --------------------
#
# A filter on its own changes nothing. It ranks the rows, and writes a page to go
# through them with whoever knows the cases.

tampered, poisons = tamper(targets[0], 10, 0.9, seed=0)
detector = EPICFilter(gradients, rule=FarNeighbors()).fit(tampered, y_train)
most_isolated = np.argsort(-detector.isolation_score_)[:12]
print("poisons among the 12 most isolated:", np.isin(most_isolated, poisons).sum())
with tempfile.TemporaryDirectory() as folder:
    page = detector.report(tampered, y_train, Path(folder, "audit.html"))
    print(f"{page.name}: {page.stat().st_size / 1000:.0f} kB")

# %%
# What it shows
# -------------
#
# EPIC as published does not help here. Copies of one row are company to each other and
# never alone; of the rows near the target it misses 60%, and six attacks succeed
# instead of four, perhaps because it drops clean rows beside the target too. With ten
# targets that may be chance. A `threshold` of the size of the group removes the copies,
# if the size is guessed right, and costs 19% of the clean examples and a point of
# accuracy. `FarNeighbors`, which looks for tight groups as well, stops all
# attacks of both kinds and drops 3% to 4%.
#
# Note what the attack needs: rows moved that far are easy to see by anyone who looks at
# rows near the target. A filter has to find them without knowing the target.
