"""The patch that a backdoor answers to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from .._utils import RandomState, resolve_seed

ArrayOrTensor = TypeVar("ArrayOrTensor", npt.NDArray[Any], torch.Tensor)


def _corner(
    position: str | tuple[int, int],
    free: tuple[int, int],
    rng: np.random.Generator,
) -> tuple[int, int]:
    """Upper left corner of the patch; `free` is the last one that fits."""
    if isinstance(position, str):
        if position == "lower right":
            return free
        if position == "random":
            row, column = rng.integers(0, [free[0] + 1, free[1] + 1])
            return int(row), int(column)
    elif len(position) == 2:
        return int(position[0]), int(position[1])
    raise ValueError(
        f"position={position!r}; give 'lower right', 'random', or the row and the "
        "column of the patch's upper left corner."
    )


@dataclass(frozen=True, eq=False)
class PatchTrigger:
    """A small image that covers part of every image it is applied to.

    Parameters
    ----------
    patch : ndarray of shape (channels, height, width)
        What is pasted, in the units of the images.
    row, column : int
        Where its upper left corner goes.

    Examples
    --------
    >>> import numpy as np
    >>> from epic_sklearn.attacks import PatchTrigger
    >>> trigger = PatchTrigger(np.ones((1, 1, 2)), row=2, column=1)
    >>> trigger.apply(np.zeros((1, 1, 3, 3)))[0, 0]
    array([[0., 0., 0.],
           [0., 0., 0.],
           [0., 1., 1.]])
    """

    patch: npt.NDArray[Any]
    row: int
    column: int

    @classmethod
    def random(
        cls,
        image_shape: tuple[int, ...],
        size: int | None = None,
        position: str | tuple[int, int] = "lower right",
        clip: tuple[float, float] = (0.0, 1.0),
        random_state: RandomState = None,
    ) -> PatchTrigger:
        """Draw a square patch of uniform noise.

        Parameters
        ----------
        image_shape : tuple of (int, int, int)
            Channels, height and width of the images.
        size : int or None, default=None
            Height and width of the patch. None takes a quarter of the images'
            height.
        position : {"lower right", "random"} or (int, int), default="lower right"
            Row and column of its upper left corner; the same in every image.
        clip : tuple of (float, float), default=(0.0, 1.0)
            Its lowest and its highest value.
        random_state : int, RandomState instance or None, default=None
            Draws the patch and, if asked for, its position.

        Returns
        -------
        PatchTrigger

        Raises
        ------
        ValueError
            If these are no images, or the patch does not fit.
        """
        if len(image_shape) != 3:
            raise ValueError(
                f"examples have shape {tuple(image_shape)}; a patch needs images, "
                "(channels, height, width)."
            )
        channels, height, width = image_shape
        size = max(1, height // 4) if size is None else size
        if not 1 <= size <= min(height, width):
            raise ValueError(
                f"size={size}; give at least 1 and at most {min(height, width)}, the "
                "images' smaller side."
            )
        rng = np.random.default_rng(resolve_seed(random_state))
        patch = rng.uniform(*clip, size=(channels, size, size)).astype(np.float32)
        row, column = _corner(position, (height - size, width - size), rng)
        trigger = cls(patch, row, column)
        trigger._check_fit(image_shape)
        return trigger

    def _check_fit(self, image_shape: tuple[int, ...]) -> None:
        channels, height, width = self.patch.shape
        inside = len(image_shape) >= 3 and (
            image_shape[-3] == channels
            and 0 <= self.row <= image_shape[-2] - height
            and 0 <= self.column <= image_shape[-1] - width
        )
        if not inside:
            raise ValueError(
                f"a patch of shape {self.patch.shape} at row {self.row}, column "
                f"{self.column} does not fit into images of shape "
                f"{tuple(image_shape[-3:])}; give images (channels, height, width) of "
                "as many channels that the patch lies in."
            )

    def apply(self, X: ArrayOrTensor) -> ArrayOrTensor:
        """Copy images and paste the patch into each.

        Parameters
        ----------
        X : ndarray or Tensor of shape (n, channels, height, width) or (channels, \
height, width)
            Images. If they are integers, the patch is rounded to the nearest.

        Returns
        -------
        ndarray or Tensor of the shape of `X`
            A new array of the kind and dtype of `X`.

        Raises
        ------
        ValueError
            If the patch does not fit into the images.
        """
        self._check_fit(tuple(X.shape))
        _, height, width = self.patch.shape
        rows = slice(self.row, self.row + height)
        columns = slice(self.column, self.column + width)
        patch = np.asarray(self.patch)
        if isinstance(X, torch.Tensor):
            patched = X.detach().clone()
            whole = patch if X.is_floating_point() else np.rint(patch)
            patched[..., rows, columns] = torch.from_numpy(whole).to(patched)
            return patched
        copy = np.array(X)
        whole = np.rint(patch) if copy.dtype.kind in "iu" else patch
        copy[..., rows, columns] = whole
        return copy


def trigger_or_random(
    trigger: PatchTrigger | None,
    X: npt.NDArray[Any],
    clip: tuple[float, float] | None,
    seed: int,
) -> PatchTrigger:
    """Return the trigger given, if it fits, or one drawn at random."""
    if trigger is None:
        limits = (0.0, 1.0) if clip is None else clip
        return PatchTrigger.random(X.shape[1:], clip=limits, random_state=seed)
    trigger._check_fit(X.shape)
    return trigger
