"""Rivals that drop a share of each class: the highest of a score."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval

from .base import Judgement, Memory, Rule


def highest_in_each_class(
    score: np.ndarray, codes: np.ndarray, fraction: float
) -> np.ndarray:
    """Flag the highest scores of each class, a share of it that is rounded down.

    Ties go to the lower row number.
    """
    order = np.lexsort((-score, codes))
    sizes = np.bincount(codes)
    place = np.arange(len(codes)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    flagged = np.empty(len(codes), dtype=bool)
    # 1.5 * 0.2 * 10 is 3.0000...04
    flagged[order] = place < np.repeat((fraction * sizes + 1e-9).astype(int), sizes)
    return flagged


class DropsShare(Rule):
    """Base of the rivals that drop a share of each class, by a score alone."""

    to_drop_less = "Lower drop_fraction"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "drop_fraction": [Interval(Real, 0, 1, closed="both")]
    }

    def __init__(self, drop_fraction: float = 0.1) -> None:
        self.drop_fraction = drop_fraction

    def judge(self, gradients: Any, codes: np.ndarray, memory: Memory) -> Judgement:
        """Flag the highest scores of each class; see :meth:`Rule.judge`."""
        score = self._score(gradients, codes, memory)
        return Judgement(score, highest_in_each_class(score, codes, self.drop_fraction))

    def _score(self, gradients: Any, codes: np.ndarray, memory: Memory) -> np.ndarray:
        """Say how suspicious each example is, shape (n,)."""
        raise NotImplementedError


class HighLoss(DropsShare):
    """Drop the examples of each class that the model finds hardest.

    The usual filter against wrong labels: the highest cross-entropy goes first.
    EPIC's paper finds that effective poisons escape it, being fitted like clean
    examples. It drops its share of every class, poisoned or not.

    Parameters
    ----------
    drop_fraction : float, default=0.1
        Share of each class to drop, in [0, 1]; rounded down. Of equal scores those of
        lower row numbers go first.

    See Also
    --------
    LowConfidence : Doesn't look at the labels.

    References
    ----------
    Yang, Liu, Mirzasoleiman: Not All Poisons are Created Equal: Robust Training
    against Data Poisoning, ICML 2022.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from epic_sklearn import EPICFilter
    >>> from epic_sklearn.rules import HighLoss
    >>> X, y = load_iris(return_X_y=True)
    >>> X[0] = X[100]  # a setosa that looks like a virginica
    >>> EPICFilter(rule=HighLoss(drop_fraction=0.02)).fit(X, y).isolated_indices_
    array([  0,  83, 106])
    """

    needs = ("errors",)
    flags = "the highest losses of each class, a share of `drop_fraction`"
    score_is = "the cross-entropy loss, in nats, at most 36.7"

    def _score(self, gradients: Any, codes: np.ndarray, memory: Memory) -> np.ndarray:
        # The lowest error is that of the label: its probability minus 1, which rounding
        # makes -1 of all that is smaller than half of eps.
        of_label = gradients.min(axis=1).astype(np.float64)
        return -np.log1p(np.maximum(of_label, np.finfo(np.float64).eps / 2 - 1))


class LowConfidence(DropsShare):
    """Drop the examples of each class of which the model is least sure.

    The lowest highest probability goes first, whichever label has it. It drops
    its share of every class, poisoned or not.

    Parameters
    ----------
    drop_fraction : float, default=0.1
        See :class:`HighLoss`.

    See Also
    --------
    HighLoss : Looks at the probability of the label.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from epic_sklearn import EPICFilter
    >>> from epic_sklearn.rules import LowConfidence
    >>> X, y = load_iris(return_X_y=True)
    >>> EPICFilter(rule=LowConfidence(drop_fraction=0.02)).fit(X, y).isolated_indices_
    array([ 20,  77, 106])
    """

    needs = ("errors",)
    flags = "the least confident of each class, a share of `drop_fraction`"
    score_is = "1 - the highest probability of any class"

    def _score(self, gradients: Any, codes: np.ndarray, memory: Memory) -> np.ndarray:
        rows = np.arange(len(gradients))
        others = gradients.copy()  # probabilities, but in the label's column
        others[rows, gradients.argmin(axis=1)] += 1.0
        others[rows, others.argmax(axis=1)] = 0.0  # 1 - p would round to 0
        return others.sum(axis=1)


class RandomDrop(DropsShare):
    """Drop examples of each class at random: the control.

    What a defence gains over it comes from which examples it drops, not from how
    many. Every round of a run draws the same examples, so that its share is that
    of the whole run.

    Parameters
    ----------
    drop_fraction : float, default=0.1
        See :class:`HighLoss`. The `random_state` of filter or training decides which.

    See Also
    --------
    HighLoss : Drops as many, by their loss.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from epic_sklearn import EPICFilter
    >>> from epic_sklearn.rules import RandomDrop
    >>> X, y = load_iris(return_X_y=True)
    >>> detector = EPICFilter(rule=RandomDrop(drop_fraction=0.02), random_state=0)
    >>> detector.fit(X, y).isolated_indices_
    array([ 26,  77, 122])
    """

    flags = "examples drawn at random, of each class a share of `drop_fraction`"
    score_is = "a random number in [0, 1)"

    def _score(self, gradients: Any, codes: np.ndarray, memory: Memory) -> np.ndarray:
        return np.random.default_rng(memory.seed).random(len(codes))


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

    needs = ("inputs",)
    flags = (
        "examples that stand out along their class's main direction, a share of 1.5 "
        "times `eps`"
    )
    score_is = "the squared projection, in squared units of the inputs"
    to_drop_less = "Lower eps"

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
            centred = gradients[rows].astype(np.float64)
            centred -= centred.mean(axis=0)
            direction = np.linalg.svd(centred, full_matrices=False)[2][0]
            score[rows] = (centred @ direction) ** 2
        return Judgement(score, highest_in_each_class(score, codes, 1.5 * self.eps))
