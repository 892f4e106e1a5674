"""A share of each class, that of the highest scores: what several rivals drop."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval

from .base import Judgement, Memory, Rule


def highest_in_each_class(
    score: np.ndarray, codes: np.ndarray, fraction: float
) -> np.ndarray:
    """Flag the highest scores of each class, at most `fraction` of it.

    Parameters
    ----------
    score : ndarray of shape (n,)
        Higher is flagged first; ties go to the lower row number.
    codes : ndarray of shape (n,), int
        Class of each example.
    fraction : float
        In [0, 1]; of a class of n_c examples ``floor(fraction * n_c)``.

    Returns
    -------
    ndarray of shape (n,), bool

    Examples
    --------
    >>> import numpy as np
    >>> from epic_sklearn.rules.share import highest_in_each_class
    >>> highest_in_each_class(np.array([3.0, 1.0, 2.0]), np.zeros(3, int), 0.4)
    array([ True, False, False])
    """
    order = np.lexsort((-score, codes))
    sizes = np.bincount(codes)
    place = np.arange(len(codes)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    flagged = np.empty(len(codes), dtype=bool)
    # 1.5 * 0.2 * 10 is 3.0000...04
    flagged[order] = place < np.repeat((fraction * sizes + 1e-9).astype(int), sizes)
    return flagged


class DropsShare(Rule):
    """Base of the rivals that drop a share of each class, by a score alone.

    Parameters
    ----------
    drop_fraction : float, default=0.1
        Share of each class to drop, in [0, 1]; rounded down.
    """

    to_drop_less: ClassVar[str] = "Lower drop_fraction"
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
