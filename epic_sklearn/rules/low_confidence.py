"""A rival: the examples of which the model is least sure."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from .base import Memory
from .share import DropsShare


class LowConfidence(DropsShare):
    """Drop the examples of each class of which the model is least sure.

    The lowest highest probability goes first, whichever label has it. It drops
    its share of every class, poisoned or not.

    Parameters
    ----------
    drop_fraction : float, default=0.1
        Share of each class to drop, in [0, 1]; rounded down. Of equal scores those of
        lower row numbers go first.

    See Also
    --------
    HighLoss : Looks at the probability of the label.

    References
    ----------
    Yang, Liu, Mirzasoleiman: Not All Poisons are Created Equal: Robust Training
    against Data Poisoning, ICML 2022.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from epic_sklearn import EPICFilter
    >>> from epic_sklearn.rules import LowConfidence
    >>> X, y = load_iris(return_X_y=True)
    >>> EPICFilter(rule=LowConfidence(drop_fraction=0.02)).fit(X, y).isolated_indices_
    array([ 20,  77, 106])
    """

    needs: ClassVar[tuple[str, ...]] = ("errors",)
    flags: ClassVar[str] = (
        "the least confident of each class, a share of `drop_fraction`"
    )
    score_is: ClassVar[str] = "1 - the highest probability of any class"

    def _score(self, gradients: Any, codes: np.ndarray, memory: Memory) -> np.ndarray:
        rows = np.arange(len(gradients))
        others = gradients.copy()  # probabilities, but in the label's column
        others[rows, gradients.argmin(axis=1)] += 1.0
        others[rows, others.argmax(axis=1)] = 0.0  # 1 - p would round to 0
        return others.sum(axis=1)
