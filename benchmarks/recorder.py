"""What the gradients of the poisons' class do, epoch by epoch of one training."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import log_softmax, softmax
from sklearn.metrics import roc_auc_score
from skorch.callbacks import Callback

from benchmarks.problem import Trial
from epic_sklearn import find_medoids
from epic_sklearn.gradients.modules import forward


class Recorder(Callback):
    """Look at the gradients of the poisons' class after each epoch.

    Parameters
    ----------
    trial : Trial
        What is trained on.
    target : ndarray of shape (1, ...)
        The target, as the victim sees it.
    subset_size : float
        Medoids as a share of the class.

    Attributes
    ----------
    cluster_size : list of ndarray of shape (n_class,)
        Of each example, with logit gradients, an entry an epoch.
    cosine_to_target : list of ndarray of shape (n_class,)
        Of the last layer's gradient to the target's under the adversarial label.
    cosines : list of ndarray of shape (n_poisons, n_poisons)
        Of the poisons' last-layer gradients to each other.
    loss : list of ndarray of shape (n_class,)
        Cross-entropy.
    """

    def __init__(self, trial: Trial, target: np.ndarray, subset_size: float) -> None:
        self.rows = np.flatnonzero(trial.labels == trial.adversarial_label)
        self.X = np.concatenate([trial.inputs[self.rows], target])
        self.poisons = np.flatnonzero(np.isin(self.rows, trial.poison_index))
        self.poison_index = trial.poison_index
        self.label, self.subset_size = trial.adversarial_label, subset_size
        self.cluster_size: list[np.ndarray] = []
        self.cosine_to_target: list[np.ndarray] = []
        self.cosines: list[np.ndarray] = []
        self.loss: list[np.ndarray] = []

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Record this epoch."""
        logits, _, last_layer = forward(net.module_, self.X, with_inputs=True)
        assert last_layer is not None
        inputs = last_layer.inputs
        errors = softmax(logits, axis=1)
        errors[:, self.label] -= 1
        one_class = np.zeros(len(self.rows), dtype=int)
        medoids = find_medoids(errors[:-1], one_class, subset_size=self.subset_size)
        self.cluster_size.append(medoids.cluster_size)
        self.loss.append(-log_softmax(logits[:-1], axis=1)[:, self.label])
        # The gradient is an outer product: its cosine is the product of cosines.
        with_bias = np.column_stack([inputs, np.ones(len(inputs))])
        e, h = (v / np.linalg.norm(v, axis=1)[:, None] for v in (errors, with_bias))
        self.cosine_to_target.append((e[:-1] @ e[-1]) * (h[:-1] @ h[-1]))
        e, h = e[self.poisons], h[self.poisons]
        self.cosines.append((e @ e.T) * (h @ h.T))

    def mean_cosine(self) -> np.ndarray:
        """Of each poison's gradient to the target's, in the order of `poison_index`."""
        mean = np.mean(self.cosine_to_target, axis=0)
        return mean[np.searchsorted(self.rows, self.poison_index)]


def summarise_group(
    recorder: Recorder,
    members: np.ndarray,
    is_clean: np.ndarray,
    dropped_at: np.ndarray,
) -> dict[str, list[float]]:
    """Reduce one group's examples to numbers, one for each epoch.

    Parameters
    ----------
    recorder : Recorder
        After training.
    members : ndarray of shape (n_class,), bool
        The group.
    is_clean : ndarray of shape (n_class,), bool
        The clean examples, which poisons are to be told from.
    dropped_at : ndarray of shape (n_class,)
        Epoch after which EPIC dropped the example, -1 where kept.
    """

    def auroc(scores: list[np.ndarray]) -> list[float]:
        if is_clean[members].all():
            return []
        rows = members | is_clean
        return [float(roc_auc_score(members[rows], s[rows])) for s in scores]

    n_epochs = len(recorder.cluster_size)
    sizes = [size[members] for size in recorder.cluster_size]
    to_target = recorder.cosine_to_target
    among = members[recorder.poisons]
    pairs = np.triu(np.outer(among, among), 1)
    each_other = [cosines[pairs] for cosines in recorder.cosines]
    gone = (dropped_at[members] >= 0)[:, None] & (
        dropped_at[members][:, None] <= np.arange(1, n_epochs + 1)
    )
    return {
        "cluster size": [float(np.median(size)) for size in sizes],
        "isolated": [float((size == 1).mean()) for size in sizes],
        "cosine to target": [float(c[members].mean()) for c in to_target],
        "cosine to each other": [float(c.mean()) for c in each_other if len(c)],
        "dropped": gone.mean(axis=0).tolist(),
        "AUROC of clusters": auroc([1 / size for size in recorder.cluster_size]),
        "AUROC of loss": auroc(recorder.loss),
    }
