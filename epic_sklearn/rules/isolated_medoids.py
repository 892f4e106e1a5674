"""The paper's rule: medoids to which no other example belongs."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from .._utils import validate_params
from ..medoids import (
    MAX_CLASS_SIZE,
    METRICS,
    OPTIMIZER_NAMES,
    SIZE,
    Medoids,
    approximate,
    budget_of,
    find_medoids_within,
)
from .base import Judgement, Memory, Rule

THRESHOLD = [Interval(Integral, 1, None, closed="left")]


@validate_params(
    {"medoids": [Medoids], "threshold": THRESHOLD}, prefer_skip_nested_validation=True
)
def flag_isolated(medoids: Medoids, threshold: int = 1) -> np.ndarray:
    """Flag the examples whose cluster has at most `threshold` members.

    With the paper's threshold of 1 these are the medoids to which no other
    example was assigned (paper, section 3.2).

    Parameters
    ----------
    medoids : Medoids
        From :func:`epic_sklearn.find_medoids`.
    threshold : int, default=1
        Largest size, medoid included, of a cluster that counts as isolated.

    Returns
    -------
    ndarray of shape (n,), bool

    Examples
    --------
    >>> import numpy as np
    >>> from epic_sklearn import find_medoids, flag_isolated
    >>> gradients = np.array([[0.0], [0.1], [0.2], [5.0]])
    >>> flag_isolated(find_medoids(gradients, [0, 0, 0, 0], subset_size=0.5))
    array([False, False, False,  True])
    """
    return medoids.cluster_size <= threshold


def isolation_score(medoids: Medoids) -> np.ndarray:
    """Score how isolated each example is: 1 / (s + 1 - t), in (0, 1).

    s is the size of the example's cluster and t = g / (1 + g), where g is its
    distance to the nearest other example of its class, relative to the class's
    median of that distance. So 1 / (s + 1) <= score < 1 / s: a smaller cluster
    always scores higher, whatever the distances, and inside one size the
    example with the more distant neighbour does. Every example that
    :func:`flag_isolated` flags ranks above every one that it doesn't, at any
    threshold.

    Parameters
    ----------
    medoids : Medoids
        From :func:`epic_sklearn.find_medoids`.

    Returns
    -------
    ndarray of shape (n,), float64
        Higher is more isolated.

    Examples
    --------
    >>> import numpy as np
    >>> from epic_sklearn import find_medoids, isolation_score
    >>> gradients = np.array([[0.0], [0.1], [0.2], [5.0]])
    >>> isolation_score(find_medoids(gradients, [0] * 4, subset_size=0.5)).round(2)
    array([0.29, 0.29, 0.29, 0.98])
    """
    beyond = medoids.gap / (1.0 + medoids.gap)
    score = 1.0 / (medoids.cluster_size + 1.0 - beyond)
    # Converged gradients give gaps of 1e17, where g / (1 + g) rounds to 1.
    return np.minimum(score, np.nextafter(1.0 / medoids.cluster_size, 0.0))


class IsolatedMedoids(Rule):
    """Drop the members of the smallest clusters: the rule of EPIC.

    In each class, medoids of the gradients are chosen by facility location, every
    example is assigned to its nearest medoid, and the members of clusters of at
    most `threshold` examples are isolated (paper, section 3.2). Effective poisons
    must leave the gradients of the class whose label they bear; clean examples
    are lost too, a fifth of them is not rare.

    Parameters
    ----------
    subset_size : float, default=0.2
        Medoids as a share of each class, in (0, 1]. More medoids, more isolated
        examples. The paper uses 0.1 to 0.3.
    threshold : int, default=1
        Largest size, medoid included, of a cluster that counts as isolated.
        Poisons that collide on one point need it to be as large as their group,
        at a price in clean examples.
    metric : {"euclidean", "cosine"}, default="euclidean"
        Distance between gradients.
    optimizer : str, default="lazy"
        Any of apricot's optimizer names; see :func:`epic_sklearn.find_medoids`.
    cluster_on : {"all", "kept"}, default="all"
        Whether each round clusters all examples, so that what is kept is the
        intersection of all rounds (published code), or what is left, with a
        constant number of medoids (paper).
    max_class_size : int or None, default=20_000
        Larger classes are clustered in parts; see
        :func:`epic_sklearn.find_medoids`. None: never.

    See Also
    --------
    NeighborVotes : Ours; finds poisons that collide, too.

    Notes
    -----
    The details are ``cluster_size``, the size of each row's cluster when it was
    last clustered, and ``medoid``, the row number of its medoid (its own where it
    is one). Where a class is larger than `max_class_size`, ``approximate`` is True
    for its rows.

    Of rounded numbers, and of gradients on a line, as those of two classes' logits are,
    many examples gain the same but for rounding: then the unit of the features and
    ``working_memory`` may decide which of them are medoids.

    References
    ----------
    Yang, Liu, Mirzasoleiman: Not All Poisons are Created Equal: Robust Training
    against Data Poisoning, ICML 2022.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from epic_sklearn import EPICFilter
    >>> from epic_sklearn.rules import IsolatedMedoids
    >>> X, y = load_iris(return_X_y=True)
    >>> X[0] = X[100]  # a setosa that looks like a virginica
    >>> detector = EPICFilter(rule=IsolatedMedoids(subset_size=0.1)).fit(X, y)
    >>> detector.isolated_indices_
    array([ 0, 41])
    >>> detector.details_["cluster_size"][[0, 1]]
    array([ 1, 12])
    """

    flags = "members of clusters of at most `threshold` examples"
    score_is = (
        "1 / (size of its cluster + a share that falls with the distance to its "
        "nearest neighbour): above 0.5 where it is alone"
    )
    to_drop_less = "Lower subset_size or threshold"

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "subset_size": [Interval(Real, 0, 1, closed="right")],
        "threshold": THRESHOLD,
        "metric": [StrOptions(set(METRICS))],
        "optimizer": [StrOptions(set(OPTIMIZER_NAMES))],
        "cluster_on": [StrOptions({"all", "kept"})],
        "max_class_size": SIZE,
    }

    def __init__(
        self,
        subset_size: float = 0.2,
        threshold: int = 1,
        *,
        metric: str = "euclidean",
        optimizer: str = "lazy",
        cluster_on: str = "all",
        max_class_size: int | None = MAX_CLASS_SIZE,
    ) -> None:
        self.subset_size = subset_size
        self.threshold = threshold
        self.metric = metric
        self.optimizer = optimizer
        self.cluster_on = cluster_on
        self.max_class_size = max_class_size

    def judge(self, gradients: Any, codes: np.ndarray, memory: Memory) -> Judgement:
        """Flag the members of small clusters; see :meth:`Rule.judge`."""
        n = len(codes)
        rows = np.arange(n)
        if self.cluster_on == "kept":
            rows = np.flatnonzero(memory.keep)
        medoids = find_medoids_within(
            gradients if len(rows) == n else gradients[rows],
            codes[rows],
            # Of what the classes were, also where only some of it is left.
            [budget_of(size, self.subset_size) for size in np.bincount(codes)],
            metric=self.metric,
            optimizer=self.optimizer,
            max_class_size=self.max_class_size,
            n_jobs=memory.n_jobs,
            seed=memory.seed,
            verbose=memory.verbose,
        )
        flagged, score = np.zeros(n, dtype=bool), np.zeros(n)
        flagged[rows] = flag_isolated(medoids, self.threshold)
        score[rows] = isolation_score(medoids)
        # Of rows that are not clustered again the schedule holds what was said before.
        details = {"cluster_size": np.zeros(n, np.int64), "medoid": np.arange(n)}
        details["cluster_size"][rows] = medoids.cluster_size
        details["medoid"][rows] = rows[medoids.assigned_to]
        details |= approximate(codes, self.max_class_size, rows)
        return Judgement(score, flagged, details)
