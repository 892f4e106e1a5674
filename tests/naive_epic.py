"""The published algorithm, written as plainly as it reads, to compare with."""

import numpy as np


def softmax_minus_onehot(logits, labels):
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return p - np.eye(logits.shape[1])[labels]


def isolated_in_class(gradients, budget):
    """Medoids by naive greedy, assignment, medoids without company."""
    differences = gradients[:, None] - gradients[None]
    distances = np.sqrt((differences**2).sum(axis=2))
    similarity = distances.max() - distances
    medoids, best = [], np.zeros(len(gradients))
    for _ in range(budget):
        gains = [
            -1.0 if i in medoids else np.maximum(similarity[i], best).sum()
            for i in range(len(gradients))
        ]
        medoids.append(int(np.argmax(gains)))
        best = np.maximum(best, similarity[medoids[-1]])
    owner = similarity[medoids].argmax(axis=0)
    sizes = np.bincount(owner, minlength=budget)
    return [medoids[k] for k in range(budget) if sizes[k] == 1]


def keep_after_round(gradients, labels, subset_size, keep):
    """Keep mask after one more round over all examples."""
    keep = keep.copy()
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        budget = int(np.ceil(subset_size * len(rows)))
        keep[rows[isolated_in_class(gradients[rows], budget)]] = False
    return keep
