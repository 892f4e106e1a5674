"""DP-SGD by opacus: clipped gradients of single examples, and noise.

Only what slows poisons down: batches are drawn in a shuffled order, not by Poisson
sampling, and no privacy budget is computed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

MISSING = "DP-SGD needs opacus: pip install --no-deps opacus opt-einsum"


class FixedNorm(nn.Module):
    """What a trained batch norm does in evaluation mode; nothing in it is trained."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        assert norm.running_var is not None and norm.running_mean is not None
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        shift = norm.bias - norm.running_mean * scale
        self.scale, self.shift = (
            nn.Parameter(v.detach()[:, None, None], requires_grad=False)
            for v in (scale, shift)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scale and shift each channel."""
        return x * self.scale + self.shift


def replace_batch_norm(net: nn.Module) -> nn.Module:
    """Take out batch norm, which mixes the gradients of a batch's examples.

    A trained one is kept as it is in evaluation mode, an untrained one becomes
    group norm with groups of 16 channels.
    """
    for name, part in net.named_children():
        if not isinstance(part, nn.BatchNorm2d):
            replace_batch_norm(part)
            continue
        assert part.num_batches_tracked is not None
        is_trained = part.num_batches_tracked.item() > 0
        n = part.num_features
        setattr(net, name, FixedNorm(part) if is_trained else nn.GroupNorm(n // 16, n))
    return net


def private_module(make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """Make the net so that it keeps each example's gradient."""
    try:
        from opacus import GradSampleModule
    except ImportError as error:
        raise ImportError(MISSING) from error
    return lambda: GradSampleModule(replace_batch_norm(make()))


def private_sgd(
    noise_multiplier: float, max_norm: float, batch_size: int
) -> type[torch.optim.Optimizer]:
    """Make the class of an SGD that clips, adds noise and then steps.

    Parameters
    ----------
    noise_multiplier : float
        Standard deviation of the noise in units of `max_norm`.
    max_norm : float
        Norm to which each example's gradient is clipped.
    batch_size : int
        By which their sum is divided.
    """
    try:
        from opacus.optimizers import DPOptimizer
    except ImportError as error:
        raise ImportError(MISSING) from error

    class PrivateSGD(DPOptimizer):
        def __init__(self, params: Any, **options: Any) -> None:
            super().__init__(
                torch.optim.SGD(params, **options),
                noise_multiplier=noise_multiplier,
                max_grad_norm=max_norm,
                expected_batch_size=batch_size,
            )

    return PrivateSGD
