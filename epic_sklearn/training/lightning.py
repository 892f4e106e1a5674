"""EPIC inside Lightning's Trainer."""

from __future__ import annotations

from typing import Any, ClassVar

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
    from lightning.pytorch.utilities.model_helpers import is_overridden
except ImportError as error:
    raise ImportError(
        f"This callback needs {error.name}: pip install 'epic-sklearn[lightning]'."
    ) from error
from torch.utils.data import DataLoader

from .._utils import resolve_seed
from .batches import take_over
from .distributed import decide_once
from .rounds import EPICRounds

# What may change a batch on its way to the model.
HOOKS = (
    "on_before_batch_transfer",
    "transfer_batch_to_device",
    "on_after_batch_transfer",
)


class EPICLightningCallback(EPICRounds, Callback):
    """Drop what a rule flags while a LightningModule trains.

    One line for any module whose ``forward(x)`` gives logits::

        Trainer(..., callbacks=[EPICLightningCallback()])

    The callback takes over which training examples are visited and in what order: in
    place of torch's random or sequential sampler, or of what Lightning makes of it for
    several processes (``use_distributed_sampler``). Any other sampler is refused. An
    epoch keeps its number of steps, by which Lightning plans: kept examples come again
    in place of the dropped. Where hooks change batches (``on_after_batch_transfer``),
    `clean_dataset` is asked for. With ``fast_dev_run`` nothing is judged. Checkpoints
    hold what was dropped, and ``fit(ckpt_path=...)`` goes on with it.

    Parameters
    ----------
    rule, gradients, warmup, every, stop, min_class_fraction, clean_dataset, n_jobs, \
random_state, verbose : see EPICCallback
        `warmup` must be below the Trainer's ``max_epochs``; None, and `every`, follow
        from them.

    Attributes
    ----------
    keep_, isolated_indices_, dropped_at_epoch_, rounds_, sampler_ : see EPICCallback
        With a strategy that spawns processes they stay there: save a checkpoint.

    See Also
    --------
    EPICTrainerCallback : The same in transformers' Trainer.

    Examples
    --------
    >>> from epic_sklearn.training.lightning import EPICLightningCallback
    >>> EPICLightningCallback(warmup=1, every=2)
    EPICLightningCallback(every=2, warmup=1)
    """

    _way_back: ClassVar[str] = (
        "Give the file to `EPICLightningCallback.apply_decisions`, then train anew on "
        "what is left, without the callback: "
        "`DataLoader(Subset(dataset, epic.keep_.nonzero()[0]), shuffle=True)`."
    )
    _saved_: dict[str, Any] | None = None  # what a checkpoint had, not yet gone on from

    def state_dict(self) -> dict[str, Any]:
        """Give what was dropped so far, for a checkpoint."""
        # A run that is over already hands on what it was given.
        saved = self._saved_ if self.sampler_ is None else self.sampler_.state_dict()
        return {} if saved is None else {"sampler": saved}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on when training begins; of the same data and settings."""
        self._saved_ = state_dict.get("sampler")

    def _refuse_hooks(self, *parts: Any) -> None:
        """Refuse what changes batches on their way to the model, unless told how."""
        if self.clean_dataset is not None:
            return
        for part in parts:
            for hook in HOOKS:
                if part is not None and is_overridden(hook, part):
                    raise TypeError(
                        f"{type(part).__name__} has {hook}, which changes batches, and "
                        "gradients are taken of the items of the data set as they are. "
                        "Give clean_dataset, the same items as forward gets them but "
                        "without augmentation: the training set itself if the hook "
                        "only augments."
                    )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over which examples the training loader visits, or refuse it."""
        self._check_parameters()
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return  # a few batches to see whether all runs: nothing is judged
        max_epochs = trainer.max_epochs or -1  # -1 is without end
        self._plan(self.warmup, max_epochs if max_epochs > 0 else None)
        if not is_overridden("forward", pl_module):
            raise TypeError(
                f"{type(pl_module).__name__} has no forward; let forward(x) give the "
                "logits, from which gradients are taken."
            )
        self._refuse_hooks(pl_module, trainer.datamodule)  # type: ignore[attr-defined]
        loader = trainer.train_dataloader
        if not isinstance(loader, DataLoader):
            raise TypeError(
                f"The training loader is a {type(loader).__name__}; "
                f"{type(self).__name__} drops examples of one data set: give a single "
                "DataLoader."
            )
        saved, self._saved_ = self._saved_, None
        if saved is None and trainer.current_epoch > 0:  # fit goes on in this process
            saved = self.state_dict().get("sampler")
        seed = decide_once(lambda: resolve_seed(self.random_state))
        _, options = take_over(loader, type(self).__name__)
        sampler = self._begin(loader.dataset, seed, **options, keep_length=True)
        if saved is not None:
            sampler.load_state_dict(saved)
        self._put_into(trainer)
        loop: Any = trainer.fit_loop
        if loop.restarted_mid_epoch or loop.restarted_on_epoch_end:
            # Lightning tells of no start now, neither of the epoch that it resumes nor
            # of the next, if the checkpoint is of an epoch's last step.
            if trainer.current_epoch > sampler.epoch:
                self._round(trainer.current_epoch, *self._trained_)
            self._begin_anew(trainer)

    def on_train_epoch_start(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> None:
        """Drop what the rule flags if a round is due."""
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        loader: Any = trainer.train_dataloader
        if loader.batch_sampler.sampler is not self._bound:  # made anew
            self._put_into(trainer)
        self._round(trainer.current_epoch, *self._trained_)
        if self._is_new_:
            self._begin_anew(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Warn of a run that ended before it dropped, or with a net at chance."""
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._warn_at_end(trainer.current_epoch)

    def _put_into(self, trainer: Trainer) -> None:
        loader: Any = trainer.train_dataloader
        batches, _ = take_over(loader, type(self).__name__)
        if len(loader.dataset) != self._bound.n:
            raise ValueError(
                f"Training began with {self._bound.n} examples and goes on with "
                f"{len(loader.dataset)}; reload the same, or train anew."
            )
        self._is_new_ = True
        self._trained_ = trainer.lightning_module, loader
        batches.sampler = self._bound

    def _begin_anew(self, trainer: Trainer) -> None:
        """Forget batches that workers have read ahead by the former sampler."""
        iter(trainer.fit_loop._data_fetcher)  # type: ignore[arg-type]
        self._is_new_ = False
