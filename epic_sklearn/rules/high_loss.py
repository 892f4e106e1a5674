"""A rival: the examples that the model finds hardest."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from .base import Memory
from .share import DropsShare


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

    needs: ClassVar[tuple[str, ...]] = ("errors",)
    flags: ClassVar[str] = (
        "the highest losses of each class, a share of `drop_fraction`"
    )
    score_is: ClassVar[str] = "the cross-entropy loss, in nats, at most 36.7"

    def _score(self, gradients: Any, codes: np.ndarray, memory: Memory) -> np.ndarray:
        # The lowest error is that of the label: its probability minus 1, which rounding
        # makes -1 of all that is smaller than half of eps.
        of_label = 1.0 + gradients.min(axis=1).astype(np.float64)
        return -np.log(np.maximum(of_label, np.finfo(np.float64).eps / 2))
