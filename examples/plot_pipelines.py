"""
Where does EPIC go in a pipeline?
=================================

scikit-learn's Pipeline does not let a step drop rows, imbalanced-learn's does. So
there are three places for the detector: inside the last step (`FilteredClassifier`),
as a step that replaces isolated rows (`EPICFilter`), and as a sampler in an
imbalanced-learn Pipeline (`EPICResampler`). This example puts all three on six
poisoned training sets of digits and compares what they make of the attacks. None of
them touches a row that is to be predicted.
"""

# %%
# Three pipelines
# ---------------
#
# All have the same preprocessing, detector and classifier.

import matplotlib.pyplot as plt
import numpy as np
from imblearn.pipeline import make_pipeline as make_imblearn_pipeline
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from epic_sklearn import (
    EPICFilter,
    EPICResampler,
    FilteredClassifier,
    LastLayerGradients,
    attack_success_rate,
    clean_retention,
    poison_recall,
)
from epic_sklearn.datasets import make_poisoned_digits
from epic_sklearn.rules import IsolatedMedoids

model = LogisticRegression(C=0.1, max_iter=1000)
options = {
    "extractor": LastLayerGradients(model),
    "rule": IsolatedMedoids(),
    "n_rounds": 5,
}
pipelines = {
    "no filter": make_pipeline(StandardScaler(), model),
    "FilteredClassifier\nas the last step": make_pipeline(
        StandardScaler(), FilteredClassifier(model, EPICFilter(**options))
    ),
    "EPICFilter\nas a step": make_pipeline(
        StandardScaler(), EPICFilter(**options), model
    ),
    "EPICResampler,\nimbalanced-learn": make_imblearn_pipeline(
        StandardScaler(), EPICResampler(**options), model
    ),
}

# %%
# Six attacks
# -----------
#
# Each has a target of its own and ten poisons among 700 digits. Nothing but
# ``fit(X, y)`` is called.

N_TRIALS = 6
problem = make_poisoned_digits(n_targets=N_TRIALS, random_state=0)
y = problem.labels
fitted = {name: [] for name in pipelines}
for trial in range(N_TRIALS):
    X = problem.poisoned_features(trial)
    for name, pipeline in pipelines.items():
        fitted[name].append(clone(pipeline).fit(X, y))


wanted = np.array([poisons.adversarial_label for poisons in problem.trials])
targets = [problem.extract(poisons.target[None]) for poisons in problem.trials]
probabilities = {}
for name, models in fitted.items():
    pairs = list(zip(models, targets, strict=True))
    success = attack_success_rate([one.predict(x)[0] for one, x in pairs], wanted)
    probabilities[name] = [
        one.predict_proba(x)[0, label]
        for (one, x), label in zip(pairs, wanted, strict=True)
    ]
    scores = [one.score(problem.test_features, problem.test_labels) for one in models]
    print(
        f"{' '.join(name.split()):<36} success {success:4.0%}  "
        f"accuracy {np.mean(scores):.1%}"
    )

# %%
# What was dropped
# ----------------
#
# Which rows the detector chose is an attribute of its step, here `keep_`. The three
# pipelines show it the same rows, and it chooses the same.

last_step, step, sampler = list(fitted.values())[1:]
keeps = [one[-1].keep_ for one in last_step]
print(
    "all three choose the same rows:",
    all(
        np.array_equal(keep, a[1].keep_) and np.array_equal(keep, b[1].keep_)
        for keep, a, b in zip(keeps, step, sampler, strict=True)
    ),
)
pairs = [(k, p.indices) for k, p in zip(keeps, problem.trials, strict=True)]
print(f"poisons dropped: {np.mean([poison_recall(*pair) for pair in pairs]):.0%}")
print(f"clean examples lost: {1 - np.mean([clean_retention(*p) for p in pairs]):.0%}")

# %%
# A wrong place is refused, with the name of the right one.

try:
    make_pipeline(EPICResampler(), model).fit(problem.features, y)
except (AttributeError, TypeError) as error:
    print(error)

# %%
# What the pipelines make of the targets
# --------------------------------------
#
# One marker a target. Above about a half the attack has won.

figure, ax = plt.subplots(figsize=(7.5, 3.2), layout="constrained")
for row, values in enumerate(probabilities.values()):
    colour, marker = ("#0072B2", "o") if row else ("#D55E00", "D")
    ax.plot(values, np.full(N_TRIALS, row), marker, color=colour, alpha=0.6)
ax.set_yticks(range(len(probabilities)), probabilities)
ax.invert_yaxis()
ax.set(
    xlim=(-0.02, 1.02),
    xlabel="probability of the label that the attacker wants",
    title="Six targets",
)
ax.margins(y=0.15)
ax.grid(axis="x", color="0.9")
ax.set_axisbelow(True)
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# What it shows
# -------------
#
# Without a filter three of six attacks succeed, with any of the three pipelines none,
# at the same accuracy. The first and the last are the same model: both drop the rows.
# Replacing them is a little weaker. One target comes close to being lost there: each
# isolated row is replaced by the nearest kept one, so a poison that was missed, or a
# clean row beside the poisons, can count several times. Take `FilteredClassifier`
# unless a later step needs all rows; if you use imbalanced-learn anyway,
# `EPICResampler`.
