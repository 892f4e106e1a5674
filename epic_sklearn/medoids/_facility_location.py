"""Facility location on apricot: our function object and optimizers.

apricot gives the protocol (``_initialize``, ``_calculate_gains``,
``_select_next``, ``ranking``, ``gains``) and every optimizer. This module
replaces the parts that cost: the gain kernel, which apricot compiles anew at
each fit, the float64 similarity matrix, and the lazy greedy's Python loop.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from ._apricot import (
    OPTIMIZERS,
    BaseOptimizer,
    FacilityLocationSelection,
    GreeDi,
    torch_threads_kept,
)
from ._distances import Distances
from ._lazy import choose_lazily

OPTIMIZER_NAMES = tuple(OPTIMIZERS)

# Stock apricot's kernels start threads of numba's, which not every threading
# layer allows in two threads at once.
_one_at_a_time = threading.Lock()


class FacilityLocation(FacilityLocationSelection):
    """apricot's facility location, working on distances instead of similarities.

    With similarity ``c0 - d``, c0 the largest distance of the class, the gain
    of candidate i is ``sum_j max(0, m_j - d_ij)``, where m_j is the distance
    from j to its nearest chosen medoid (c0 before the first is chosen). Working
    on d directly keeps the digits that ``c0 - d`` would lose in float32.

    Parameters
    ----------
    n_samples : int
        Budget: how many medoids to choose.
    optimizer : str
        Any of apricot's optimizer names.
    random_state : RandomState or int
        For the optimizers that draw at random.
    """

    ranking: Any
    gains: Any
    owner: Any
    nearest_other: Any

    def __init__(
        self,
        n_samples: int,
        optimizer: str = "lazy",
        random_state: int | np.random.RandomState = 0,
    ) -> None:
        super().__init__(
            n_samples,
            metric="precomputed",
            optimizer=optimizer,
            random_state=random_state,
        )

    def fit(self, X: Distances, y: Any = None, **kwargs: Any) -> FacilityLocation:
        """Choose the medoids of one class from its distances.

        Parameters
        ----------
        X : Distances of shape (n, n)
            Distances inside the class.
        y, **kwargs : object
            Ignored; here for apricot's signature.

        Returns
        -------
        self : FacilityLocation
            With `ranking` (k,) int64 and `gains` (k,) float64.
        """
        self._initialize(X)
        make_optimizer(self, X.shape[0]).select(X, self.n_samples)
        self.ranking = X.order[np.array(self.ranking, dtype=np.int64)]
        self.gains = np.array(self.gains, dtype=np.float64)
        return self

    def _initialize(self, X: Distances) -> None:
        n = X.shape[0]
        self.ranking, self.gains = [], []
        self.mask = np.zeros(n, dtype=np.int8)
        self.idxs = np.arange(n)
        if self.optimizer != "lazy":  # which looks only at the rows that it needs
            self._row_sums, self._farthest, _ = X.statistics
            self.nearest = np.full(n, self._farthest, dtype=np.float32)

    def _calculate_gains(
        self, X: Distances, idxs: np.ndarray | None = None
    ) -> np.ndarray:
        idxs = self.idxs if idxs is None else idxs
        if not self.ranking:
            return X.shape[0] * self._farthest - self._row_sums[idxs]
        return X.gains(self.nearest, idxs)

    def _select_next(self, X: np.ndarray, gain: float, idx: int) -> None:
        self.ranking.append(idx)
        self.gains.append(gain)
        self.mask[idx] = 1
        self.idxs = np.flatnonzero(self.mask == 0)
        self.nearest = np.minimum(self.nearest, X)


class LazyGreedy(BaseOptimizer):
    """The accelerated greedy with its heap inside the compiled kernel."""

    def select(self, X: Distances, k: int, sample_cost: Any = None) -> None:
        """Choose k medoids, ties to the lowest index."""
        function = self.function
        selection = choose_lazily(X, k)
        function.ranking = selection.ranking.tolist()
        function.gains = selection.gains.tolist()
        function.owner = selection.owner
        function.nearest_other = selection.nearest_other


class RandomGreedy(BaseOptimizer):
    """Medoids drawn at random, for "random" and "bidirectional".

    apricot 0.6.1's own classes of these two names raise an error on any input.
    The bidirectional (randomised double) greedy of Buchbinder et al. (2012)
    takes each example it meets, in random order, with probability a / (a + b),
    a and b the positive parts of what adding and removing it gains. Removing
    never gains for a monotone function, so with a budget it is a random draw.
    """

    def select(self, X: Distances, k: int, sample_cost: Any = None) -> None:
        """Draw k medoids without replacement."""
        for idx in self.random_state.choice(self.function.idxs, k, replace=False):
            gain = self.function._calculate_gains(X, np.array([idx]))[0]
            self.function._select_next(X[idx], gain, int(idx))


def make_optimizer(function: FacilityLocation, n: int) -> BaseOptimizer:
    """Build the optimizer that `function` names, for a class of n examples."""
    name, random_state = function.optimizer, function.random_state
    if name == "lazy":
        return LazyGreedy(function, random_state=random_state)
    if name in ("random", "bidirectional"):
        return RandomGreedy(function, random_state=random_state)
    if name == "greedi":
        # apricot's own defaults ask for k <= 8 * min(k // 4, n // 8), which
        # small budgets and budgets near n miss.
        parts = min(8, n)
        return GreeDi(
            function,
            m=parts,
            l=min(function.n_samples, -(-n // parts)),
            random_state=random_state,
        )
    return OPTIMIZERS[name](function, random_state=random_state)


def run_sieve(distances: Distances, k: int) -> FacilityLocationSelection:
    """Run stock apricot's sieve, which reads similarities in a kernel of its own.

    A streaming method: it may choose fewer than k medoids.
    """
    rows = np.vstack([distances[i] for i in range(distances.shape[0])])
    similarities = rows.max() - rows.astype(np.float64)
    stock = FacilityLocationSelection(k, metric="precomputed", optimizer="sieve")
    with _one_at_a_time, torch_threads_kept():
        return stock.fit(similarities)
