"""
How do I protect a run of transformers' Trainer?
================================================

One line: a callback. This trains a small transformer, made from a configuration, to
tell which part of scikit-learn a paragraph of its docstrings is about. A few of them
bear the wrong label.
"""

# %%
# The texts
# ---------
#
# Each word is a token of its own here; with a tokenizer of yours nothing changes. The
# Trainer does not look at ``text``; it stays for people.

import inspect
import tempfile
from pathlib import Path

import numpy as np
import sklearn.cluster
import sklearn.linear_model
import torch
from sklearn.feature_extraction.text import CountVectorizer
from transformers import (
    DistilBertConfig,
    DistilBertForSequenceClassification,
    Trainer,
    TrainingArguments,
)

from epic_sklearn.training.huggingface import EPICTrainerCallback

texts, labels = [], []
for label, part in enumerate((sklearn.cluster, sklearn.linear_model)):
    paragraphs = set()
    for name in part.__all__:
        for text in (inspect.getdoc(getattr(part, name)) or "").split("\n\n"):
            if len(text.split()) >= 20 and ">>>" not in text:
                paragraphs.add(" ".join(text.split()))
    texts += sorted(paragraphs)
    labels += [label] * len(paragraphs)
labels = np.array(labels)
wrong = np.random.RandomState(0).choice(np.flatnonzero(labels == 0), 8, replace=False)
labels[wrong] = 1

words = CountVectorizer(max_features=1000, stop_words="english").fit(texts)
split = words.build_analyzer()
rows = []
for text, label in zip(texts, labels.tolist(), strict=True):
    known = [words.vocabulary_[w] + 1 for w in split(text) if w in words.vocabulary_]
    tokens = np.resize(known or [0], 24)
    rows.append({"input_ids": tokens.tolist(), "label": label, "text": text})

# %%
# Train
# -----


def new_model():
    torch.manual_seed(0)
    size = {"dim": 32, "hidden_dim": 64, "n_layers": 1, "n_heads": 2}
    return DistilBertForSequenceClassification(
        DistilBertConfig(vocab_size=1001, **size)
    )


epic = EPICTrainerCallback(warmup=3, every=1)
arguments = TrainingArguments(
    output_dir=tempfile.mkdtemp(),
    num_train_epochs=6,
    per_device_train_batch_size=32,
    learning_rate=5e-3,
    report_to="none",
    save_strategy="no",
    logging_strategy="no",
    disable_tqdm=True,
    use_cpu=True,
)
Trainer(new_model(), arguments, train_dataset=rows, callbacks=[epic]).train()

# %%
# What it dropped
# ---------------

print(f"{len(rows)} paragraphs, {(~epic.keep_).sum()} dropped")
print(f"of the wrong labels {(~epic.keep_[wrong]).sum()} of {len(wrong)}")
for i in np.flatnonzero(~epic.keep_)[:5]:
    print("wrong" if i in wrong else "     ", texts[i][:70])

# %%
# Look at them, and train anew
# ----------------------------
#
# The audit page shows the texts, to be marked to keep or to drop. The marks are
# downloaded as a file, which ``apply_decisions`` reads; here they are a dictionary.

page = epic.report(rows, None, Path(tempfile.mkdtemp()) / "audit.html")
print(page.name, "of", round(page.stat().st_size / 1000), "kB")
epic.apply_decisions({int(i): "drop" for i in wrong})
left = [rows[i] for i in np.flatnonzero(epic.keep_)]
Trainer(new_model(), arguments, train_dataset=left).train()
