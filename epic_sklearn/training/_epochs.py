"""What happens at the beginning of each epoch of our own classifiers."""

from __future__ import annotations

import math
from typing import Any

from skorch.callbacks import Callback
from tqdm import tqdm

from ..gradients import GradientExtractor
from ._sampler import EpochOrder


class EpochStart(Callback):
    """Set learning rate and order of examples; let the sampler drop.

    Both follow from the number of epochs trained alone, so that a resumed run
    needs no state of its own for them.

    Parameters
    ----------
    sampler : EpochOrder
        Order of the examples; drops if it is an EPICSubsetSampler.
    milestones : tuple of int
        Epochs after which the learning rate is divided by 10.
    extractor : type of GradientExtractor or None
        What gradients to take for the sampler.
    batch_size : int
        Examples a forward pass when gradients are taken.
    max_epochs : int
        For the progress bar.
    verbose : int
        Above 0, progress bar and one line a round.
    """

    def __init__(
        self,
        sampler: EpochOrder,
        milestones: tuple[int, ...],
        extractor: type[GradientExtractor] | None,
        batch_size: int,
        max_epochs: int,
        verbose: int,
    ) -> None:
        self.sampler, self.milestones = sampler, milestones
        self.extractor, self.batch_size = extractor, batch_size
        self.max_epochs, self.verbose = max_epochs, verbose

    def on_train_begin(
        self, net: Any, X: Any = None, y: Any = None, **kwargs: Any
    ) -> None:
        """Open the progress bar; gradients are taken from these arrays."""
        self.X, self.y = X, y
        self.bar = tqdm(
            total=self.max_epochs,
            initial=len(net.history),
            desc="epochs",
            disable=not self.verbose,
        )

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Set the learning rate, drop if a round is due, order the examples."""
        epoch = len(net.history) - 1
        decays = sum(epoch >= milestone for milestone in self.milestones)
        for group in net.optimizer_.param_groups:
            group.setdefault("first_lr", group["lr"])
            group["lr"] = group["first_lr"] * 0.1**decays

        def gradients() -> Any:
            assert self.extractor is not None
            return self.extractor(net.module_, self.batch_size).compute(self.X, self.y)

        record = self.sampler.step(epoch, gradients)
        if record is not None and self.verbose:
            tqdm.write(
                f"epoch {epoch}: dropped {record.n_dropped} examples, kept "
                f"{record.n_kept} of {self.sampler.n}, rho {record.rho:.3g}"
            )

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Move the progress bar; stop a run that has diverged."""
        loss = net.history[-1, "train_loss"]
        self.bar.set_postfix(loss=f"{loss:.3g}", refresh=False)
        self.bar.update()
        if not math.isfinite(loss):
            raise ValueError(
                f"Training diverged: the loss is {loss} in epoch {len(net.history)}. "
                "Lower lr, or scale the input."
            )

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Close the progress bar and let the data go."""
        self.bar.close()
        del self.bar, self.X, self.y
