"""Spectral signatures (Tran, Li, Madry 2018)."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import numpy as np
from scipy.linalg import eigh
from sklearn.utils._param_validation import Interval

from .base import Judgement, Memory, Rule
from .share import highest_in_each_class


def _squared_projection(features: np.ndarray) -> np.ndarray:
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


class SpectralSignatures(Rule):
    """Drop the examples that stand out along their class's main direction.

    In each class the inputs of the last layer are centred, projected on their first
    right singular vector and squared; the 1.5 * `eps` highest are dropped. A backdoor
    whose examples share a feature shows there. It needs a guess of the share of
    poisons, and always drops as much as the guess says, in every class, poisoned
    or not.

    Parameters
    ----------
    eps : float, default=0.05
        The expected share of poisons in a class, in [0, 2/3]. Of a class of n_c
        examples ``floor(1.5 * eps * n_c)`` are dropped.

    See Also
    --------
    IsolatedMedoids : Needs no share of poisons.

    References
    ----------
    Tran, Li, Madry: Spectral Signatures in Backdoor Attacks, NeurIPS 2018,
    Algorithm 1.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from epic_sklearn import EPICFilter
    >>> from epic_sklearn.rules import SpectralSignatures
    >>> X, y = load_iris(return_X_y=True)
    >>> X[0] = X[100]  # a setosa that looks like a virginica
    >>> EPICFilter(rule=SpectralSignatures(eps=0.02)).fit(X, y).isolated_indices_
    array([  0,  57, 106])
    """

    needs: ClassVar[tuple[str, ...]] = ("inputs",)
    flags: ClassVar[str] = (
        "examples that stand out along their class's main direction, a share of 1.5 "
        "times `eps`"
    )
    score_is: ClassVar[str] = "the squared projection, in squared units of the inputs"
    to_drop_less: ClassVar[str] = "Lower eps"

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "eps": [Interval(Real, 0, 2 / 3, closed="both")]
    }

    def __init__(self, eps: float = 0.05) -> None:
        self.eps = eps

    def judge(self, gradients: Any, codes: np.ndarray, memory: Memory) -> Judgement:
        """Flag the largest projections; see :meth:`Rule.judge`."""
        score = np.empty(len(codes))
        for code in np.unique(codes):
            rows = np.flatnonzero(codes == code)
            score[rows] = _squared_projection(gradients[rows].astype(np.float64))
        return Judgement(score, highest_in_each_class(score, codes, 1.5 * self.eps))
