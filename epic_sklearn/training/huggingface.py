"""EPIC inside the Trainer of Hugging Face's transformers."""

from __future__ import annotations

import base64
import io
from typing import Any, ClassVar

import torch

try:
    from transformers import TrainerCallback, TrainingArguments
    from transformers.trainer_callback import (
        ExportableState,
        TrainerControl,
        TrainerState,
    )
except ImportError as error:
    raise ImportError(
        f"This callback needs {error.name}: pip install 'epic-sklearn[huggingface]'."
    ) from error

from .._utils import resolve_seed
from ..gradients.items import LABEL_NAMES, like
from .batches import take_over
from .rounds import EPICRounds


class EPICTrainerCallback(EPICRounds, TrainerCallback, ExportableState):
    """Drop what a rule flags while transformers' Trainer trains a classifier.

    One line for any Trainer whose model gives ``logits``, one row an example::

        Trainer(..., callbacks=[EPICTrainerCallback()])

    The callback takes over which training examples are visited and in what order; a
    Trainer with a sampler of its own is refused. Labels are read from the items of the
    training set (``labels``, ``label`` or ``label_ids``). An epoch keeps its number of
    steps, by which the Trainer plans: kept examples come again in place of the dropped.

    What was dropped is saved with each checkpoint, in its ``trainer_state.json``, and
    ``train(resume_from_checkpoint=...)`` goes on with it. Of several processes (as of
    ``accelerate launch``) each takes the gradients of its share, and the first decides.

    Parameters
    ----------
    rule, gradients, warmup, every, stop, min_class_fraction, clean_dataset, n_jobs, \
verbose : see EPICCallback
        `warmup` must be below the epochs that are trained; None, and `every`, follow
        from them. Gradients are taken in batches of ``per_device_eval_batch_size``.
    random_state : int, RandomState instance or None, default=None
        None takes the Trainer's ``data_seed`` or ``seed``.

    Attributes
    ----------
    keep_, isolated_indices_, dropped_at_epoch_, rounds_, sampler_ : see EPICCallback

    See Also
    --------
    EPICLightningCallback : The same in Lightning.

    Examples
    --------
    >>> from epic_sklearn.training.huggingface import EPICTrainerCallback
    >>> EPICTrainerCallback(warmup=1, every=1)
    EPICTrainerCallback(every=1, warmup=1)
    """

    _way_back: ClassVar[str] = (
        "Give the file to `EPICTrainerCallback.apply_decisions`, then train anew on "
        "what is left, without the callback: `Trainer(..., train_dataset="
        "dataset.select(epic.keep_.nonzero()[0]))`, or of a dataset of torch "
        "`Subset(dataset, epic.keep_.nonzero()[0])`."
    )

    def state(self) -> dict[str, Any]:
        """Give what was dropped so far in the form of the Trainer's state file."""
        if self.sampler_ is None:
            return {"args": {}, "attributes": {}}
        file = io.BytesIO()
        torch.save(self.sampler_.state_dict(), file)
        saved = base64.b64encode(file.getvalue()).decode()
        return {"args": {}, "attributes": {"saved": saved}}

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        train_dataloader: Any = None,
        **kwargs: Any,
    ) -> None:
        """Take over which examples the training loader visits, or refuse it."""
        name = type(self).__name__
        if args.restore_callback_states_from_checkpoint:
            raise ValueError(
                f"restore_callback_states_from_checkpoint would make a new {name} "
                "without its rule; leave it at False: what was dropped is restored "
                "anyway."
            )
        self._check_parameters()
        option = " (see train_sampling_strategy of TrainingArguments)"
        batches, options = take_over(train_dataloader, name, option)
        # All training examples in their order, batched as evaluated.
        data, batch_size = train_dataloader.dataset, args.per_device_eval_batch_size
        self._trained_ = model, like(train_dataloader, data, batch_size)
        self._plan(self.warmup, state.num_train_epochs)
        _check_label_names(args, name)
        seed = args.seed if args.data_seed is None else args.data_seed
        if self.random_state is not None:
            seed = resolve_seed(self.random_state)
        options |= {"shard": False, "keep_length": True}  # accelerate shares it out
        sampler = self._begin(data, seed, **options)
        states: Any = state.stateful_callbacks  # of a new run: those of a former one
        states.setdefault(name, self.state())  # resumed from a run without it
        saved = states.get(name, {}).get("attributes", {}).get("saved")
        if state.global_step > 0 and saved is not None:
            file = io.BytesIO(base64.b64decode(saved))
            sampler.load_state_dict(torch.load(file, weights_only=True))
        batches.sampler = sampler

    def on_epoch_begin(self, args: Any, state: Any, *rest: Any, **kwargs: Any) -> None:
        """Drop what the rule flags if a round is due."""
        self._round(int(state.epoch), *self._trained_)

    def on_train_end(self, args: Any, state: Any, *rest: Any, **kwargs: Any) -> None:
        """Warn of a run that ended before it dropped, or with a model at chance."""
        best = []
        if args.load_best_model_at_end and state.best_model_checkpoint:
            steps = state.best_model_checkpoint.rpartition("-")[2]
            if steps.isdigit():  # as transformers names its folders
                best = [round(int(steps) * state.num_train_epochs / state.max_steps)]
        self._warn_at_end(int(state.epoch), best)


def _check_label_names(args: TrainingArguments, name: str) -> None:
    """Refuse labels that items name otherwise than this library knows them."""
    if args.label_names and not set(args.label_names) <= set(LABEL_NAMES):
        raise ValueError(
            f"TrainingArguments has label_names={args.label_names}, and {name} reads "
            f"one label an example from an entry named one of {LABEL_NAMES}. Rename "
            "the column, dataset.rename_column(old, 'labels'), and leave label_names "
            "out."
        )
