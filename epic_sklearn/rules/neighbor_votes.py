"""Our rule, the default: neighbours of another class, averaged over the rounds."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import norm
from sklearn.utils._param_validation import Interval

from ..gradients import OuterProductGradients
from ..medoids import (
    MAX_CLASS_SIZE,
    SIZE,
    approximate,
    directions,
    nearest_neighbors,
    neighbor_votes,
)
from .base import Judgement, Memory, Rule

# Neighbours that vote, more than there are poisons in a group; of a class of fewer
# than 600, a third.
N_VOTES, SHARE_OF_VOTES = 200, 3
# A class that has less than half as many rows as neighbours vote cannot outvote others:
# then a third of its rows vote, too, but no fewer than this.
FEWEST_VOTES = 3
# Of more rows a random part votes: a share needs no more. Some of each class.
N_VOTERS, N_VOTERS_A_CLASS = 5000, 20
# Colliding groups of up to as many examples are seen as groups; of a class of fewer
# than 60, a sixth are neighbours.
N_NEIGHBORS, SHARE = 10, 6
# What votes count against the geometry.
OF_GEOMETRY = 4
# What the score of a single round counts, where nothing averages out.
OF_ONE_ROUND = 7 / 8
# Directions closer than this are copies; float32 features can't tell them apart.
SAME_DIRECTION = 1e-6
# Most that the geometry counts in one round, far above what clean examples have.
LARGEST_Z = 10.0
# Share of a class with copies from which its values are few. More than poisons are:
# who adds each of them twice must not be judged by another measure.
MANY_COPIES = 0.5
# Differences of logarithms below are rounding.
SAME = 1e-6


class NeighborVotes(Rule):
    """Drop what lies among another class's examples, or in a tight group.

    Ours, not the paper's, and the default. The last layer's gradient is an outer
    product, error times input; examples are near whose inputs, with a 1 for the
    bias and scaled to length 1, are. The score of a round is ``sqrt(2 s) q(s) + z /
    4``, where negative q and z count as 0. Its mean over the rounds is compared
    with `cutoff`: a poison that works stands out in round after round, most clean
    examples in one or two. A single round, as a filter has, tells less: seven eighths
    of its score count. The rule watches from a twelfth of the training on, and drops
    from a quarter on: what is hard to learn is of use until then.

    s is the share of an example's neighbours, of all classes, that the most
    frequent other class has, averaged with the mean share of its k nearest of the
    same class; neighbours are the 200 nearest, or a third of a class of fewer than
    600. Where the rarest class has less than half as many rows as these, the share
    among fewer, a third as many as it has rows, counts if it is larger: whichever class
    has it, so that a rare class changes what is dropped of all. s is large
    where the model sees in the example another class than its label: there poisons
    lie that work, and near to each other, where what is merely hard lies alone.

    q are normal scores: rank r (from 1) among the n of a class becomes the
    (r - 1/2) / n quantile of the standard normal distribution. They count in full
    where half of the neighbours are of one other class, and little where hardly any
    are: classes that lie apart lose little.

    z is the geometry in the class, of ``log(d_k * d_k / d_1)``. Here d_k is the
    distance to the last of the k nearest of the class (10, or a sixth where it has
    fewer than 60), d_1 that to the nearest that is no copy. d_k is large for what lies
    far from its class, d_k / d_1 for a member of a group of up to k that lie closer to
    each other than to the rest: poisons that collide. z are robust deviations: from the
    median, in units of 1.4826 median absolute deviations, 10 at most; where half of the
    class have copies (few or rounded values), of the distance from the median to the
    0.9 quantile over 1.28, if that is more.

    Parameters
    ----------
    cutoff : float, default=1.85
        Mean score above which an example is dropped; lower drops more.
    max_class_size : int or None, default=20_000
        In larger classes neighbours are looked for among a part of the class only,
        four times: distances are approximate, never too small, and the details have a
        column ``approximate``, True for these rows. None: among all.

    See Also
    --------
    IsolatedMedoids : The paper's rule.
    DeepKNN : Votes alone, at once.

    Notes
    -----
    Nothing depends on the scale of the gradients. Inputs that are zero but for the
    bias lie apart from all others, and not near to everything. Of gradients that
    are plain arrays their direction takes the place of the input, and the score is
    ``q(length) + z / 4``, all of it in a single round, too: their length says how far
    the model is from the label.
    Classes of at most 10 examples are too small to judge. Up to 10 examples of a class
    with the same input are judged as one, so that poisons which are added twice have no
    more company. Not so where more than half of a class have copies, or at most 10
    would be left; then copies, which are common in clean data, and anywhere more than
    10 of one, are no colliding group. Where distances tie, of categories
    or rounded numbers, the order of the rows decides which of the equally near are
    among the k, and rows near the cutoff may fall on either side.

    Of more than 5,000 examples as many vote, or 20 for each class if that is more,
    drawn at random: their time grows with n times their number. That of the geometry
    grows with the square of the classes' sizes up to `max_class_size` and with n
    beyond, where each example is compared with those of its cell in four random
    projection trees (Dasgupta and Freund, 2008). Both are worked on in blocks: memory
    grows with n.

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

    prefers: ClassVar[str | None] = "last_layer"
    watches: ClassVar[float] = 1 / 3
    flags: ClassVar[str] = (
        "examples among those of another class, or in a tight group of up to 10: with "
        "a score above `cutoff`"
    )
    score_is: ClassVar[str] = (
        "standard deviations of its class, roughly, averaged over the rounds, seven "
        "eighths of them where there is one"
    )
    to_drop_less: ClassVar[str] = "Raise cutoff"

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "cutoff": [Interval(Real, 0, None, closed="neither")],
        "max_class_size": SIZE,
    }

    def __init__(
        self, cutoff: float = 1.85, *, max_class_size: int | None = MAX_CLASS_SIZE
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
        has_inputs = isinstance(gradients, OuterProductGradients)
        shown = OF_ONE_ROUND * mean if has_inputs and n_rounds == 1 else mean
        details = approximate(codes, self.max_class_size)
        return Judgement(shown, shown > self.cutoff, details)

    def _score(self, gradients: Any, codes: np.ndarray, memory: Memory) -> np.ndarray:
        """Score the examples of this round (n,)."""
        score = np.zeros(len(codes))
        is_judged = np.bincount(codes)[codes] > N_NEIGHBORS
        if not is_judged.any():
            return score
        _, own_codes = np.unique(codes[is_judged], return_inverse=True)
        has_inputs = isinstance(gradients, OuterProductGradients)
        inputs = empty_ones_as_zeros(gradients.inputs) if has_inputs else gradients
        distances, neighbors = nearest_neighbors(
            inputs if is_judged.all() else inputs[is_judged],
            own_codes,
            N_NEIGHBORS,
            max_class_size=self.max_class_size,
            seed=memory.seed,
            verbose=memory.verbose,
        )
        if has_inputs:
            stands = np.arange(len(codes))
            first = first_of_copies(distances, neighbors, own_codes)
            stands[is_judged] = np.flatnonzero(is_judged)[first]
            some, place = np.unique(stands, return_inverse=True)
            if len(some) < len(codes):  # anew, of each of which there were copies one
                return self._score(gradients[some], codes[some], memory)[place]
        k = (np.bincount(own_codes) // SHARE).clip(2, N_NEIGHBORS)[own_codes]
        if has_inputs:
            alone = share_of_another_class(inputs, codes, is_judged, memory.seed)
            unlike = with_neighbors(alone, neighbors, k)
            weight = np.sqrt(2 * unlike)
        else:
            unlike, weight = log_lengths(gradients[is_judged]), 1.0
        votes = weight * normal_scores(unlike, own_codes).clip(0)
        z = geometry(distances, own_codes, k).clip(0, LARGEST_Z)
        score[is_judged] = votes + z / OF_GEOMETRY
        return score


def empty_ones_as_zeros(inputs: np.ndarray) -> np.ndarray:
    """Set rows to 0 that differ from it only where all rows are equal, as at a bias.

    Such a row, a text without a known word, say, would be near to all others.
    """
    differs = inputs.max(axis=0) != inputs.min(axis=0)
    is_empty = ~np.logical_or.reduce(inputs, axis=1, where=differs)
    return np.where(is_empty[:, None], 0, inputs) if is_empty.any() else inputs


def first_of_copies(
    distances: np.ndarray, neighbors: np.ndarray, codes: np.ndarray
) -> np.ndarray:
    """Row (n,) that stands for each: the first of its copies, or itself.

    Each itself where copies are more than a group or than half of the class, as clean
    ones may be, and where too few rows would be left.
    """
    sizes, rows = np.bincount(codes), np.arange(len(codes))
    row, at = np.nonzero(distances <= SAME_DIRECTION)
    edges = np.ones(len(row)), (row, neighbors[row, at])
    graph = coo_array(edges, shape=(len(codes), len(codes)))
    _, group = connected_components(graph, directed=False)
    _, first = np.unique(group, return_index=True)
    stands = np.where(np.bincount(group)[group] > N_NEIGHBORS, rows, first[group])
    has_copy = distances[:, 0] <= SAME_DIRECTION
    stays = np.bincount(codes, has_copy) > MANY_COPIES * sizes
    stays |= np.bincount(codes, stands == rows) <= N_NEIGHBORS
    return np.where(stays[codes], rows, stands)


def share_of_another_class(
    inputs: np.ndarray, codes: np.ndarray, is_judged: np.ndarray, seed: int
) -> np.ndarray:
    """Share that one other class has of the neighbours of each that is judged."""
    sizes = np.bincount(codes)
    n_voters = max(N_VOTERS, N_VOTERS_A_CLASS * int(np.count_nonzero(sizes)))
    drawn = np.random.RandomState(seed).permutation(len(codes))
    voters = np.sort(drawn[:n_voters])  # all rows, if there are no more
    sizes = np.bincount(codes[voters], minlength=len(sizes))
    most = min(N_VOTES, len(voters) - 1)
    k = (sizes // SHARE_OF_VOTES).clip(1, most)[codes] * is_judged
    rarest = sizes[np.unique(codes[is_judged])].min()
    few = np.where(2 * rarest < k, max(FEWEST_VOTES, rarest // SHARE_OF_VOTES), 0)
    points = directions([inputs])[0]
    shares = [
        neighbor_votes(points, codes, asked, voters, in_single=True)[1] / asked.clip(1)
        for asked in ((k, few) if few.any() else (k,))
    ]
    return np.max(shares, axis=0)[is_judged]


def with_neighbors(
    shares: np.ndarray, neighbors: np.ndarray, k: np.ndarray
) -> np.ndarray:
    """Mean (n,) of each share and the mean share of its k nearest in the class."""
    is_near = np.arange(neighbors.shape[1]) < k[:, None]
    return (shares + np.where(is_near, shares[neighbors], 0).sum(axis=1) / k) / 2


def geometry(distances: np.ndarray, codes: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Give z (n,) of the rule: large far from the class, or in a tight group."""
    distances = distances.clip(SAME_DIRECTION)
    last = distances[np.arange(len(k)), k - 1]
    apart = (np.arange(N_NEIGHBORS) < k[:, None]) & (distances > SAME_DIRECTION)
    first = np.where(apart, distances, last[:, None]).min(axis=1)
    is_copy = distances[:, 0] <= SAME_DIRECTION
    return _robust_z(2 * np.log(last) - np.log(first), codes, is_copy)


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
