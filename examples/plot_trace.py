"""
Whose fault is this prediction?
===============================

A net reads some digits wrongly. Which training rows taught it that? First where labels
are wrong, and then where nothing is.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from epic_sklearn import RememberStates, TorchClassifier, TraceDisplay, trace

X, y = load_digits(return_X_y=True)
images = (X / 16).astype(np.float32).reshape(-1, 8, 8)
X, X_test, y, y_test = train_test_split(
    images, y, train_size=1000, stratify=y, random_state=0
)
rng = np.random.default_rng(0)
ones = np.flatnonzero(y == 1)
wrong = rng.choice(ones, 25, replace=False)  # a quarter of the ones are called 7
y[wrong] = 7

# %%
# Train, and remember some states
# -------------------------------

model = TorchClassifier(
    max_epochs=20, lr=0.05, callbacks=[RememberStates(4)], random_state=0
)
model.fit(X, y)
read = model.predict(X_test)
asked = np.flatnonzero((y_test == 1) & (read == 7))
print(f"accuracy {np.mean(read == y_test):.1%}; {len(asked)} ones are read as 7")

# %%
# Trace
# -----
#
# For mistakes that come from wrong labels, ``score="contribution"`` is the better
# question: wrong labels have large losses, and pull hard. Orange: the wrong labels.

found = trace(model, X, y, X_test[asked], read[asked], score="contribution")
share = np.isin(found.indices[:, :10], wrong).mean()
print(f"{share:.0%} of the first ten rows are wrong labels")
TraceDisplay.from_trace(
    trace(model, X, y, X_test[asked[:3]], score="contribution"),
    X,
    X_test[asked[:3]],
    poison_indices=wrong,
)
plt.show()

# %%
# Train without them
# ------------------
#
# Rows that stand first for several mistakes are dropped, and the net trained again.

keep = np.ones(len(y), dtype=bool)
keep[found.indices[:, :10]] = False
again = clone(model).fit(X[keep], y[keep])
print(f"dropped {np.sum(~keep)} rows, {np.sum(~keep[wrong])} of 25 wrong labels")
print(f"ones read as 7: {np.sum(again.predict(X_test[asked]) == 7)} of {len(asked)}")
print(f"accuracy {again.score(X_test, y_test):.1%}")

# %%
# Mistakes that are nobody's fault
# --------------------------------
#
# What this net still gets wrong it was taught by rows that look alike, with labels that
# are right: nothing to drop, and perhaps something to collect. Rows that are merely
# alike are what the default, ``score="cosine"``, shows best.

read = again.predict(X_test)
mistakes = np.flatnonzero(read != y_test)[:3]
TraceDisplay.from_trace(
    trace(again, X[keep], y[keep], X_test[mistakes]), X[keep], X_test[mistakes]
)
plt.show()
