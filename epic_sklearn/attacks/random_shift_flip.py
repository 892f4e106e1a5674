"""Random shifts and mirror images that gradients pass through."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class RandomShiftFlip:
    """Shift each image by whole pixels, and mirror half of them.

    Differentiable, for `augment` of the attacks as well as of
    :class:`epic_sklearn.TorchClassifier`. Random numbers come from torch's global
    generator, which both of them seed, and restore afterwards.

    Parameters
    ----------
    max_shift : int, default=4
        The largest shift up, down, left and right. Zeros move in.
    flip : bool, default=True
        Whether to swap left and right in half of the images.

    Examples
    --------
    >>> import torch
    >>> from epic_sklearn.attacks import RandomShiftFlip
    >>> RandomShiftFlip(max_shift=1)(torch.ones(2, 3, 8, 8)).shape
    torch.Size([2, 3, 8, 8])
    """

    max_shift: int = 4
    flip: bool = True

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Augment a batch (n, channels, height, width)."""
        if images.ndim != 4:
            raise ValueError(
                f"the batch has shape {tuple(images.shape)}; RandomShiftFlip takes "
                "images (n, channels, height, width)."
            )
        n, _, height, width = images.shape
        shifts = torch.randint(-self.max_shift, self.max_shift + 1, (n, 2))
        mirrored = torch.rand(n) < (0.5 if self.flip else 0.0)
        transforms = torch.zeros(n, 2, 3)
        transforms[:, 0, 0] = torch.where(mirrored, -1.0, 1.0)
        transforms[:, 1, 1] = 1.0
        # Images reach from -1 to 1, so that a pixel is 2 / width wide.
        transforms[:, :, 2] = 2 * shifts / torch.tensor([width, height])
        grid = nn.functional.affine_grid(
            transforms.to(images), [n, 1, height, width], align_corners=False
        )
        # Nearest: whole shifts copy pixels exactly, without rounding.
        return nn.functional.grid_sample(
            images, grid, mode="nearest", align_corners=False
        )
