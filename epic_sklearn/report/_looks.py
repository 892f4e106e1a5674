"""What rows look like: an image, or lines of text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..base import is_dataframe, take_rows, to_numpy
from ..gradients.items import in_memory, inputs_and_labels, is_dataset, items_of
from ._case import shortened
from ._thumbnails import channels_last, least_factor, reduced

N_VALUES = 12
LONGEST_TEXT = 2000


class Look(NamedTuple):
    """An image (H, W, C) if it has one, and a text, empty where the image is all."""

    image: np.ndarray | None
    text: str


def looks(source: Any, rows: np.ndarray) -> dict[int, Look]:
    """Look at rows of an array, frame, list or data set, by their numbers.

    Of a data set each is read once, and large images are made small.
    """
    source, rows = to_numpy(in_memory(source)), np.unique(rows)
    if is_dataset(source):
        items = items_of(source, rows.tolist())
        found = [_small(_look(inputs_and_labels(item)[0])) for item in items]
        return dict(zip(rows.tolist(), found, strict=True))
    block = take_rows(source, rows)
    if is_dataframe(block):
        columns = list(map(str, block.columns))
        block = [dict(zip(columns, line, strict=True)) for line in np.asarray(block)]
    block = block.toarray() if hasattr(block, "toarray") else block
    return dict(zip(rows.tolist(), map(_look, block), strict=True))


def _small(look: Look) -> Look:
    image = look.image
    return look if image is None else Look(reduced(image, least_factor(image)), look[1])


def _look(item: Any) -> Look:
    """Look at the input of one row; of a dictionary at what a person can read."""
    if isinstance(item, Mapping):
        parts = {name: _look(part) for name, part in [*item.items()][:N_VALUES]}
        image = next(
            (look.image for look in parts.values() if look[0] is not None), None
        )
        texts = {name: look.text for name, look in parts.items() if look.text}
        is_list = {name: np.ndim(to_numpy(item[name])) > 0 for name in texts}
        if image is not None or not all(is_list.values()):  # they say more
            texts = {name: text for name, text in texts.items() if not is_list[name]}
        lines = [f"{name} {text}" for name, text in texts.items()]
        return Look(
            image, "\n".join(lines) if len(lines) > 1 else "".join(texts.values())
        )
    if hasattr(item, "getbands"):  # of pillow
        item = item if item.mode in ("L", "RGB") else item.convert("RGB")
    elif isinstance(item, str):
        return Look(None, shortened(item, LONGEST_TEXT))
    values = np.asarray(to_numpy(item))
    image = channels_last(values[None]) if values.ndim in (2, 3) else None
    if image is not None and values.dtype.kind in "fiub" and np.isfinite(values).all():
        return Look(image[0], "")
    return Look(None, "\n".join(map(_value, values.ravel()[:N_VALUES].tolist())))


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else shortened(value, 40)
