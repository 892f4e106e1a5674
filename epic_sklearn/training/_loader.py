"""The training loader: batches of kept examples, none of a single one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate


class Batches(Sampler[list[int]]):
    """Batches of a sampler's row numbers, a lone last one joined to the rest.

    Dropping changes the number of examples, so any run can come to a last
    batch of one, on which batch norm raises.
    """

    def __init__(self, sampler: Sampler[int], batch_size: int) -> None:
        self.sampler, self.batch_size = sampler, batch_size

    def __iter__(self) -> Iterator[list[int]]:
        rows = list(self.sampler)
        starts = list(range(0, len(rows), self.batch_size))
        if len(rows) - starts[-1] == 1 and len(starts) > 1 and self.batch_size > 1:
            starts.pop()
        ends = [*starts[1:], len(rows)]
        return iter([rows[start:end] for start, end in zip(starts, ends, strict=True)])

    def __len__(self) -> int:
        n = len(self.sampler)  # type: ignore[arg-type]
        whole, rest = divmod(n, self.batch_size)
        is_joined = rest == 1 and whole > 0 and self.batch_size > 1
        return whole + (rest > 0) - is_joined


def training_loader(
    dataset: Dataset, sampler: Sampler[int], batch_size: int, **kwargs: Any
) -> DataLoader:
    """Make a DataLoader over the sampler's rows, in place of skorch's default."""
    if batch_size < 1:  # skorch's -1: everything at once
        batch_size = len(dataset)  # type: ignore[arg-type]
    kwargs.pop("shuffle", None)
    kwargs.pop("drop_last", None)
    return DataLoader(dataset, batch_sampler=Batches(sampler, batch_size), **kwargs)


class AugmentingCollate:
    """Collate a training batch and change its inputs by the user's function."""

    def __init__(self, augment: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.augment = augment

    def __call__(self, items: list[Any]) -> Any:
        """Collate, then augment the first part of the batch."""
        x, *rest = default_collate(items)
        return [self.augment(x), *rest]
