"""What a training step gets: which rows, their labels and weights, augmented."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any, NamedTuple, NoReturn

import numpy as np
import torch
from torch import nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    TensorDataset,
)
from torch.utils.data.distributed import DistributedSampler

from .._utils import warn_user
from ..base import check_weights
from ..gradients.items import (
    as_tensors,
    in_order,
    inputs_and_labels,
    loader_options,
    refuse_iterable,
    without_texts,
)
from ..gradients.modules import LogOf


def weights_of(
    given: Any, X: Any, classes: np.ndarray, codes: np.ndarray
) -> np.ndarray | None:
    """Check sample weights; the largest becomes 1: tiny ones are 0 in float32."""
    weights = check_weights(given, X)
    if weights is None:
        return None
    never = classes[np.bincount(codes, weights) == 0]
    if len(never):
        raise ValueError(
            f"sample_weight is zero for every example of the classes {never.tolist()}, "
            "which the net would not learn; leave their rows out of X and y."
        )
    return weights / weights.max()


class Weighted(NamedTuple):
    """A batch's input, and the weight of each example's loss."""

    x: Any
    weights: torch.Tensor


class CodedItems(Dataset):
    """Items of a data set, read when they are needed, and codes and weights (n,).

    A DataLoader's workers, collate function and pinned memory are used. Where `labels`
    (n,) are given an item that is read must have its own, or ValueError is raised.
    """

    def __init__(
        self,
        data: Any,
        labels: np.ndarray | None,
        codes: np.ndarray,
        weights: np.ndarray | None,
    ) -> None:
        loader = data if isinstance(data, DataLoader) else DataLoader(data)
        self.options = loader_options(loader)
        self.items = as_tensors(loader.dataset, loader.collate_fn)
        self.labels, self.codes, self.weights = labels, codes, weights
        self._collate = in_order(loader.collate_fn)
        self.options["collate_fn"] = self.collate

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, row: int) -> tuple[Any, int]:
        item = self.items[row]
        label = inputs_and_labels(item)[1]
        if self.labels is not None and label != self.labels[row]:
            raise ValueError(
                f"Item {row} has the label {label!r}, and had {self.labels[row]!r} "
                "when labels were read; give a data set whose items keep their labels."
            )
        return item, row

    def collate(self, numbered: list[tuple[Any, int]]) -> tuple[Any, ...]:
        """Batch items as the data set's own loader does; codes and weights follow."""
        items, rows = zip(*numbered, strict=True)
        x, _ = inputs_and_labels(self._collate(list(items)))
        with_it = [part for part in (self.codes, self.weights) if part is not None]
        x = without_texts(x)  # of which skorch counts the letters
        return x, *(torch.as_tensor(part[list(rows)]) for part in with_it)

    collate.keeps_order = True  # type: ignore[attr-defined]

    def warn_of_more_parts(self) -> None:
        """Warn of items that hold more than an input and its label, weights maybe."""
        item = self.items[0]
        if isinstance(item, list | tuple) and len(item) > 2:
            warn_user(
                f"Items have {len(item)} parts, of which only the first two, input and "
                "label, are used. If there are weights among them, give sample_weight."
            )

    @cached_property
    def _first(self) -> Any:
        x = without_texts(inputs_and_labels(self.items[0])[0])
        if isinstance(x, Mapping) and len(x) == 1:
            (x,) = x.values()
        return x

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (n, ...) of all inputs; (n,) where an input has several entries."""
        return len(self), *getattr(self._first, "shape", ())

    @property
    def are_integers(self) -> bool:
        """Whether an input is of whole numbers, which are not cast: an index, say."""
        x = self._first
        return isinstance(x, torch.Tensor) and not x.is_floating_point()

    def loader(self, batch_size: int) -> DataLoader:
        """Batches of all items in their order."""
        return DataLoader(self, batch_size, **self.options)


class BatchesOfRows(TensorDataset):
    """Arrays that are asked for a batch's rows at once."""

    def __getitem__(self, rows: list[int]) -> tuple[torch.Tensor, ...]:
        at = torch.tensor(rows)  # made once, and a quarter of what lists take
        return tuple(tensor.index_select(0, at) for tensor in self.tensors)


class Batches(BatchSampler):
    """Batches of a sampler's row numbers, a lone last one joined to the rest.

    Dropping changes the number of examples, so any run can come to a last
    batch of one, on which batch norm raises.
    """

    def _lone(self) -> bool:
        n: int = len(self.sampler)  # type: ignore[arg-type]
        is_lone = n > self.batch_size > 1 and n % self.batch_size == 1
        return is_lone and not self.drop_last

    def __iter__(self) -> Iterator[list[int]]:
        batches = list(super().__iter__())
        if self._lone():
            lone = batches.pop()
            batches[-1] += lone
        return iter(batches)

    def __len__(self) -> int:
        return super().__len__() - self._lone()


def training_loader(
    dataset: Dataset,
    sampler: Sampler[int],
    batch_size: int,
    of_arrays: bool = False,
    weights: np.ndarray | None = None,
    **kwargs: Any,
) -> DataLoader:
    """Make a DataLoader over the sampler's rows, in place of skorch's default.

    A data set `of_arrays`, whose rows may have `weights`, is asked for a batch's rows
    at once: one by one costs more than a step of a small net.
    """
    if batch_size < 1:  # skorch's -1: everything at once
        batch_size = len(dataset)  # type: ignore[arg-type]
    batches = Batches(sampler, batch_size, kwargs.pop("drop_last", False))
    if of_arrays:
        parts = [dataset.X, dataset.y, weights]  # type: ignore[attr-defined]
        rows = BatchesOfRows(*(torch.as_tensor(p) for p in parts if p is not None))
        return DataLoader(rows, sampler=batches, batch_size=None, **kwargs)
    return DataLoader(dataset, batch_sampler=batches, **kwargs)


class TrainingCollate:
    """Make a training batch: its input changed by the user's function, and weighted.

    `collate` is that of the loader: of a list of items, or of a batch of arrays. It
    gives input and codes, and weights where there are any.
    """

    def __init__(
        self,
        augment: Callable[[torch.Tensor], torch.Tensor] | None,
        collate: Callable[[Any], Any],
    ) -> None:
        self.augment, self.collate = augment, collate

    def __call__(self, items: Any) -> list[Any]:
        """Collate, augment the input, and put the weights beside it."""
        x, codes, *weights = self.collate(items)
        x = x if self.augment is None else self.augment(x)
        # skorch takes pairs only; what else a batch has goes with the input. A list,
        # as torch's own: callbacks may change a batch.
        return [Weighted(x, *weights) if weights else x, codes]


def logits_of_net(net: Any, module: nn.Module | None = None) -> nn.Module:
    """Give a skorch net's module, or one that turns its probabilities to logits.

    Or those of `module`, which is the net's at another time.
    """
    module = net.module_ if module is None else module
    return LogOf(module) if isinstance(net.criterion_, nn.NLLLoss) else module


def refuse_sampler(name: str, given: str, option: str = "") -> NoReturn:
    """Refuse what else chooses the examples of an epoch: it would be ignored."""
    raise ValueError(
        f"{name} decides which examples an epoch visits, and {given}, which would be "
        f"ignored. Take it out{option}; or, to sample in your own way, train in your "
        "own loop with what an EPICSubsetSampler keeps (its keep)."
    )


def take_over(loader: Any, name: str, option: str = "") -> tuple[Any, dict[str, Any]]:
    """Find where a framework's loader has its sampler, and how that orders rows.

    Returns the BatchSampler whose ``sampler`` may be replaced, and `shuffle` and
    `shard` of the EPICSubsetSampler that does the same. ValueError if something else
    than the framework's defaults chooses the examples, naming an `option` that may
    have asked for it; TypeError if they have no numbers.
    """
    refuse_iterable(getattr(loader, "dataset", None))
    batches: Any = getattr(loader, "batch_sampler", None)
    while hasattr(batches, "batch_sampler"):  # shared out by accelerate
        batches = batches.batch_sampler
    sampler: Any = getattr(batches, "sampler", None)
    kind = type(sampler)
    is_plain = kind in (SequentialSampler, DistributedSampler)
    if kind is RandomSampler or kind.__module__ == "accelerate.data_loader":
        is_plain = not sampler.replacement and sampler._num_samples is None
    if type(batches) is not BatchSampler or not is_plain:
        given = type(batches).__name__ if sampler is None else kind.__name__
        refuse_sampler(name, f"the training loader has a {given}", option)
    is_share = isinstance(sampler, DistributedSampler)
    shuffle = sampler.shuffle if is_share else kind is not SequentialSampler
    return batches, {"shuffle": shuffle, "shard": is_share}


def refuse_loaders_sampler(data: Any, name: str) -> None:
    """Refuse a data set's loader with a sampler of its own: it would be ignored."""
    if isinstance(data, DataLoader) and data.batch_sampler is None:
        raise ValueError(
            "The DataLoader has batch_size=None: what its items are is not known; give "
            "one with a batch size."
        )
    if isinstance(data, DataLoader):
        _, how = take_over(data, name)
        if how["shard"]:
            refuse_sampler(name, "the training loader has a DistributedSampler")
