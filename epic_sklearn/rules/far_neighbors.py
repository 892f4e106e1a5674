"""Our rule, the default: distances to neighbours, averaged over the rounds."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import numpy as np
from scipy.stats import norm
from sklearn.utils._param_validation import Interval

from ..gradients import Gradients, OuterProductGradients
from ..medoids import MAX_CLASS_SIZE, SIZE, approximate, nearest_neighbors
from .base import Judgement, Memory, Rule

# Colliding groups of up to as many examples are seen as groups.
N_NEIGHBORS = 10
# Of a class of fewer than 60, a sixth are neighbours.
SHARE = 6
# Directions closer than this are copies; float32 features can't tell them apart.
SAME_DIRECTION = 1e-6
# Most that the geometry counts in one round, far above what clean examples have.
LARGEST_Z = 10.0
# Share of a class with copies from which its values are few. More than poisons are:
# who adds each of them twice must not be judged by another measure.
MANY_COPIES = 0.5
# Differences of logarithms below are rounding.
SAME = 1e-6


def _robust_z(values: np.ndarray, codes: np.ndarray, is_copy: np.ndarray) -> np.ndarray:
    """Deviations (n,) from the class's median in robust standard deviations.

    Those of the larger values where a class has many copies: of rounded numbers and
    categories most values are alike, and the rest many such deviations away. In plain
    ones where nearly all of a class are equal.
    """
    sizes = np.bincount(codes)
    away = values - _quantiles(values, codes, 0.5)[codes]
    spread = _quantiles(np.abs(away), codes, 0.5) / norm.ppf(0.75)
    upper = _quantiles(away, codes, 0.9) / norm.ppf(0.9)
    has_many = np.bincount(codes, is_copy) > MANY_COPIES * sizes
    spread = np.where(has_many, np.maximum(spread, upper), spread)
    plain = np.sqrt(np.bincount(codes, away**2) / sizes)
    return away / np.where(spread > SAME, spread, plain).clip(SAME)[codes]


def _quantiles(values: np.ndarray, codes: np.ndarray, share: float) -> np.ndarray:
    """Quantile (C,) of the values of each class, of which none is empty."""
    order, sizes = np.lexsort((values, codes)), np.bincount(codes)
    begin, at = np.cumsum(sizes) - sizes, share * (sizes - 1)
    ends = [order[begin + place.astype(int)] for place in (np.floor(at), np.ceil(at))]
    return values[ends].mean(axis=0)


def normal_scores(values: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Deviations (n,) that the values' ranks in their classes have in a normal law."""
    order, sizes = np.lexsort((values, codes)), np.bincount(codes)
    by_class, by_value = codes[order], values[order]
    changes = (np.diff(by_class) != 0) | (np.diff(by_value) > SAME)
    tie = np.concatenate([[0], np.cumsum(changes)])
    places = np.arange(len(values)) - (np.cumsum(sizes) - sizes)[by_class]
    mean_place = np.bincount(tie, places) / np.bincount(tie)
    scores = np.empty(len(values))
    scores[order] = norm.ppf((mean_place[tie] + 0.5) / sizes[by_class])
    return scores


def log_lengths(errors: np.ndarray) -> np.ndarray:
    """Logarithm of each row's length, also where its square would underflow."""
    rows = errors.astype(np.float64)
    largest = np.abs(rows).max(axis=1).clip(1e-300)
    return np.log(largest) + np.log(
        np.linalg.norm(rows / largest[:, None], axis=1).clip(1e-300)
    )


def geometry_of(
    inputs: np.ndarray, codes: np.ndarray, **how: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give z (n,) of `neighbor_isolation`, neighbours (n, 10), and which count."""
    distances, neighbors = nearest_neighbors(inputs, codes, N_NEIGHBORS, **how)
    k = (np.bincount(codes) // SHARE).clip(2, N_NEIGHBORS)[codes]
    some = np.arange(N_NEIGHBORS) < k[:, None]
    distances = distances.clip(SAME_DIRECTION)
    last = distances[np.arange(len(k)), k - 1]
    apart = some & (distances > SAME_DIRECTION)
    first = np.where(apart, distances, last[:, None]).min(axis=1)
    is_copy = distances[:, 0] <= SAME_DIRECTION
    z = _robust_z(2 * np.log(last) - np.log(first), codes, is_copy)
    return z, neighbors, some


def neighbor_isolation(
    gradients: Gradients,
    codes: np.ndarray,
    *,
    max_class_size: int | None = MAX_CLASS_SIZE,
    seed: int = 0,
    verbose: int = 0,
) -> np.ndarray:
    """Score how isolated each example is among the neighbours of its class.

    The last layer's gradient is an outer product, error times input. An example's
    neighbours are the k of its class whose inputs, scaled to length 1, are nearest:
    10, or a sixth of a class of fewer than 60. With d_k the distance to the last of
    them and d_1 to the nearest that is no copy, the score is
    ``(z(log(d_k * d_k / d_1)) + q(e) + max(q(e), q(mean q(e')))) / 2``, in which
    negative terms count as 0. Here z are robust deviations in the class: from the
    median, in units of 1.4826 median absolute deviations, 10 at most; where half
    of the class have copies (few or rounded values), of the distance from the median
    to the 0.9 quantile over 1.28, if that is more. e is the length
    of the error, e' those of the neighbours' errors, and q are normal scores: rank r
    (from 1) among n becomes the (r - 1/2) / n quantile of the standard normal
    distribution; errors have a largest length, and pile up there. Of gradients that
    are plain arrays, direction and length take the places of input and error.

    d_k is large for an example far from its class, d_k / d_1 for a member of a group
    of up to k that lie closer to each other than to the rest: poisons that collide.
    The errors say whether the model takes the example, or those around it, for
    another class: poisons that are company to each other lie among examples that are
    fitted badly. Nothing that is as usual makes up for what is not, and nothing
    depends on the scale of the gradients.

    Parameters
    ----------
    gradients : OuterProductGradients or ndarray of shape (n, d)
        Gradients of n examples.
    codes : ndarray of shape (n,), int
        Class of each example, 0, 1, ...
    max_class_size : int or None, default=20_000
        In larger classes neighbours are looked for among a part of the class only,
        four times: distances are approximate, never too small. None: among all.
    seed : int, default=0
        For how such classes are split.
    verbose : int, default=0
        Above 0, a progress bar.

    Returns
    -------
    ndarray of shape (n,), float64
        At least 0; in standard deviations of the class, roughly. 0 in classes of at
        most 10 examples, which are too few to tell.

    Notes
    -----
    Distances are made in blocks: memory grows with n, time with the square of the
    classes' sizes up to `max_class_size` and with n beyond. There each example is
    compared with those of its cell in four random projection trees (Dasgupta and
    Freund, 2008), so that groups that collide stay together.

    Examples
    --------
    >>> import numpy as np
    >>> from epic_sklearn import OuterProductGradients
    >>> from epic_sklearn.rules import neighbor_isolation
    >>> rng = np.random.default_rng(0)
    >>> errors, inputs = rng.normal(size=(50, 3)), rng.normal(size=(50, 20))
    >>> inputs[1:4] = inputs[0] + 0.01 * inputs[1:4]  # four collide
    >>> errors[:4] = 2.0
    >>> score = neighbor_isolation(
    ...     OuterProductGradients(errors, inputs), np.zeros(50, int))
    >>> score[:4] > 2, float(np.mean(score[4:] > 2).round(2))
    (array([ True,  True,  True,  True]), 0.02)
    """
    if isinstance(gradients, OuterProductGradients):
        inputs, errors = gradients.inputs, gradients.errors
    else:
        inputs = errors = gradients
    score = np.zeros(len(codes))
    rows = np.flatnonzero(np.bincount(codes)[codes] > N_NEIGHBORS)
    if len(rows) == 0:
        return score
    _, codes = np.unique(codes[rows], return_inverse=True)
    how: Any = {"max_class_size": max_class_size, "seed": seed, "verbose": verbose}
    geometry, neighbors, some = geometry_of(inputs[rows], codes, **how)
    own = normal_scores(log_lengths(errors[rows]), codes)
    around = normal_scores(own[neighbors].mean(axis=1, where=some), codes)
    # A wrong label may stand in good company.
    terms = np.stack([geometry.clip(max=LARGEST_Z), own, np.maximum(own, around)])
    score[rows] = terms.clip(min=0).sum(axis=0) / 2
    return score


class FarNeighbors(Rule):
    """Drop what is far from its class, in a tight group, or fitted badly.

    Ours, not the paper's, and the default. :func:`neighbor_isolation` is averaged
    over the rounds so far and compared with `cutoff`: a poison that works is
    isolated in round after round, most clean examples in one or two. It finds groups
    of up to 10 poisons that collide on one point, too, and costs fewer clean
    examples than :class:`IsolatedMedoids`.

    Parameters
    ----------
    cutoff : float, default=2.3
        Mean score above which an example is dropped; lower drops more.
    max_class_size : int or None, default=20_000
        Largest class whose neighbours are found exactly; see
        :func:`neighbor_isolation`. None: all are.

    See Also
    --------
    IsolatedMedoids : The paper's rule.

    Notes
    -----
    Exact copies are no colliding group: they are common in clean data. Classes of at
    most 10 examples are too small to judge. Where a class is larger than
    `max_class_size`, the details have a column ``approximate``, True for its rows.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from epic_sklearn import EPICFilter
    >>> from epic_sklearn.rules import FarNeighbors
    >>> X, y = load_iris(return_X_y=True)
    >>> X[0] = X[100]  # a setosa that looks like a virginica
    >>> bool(EPICFilter(rule=FarNeighbors()).fit(X, y).keep_[0])
    False
    """

    prefers: ClassVar[str | None] = "last_layer"
    begins: ClassVar[float] = 1 / 12
    flags: ClassVar[str] = (
        "examples far from their class, in a tight group of up to 10, or fitted "
        "badly, as are those around them: with a score above `cutoff`"
    )
    score_is: ClassVar[str] = (
        "standard deviations of its class, roughly, averaged over the rounds"
    )
    to_drop_less: ClassVar[str] = "Raise cutoff"

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "cutoff": [Interval(Real, 0, None, closed="neither")],
        "max_class_size": SIZE,
    }

    def __init__(
        self, cutoff: float = 2.3, *, max_class_size: int | None = MAX_CLASS_SIZE
    ) -> None:
        self.cutoff = cutoff
        self.max_class_size = max_class_size

    def judge(self, gradients: Any, codes: np.ndarray, memory: Memory) -> Judgement:
        """Flag means above `cutoff`; see :meth:`Rule.judge`."""
        n_rounds = 1 + int(memory.get("rounds", 0))
        score = self._score(gradients, codes, memory)
        mean = memory.get("mean", np.zeros(len(codes)))
        mean = mean + (score - mean) / n_rounds
        memory.update(mean=mean, rounds=np.array(n_rounds))
        details = approximate(codes, self.max_class_size)
        return Judgement(mean, mean > self.cutoff, details)

    def _score(
        self, gradients: Gradients, codes: np.ndarray, memory: Memory
    ) -> np.ndarray:
        """Score the examples of this round (n,)."""
        return neighbor_isolation(
            gradients,
            codes,
            max_class_size=self.max_class_size,
            seed=memory.seed,
            verbose=memory.verbose,
        )
