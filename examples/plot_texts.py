"""
How do I check texts?
=====================

Raw texts go in, TF-IDF makes numbers of them, a filter drops rows, and the audit page
shows the texts themselves. The texts are what scikit-learn says of its own estimators;
a few of them bear the wrong label.
"""

# %%
# The texts
# ---------
#
# Paragraphs of docstrings from three parts of scikit-learn. Ten paragraphs about
# clustering are labelled as being about linear models.

import inspect
import tempfile
from pathlib import Path

import numpy as np
import sklearn.cluster
import sklearn.linear_model
import sklearn.metrics
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from epic_sklearn import EPICFilter, FilteredClassifier
from epic_sklearn.rules import HighLoss

texts, labels = [], []
for part in (sklearn.cluster, sklearn.linear_model, sklearn.metrics):
    paragraphs = set()
    for name in part.__all__:
        for text in (inspect.getdoc(getattr(part, name)) or "").split("\n\n"):
            text = " ".join(text.split())
            if len(text.split()) >= 12 and ">>>" not in text and "---" not in text:
                paragraphs.add(text)
    texts += sorted(paragraphs)
    labels += [part.__name__.split(".")[1]] * len(paragraphs)
labels = np.array(labels, dtype=object)
rng = np.random.RandomState(0)
wrong = rng.choice(np.flatnonzero(labels == "cluster"), 10, replace=False)
labels[wrong] = "linear_model"

# %%
# A pipeline
# ----------
#
# As the last step of a pipeline the filter drops rows when it is fitted, and none
# when it predicts. Labels that are merely wrong are found by their loss; the default
# rule looks for rows that were made to move a model, and finds fewer of these.

pipeline = make_pipeline(
    TfidfVectorizer(sublinear_tf=True, stop_words="english"),
    FilteredClassifier(LogisticRegression(C=10), EPICFilter(rule=HighLoss())),
)
pipeline.fit(texts, labels)
keep = pipeline[-1].keep_
print(f"{len(texts)} texts, {(~keep).sum()} dropped")
print(f"of the wrong labels {(~keep[wrong]).sum()} of {len(wrong)}")
print(pipeline.predict(["Groups points by the distance to centroids of clusters."]))

# %%
# Look at them
# ------------
#
# A filter whose model takes raw texts shows them on its audit page, where each can be
# marked to keep or to drop.

model = make_pipeline(
    TfidfVectorizer(sublinear_tf=True, stop_words="english"), LogisticRegression(C=10)
)
detector = EPICFilter(model, rule=HighLoss()).fit(texts, labels)
page = detector.report(texts, labels, Path(tempfile.mkdtemp()) / "audit.html")
print(page.name, "of", round(page.stat().st_size / 1000), "kB")
for i in np.argsort(-detector.isolation_score_)[:5]:
    print(f"{'wrong' if i in wrong else '     '} {labels[i]:>12}: {texts[i][:60]}")
