"""A class too large for one worker: the two-round GreeDi scheme.

Mirzasoleiman et al. (2013): split the class at random, choose a full budget of
medoids in each part, then choose the budget among all of these. apricot has the
scheme as an optimizer of one process; here the parts are joblib tasks, on as many
machines as the backend has, and each task holds its own part only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed

from ..gradients.features import Gradients
from ._distances import Distances, worth_storing
from ._facility_location import FacilityLocation


@dataclass(frozen=True)
class Parcel:
    """Gradients that travel inside their task.

    joblib's dask backend puts arrays into one worker's memory ahead of the
    tasks; if that worker dies, the tasks are lost with them. Inside the task
    they go wherever it goes, again if need be.
    """

    gradients: Gradients


def _choose(
    parcel: Parcel, budget: int, metric: str, optimizer: str, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers and gains of the medoids of one part."""
    gradients = parcel.gradients
    selection = FacilityLocation(min(budget, len(gradients)), optimizer, seed)
    lazily = optimizer == "lazy"
    on_demand = lazily and not worth_storing(gradients, metric)
    selection.fit(
        Distances(gradients, metric, 0 if on_demand else None, spatial=lazily)
    )
    return selection.ranking, selection.gains


def choose_in_two_rounds(
    gradients: Gradients,
    budget: int,
    metric: str,
    optimizer: str,
    seed: int,
    max_class_size: int,
    n_jobs: int | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose medoids of a class from parts of at most `max_class_size` examples.

    Parameters
    ----------
    gradients : ndarray of shape (n, d) or OuterProductGradients
        Of one class.
    budget : int
        How many medoids.
    metric, optimizer, seed : str, str, int
        As for :func:`epic_sklearn.find_medoids`; the seed also draws the parts.
    max_class_size : int
        Largest part.
    n_jobs : int or None
        Parts worked on side by side.

    Returns
    -------
    indices : ndarray of shape (budget,)
        Row numbers inside the class.
    gains : ndarray of shape (budget,)
        Gains among the candidates of the second round.
    """
    n_parts = -(-len(gradients) // max_class_size)
    order = np.random.RandomState(seed).permutation(len(gradients))
    parts = [np.sort(part) for part in np.array_split(order, n_parts)]
    chosen = Parallel(n_jobs=n_jobs, prefer="threads")(
        delayed(_choose)(Parcel(gradients[part]), budget, metric, optimizer, seed)
        for part in parts
    )
    candidates = np.sort(
        np.concatenate(
            [part[rows] for part, (rows, _) in zip(parts, chosen, strict=True)]
        )
    )
    ranking, gains = _choose(
        Parcel(gradients[candidates]), budget, metric, optimizer, seed
    )
    return candidates[ranking], gains
