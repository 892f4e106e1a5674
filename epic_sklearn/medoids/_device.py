"""The lazy greedy on the device that the gradients are on, all classes in one batch.

The same algorithm as on the processor, in torch: distances from differences, bounds
of all candidates, and for each next medoid the candidates of highest bound evaluated
anew until one that is fresh leads. A GPU does that for every class at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ._distances import memory_limit

# Candidates of each class that are evaluated at a time.
AT_A_TIME = 64
# Share of the device's free memory that distances may take.
MEMORY_SHARE = 0.4


@dataclass(frozen=True)
class ClassSelection:
    """What was chosen in one class, by row numbers inside it; see `Selection`."""

    ranking: np.ndarray
    gains: np.ndarray
    owner: np.ndarray
    nearest_other: np.ndarray


def is_on_gpu(gradients: Any) -> bool:
    """Whether gradients are a tensor on a CUDA device."""
    return isinstance(gradients, torch.Tensor) and gradients.is_cuda


def check_tensor(gradients: torch.Tensor, n_examples: int) -> torch.Tensor:
    """Validate gradient features where they are: one finite row an example.

    Raises
    ------
    ValueError
        If the shape is wrong or a value is NaN or infinite.
    """
    gradients = gradients.detach()
    if gradients.ndim != 2 or gradients.shape[1] == 0 or len(gradients) != n_examples:
        raise ValueError(
            f"Gradient features have shape {tuple(gradients.shape)} for {n_examples} "
            "examples; give one row an example, in the order of the examples, with at "
            "least one feature."
        )
    if not gradients.is_floating_point():
        gradients = gradients.double()
    bad = int((~gradients.isfinite().all(dim=1)).sum())
    if bad:
        raise ValueError(
            f"Gradient features contain NaN or infinity in {bad} of {n_examples} rows. "
            "The input has NaN or infinity, or the model diverged: then lower its "
            "learning rate or scale its input."
        )
    return gradients


def memory_of(device: torch.device) -> float:
    """Bytes that distances may take on a device."""
    if device.type == "cuda":
        return MEMORY_SHARE * torch.cuda.mem_get_info(device)[0]
    return memory_limit()


def fits(gradients: torch.Tensor, n: int) -> bool:
    """Whether the distances of a class of n fit the gradients' device."""
    return 4.0 * n * n <= memory_of(gradients.device)


def in_batches(sizes: Sequence[int], max_bytes: float) -> Iterator[list[int]]:
    """Numbers of classes whose distances fit together, largest first.

    Classes of like size share a batch, so that little of it is filling.
    """
    batch: list[int] = []
    for c in sorted(range(len(sizes)), key=lambda c: -sizes[c]):
        largest = sizes[batch[0]] if batch else sizes[c]
        if batch and 4.0 * largest**2 * (len(batch) + 1) > max_bytes:
            yield batch
            batch = []
        batch.append(c)
    if batch:
        yield batch


def as_points(features: torch.Tensor, metric: str) -> torch.Tensor:
    """Features of one class (n, d) as float32 whose differences are distances.

    The rules of the module `_layout`: single precision as it is, double precision
    centred first; for the cosine metric directions, zeros being their own.
    """
    if metric == "cosine":
        features = _scaled(features.double())
        lengths = features.norm(dim=1, keepdim=True)
        is_zero = (lengths == 0).double()
        features = torch.cat([features / (lengths + is_zero), is_zero], dim=1)
        return (features - features.median(dim=0).values).float()
    if features.dtype == torch.float64:
        features = _scaled(features)
        return _scaled(features - features.median(dim=0).values).float()
    return _scaled(features.float())


def _scaled(features: torch.Tensor) -> torch.Tensor:
    """Multiply by the power of two that brings the largest to [0.5, 1)."""
    exponent = torch.frexp(features.abs().max()).exponent
    return torch.ldexp(features, -exponent)


class BatchGreedy:
    """Classes chosen side by side; shorter ones are filled up with nothing."""

    def __init__(
        self, classes: list[torch.Tensor], budgets: Sequence[int], metric: str
    ) -> None:
        self.sizes = [len(features) for features in classes]
        points = torch.nn.utils.rnn.pad_sequence(
            [as_points(features, metric) for features in classes], batch_first=True
        )
        device = points.device
        self.is_there = torch.arange(points.shape[1], device=device) < torch.tensor(
            self.sizes, device=device
        ).unsqueeze(1)
        self.distances = torch.cdist(
            points, points, compute_mode="donot_use_mm_for_euclid_dist"
        )
        if metric == "cosine":
            self.distances.square_().mul_(0.5)
        self.budgets = torch.tensor(list(budgets), device=device)
        self.every = torch.arange(len(classes), device=device)
        self._choose_first(int(self.budgets.max()))

    def _choose_first(self, k: int) -> None:
        """First medoids: the smallest sum of distances, ties to the lowest index."""
        there = self.is_there
        sums = torch.stack(
            [
                (rows * mask).sum(dim=1, dtype=torch.float64)
                for rows, mask in zip(self.distances, there, strict=True)
            ]
        )
        sums[~there] = torch.inf
        first = sums.argmin(dim=1)
        lowest = sums.gather(1, first[:, None])
        first = (sums == lowest).int().argmax(dim=1)  # documented as the first
        self.nearest = self.distances[self.every, first] * there
        self.owner = torch.zeros_like(self.is_there, dtype=torch.int64)
        farthest = torch.stack(
            [
                rows[mask][:, mask].max()
                for rows, mask in zip(self.distances, there, strict=True)
            ]
        )
        self.chosen = torch.zeros(
            (len(first), k), dtype=torch.int64, device=sums.device
        )
        self.gains = torch.zeros(self.chosen.shape, dtype=torch.float64).to(sums.device)
        self.chosen[:, 0] = first
        self.gains[:, 0] = there.sum(dim=1) * farthest.double() - lowest[:, 0]
        self.bounds = self._gains_in_stretches()
        self.bounds[~there] = -1.0
        self.bounds[self.every, first] = -1.0

    def _gains(self, candidates: torch.Tensor) -> torch.Tensor:
        """Gains (c, w) of candidates (c, w), differences and sums in float64."""
        rows = self.distances[self.every[:, None], candidates]
        closer = self.nearest[:, None].double() - rows.double()
        return closer.clamp_(min=0.0).sum(dim=2)

    def _gains_in_stretches(self) -> torch.Tensor:
        """Gains (c, n) of all."""
        n = self.distances.shape[1]
        every = torch.arange(n, device=self.distances.device)
        return torch.cat(
            [
                self._gains(stretch.expand(len(self.sizes), -1))
                for stretch in every.split(4 * AT_A_TIME)
            ],
            dim=1,
        )

    def run(self) -> None:
        """Choose until every class has its budget."""
        for step in range(1, self.chosen.shape[1]):
            best = self._best(step < self.budgets)
            is_on = step < self.budgets
            self.chosen[:, step] = best
            self.gains[:, step] = self.bounds[self.every, best]
            row = self.distances[self.every, best]
            closer = (row < self.nearest) & is_on[:, None]
            self.nearest = torch.where(closer, row, self.nearest)
            self.owner[closer] = step
            self.bounds[self.every, best] = -1.0

    def _best(self, is_on: torch.Tensor) -> torch.Tensor:
        """Row of greatest gain in each class, the lowest of equal ones."""
        fresh = self.bounds <= 0.0
        width = min(AT_A_TIME, self.bounds.shape[1])
        while True:
            best = self.bounds.argmax(dim=1)
            if bool((fresh[self.every, best] | ~is_on).all()):
                return best
            stale = torch.where(fresh, -1.0, self.bounds)
            candidates = stale.topk(width, dim=1).indices
            gains = self._gains(candidates)
            old = self.bounds.gather(1, candidates)
            # What was chosen or is filling stays out.
            self.bounds.scatter_(1, candidates, torch.where(old < 0, old, gains))
            fresh.scatter_(1, candidates, True)

    def results(self) -> list[ClassSelection]:
        """One selection a class, on the host."""
        found = []
        for c, (n, k) in enumerate(zip(self.sizes, self.budgets.tolist(), strict=True)):
            inside = self.distances[c, :n, :n].clone()
            inside.fill_diagonal_(torch.inf)
            arrays = (
                self.chosen[c, :k],
                self.gains[c, :k],
                self.owner[c, :n],
                inside.min(dim=1).values,
            )
            found.append(ClassSelection(*(array.cpu().numpy() for array in arrays)))
        return found


def choose_on_device(
    gradients: torch.Tensor,
    classes: Sequence[np.ndarray],
    budgets: Sequence[int],
    metric: str,
) -> list[ClassSelection]:
    """Choose medoids of every class where the gradients are.

    Parameters
    ----------
    gradients : Tensor of shape (n, d)
        Finite, on any device.
    classes : sequence of ndarray of int
        Rows of each class.
    budgets : sequence of int
        Medoids of each class, at most its size.
    metric : {"euclidean", "cosine"}
        Distance between gradients.

    Returns
    -------
    list of ClassSelection
        In the order of `classes`.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from epic_sklearn.medoids._device import choose_on_device
    >>> gradients = torch.tensor([[0.0], [0.1], [0.2], [0.4], [5.0]])
    >>> choose_on_device(gradients, [np.arange(5)], [2], "euclidean")[0].ranking
    array([2, 4])
    """
    found: dict[int, ClassSelection] = {}
    limit = memory_of(gradients.device)
    for batch in in_batches([len(rows) for rows in classes], limit):
        features = [
            gradients[torch.as_tensor(classes[c], device=gradients.device)]
            for c in batch
        ]
        greedy = BatchGreedy(features, [budgets[c] for c in batch], metric)
        greedy.run()
        found.update(zip(batch, greedy.results(), strict=True))
    return [found[c] for c in range(len(classes))]
