"""Data sets, whose items are read when needed: batches in order, and labels."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from skorch.dataset import Dataset as SkorchDataset
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
)

from ..validation import digest, label_array

# Options of a user's DataLoader that say how batches are made, not of which examples.
WORKER_OPTIONS = (
    "num_workers",
    "timeout",
    "worker_init_fn",
    "multiprocessing_context",
    "prefetch_factor",
)
LOADER_OPTIONS = (*WORKER_OPTIONS, "collate_fn", "pin_memory")
# What a dictionary names its labels, as transformers does.
LABEL_NAMES = ("labels", "label", "label_ids")


def is_hugging_face(X: Any) -> bool:
    """Whether X is a Dataset of Hugging Face, which is none of torch's."""
    kinds = {(kind.__module__, kind.__name__) for kind in type(X).__mro__}
    return ("datasets.arrow_dataset", "Dataset") in kinds


def as_tensors(data: Any) -> Any:
    """Let a ``datasets.Dataset`` give tensors where it would give lists and numbers.

    Of which loaders make batches the wrong way round.
    """
    if is_hugging_face(data) and data.format["type"] is None:
        return data.with_format("torch")
    return data


def is_dataset(X: Any) -> bool:
    """Whether X is a data set, or a loader of one."""
    return isinstance(X, Dataset | DataLoader) or is_hugging_face(X)


def size_of(x: Any) -> int:
    """Examples in a batch."""
    return len(next(iter(x.values())) if isinstance(x, Mapping) else x)


def loader_options(data: Any, names: tuple[str, ...] = LOADER_OPTIONS) -> Any:
    """Options of a DataLoader that another one may take; none of anything else."""
    is_loader = isinstance(data, DataLoader)
    return {name: getattr(data, name) for name in names} if is_loader else {}


def ordered_batches(data: Any, batch_size: int) -> Iterable[Any]:
    """Batches of `data` in the order of its examples.

    A gradient belongs to the example with the same number. A loader that
    shuffles, samples or drops its last batch breaks that without any error, so
    of a `DataLoader` only the data set and how batches are made are used, its own
    batch size among them.
    """
    if isinstance(data, DataLoader):
        options = loader_options(data)
        if isinstance(data.dataset, IterableDataset):  # workers would mix the order
            options = {"collate_fn": data.collate_fn}
        gives_batches = data.batch_sampler is None  # the data set itself
        options["batch_size"] = None if gives_batches else data.batch_size or batch_size
        data = data.dataset
    elif is_dataset(data):
        options = {"batch_size": batch_size}
    else:  # slices, not a collection of single items
        return data.split(batch_size)
    # A loader without a generator draws a seed from torch's global one.
    return DataLoader(as_tensors(data), generator=torch.Generator(), **options)


def inputs_and_labels(batch: Any) -> tuple[Any, Any]:
    """Split an item or batch into the module's input and, where it has any, labels."""
    if isinstance(batch, Mapping):
        name = next((name for name in LABEL_NAMES if name in batch), None)
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
    """Count the items of a data set, or of a loader's."""
    return len(data.dataset if isinstance(data, DataLoader) else data)  # type: ignore[arg-type]


def like(loader: DataLoader, data: Any, batch_size: int | None = None) -> DataLoader:
    """Make a loader of `data` in its order, with the workers of another."""
    batch_size = batch_size or loader.batch_size or 512
    return DataLoader(data, batch_size, **loader_options(loader))


def take_items(data: Any, rows: np.ndarray) -> Any:
    """Take some items of a data set, or of a loader's, as a data set or loader."""
    if isinstance(data, DataLoader):
        return like(data, take_items(data.dataset, rows))
    return data.select(rows) if is_hugging_face(data) else Subset(data, rows.tolist())


def in_memory(source: Any) -> Any:
    """Give the examples of a data set that holds them as one array; others as is."""
    if isinstance(source, DataLoader):
        source = source.dataset
    if type(source) is TensorDataset:  # not of subclasses, whose items may be others
        return source.tensors[0]
    return source.X if type(source) is SkorchDataset else source


def _read(items: list[Any]) -> tuple[list[Any], str]:
    """Collate items to their labels and a digest, in the process that read them."""
    inputs, labels = zip(*map(inputs_and_labels, items), strict=True)
    parts = [x.values() if isinstance(x, Mapping) else [x] for x in inputs]
    found = [y.tolist() if hasattr(y, "tolist") else y for y in labels]
    return found, digest(*itertools.chain.from_iterable(parts))


def _read_all(data: Any, batch_size: int = 64) -> list[tuple[list[Any], str]]:
    options = loader_options(data, WORKER_OPTIONS)
    data = data.dataset if isinstance(data, DataLoader) else data
    with torch.random.fork_rng(devices=[]):  # items may be augmented at random
        return list(DataLoader(data, batch_size, collate_fn=_read, **options))


def labels_and_digest(data: Any, given: Any = None) -> tuple[Any, str | None]:
    """Labels that the items of a data set give, in its own order, and `digest_of` them.

    Where labels are `given`, they are these, and items are not read.

    Its attributes are not trusted: ``targets`` need not be what the items give
    (torchvision's ``target_transform``), nor ``labels`` one an example. So each item
    is read once, by the workers of a DataLoader; but for a ``TensorDataset`` and a
    ``datasets.Dataset``, whose columns are what the items give. Of the latter the rest
    is not read, and there is no digest.

    Raises
    ------
    TypeError
        If it has no items that could be numbered.
    ValueError
        If an item has no label.
    """
    if given is not None:
        return given, digest_of(data)
    source: Any = data.dataset if isinstance(data, DataLoader) else data
    if isinstance(source, IterableDataset):
        raise TypeError(
            f"{type(source).__name__} is an IterableDataset, whose examples have no "
            "numbers that could be left out; give a data set with __getitem__ and "
            "__len__."
        )
    if type(source) is TensorDataset and len(source.tensors) > 1:
        return source.tensors[1].cpu().numpy(), digest_of(source)
    if type(source) is SkorchDataset and source.y is not None:
        y = source.y.cpu() if hasattr(source.y, "cpu") else source.y
        return np.asarray(y), digest_of(source)
    if is_hugging_face(source) and source.format["type"] != "custom":
        columns = [name for name in LABEL_NAMES if name in source.column_names]
        if columns:
            return label_array(source.with_format(None)[columns[0]][:]), None
    parts = _read_all(data)
    labels = [label for some, _ in parts for label in some]
    if any(label is None for label in labels):
        raise ValueError(
            f"{type(source).__name__} gives no labels; its items must be (x, label) "
            f"pairs or dictionaries with one of {LABEL_NAMES}, or pass the labels "
            "themselves."
        )
    return label_array(labels), digest(np.array([part for _, part in parts]))


def item_labels(data: Any) -> np.ndarray:
    """Give the labels alone; see :func:`labels_and_digest`."""
    return labels_and_digest(data)[0]


def gives_the_same_twice(data: Any, n: int = 64) -> bool:
    """Whether the first items of a data set, read again, are what they were."""
    rows = np.arange(min(n, n_items(data)))
    (_, first), (_, second) = _read_all(take_items(data, np.tile(rows, 2)), len(rows))
    return first == second


def items_of(data: Any, rows: list[int]) -> Iterator[Any]:
    """Items of some rows of a data set, or of a loader's, each read once."""
    source = data.dataset if isinstance(data, DataLoader) else data
    some = Subset(as_tensors(source), rows)
    options = loader_options(data, WORKER_OPTIONS)
    generator = torch.Generator()
    for part in DataLoader(some, 64, collate_fn=list, generator=generator, **options):
        yield from part


def read_items(data: Any, rows: list[int]) -> Any:
    """Read some rows of a data set, each once, into another, or of a loader."""
    items: Any = list(items_of(data, rows))
    read: Dataset = Subset(items, range(len(items)))
    if not isinstance(data, DataLoader):
        return read
    return DataLoader(read, data.batch_size or 512, collate_fn=data.collate_fn)


def digest_of(source: Any) -> str | None:
    """Name what the examples of a data set are; None where only its items tell."""
    source = in_memory(source)
    if is_dataset(source):
        return None
    if isinstance(source, dict):
        return digest(*(source[name] for name in sorted(source)))
    is_several = isinstance(source, list | tuple) and hasattr(source[0], "shape")
    return digest(*source) if is_several else digest(source)
