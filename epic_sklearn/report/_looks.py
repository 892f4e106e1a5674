"""What rows look like: an image, or lines of text; and images as small PNG."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.functional import avg_pool2d

from .._utils import shortened
from ..base import is_dataframe, take_rows
from ..gradients.items import inputs_and_labels, is_dataset, items_of
from ..gradients.labels import in_memory
from ..validation import to_numpy
from ._case import as_text

N_VALUES = 12
LONGEST_TEXT = 2000
LONGEST_SIDE = 64
# All of a page together: 10,000 pairs of 32 x 32 and some more.
MOST_PIXELS = 24_000_000


def check_images(images: Any, n: int) -> np.ndarray:
    """Bring n images, as `report` takes them, to shape (n, H, W, C); a view.

    ValueError if number, shape, type or range are others.
    """
    array = channels_last(images)
    if array is None or len(array) != n or array.dtype.kind not in "fiub":
        raise ValueError(
            f"images has shape {np.shape(images)} for {n} rows; give numbers of shape "
            "(n, C, H, W), (n, H, W) or (n, H, W, C) with 1 or 3 channels, one image a "
            "row, in the order of the rows."
        )
    if span_of([array]) is not None:
        low, high = array.min(), array.max()
        raise ValueError(
            f"images has {array.dtype} values from {low:.4g} to {high:.4g}; give "
            "floats in [0, 1] or whole numbers from 0 to 255. Undo a normalisation "
            "first."
        )
    return array


def channels_last(images: Any) -> np.ndarray | None:
    """View of images as (n, H, W, C) with 1 or 3 channels; None of another shape."""
    array = np.asarray(to_numpy(images))
    if array.ndim == 3:
        array = array[..., None]
    elif array.ndim == 4 and array.shape[1] in (1, 3):
        array = np.moveaxis(array, 1, 3)
    is_shape = array.ndim == 4 and array.shape[3] in (1, 3) and 0 not in array.shape[1:]
    return array if is_shape else None


def span_of(images: Iterable[np.ndarray]) -> tuple[float, float] | None:
    """Values that are black and white; None where all values are colours.

    A normalised image has no range that says so: then they are the lowest and the
    highest of all images, but for those with more than thrice the usual range, which
    would leave the others gray.
    """
    ends, are_colours = [], True
    for image in images:
        low, high = float(image.min()), float(image.max())
        top = 1 if image.dtype.kind in "fb" else 255
        are_colours &= low >= -1e-6 and high <= top + 1e-6  # NaN is neither
        ends.append((low, high))
    if are_colours:
        return None
    ranges = np.diff(ends)[:, 0]
    is_usual = ~(ranges > 3 * np.median(ranges))
    lows, highs = np.array(ends)[is_usual].T
    return float(lows.min()), float(highs.max())


def least_factor(image: np.ndarray) -> int:
    """Pixels of an image (H, W, C) to a side of those of a thumbnail, at the least."""
    return -(-max(image.shape[:2]) // LONGEST_SIDE)


def reduced(image: np.ndarray, factor: int) -> np.ndarray:
    """Mean over squares of `factor` pixels, at the edges over what there is."""
    if factor == 1:
        return image
    pixels = torch.from_numpy(np.moveaxis(image, 2, 0).astype(np.float32))
    means = np.moveaxis(avg_pool2d(pixels, factor, ceil_mode=True).numpy(), 0, 2)
    return means if image.dtype.kind in "fb" else np.rint(means).astype(image.dtype)


def n_that_fit(image: np.ndarray, factor: int) -> int:
    """Count the thumbnails like that of an image for which a page has room."""
    height, width = (-(-side // factor) for side in image.shape[:2])
    return MOST_PIXELS // (height * width)


def thumbnails(
    images: Mapping[int, np.ndarray], span: tuple[float, float] | None = None
) -> dict[int, str]:
    """Make PNG in base64 of images (H, W, C) by number, smaller where they are many."""
    from PIL import Image

    largest = max(images.values(), key=np.size)
    factor = least_factor(largest)
    while len(images) > n_that_fit(largest, factor):
        factor += 1

    def thumbnail(image: np.ndarray) -> str:
        small = reduced(image, factor)
        if span is not None:
            small = (small.astype(np.float64) - span[0]) / (span[1] - span[0] or 1.0)
        if small.dtype.kind in "fb":
            small = np.rint(small.astype(np.float64) * 255).clip(0, 255)
        pixels = small.astype(np.uint8)
        pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels
        Image.fromarray(pixels).save(png := io.BytesIO(), "PNG")
        return base64.b64encode(png.getvalue()).decode("ascii")

    return {number: thumbnail(image) for number, image in images.items()}


class Look(NamedTuple):
    """An image (H, W, C) if it has one, and a text, empty where the image is all."""

    image: np.ndarray | None
    text: str


def looks(
    source: Any, rows: np.ndarray, labels: Mapping[int, Any] | None = None
) -> dict[int, Look]:
    """Look at rows of an array, frame, list or data set, by their numbers.

    Of a data set each is read once, and large images are made small. ValueError if an
    item has another label than the row has by `labels`.
    """
    source, rows = to_numpy(in_memory(source)), np.unique(rows)
    if is_dataset(source):
        found = {}
        numbers = rows.tolist()
        for row, item in zip(numbers, items_of(source, numbers), strict=True):
            x, label = inputs_and_labels(item)
            expected = label if labels is None else labels[row]
            are_alike = isinstance(label, str) == isinstance(expected, str)
            if label is not None and are_alike and label != expected:
                raise ValueError(
                    f"Item {row} has the label {label!r}, and the row {expected!r}: "
                    "give the rows in the order in which they were looked through."
                )
            found[row] = _small(_look(x))
        return found
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
        images = [look.image for look in parts.values() if look.image is not None]
        texts = {name: look.text for name, look in parts.items() if look.text}
        is_list = {name: np.ndim(to_numpy(item[name])) > 0 for name in texts}
        if images or not all(is_list.values()):  # they say more
            texts = {name: text for name, text in texts.items() if not is_list[name]}
        lines = [f"{name} {text}" for name, text in texts.items()]
        lines += _and_more(len(item))
        text = "\n".join(lines if len(lines) > 1 else texts.values())
        return Look(images[0] if images else None, text)
    if hasattr(item, "getbands"):  # of pillow
        item = item if item.mode in ("L", "RGB") else item.convert("RGB")
    elif isinstance(item, str):
        return Look(None, shortened(item, LONGEST_TEXT))
    values = np.asarray(to_numpy(item))
    image = channels_last(values[None]) if values.ndim in (2, 3) else None
    if image is not None and values.dtype.kind in "fiub" and np.isfinite(values).all():
        return Look(image[0], "")
    cells = [as_text(value, 40) for value in values.ravel()[:N_VALUES].tolist()]
    return Look(None, "\n".join([*cells, *_and_more(values.size)]))


def _and_more(n: int) -> list[str]:
    """Say of how many values the first ones are shown, if there are more."""
    return [f"... of {n}"] * (n > N_VALUES)
