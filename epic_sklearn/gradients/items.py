"""Data sets, whose items are read when needed: batches in order, and labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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


def _labels_in(items: list[Any]) -> list[Any]:
    """Collate items to their labels alone, in the process that read them."""
    labels = [inputs_and_labels(item)[1] for item in items]
    return [y.tolist() if hasattr(y, "tolist") else y for y in labels]


def item_labels(data: Any) -> np.ndarray:
    """Labels that the items of a data set give, in its own order.

    Its attributes are not trusted: ``targets`` need not be what the items give
    (torchvision's ``target_transform``), nor ``labels`` one an example. So each item
    is read once, by the workers of a DataLoader; but for a ``TensorDataset`` and a
    ``datasets.Dataset``, whose columns are what the items give.

    Raises
    ------
    TypeError
        If it has no items that could be numbered.
    ValueError
        If an item has no label.
    """
    options = loader_options(data, WORKER_OPTIONS)
    data = data.dataset if isinstance(data, DataLoader) else data
    if isinstance(data, IterableDataset):
        raise TypeError(
            f"{type(data).__name__} is an IterableDataset, whose examples have no "
            "numbers that could be left out; give a data set with __getitem__ and "
            "__len__."
        )
    # Not of subclasses, whose items may be others.
    if type(data) is TensorDataset and len(data.tensors) > 1:
        return data.tensors[1].cpu().numpy()
    if is_hugging_face(data) and data.format["type"] != "custom":
        columns = [name for name in LABEL_NAMES if name in data.column_names]
        if columns:
            return label_array(data.with_format(None)[columns[0]][:])
    labels: list[Any] = []
    with torch.random.fork_rng(devices=[]):  # items may be augmented at random
        for some in DataLoader(data, 64, collate_fn=_labels_in, **options):
            labels += some
    if any(label is None for label in labels):
        raise ValueError(
            f"{type(data).__name__} gives no labels; its items must be (x, label) "
            f"pairs or dictionaries with one of {LABEL_NAMES}, or pass the labels "
            "themselves."
        )
    return label_array(labels)


def read_items(data: Any, rows: list[int]) -> Any:
    """Read some rows of a data set, each once, into another, or of a loader."""
    options, source = loader_options(data, WORKER_OPTIONS), data
    if is_loader := isinstance(data, DataLoader):
        source = data.dataset
    some = Subset(as_tensors(source), rows)
    parts = DataLoader(
        some, 64, collate_fn=list, generator=torch.Generator(), **options
    )
    items: Any = [item for part in parts for item in part]
    read: Dataset = Subset(items, range(len(items)))
    if not is_loader:
        return read
    return DataLoader(read, data.batch_size or 512, collate_fn=data.collate_fn)


def digest_of(source: Any) -> str | None:
    """Name what the examples of a data set are; None where only its items tell."""
    if type(source) is TensorDataset:
        source = source.tensors[0]
    elif type(source) is SkorchDataset:
        source = source.X
    if is_dataset(source):
        return None
    if isinstance(source, dict):
        return digest(*(source[name] for name in sorted(source)))
    is_several = isinstance(source, list | tuple) and hasattr(source[0], "shape")
    return digest(*source) if is_several else digest(source)
