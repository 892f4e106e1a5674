"""Labels that the items of a data set give, and a digest of what they are."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from skorch.dataset import Dataset as SkorchDataset
from torch.utils.data import DataLoader, TensorDataset

from .._utils import warn_user
from ..validation import digest, label_array, to_numpy
from .items import (
    LABEL_NAMES,
    WORKER_OPTIONS,
    inputs_and_labels,
    is_dataset,
    is_hugging_face,
    kept_random,
    loader_options,
    n_items,
    refuse_iterable,
    refuse_subset,
    take_items,
)


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
    """
    source: Any = data
    if isinstance(data, DataLoader):
        refuse_subset(data)
        source = data.dataset
    refuse_iterable(source)
    if given is not None:
        if len(given) != n_items(data):
            raise ValueError(f"X has {n_items(data)} items and y {len(given)} labels.")
        return given, digest_of(data)
    if type(source) is TensorDataset and len(source.tensors) > 1:
        if any(not part.is_floating_point() for part in source.tensors[2:]):
            _warn_of_more_parts(source)
        return to_numpy(source.tensors[1]), digest_of(source)
    if type(source) is SkorchDataset and source.y is not None:
        return np.asarray(to_numpy(source.y)), digest_of(source)
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


def varies(data: Any) -> bool:
    """Whether items are others each time that they are read, as augmented ones are.

    Some from all over the data set tell. A digest of them is then none of the data set.
    """
    if not is_dataset(in_memory(data)):
        return False
    last = n_items(data) - 1
    rows = np.unique(np.linspace(0, last, min(64, last + 1)).astype(int))
    first, second = _read_all(take_items(data, np.tile(rows, 2)), len(rows))
    return first.digest != second.digest


def digest_of(source: Any) -> str | None:
    """Name what the examples of a data set are; None where only its items tell."""
    source = in_memory(source)
    if is_dataset(source):
        return None
    if isinstance(source, dict):
        return digest(*(source[name] for name in sorted(source)))
    is_several = isinstance(source, list | tuple) and hasattr(source[0], "shape")
    return digest(*source) if is_several else digest(source)


def warn_of_augmented(name: str, data: Any, way_out: str) -> bool:
    """Warn of a data set whose items are others at each reading; whether it is one."""
    if is_augmented := varies(data):
        warn_user(
            f"{name}: the items of the data set differ from one reading to the next, "
            "as augmented ones do, so rules judge gradients of random copies. "
            f"{way_out}"
        )
    return is_augmented
