"""The control: examples dropped at random."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from .base import Memory
from .share import DropsShare


class RandomDrop(DropsShare):
    """Drop examples of each class at random: the control.

    What a defence gains over it comes from which examples it drops, not from how
    many. Every round of a run draws the same examples, so that its share is that
    of the whole run.

    Parameters
    ----------
    drop_fraction : float, default=0.1
        Share of each class to drop, in [0, 1]; rounded down. The `random_state`
        of filter or training decides which.

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

    flags: ClassVar[str] = (
        "examples drawn at random, of each class a share of `drop_fraction`"
    )
    score_is: ClassVar[str] = "a random number in [0, 1)"

    def _score(self, gradients: Any, codes: np.ndarray, memory: Memory) -> np.ndarray:
        return np.random.default_rng(memory.seed).random(len(codes))
