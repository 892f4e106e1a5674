"""Spectral signatures (Tran, Li, Madry 2018)."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import eigh

from ._base import Rival, check_number, highest_in_each_class


def squared_projection(features: np.ndarray) -> np.ndarray:
    """Squared coordinate along the direction in which the rows vary most.

    The first right singular vector of the centred rows, from the smaller of
    the two Gram matrices.

    Parameters
    ----------
    features : ndarray of shape (n, d), float64
        Features of one class.

    Returns
    -------
    ndarray of shape (n,)
    """
    centred = features - features.mean(axis=0)
    n, d = centred.shape
    gram = centred.T @ centred if d <= n else centred @ centred.T
    last = len(gram) - 1
    values, vectors = eigh(gram, subset_by_index=[last, last])
    if d <= n:
        return (centred @ vectors[:, 0]) ** 2
    return max(values[0], 0.0) * vectors[:, 0] ** 2


class SpectralSignatures(Rival):
    """Drop the examples that stand out along their class's main direction.

    In each class the features are centred, projected on their first right
    singular vector and squared; the 1.5 * `eps` highest are dropped. A backdoor
    whose examples share a feature shows there. It needs a guess of the share of
    poisons, and always drops as much as the guess says, in every class, poisoned
    or not.

    Parameters
    ----------
    extractor : extractor, classifier, torch.nn.Module, callable or None
        Where features come from: ``LastLayerInputs(classifier)``,
        ``PrecomputedGradients()`` where X already is the features, a function
        ``(X, y) -> (n, d)``, or a classifier or torch module (wrapped in
        LastLayerInputs). None takes X itself, flattened.
    eps : float, default=0.05
        The expected share of poisons in a class, in [0, 2/3]. Of a class of n_c
        examples ``floor(1.5 * eps * n_c)`` are dropped.
    min_class_fraction : float, default=0.5
        Share of each class that is always kept.

    Attributes
    ----------
    keep_ : ndarray of shape (n,), bool
        Which training rows are kept.
    isolated_indices_ : ndarray of int
        Row numbers of those that are not; named as in EPICFilter.
    isolation_score_ : ndarray of shape (n,)
        Squared projection, in squared units of the features; named as in
        EPICFilter. Comparable inside a class only.
    extractor_ : extractor
        The fitted extractor.
    classes_ : ndarray
        The labels.
    n_features_in_ : int
        Number of features seen during ``fit``.
    feature_names_in_ : ndarray
        Their names, where X has string column names.

    See Also
    --------
    epic_sklearn.EPICFilter : Needs no share of poisons.

    References
    ----------
    Tran, Li, Madry: Spectral Signatures in Backdoor Attacks, NeurIPS 2018,
    Algorithm 1.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from epic_sklearn.baselines import SpectralSignatures
    >>> X, y = load_iris(return_X_y=True)
    >>> X[0] = X[100]  # a setosa that looks like a virginica
    >>> SpectralSignatures(eps=0.02).fit(X, y).isolated_indices_
    array([  0,  57, 106])
    """

    uses = "features"

    def __init__(
        self,
        extractor: Any = None,
        *,
        eps: float = 0.05,
        min_class_fraction: float = 0.5,
    ) -> None:
        self.extractor = extractor
        self.eps = eps
        self.min_class_fraction = min_class_fraction

    def _check_parameters(self) -> None:
        check_number(
            "eps", self.eps, 0, 2 / 3, "the expected share of poisons in a class"
        )

    def _assess(
        self, values: np.ndarray, codes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        score = np.empty(len(codes))
        for code in np.unique(codes):
            rows = np.flatnonzero(codes == code)
            score[rows] = squared_projection(values[rows])
        return score, highest_in_each_class(score, codes, 1.5 * self.eps)
