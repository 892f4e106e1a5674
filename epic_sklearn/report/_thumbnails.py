"""Thumbnails: small images as PNG."""

from __future__ import annotations

import base64
import itertools
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

LONGEST_SIDE = 64
BLOCK = 256  # images made small together
# All of a page together: 10,000 pairs of 32 x 32 and some more.
MOST_PIXELS = 24_000_000


def check_images(images: Any, n: int) -> np.ndarray:
    """Bring images to shape (n, H, W, C) without copying them.

    Parameters
    ----------
    images : array-like of shape (n, C, H, W), (n, H, W) or (n, H, W, C)
        Floats in [0, 1], or whole numbers from 0 to 255.
    n : int
        How many there must be.

    Returns
    -------
    ndarray of shape (n, H, W, C)
        A view, in the type given.

    Raises
    ------
    ValueError
        If shape, type or range are others.
    """
    if hasattr(images, "detach"):  # a torch tensor
        images = images.detach().cpu().numpy()
    array = np.asarray(images)
    if array.ndim == 3:
        array = array[..., None]
    elif array.ndim == 4 and array.shape[1] in (1, 3):
        array = np.moveaxis(array, 1, 3)
    if array.ndim != 4 or array.shape[3] not in (1, 3) or 0 in array.shape[1:]:
        raise ValueError(
            f"images has shape {np.shape(images)}; give (n, C, H, W), (n, H, W) or "
            "(n, H, W, C) with 1 or 3 channels."
        )
    if len(array) != n:
        raise ValueError(
            f"images has {len(array)} images for {n} rows; give one a row, in the "
            "order of the rows."
        )
    _check_range(array)
    return array


def _check_range(array: np.ndarray) -> None:
    if array.dtype.kind not in "fiub":
        raise ValueError(f"images must be numbers; got dtype {array.dtype}.")
    top = 1 if array.dtype.kind in "fb" else 255
    low, high = array.min(), array.max()
    if not (low >= -1e-6 and high <= top + 1e-6):  # NaN is neither
        raise ValueError(
            f"images has {array.dtype} values from {low:.4g} to {high:.4g}; give "
            "floats in [0, 1] or whole numbers from 0 to 255. Undo a normalisation "
            "first."
        )


def _to_bytes(images: np.ndarray, span: tuple[float, float] | None) -> np.ndarray:
    if span is not None:
        low, high = span
        images = (images.astype(np.float64) - low) / (high - low or 1.0)
    if images.dtype.kind in "fb":
        return np.rint(images.astype(np.float64) * 255).clip(0, 255).astype(np.uint8)
    return images.astype(np.uint8)


def _reduced(images: np.ndarray, factor: int) -> np.ndarray:
    """Mean over squares of `factor` pixels; the edge repeats to fill the last."""
    if factor == 1:
        return images
    n, height, width, channels = images.shape
    pad = ((0, 0), (0, -height % factor), (0, -width % factor), (0, 0))
    wide = np.pad(images, pad, mode="edge").astype(np.float32)
    blocks = wide.reshape(
        n, wide.shape[1] // factor, factor, wide.shape[2] // factor, factor, channels
    )
    return np.rint(blocks.mean(axis=(2, 4))).astype(np.uint8)


def to_png(pixels: np.ndarray) -> bytes:
    """Encode an image (H, W, 1) or (H, W, 3), uint8, as PNG.

    Lossless in twenty lines: the extra needs no imaging library, and a poison's
    small change survives.
    """
    height, width, channels = pixels.shape
    # Filter 1, the difference to the pixel on the left, suits photographs.
    left = np.zeros_like(pixels)
    left[:, 1:] = pixels[:, :-1]
    lines = np.ones((height, 1 + width * channels), dtype=np.uint8)
    lines[:, 1:] = (pixels - left).reshape(height, -1)
    kind = {1: 0, 3: 2}[channels]
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    body = zlib.compress(lines.tobytes(), 6)
    png = b"\x89PNG\r\n\x1a\n"
    for name, data in ((b"IHDR", header), (b"IDAT", body), (b"IEND", b"")):
        check = struct.pack(">I", zlib.crc32(name + data))
        png += struct.pack(">I", len(data)) + name + data + check
    return png


def thumbnails(images: np.ndarray, span: Any = None, factor: int = 0) -> list[str]:
    """PNG in base64 of images (m, H, W, C), means of squares of `factor` pixels.

    `span`: see `Pictures`; a factor of 0 is the least that makes them small.
    """
    factor = factor or -(-max(images.shape[1:3]) // LONGEST_SIDE)
    small = _reduced(_to_bytes(images, span), factor)
    return [base64.b64encode(to_png(each)).decode("ascii") for each in small]


@dataclass(frozen=True)
class Pictures:
    """Images (n, H, W, C), and the lowest and highest value if these are no colours."""

    images: np.ndarray
    span: tuple[float, float] | None = None

    def n_that_fit(self, factor: int = 0) -> int:
        """Count the thumbnails, of full size by default, that a page has room for."""
        height, width = self.images.shape[1:3]
        factor = factor or -(-max(height, width) // LONGEST_SIDE)
        return MOST_PIXELS // (-(-height // factor) * -(-width // factor))

    def of_rows(self, rows: np.ndarray) -> list[str]:
        """Thumbnails of some rows, smaller ones where they are many."""
        factor = -(-max(self.images.shape[1:3]) // LONGEST_SIDE)
        while len(rows) > self.n_that_fit(factor):
            factor += 1
        blocks = np.split(rows, range(BLOCK, len(rows), BLOCK))
        parts = [thumbnails(self.images[b], self.span, factor) for b in blocks]
        return list(itertools.chain.from_iterable(parts))


def pictures_of(X: Any, images: Any, n: int) -> Pictures | None:
    """Images to show: those given, or those that the examples X themselves are.

    A normalised image has no range that says what is black and what is white: then
    the lowest value of all is black and the highest white.
    """
    if images is not None:
        return Pictures(check_images(images, n))
    shape = tuple(getattr(X, "shape", ()))
    if len(shape) != 4 or not {shape[1], shape[3]} & {1, 3} or 0 in shape:
        return None
    try:
        return Pictures(check_images(X, n))
    except ValueError:
        array = np.asarray(X)
        array = np.moveaxis(array, 1, 3) if shape[1] in (1, 3) else array
        if array.dtype.kind not in "fiub" or not np.isfinite(array).all():
            return None
        return Pictures(array, (float(array.min()), float(array.max())))
