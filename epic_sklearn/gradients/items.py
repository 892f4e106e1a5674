"""Data sets, whose items are read when needed: batches in order, and labels."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from skorch.dataset import Dataset as SkorchDataset
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    default_collate,
)

from .._utils import warn_user
from ..validation import digest, label_array

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


def is_hugging_face(X: Any) -> bool:
    """Whether X is a Dataset of Hugging Face, which is none of torch's."""
    kinds = {(kind.__module__, kind.__name__) for kind in type(X).__mro__}
    return ("datasets.arrow_dataset", "Dataset") in kinds


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
    if isinstance(data, IterableDataset):
        raise TypeError(
            f"{type(data).__name__} is an IterableDataset, whose examples have no "
            "numbers that could be left out; give a data set with __getitem__ and "
            "__len__."
        )


def refuse_items(X: Any) -> None:
    """Refuse a dictionary of arrays and a list of items, with TypeError."""
    if isinstance(X, Mapping):
        raise TypeError(
            f"X is a {type(X).__name__} with the entries {list(X)[:10]}; give a data "
            "set whose items are dictionaries, with a label each."
        )
    if isinstance(X, list) and X and isinstance(X[0], tuple | dict):
        raise TypeError(
            "X is a list of items, as scikit-learn makes of a data set that it splits. "
            "Split it yourself, with torch.utils.data.Subset; or give one whose items "
            "are arrays without labels, and y."
        )


@contextmanager
def kept_random(devices: Iterable[Any] = ()) -> Iterator[None]:
    """Leave torch's, numpy's and Python's global random numbers as they were.

    Items may be augmented by them, and modules draw from them. Of torch also those of
    the CUDA `devices`.
    """
    states = np.random.get_state(), random.getstate()
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        np.random.set_state(states[0])
        random.setstate(states[1])


def size_of(x: Any) -> int:
    """Examples in a batch."""
    return len(next(iter(x.values())) if isinstance(x, Mapping) else x)


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
    data = as_tensors(data, options.get("collate_fn", default_collate))
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
    """Count the items of a data set, or of a loader's."""
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


def in_memory(source: Any) -> Any:
    """Give the examples of a data set that holds them as one array; others as is."""
    if isinstance(source, DataLoader):
        source = source.dataset
    if type(source) is TensorDataset:  # not of subclasses, whose items may be others
        return source.tensors[0]
    return source.X if type(source) is SkorchDataset else source


class _Read(NamedTuple):
    """Labels of some items, their digest, and whether something else may be labels."""

    labels: list[Any]
    digest: str
    is_ambiguous: bool


def _read(items: list[Any]) -> _Read:
    """Collate items to what is wanted of them, in the process that read them."""
    inputs, labels = zip(*map(inputs_and_labels, items), strict=True)
    parts = [x.values() if isinstance(x, Mapping) else [x] for x in inputs]
    found = [y.tolist() if hasattr(y, "tolist") else y for y in labels]
    more = items[0][2:] if isinstance(items[0], list | tuple) else ()
    kinds = [np.asarray(part).dtype.kind for part in more if np.ndim(part) == 0]
    name = digest(*itertools.chain.from_iterable(parts))
    return _Read(found, name, any(kind in "iuU" for kind in kinds))


def _read_all(data: Any, batch_size: int = 64) -> list[_Read]:
    options = loader_options(data, WORKER_OPTIONS)
    data = data.dataset if isinstance(data, DataLoader) else data
    with kept_random():
        return list(DataLoader(data, batch_size, collate_fn=_read, **options))


def _warn_of_more_parts(data: Any) -> None:
    warn_user(
        f"The items of {type(data).__name__} have more than two parts, of which the "
        "second is taken for the label. If it is another one: let items be (x, label), "
        "or dictionaries that name it 'label'."
    )


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
        If an item has no label, or there is not one `given` for each.
    """
    source: Any = data.dataset if isinstance(data, DataLoader) else data
    refuse_iterable(source)
    if given is not None:
        if len(given) != n_items(data):
            raise ValueError(f"X has {n_items(data)} items and y {len(given)} labels.")
        return given, digest_of(data)
    if type(source) is TensorDataset and len(source.tensors) > 1:
        if any(not part.is_floating_point() for part in source.tensors[2:]):
            _warn_of_more_parts(source)
        return source.tensors[1].cpu().numpy(), digest_of(source)
    if type(source) is SkorchDataset and source.y is not None:
        y = source.y.cpu() if hasattr(source.y, "cpu") else source.y
        return np.asarray(y), digest_of(source)
    if is_hugging_face(source) and source.format["type"] != "custom":
        columns = [name for name in LABEL_NAMES if name in source.column_names]
        if columns:
            return label_array(source.with_format(None)[columns[0]][:]), None
    parts = _read_all(data)
    if any(part.is_ambiguous for part in parts):
        _warn_of_more_parts(source)
    labels = [label for part in parts for label in part.labels]
    if any(label is None for label in labels):
        raise ValueError(
            f"{type(source).__name__} gives no labels; its items must be (x, label) "
            f"pairs or dictionaries with one of {LABEL_NAMES}, or inputs alone and the "
            "labels be passed themselves."
        )
    return label_array(labels), digest(np.array([part.digest for part in parts]))


def item_labels(data: Any) -> np.ndarray:
    """Give the labels alone; see :func:`labels_and_digest`."""
    return labels_and_digest(data)[0]


def gives_the_same_twice(data: Any, n: int = 64) -> bool:
    """Whether items from all over a data set, read again, are what they were."""
    last = n_items(data) - 1
    rows = np.unique(np.linspace(0, last, min(n, last + 1)).astype(int))
    first, second = _read_all(take_items(data, np.tile(rows, 2)), len(rows))
    return first.digest == second.digest


def varies(data: Any) -> bool:
    """Whether items are others each time that they are read, as augmented ones are.

    A digest of them is then none of the data set.
    """
    return is_dataset(in_memory(data)) and not gives_the_same_twice(data)


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


def digest_of(source: Any) -> str | None:
    """Name what the examples of a data set are; None where only its items tell."""
    source = in_memory(source)
    if is_dataset(source):
        return None
    if isinstance(source, dict):
        return digest(*(source[name] for name in sorted(source)))
    is_several = isinstance(source, list | tuple) and hasattr(source[0], "shape")
    return digest(*source) if is_several else digest(source)
