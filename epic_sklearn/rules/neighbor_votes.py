"""Neighbours of another class, averaged over the rounds."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ..gradients import Gradients, OuterProductGradients
from ..medoids import MAX_CLASS_SIZE, directions, neighbor_votes
from .base import Memory
from .far_neighbors import (
    LARGEST_Z,
    N_NEIGHBORS,
    FarNeighbors,
    geometry_of,
    log_lengths,
    normal_scores,
)

# More than there are poisons in a group. Of a class of fewer than 600, a third.
N_VOTES = 200
SHARE_OF_VOTES = 3
# Of more rows a random part votes: a share needs no more.
N_VOTERS = 5000
# What votes count against the geometry.
WEIGHT = 4


def share_of_another_class(
    inputs: np.ndarray, codes: np.ndarray, seed: int
) -> np.ndarray:
    """Share (n,) that one other class has of the nearest examples of all classes."""
    voters = np.arange(len(codes))
    if len(codes) > N_VOTERS:
        drawn = np.random.RandomState(seed).permutation(len(codes))
        voters = np.sort(drawn[:N_VOTERS])
    sizes = np.bincount(codes[voters], minlength=codes.max() + 1)
    most = min(N_VOTES, len(voters) - 1)
    k = (sizes // SHARE_OF_VOTES).clip(1, most)[codes]
    points = directions([inputs])[0].astype(np.float32, copy=False)
    return neighbor_votes(points, codes, k, voters)[1] / k


class NeighborVotes(FarNeighbors):
    """Drop what lies among another class's examples, or in a tight group.

    Ours, not the paper's. The last layer's gradient is an outer product, error times
    input; examples are near whose inputs, scaled to length 1, are. The score of a
    round is ``q(s) + z / 4``, in which negative terms count as 0, and its mean over the
    rounds is compared with `cutoff`. It watches from a twelfth of the training on, and
    drops from a quarter on: few rounds tell less, and what is hard to learn is of use
    until then.

    s is the share of an example's neighbours, of all classes, that the most frequent
    other class has; neighbours are the 200 nearest, or a third of a class of fewer than
    600. It is large where the model sees in the example another class than its label:
    there poisons lie that work, those that are company to each other, too. q are normal
    scores: rank r (from 1) among the n of a class becomes the (r - 1/2) / n quantile of
    the standard normal distribution. z is the geometry of :func:`neighbor_isolation`,
    large for what lies far from its class, or in a group of up to 10 that collide.

    Parameters
    ----------
    cutoff : float, default=1.8
        Mean score above which an example is dropped; lower drops more.
    max_class_size : see FarNeighbors

    See Also
    --------
    FarNeighbors : Looks inside the class only, and at the errors.
    DeepKNN : Votes alone, at once.

    Notes
    -----
    Of more than 5,000 examples as many vote, drawn at random: time grows with n times
    their number, beside that of :class:`FarNeighbors`. Of gradients that are plain
    arrays, s is the gradient's length: how far the model is from the label. Classes of
    at most 10 examples are too small to judge.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from epic_sklearn import EPICFilter
    >>> from epic_sklearn.rules import NeighborVotes
    >>> X, y = load_iris(return_X_y=True)
    >>> X[0] = X[100]  # a setosa that looks like a virginica
    >>> bool(EPICFilter(rule=NeighborVotes()).fit(X, y).keep_[0])
    False
    """

    begins: ClassVar[float] = 0.25
    watches: ClassVar[float] = 1 / 3
    flags: ClassVar[str] = (
        "examples among those of another class, or in a tight group of up to 10: with "
        "a score above `cutoff`"
    )

    def __init__(
        self, cutoff: float = 1.8, *, max_class_size: int | None = MAX_CLASS_SIZE
    ) -> None:
        super().__init__(cutoff, max_class_size=max_class_size)

    def _score(
        self, gradients: Gradients, codes: np.ndarray, memory: Memory
    ) -> np.ndarray:
        if isinstance(gradients, OuterProductGradients):
            inputs = gradients.inputs
            unlike = share_of_another_class(inputs, codes, memory.seed)
        else:
            inputs, unlike = gradients, log_lengths(gradients)
        score = np.zeros(len(codes))
        rows = np.flatnonzero(np.bincount(codes)[codes] > N_NEIGHBORS)
        if len(rows) == 0:
            return score
        _, of_rows = np.unique(codes[rows], return_inverse=True)
        geometry, _, _ = geometry_of(
            inputs[rows],
            of_rows,
            max_class_size=self.max_class_size,
            seed=memory.seed,
            verbose=memory.verbose,
        )
        votes = normal_scores(unlike[rows], of_rows).clip(0)
        score[rows] = votes + geometry.clip(0, LARGEST_Z) / WEIGHT
        return score
