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

import textwrap

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
)
from epic_sklearn.datasets import make_poisoned_digits
from epic_sklearn.rules import IsolatedMedoids

model = LogisticRegression(C=0.1, max_iter=1000)
options = {
    "extractor": LastLayerGradients(model),
    "rule": IsolatedMedoids(),
    "n_rounds": 5,
}
plain = make_pipeline(StandardScaler(), model)
pipelines = {
    "FilteredClassifier as the last step": make_pipeline(
        StandardScaler(), FilteredClassifier(model, EPICFilter(**options))
    ),
    "EPICFilter as a step": make_pipeline(
        StandardScaler(), EPICFilter(**options), model
    ),
    "EPICResampler, imbalanced-learn": make_imblearn_pipeline(
        StandardScaler(), EPICResampler(**options), model
    ),
}

# %%
# Six attacks
# -----------
#
# Each has a target of its own and ten poisons among 700 digits. A report fits all
# pipelines to each. Which rows the detector chose is an attribute of its step, here
# `keep_`, which the report finds: the three show it the same rows, and it chooses the
# same.

problem = make_poisoned_digits(n_targets=6, random_state=0)
report = problem.report(plain, pipelines, controls=False, random_state=0)
print(report)

# %%
# A wrong place is refused, with the name of the right one.

try:
    make_pipeline(EPICResampler(), model).fit(problem.X, problem.y)
except (AttributeError, TypeError) as error:
    print(error)

# %%
# What the pipelines make of the targets
# --------------------------------------
#
# One marker a target. Above about a half the attack has won.

figure, ax = plt.subplots(figsize=(7.5, 3.2), layout="constrained")
arms = {"no filter": plain, **pipelines}
for row, pipeline in enumerate(arms.values()):
    values = []
    for trial, target in enumerate(problem.targets):
        fitted = clone(pipeline).fit(*problem.poisoned(trial))
        wanted = problem.poisons[trial].adversarial_label
        values.append(fitted.predict_proba(target)[0, wanted])
    colour, marker = ("#0072B2", "o") if row else ("#D55E00", "D")
    ax.plot(values, np.full(6, row), marker, color=colour, alpha=0.6)
ax.set_yticks(range(4), [textwrap.fill(name, 20) for name in arms])
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
# Without a filter three of six attacks succeed, where the rows are dropped none, at the
# same accuracy: `FilteredClassifier` and `EPICResampler` make the same model. Replacing
# them is a little weaker. One target is lost there, or nearly, as the machine has it:
# each isolated row is replaced by the nearest kept one, so a poison that was missed, or
# a clean row beside the poisons, can count several times. Take `FilteredClassifier`
# unless a later step needs all rows; if you use imbalanced-learn anyway,
# `EPICResampler`.
