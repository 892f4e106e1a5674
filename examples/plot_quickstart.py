"""
Stop a poisoning attack while the model trains
==============================================

Ten tampered digits among 700 make a classifier read one chosen digit wrongly,
while its test accuracy stays where it was. Nothing about their labels is wrong.
This example mounts the attack, watches it succeed, and trains again with EPIC.
"""

# %%
# A poisoned training set
# -----------------------
#
# A small convolutional net was trained on clean digits and its body is frozen.
# The victim trains a linear layer on the features of 700 other digits. The
# attacker has changed ten of those digits, so that in feature space they
# surround a target and drag it into their own class (the *bullseye polytope*
# attack). On images of 8 x 8 pixels that takes changes of up to half the pixel
# range, which show; on photographs a few hundredths do.

import functools

import matplotlib.pyplot as plt
from torch import nn

from epic_sklearn import DropHistoryDisplay, EPICClassifier, TorchClassifier
from epic_sklearn.datasets import make_poisoned_digits

problem = make_poisoned_digits(n_targets=1, random_state=1)
poisons = problem.poisons[0]
X, y = problem.poisoned(0)

figure, axes = plt.subplots(2, 5, figsize=(7, 3.4), layout="constrained")
for column in range(4):
    before, after = problem.images[poisons.indices[column]], poisons.examples[column]
    for ax, image in zip(axes[:, column], (before, after), strict=True):
        ax.imshow(image[0], cmap="gray_r", vmin=0, vmax=1)
axes[0, 4].imshow(poisons.target[0], cmap="gray_r", vmin=0, vmax=1)
axes[0, 4].set_title("target")
axes[0, 0].set_ylabel("before")
axes[1, 0].set_ylabel("poison")
axes[1, 4].axis("off")
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
label = poisons.adversarial_label
figure.suptitle(f"Four of ten poisons, drawn as {label} and labelled {label}")
plt.show()

# %%
# With and without EPIC
# ---------------------
#
# In rounds along the training, EPIC drops the examples whose gradients are isolated
# within their class for good. No clean data, no clean model and no guess of how many
# poisons there are is needed. A report trains the layer without it, with it, and on
# as many rows dropped at random.

head = functools.partial(nn.Linear, X.shape[1], 10)
undefended = TorchClassifier(head, lr=0.05)
epic = EPICClassifier(head, lr=0.05, random_state=0)
print(problem.report(undefended, {"EPIC": epic}, random_state=0))

# %%
# What was dropped, when
# ----------------------
#
# All ten poisons go, in the first round that drops. Clean examples that look like
# another class go too, 1% of them: that is the price, and here it costs no accuracy.

DropHistoryDisplay.from_estimator(epic.fit(X, y), poison_indices=poisons.indices)
plt.show()

# %%
# With any scikit-learn classifier
# --------------------------------
#
# The same detector as the last step of a pipeline: the classifier is fitted on
# what is kept, and predictions are never touched. A filter sees one finished
# model instead of one in training.

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from epic_sklearn import EPICFilter, FilteredClassifier

model = LogisticRegression(C=0.1, max_iter=1000)
defended = make_pipeline(StandardScaler(), FilteredClassifier(model, EPICFilter(model)))
plain = make_pipeline(StandardScaler(), model)
print(problem.report(plain, {"filter": defended}, random_state=0))
