"""Data sets, whose items are read when needed: batches in order, and labels."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from threading import RLock
from typing import Any

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.utils.validation import _num_samples
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    default_collate,
)
from torch.utils.data.distributed import DistributedSampler

from ..validation import to_numpy

# Options of a user's DataLoader that say how batches are made, not of which examples.
WORKER_OPTIONS = (
    "num_workers",
    "persistent_workers",
    "timeout",
    "worker_init_fn",
    "multiprocessing_context",
    "prefetch_factor",
)
LOADER_OPTIONS = (*WORKER_OPTIONS, "collate_fn", "pin_memory")
# What a dictionary names its labels, as transformers does.
LABEL_NAMES = ("labels", "label", "label_ids")


def _is_of(X: Any, module: str, name: str) -> bool:
    kinds = {(kind.__module__, kind.__name__) for kind in type(X).__mro__}
    return (module, name) in kinds


def is_hugging_face(X: Any) -> bool:
    """Whether X is a Dataset of Hugging Face, which is none of torch's."""
    return _is_of(X, "datasets.arrow_dataset", "Dataset")


def as_tensors(data: Any, collate: Any = default_collate) -> Any:
    """Let a ``datasets.Dataset`` give tensors where it would give lists and numbers.

    Of which torch's own `collate` makes batches the wrong way round; another one gets
    what it gets elsewhere.
    """
    if is_hugging_face(data) and data.format["type"] is None:
        return data.with_format("torch") if collate is default_collate else data
    return data


def is_dataset(X: Any) -> bool:
    """Whether X is a data set, or a loader of one."""
    return isinstance(X, Dataset | DataLoader) or is_hugging_face(X)


def refuse_iterable(data: Any) -> None:
    """Refuse a data set whose examples come one after the other, with TypeError."""
    streams = _is_of(data, "datasets.iterable_dataset", "IterableDataset")
    if isinstance(data, IterableDataset) or streams:
        raise TypeError(
            f"{type(data).__name__} is an IterableDataset, whose examples have no "
            "numbers that could be left out; give a data set with __getitem__ and "
            "__len__."
        )


def refuse_items(X: Any) -> None:
    """Refuse a dictionary of arrays and a list of items, with TypeError."""
    if isinstance(X, Mapping) and not issparse(X):  # a DOK matrix is a dict
        raise TypeError(
            f"X is a {type(X).__name__} with the entries {list(X)[:10]}; give a data "
            "set whose items are dictionaries, with a label each."
        )
    is_array = hasattr(X, "shape") or hasattr(X, "__array__")
    has_items = hasattr(X, "__getitem__") and hasattr(X, "__len__") and not is_array
    if has_items and len(X) and isinstance(X[0], tuple | dict):
        raise TypeError(
            f"X is a {type(X).__name__} of items; give a data set of them, "
            "DataLoader(X). If scikit-learn made a list of one when it split it, split "
            "it yourself, with torch.utils.data.Subset; or give one whose items are "
            "arrays without labels, and y."
        )


# Of the global random numbers, which threads would draw in any order.
ONE_AT_A_TIME: Any = RLock()
if hasattr(os, "register_at_fork"):  # its holder is not in the child
    os.register_at_fork(after_in_child=ONE_AT_A_TIME._at_fork_reinit)


@contextmanager
def kept_random(devices: Iterable[Any] = (), waits: bool = True) -> Iterator[None]:
    """Leave torch's, numpy's and Python's global random numbers as they were.

    Items may be augmented by them, and modules draw from them. Of torch also those of
    the CUDA `devices`. One thread at a time is in here; what does not wait for another
    goes on, and leaves it to that one to put them back.
    """
    if not ONE_AT_A_TIME.acquire(blocking=waits):
        yield
        return
    states = np.random.get_state(), random.getstate()
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        np.random.set_state(states[0])
        random.setstate(states[1])
        ONE_AT_A_TIME.release()


def sizes_of(x: Any) -> set[int]:
    """How many examples a batch may have: a list may be of these, or of their parts."""
    if isinstance(x, Mapping):
        return sizes_of(next(iter(x.values())))
    if not isinstance(x, list | tuple) or not len(x):
        return {len(x)}
    first = x[0]
    shape = getattr(first, "shape", ())
    return {len(x), *(sizes_of(first) if isinstance(first, Mapping) else shape[:1])}


def loader_options(
    data: Any, names: tuple[str, ...] = LOADER_OPTIONS, n_batches: int = 2
) -> dict[str, Any]:
    """Options of a DataLoader that another one may take; none of anything else.

    For a single batch no workers are started, unless something initialises them.
    """
    if not isinstance(data, DataLoader):
        return {}
    if n_batches < 2 and data.worker_init_fn is None:
        names = tuple(name for name in names if name not in WORKER_OPTIONS)
    return {name: getattr(data, name) for name in names}


def refuse_subset(loader: DataLoader) -> None:
    """Refuse a loader whose sampler visits some of its examples only.

    All are taken, in their order; but of a sampler that itself says what it keeps,
    and of one that visits a process's share.
    """
    if isinstance(loader.dataset, IterableDataset):
        return
    sampler: Any = getattr(loader.batch_sampler, "sampler", loader.sampler)
    n = n_items(loader)
    visited = len(sampler) if hasattr(sampler, "__len__") else n
    is_known = hasattr(sampler, "keep") or isinstance(sampler, DistributedSampler)
    if visited != n and not is_known:
        raise ValueError(
            f"The loader's {type(sampler).__name__} visits {visited} examples, and its "
            f"data set has {n}, which would all be taken. Give those that you mean: "
            "DataLoader(Subset(dataset, rows), ...)."
        )


def _parts(batch: Any, n: int) -> Iterator[torch.Tensor]:
    """Numbers in a batch that have one row for each of n items."""
    if isinstance(batch, Mapping | list | tuple):
        for part in batch.values() if isinstance(batch, Mapping) else batch:
            yield from _parts(part, n)
    elif isinstance(batch, np.ndarray) and batch.dtype.kind in "fiub":
        yield from _parts(torch.tensor(batch), n)
    elif torch.is_tensor(batch) and not batch.is_nested and batch.shape[:1] == (n,):
        yield batch.to_dense()


def _are_same(a: torch.Tensor, b: torch.Tensor) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return torch.allclose(a, b, equal_nan=True) if a.is_floating_point() else a.equal(b)


class InOrder:
    """A collate function, with whose batches the items' order is checked.

    A batch with other labels than its items, or of another number, is refused: which
    row is whose would not be known. So is one in which no row moves when items do.
    """

    keeps_order = True

    def __init__(self, collate: Any) -> None:
        self.collate = collate
        self._is_tried = False

    def _try(self, items: list[Any]) -> None:
        """Collate items forwards and backwards; where that is random, nothing tells."""
        self._is_tried, n = True, len(items)
        with kept_random():
            batches = map(self.collate, (items, items, items[::-1]))
            first, again, turned = (list(_parts(batch, n)) for batch in batches)
        if not len(first) == len(again) == len(turned):
            return
        is_random = not all(map(_are_same, first, again))
        telling = [j for j, a in enumerate(first) if not _are_same(a, a.flip(0))]
        moves = any(_are_same(turned[j], first[j].flip(0)) for j in telling)
        if telling and not is_random and not moves:
            raise ValueError(
                f"{self.collate!r} makes of {n} items a batch in which none of the "
                "parts that have one row an item is in another order when the items "
                "are: a collate function orders them, so that rows would be taken for "
                "others. Let it keep items, their order and their labels."
            )

    def __call__(self, items: list[Any]) -> Any:
        """Collate."""
        if len(items) > 1 and not self._is_tried:
            self._try(items)
        batch = self.collate(items)
        labels = inputs_and_labels(batch)[1]
        own = [inputs_and_labels(item)[1] for item in items]
        if labels is None or any(label is None for label in own):
            return batch
        found, given = (np.asarray(part).ravel() for part in (to_numpy(labels), own))
        are_comparable = all(a.dtype.kind in "iub" for a in (found, given))
        is_other = are_comparable and not np.array_equal(found, given)
        if found.size != given.size or is_other:
            is_long = isinstance(batch, list | tuple) and len(batch) > 2
            second = (
                " The second part of a batch is taken for the labels, and its first "
                "is all that the module gets: a dictionary, if that is several."
            ) * is_long
            raise ValueError(
                f"{self.collate!r} makes of items with the labels {own[:10]} a batch "
                f"with {found.tolist()[:10]}: a collate function changes labels, or "
                "orders or leaves out items, so that rows would be taken for others. "
                f"Let it keep items, their order and their labels.{second}"
            )
        return batch


def in_order(collate: Any) -> Any:
    """Check the order of a user's own collate function; see `InOrder`."""
    is_safe = collate is default_collate or hasattr(collate, "keeps_order")
    return collate if is_safe else InOrder(collate)


def ordered_batches(data: Any, batch_size: int) -> Iterable[Any]:
    """Batches of `data` in the order of its examples.

    A gradient belongs to the example with the same number. A loader that
    shuffles, samples or drops its last batch breaks that without any error, so
    of a `DataLoader` only the data set and how batches are made are used, its own
    batch size among them.
    """
    if isinstance(data, DataLoader):
        refuse_subset(data)
        options = loader_options(data)
        if isinstance(data.dataset, IterableDataset):  # workers would mix the order
            options = {"collate_fn": data.collate_fn}
        gives_batches = data.batch_sampler is None  # the data set itself
        options["batch_size"] = None if gives_batches else data.batch_size or batch_size
        data = data.dataset
    elif is_dataset(data):
        options = {"batch_size": batch_size}
    else:  # slices, not a collection of single items
        # Copies: a module may work in place, and a tensor be the user's own memory.
        return (part.clone() for part in data.split(batch_size))
    collate = options.get("collate_fn", default_collate)
    data = as_tensors(data, collate)
    if options["batch_size"] is not None:
        options["collate_fn"] = in_order(collate)
    # A loader without a generator draws a seed from torch's global one.
    return DataLoader(data, generator=torch.Generator(), **options)


def inputs_and_labels(batch: Any) -> tuple[Any, Any]:
    """Split an item or batch into the module's input and, where it has any, labels.

    ValueError if a dictionary has several entries that may be the labels.
    """
    if isinstance(batch, Mapping):
        names = [name for name in LABEL_NAMES if name in batch]
        if len(names) > 1:
            raise ValueError(
                f"The items have the entries {names}, of which each may be the label; "
                "leave one."
            )
        name = names[0] if names else None
        inputs = {key: part for key, part in batch.items() if key != name}
        return inputs, None if name is None else batch[name]
    if not isinstance(batch, list | tuple):
        return batch, None
    return batch[0], batch[1] if len(batch) > 1 else None


def without_texts(x: Any, known: Iterable[str] = ()) -> Any:
    """Leave out a dictionary's texts, which are for people, but for `known` entries."""

    def is_text(part: Any) -> bool:
        first = part[0] if isinstance(part, list | tuple) and len(part) else part
        return isinstance(first, str)

    if not isinstance(x, Mapping):
        return x
    return {k: part for k, part in x.items() if k in known or not is_text(part)}


def n_items(data: Any) -> int:
    """Count the items of a data set, or of a loader's; of anything else the rows."""
    if not is_dataset(data):
        return _num_samples(data)
    return len(data.dataset if isinstance(data, DataLoader) else data)  # type: ignore[arg-type]


def like(loader: DataLoader, data: Any, batch_size: int | None = None) -> DataLoader:
    """Make a loader of `data` in its order, with the workers of another."""
    batch_size = batch_size or loader.batch_size or 512
    n_batches = -(-len(data) // batch_size)
    return DataLoader(data, batch_size, **loader_options(loader, n_batches=n_batches))


def take_items(data: Any, rows: np.ndarray) -> Any:
    """Take some items of a data set, or of a loader's, as a data set or loader."""
    if isinstance(data, DataLoader):
        return like(data, take_items(data.dataset, rows))
    return data.select(rows) if is_hugging_face(data) else Subset(data, rows.tolist())


def items_of(
    data: Any, rows: list[int], collate: Any = default_collate
) -> Iterator[Any]:
    """Items of some rows of a data set, or of a loader's, each read once.

    As `collate` is to get them.
    """
    source = data.dataset if isinstance(data, DataLoader) else data
    some = Subset(as_tensors(source, collate), rows)
    options = loader_options(data, WORKER_OPTIONS)
    generator = torch.Generator()
    for part in DataLoader(some, 64, collate_fn=list, generator=generator, **options):
        yield from part


def read_items(data: Any, rows: list[int]) -> Any:
    """Read some rows of a data set, each once, into another, or of a loader."""
    collate = getattr(data, "collate_fn", default_collate)
    items: Any = list(items_of(data, rows, collate))
    read: Dataset = Subset(items, range(len(items)))
    if not isinstance(data, DataLoader):
        return read
    return DataLoader(read, data.batch_size or 512, collate_fn=collate)
