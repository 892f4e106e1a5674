"""One round of dropping after another, and what they leave.

Filter and training run the same rounds: the filter refits a model between
them, training goes on training.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ._rules import check_rule, check_rule_fits, neighbor_isolation
from ._utils import check_labels, warn_user
from .gradients.features import Gradients, check_gradients
from .isolation import (
    check_threshold,
    drop_within_floor,
    flag_isolated,
    gradient_norm_change,
    isolation_score,
)
from .medoids import Medoids
from .medoids._device import is_on_gpu
from .medoids._find import budget_of, check_choices, find_medoids_within

CLUSTER_ON = ("all", "kept")
# What states saved before there was a choice of rules were made with.
BEFORE_RULES = {"rule": "medoids", "cutoff": 2.0}


@dataclass(frozen=True)
class Round:
    """What one round of dropping did.

    Attributes
    ----------
    epoch : int
        Epochs trained before the round; for the filter the round's number,
        from 1.
    n_kept : int
        Examples kept after it.
    n_dropped : int
        Examples that it dropped.
    seconds : float
        Time for choosing medoids and dropping, gradients not included.
    rho : float
        ``abs(norm(mean gradient of the kept) - norm(mean gradient of all))``
        after it, with the round's gradients (Theorem 3.1).
    """

    epoch: int
    n_kept: int
    n_dropped: int
    seconds: float
    rho: float


@dataclass(frozen=True)
class RoundOptions:
    """How examples are chosen to be dropped; checked when made."""

    rule: str = "medoids"
    cutoff: float = 2.0
    subset_size: float = 0.2
    threshold: int = 1
    cluster_on: str = "all"
    metric: str = "euclidean"
    optimizer: str = "lazy"
    min_class_fraction: float = 0.5
    n_jobs: int | None = None

    def __post_init__(self) -> None:
        """Refuse values out of range, whatever will be done with them later."""
        check_rule(self.rule, self.cutoff)
        check_choices(self.subset_size, self.metric, self.optimizer)
        check_threshold(self.threshold)
        if self.cluster_on not in CLUSTER_ON:
            raise ValueError(
                f"cluster_on is {self.cluster_on!r}; choose one of {CLUSTER_ON}."
            )
        fraction = self.min_class_fraction
        is_number = isinstance(fraction, Real) and not isinstance(fraction, bool)
        if not is_number or not 0 <= fraction <= 1:
            raise ValueError(
                f"min_class_fraction is {fraction!r}; it is the share of each class "
                "that is always kept and must be a number in [0, 1]."
            )


class DropRounds:
    """Examples of several classes, and which are kept after each round.

    Parameters
    ----------
    labels : array-like of shape (n,)
        At least two classes.
    options : RoundOptions
        How examples are chosen.
    seed : int
        For optimizers that draw at random.

    Attributes
    ----------
    keep : ndarray of shape (n,), bool
        Kept after all rounds so far: their intersection.
    dropped_at : ndarray of shape (n,), int
        `epoch` of the round that dropped the example, -1 where it is kept.
    cluster_size : ndarray of shape (n,), int
        Size of the example's cluster when it was last clustered, 0 before and
        where the rule makes no clusters.
    medoid_indices : ndarray of int
        Medoids of the last round; none where the rule has none.
    rounds : list of Round
        One record a round.
    """

    def __init__(self, labels: ArrayLike, options: RoundOptions, seed: int) -> None:
        self.classes, self.codes = check_labels(labels)
        self.options, self.seed = options, seed
        sizes = np.bincount(self.codes)
        self.budgets = [budget_of(size, options.subset_size) for size in sizes]
        n = len(self.codes)
        self.keep = np.ones(n, dtype=bool)
        self.dropped_at = np.full(n, -1, dtype=np.int64)
        self.cluster_size = np.zeros(n, dtype=np.int64)
        self.medoid_indices = np.empty(0, dtype=np.int64)
        self.rounds: list[Round] = []
        self._score = np.zeros(n)
        self._was_flagged = np.zeros(n, dtype=bool)
        self._warned_of: list[int] = []

    def run(self, epoch: int, gradients: Any) -> Round:
        """Drop what is isolated among these gradients.

        Parameters
        ----------
        epoch : int
            Recorded with the round.
        gradients : array-like of shape (n, d) or OuterProductGradients
            Of all examples, dropped ones included, in their order.

        Returns
        -------
        Round

        Raises
        ------
        ValueError
            If the gradients have the wrong shape or are not finite; nothing
            has changed then.
        """
        start = time.perf_counter()
        # On a GPU medoids are chosen where the gradients are.
        on_gpu = gradients if is_on_gpu(gradients) else None
        gradients = check_gradients(gradients, len(self.codes))
        everything = np.arange(len(self.codes))
        rows = everything if self.options.cluster_on == "all" else everything[self.keep]
        flagged = np.zeros(len(self.codes), dtype=bool)
        flagged[rows], score = self._judge(gradients, rows, on_gpu)
        # Before the first round there is no score that could be the higher one.
        self._score[rows] = (
            np.maximum(self._score[rows], score) if self.rounds else score
        )
        self._was_flagged |= flagged
        before = self.keep
        self.keep, floored = drop_within_floor(
            before,
            flagged,
            self._score,
            self.codes,
            self.options.min_class_fraction,
        )
        self.dropped_at[before & ~self.keep] = epoch
        record = Round(
            epoch=int(epoch),
            n_kept=int(self.keep.sum()),
            n_dropped=int((before & ~self.keep).sum()),
            seconds=time.perf_counter() - start,
            rho=gradient_norm_change(gradients, self.keep),
        )
        self.rounds.append(record)
        # Last, so that nothing is half done where warnings are errors.
        self._warn_of_floor(floored)
        return record

    @property
    def score(self) -> np.ndarray:
        """Isolation score (n,): the highest of all rounds.

        Examples that were flagged and given back by the floor come below every
        dropped one, as if their cluster were one larger than the threshold.
        """
        given_back = self._was_flagged & self.keep
        if self.options.rule == "neighbors":
            below = np.minimum(self._score, self.options.cutoff)
            return np.where(given_back, below, self._score)
        lowest_dropped = 1.0 / (self.options.threshold + 1.0)
        below = np.minimum(
            1.0 / (self.options.threshold + 2.0 - self._score),
            np.nextafter(lowest_dropped, 0.0),
        )
        return np.where(given_back, below, self._score)

    def _judge(
        self, gradients: Gradients, rows: np.ndarray, on_gpu: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Flag and score these rows by the chosen rule."""
        if self.options.rule == "neighbors":
            factors = check_rule_fits(gradients)[rows]
            score = neighbor_isolation(factors, self.codes[rows])
            return score > self.options.cutoff, score
        medoids = self._medoids(gradients if on_gpu is None else on_gpu, rows)
        self.cluster_size[rows] = medoids.cluster_size
        self.medoid_indices = rows[medoids.indices]
        flagged = flag_isolated(medoids, self.options.threshold)
        return flagged, isolation_score(medoids)

    def _medoids(self, gradients: Any, rows: np.ndarray) -> Medoids:
        return find_medoids_within(
            gradients if len(rows) == len(self.codes) else gradients[rows],
            self.codes[rows],
            self.budgets,
            metric=self.options.metric,
            optimizer=self.options.optimizer,
            n_jobs=self.options.n_jobs,
            seed=self.seed,
        )

    def _warn_of_floor(self, floored: np.ndarray) -> None:
        newly = [c for c in floored.tolist() if c not in self._warned_of]
        if not newly:
            return
        self._warned_of += newly
        sizes = np.bincount(self.codes)
        names = ", ".join(
            f"{self.classes[c].item()!r} (of {sizes[c]})"
            if hasattr(self.classes[c], "item")
            else f"{self.classes[c]!r} (of {sizes[c]})"
            for c in newly
        )
        warn_user(
            f"So many examples of class {names} are isolated that the least isolated "
            f"were kept, to keep {self.options.min_class_fraction:.0%} of the class "
            f"(min_class_fraction). {self._how_to_drop_less()} to drop less; a "
            "class of a few examples is too small to tell isolated ones."
        )

    def _how_to_drop_less(self) -> str:
        if self.options.rule == "neighbors":
            return "Raise cutoff"
        return "Lower subset_size or threshold"

    def state_dict(self) -> dict[str, Any]:
        """All that later rounds depend on, as plain arrays and numbers."""
        return {
            "codes": self.codes.copy(),
            "options": asdict(self.options),
            "keep": self.keep.copy(),
            "dropped_at": self.dropped_at.copy(),
            "cluster_size": self.cluster_size.copy(),
            "medoid_indices": self.medoid_indices.copy(),
            "rounds": [asdict(record) for record in self.rounds],
            "score": self._score.copy(),
            "was_flagged": self._was_flagged.copy(),
            "warned_of": list(self._warned_of),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state_dict`.

        Raises
        ------
        ValueError
            If it was saved for other labels or other options.
        """
        if not np.array_equal(state["codes"], self.codes):
            raise ValueError(
                f"The saved state is of {len(state['codes'])} examples with other "
                f"labels than the {len(self.codes)} here, or in another order; resume "
                "with the data that training began with."
            )
        ours = asdict(self.options)
        saved = {**BEFORE_RULES, **state["options"], "n_jobs": ours["n_jobs"]}
        other = {k: (saved[k], ours[k]) for k in ours if saved[k] != ours[k]}
        if other:
            raise ValueError(
                f"The saved state was made with other options (saved, now): {other}; "
                "resume with the options that training began with."
            )
        self.keep = np.array(state["keep"], dtype=bool)
        self.dropped_at = np.array(state["dropped_at"])
        self.cluster_size = np.array(state["cluster_size"])
        self.medoid_indices = np.array(state["medoid_indices"])
        self.rounds = [Round(**record) for record in state["rounds"]]
        self._score = np.array(state["score"])
        self._was_flagged = np.array(state["was_flagged"], dtype=bool)
        self._warned_of = [int(c) for c in state["warned_of"]]
