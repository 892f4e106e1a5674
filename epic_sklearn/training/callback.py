"""EPIC inside a user's own skorch net."""

from __future__ import annotations

from copy import copy
from typing import Any, ClassVar

import numpy as np
from skorch.callbacks import Callback
from torch import nn
from torch.utils.data import DataLoader, Subset

from .._utils import resolve_seed, warn_user
from ..gradients import Gradients
from ..gradients.labels import digest_of
from .batches import logits_of_net, refuse_sampler, training_loader
from .best_weights import epochs_loaded
from .net import steps_by_batch
from .rounds import EPICRounds


def _loader(net: Any, data: Any) -> DataLoader:
    """Batches as a skorch net's own validation loader makes them."""
    options = {"batch_size": 512, **net.get_params_for("iterator_valid")}
    if options["batch_size"] == -1:  # skorch's: everything at once
        options["batch_size"] = len(data)
    return DataLoader(data, **options)


class EPICCallback(EPICRounds, Callback):
    """Drop what a rule flags while a skorch net trains.

    For your own ``NeuralNetClassifier``: with the criterion
    ``torch.nn.CrossEntropyLoss`` the module gives logits; with skorch's default
    ``torch.nn.NLLLoss`` it gives probabilities. The callback takes over which
    training examples are visited and in what order; a net with a sampler of its own
    is refused. Labels must be integers 0, 1, ..., C - 1. Training continued by
    ``partial_fit``, also after pickling, goes on with what was dropped.

    Parameters
    ----------
    gradients : see EPICClassifier
    rule, warmup, every, stop, min_class_fraction, n_jobs, random_state : see \
DropSchedule
        `random_state` also decides the orders of examples.
    clean_dataset : Dataset or None, default=None
        The training examples in the same order without augmentation, for a
        training set that augments its items; gradients are taken from it.
    verbose : int, default=0
        Above 0, one line a round.

    Attributes
    ----------
    keep_ : ndarray of shape (n,), bool
        Which rows passed to ``fit`` are kept. Rows that the net's
        ``train_split`` sets aside are not trained on and count as kept.
    isolated_indices_ : ndarray of int
        Rows of the others.
    dropped_at_epoch_, rounds_ : see DropSchedule
    sampler_ : EPICSubsetSampler
        What decides; its ``state_dict`` can be saved.

    See Also
    --------
    EPICClassifier : The same, complete.
    EPICSubsetSampler : For a training loop without skorch.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from skorch import NeuralNetClassifier
    >>> from epic_sklearn import EPICCallback
    >>> rng = np.random.RandomState(0)
    >>> X = rng.randn(80, 2).astype(np.float32)
    >>> y = (X[:, 0] > 0).astype(np.int64)
    >>> epic = EPICCallback(warmup=1, every=2, random_state=0)
    >>> net = NeuralNetClassifier(
    ...     torch.nn.Linear(2, 2), criterion=torch.nn.CrossEntropyLoss, lr=1.0,
    ...     max_epochs=4, train_split=None, callbacks=[("epic", epic)], verbose=0)
    >>> epic = dict(net.fit(X, y).callbacks_)["epic"]
    >>> [record.epoch for record in epic.rounds_]
    [1, 3]
    """

    _way_back: ClassVar[str] = (
        "Give the file to `EPICCallback.apply_decisions` (of the net's `callbacks_`), "
        "then train anew on what is left, without the callback: "
        "`net.set_params(callbacks__NAME=None).fit(X[epic.keep_], y[epic.keep_])`."
    )

    def initialize(self) -> EPICCallback:
        """Check the parameters (ValueError)."""
        # skorch asks it whenever a parameter of any callback is set: a new training
        # forgets the last one when it begins.
        self._check_parameters()
        return self

    def on_train_begin(
        self, net: Any, X: Any = None, y: Any = None, **kwargs: Any
    ) -> None:
        """Take over which examples the net's training loader visits."""
        if isinstance(net.criterion_, nn.BCEWithLogitsLoss | nn.BCELoss):
            raise ValueError(
                f"The net's criterion is {type(net.criterion_).__name__}, and "
                "EPICCallback takes gradients of one logit a class: give the module "
                "two outputs, in a NeuralNetClassifier with "
                "criterion=torch.nn.CrossEntropyLoss."
            )
        self._net_, self._given_ = net, X
        if len(net.history) == 0:
            self.sampler_ = None
        if self.sampler_ is None:
            self._length_ = net.max_epochs
        _refuse_other_samplers(net)
        least = 1 if self.warmup is None else self.warmup
        is_late = least >= self._length_
        if is_late:  # training may go on, nobody knows how long
            self._plan(least, None)
        else:
            self._plan(self.warmup, self._length_)
        if len(net.history) == 0 and is_late:
            warn_user(
                f"EPICCallback's warmup is {least} and the net's max_epochs "
                f"{net.max_epochs}: nothing will be dropped unless training goes on by "
                "partial_fit."
            )
        net.iterator_train = _TakenOver(self, _own_loader(net))

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Give the loader back as it was; warn of a run that dropped nothing."""
        net.iterator_train = _own_loader(net)
        # A training that was planned to go on is not over before it dropped.
        warmup, max_epochs = self._planned_["warmup"], self._planned_["max_epochs"]
        if max_epochs is not None or len(net.history) > warmup:
            self._warn_at_end(len(net.history), epochs_loaded(net))

    def on_epoch_begin(self, net: Any, dataset_train: Any, **kwargs: Any) -> None:
        """Drop what the rule flags if a round is due."""
        loader = _loader(net, dataset_train)
        self._round(len(net.history) - 1, logits_of_net(net), loader)

    def _judged(self) -> tuple[np.ndarray, int]:
        return self._rows_, self._n_rows_

    def _look(self, seen: Any, labels: np.ndarray) -> Gradients:
        net, rows = self._net_, np.arange(self._bound.n)
        data = Subset(net.get_dataset(seen, labels), self._rows_.tolist())
        return self._extract(logits_of_net(net), _loader(net, data), rows)

    def _bind(self, dataset: Any, shuffle: bool) -> None:
        """Make the sampler as a training begins; of one that goes on, as it was.

        Other data, rows or settings than it began with are refused; nothing has changed
        then.
        """
        if not hasattr(self, "_given_"):
            return
        given, n_trained = self.__dict__.pop("_given_"), len(self._net_.history)
        new, before = copy(self), self.sampler_
        if before is None and n_trained:
            warn_user(
                f"The net has trained {n_trained} epochs and EPICCallback begins anew: "
                "what it dropped before, if anything, is not known (skorch's "
                "Checkpoint does not save it). Pickle the net whole and go on with "
                "partial_fit; or take EPICClassifier(checkpoint=...)."
            )
        new._make_sampler(dataset, given, shuffle)
        if before is not None:
            is_whole = new._n_rows_ == self._n_rows_
            if is_whole and not np.array_equal(new._rows_, self._rows_):
                raise ValueError(
                    "The net's train_split sets other rows aside than when training "
                    "began; let it always give the same, ValidSplit(5) or "
                    "ValidSplit(0.2, random_state=0), or take train_split=None."
                )
            new._bound.load_state_dict(before.state_dict())
        self.__dict__.update(vars(new))

    def _make_sampler(self, dataset: Any, given: Any, shuffle: bool) -> None:
        """Make a sampler of the rows that a training set has in what was given."""
        seed = resolve_seed(self.random_state)
        by_batch = steps_by_batch(callback for _, callback in self._net_.callbacks_)
        self._begin(dataset, seed, shuffle=shuffle, shard=False, keep_length=by_batch)
        classes = self._schedule.classes
        if classes.dtype.kind not in "iub" or classes.min() < 0:
            raise ValueError(
                f"EPICCallback got the labels {classes[:10].tolist()}; skorch's "
                "nets are trained on 0, 1, ..., C - 1: encode them with "
                "LabelEncoder, or take EPICClassifier, which takes any."
            )
        # None of a data set: the items tell that are read.
        self._schedule.seen = digest_of(given) or self._schedule.seen
        self._rows_, self._n_rows_ = _rows_of(dataset, given)


class _TakenOver:
    """A net's training loader while the callback says what is visited.

    skorch calls it when it knows the training set, before the first epoch.
    """

    def __init__(self, callback: EPICCallback, own: Any) -> None:
        self.callback, self.own = callback, own

    def __call__(self, dataset: Any, shuffle: Any = None, **options: Any) -> Any:
        self.callback._bind(dataset, shuffle is not False)
        make = training_loader if self.own is DataLoader else self.own
        return make(dataset, sampler=self.callback._bound, **options)


def _own_loader(net: Any) -> Any:
    """Give a net's own training loader, of a run that was broken off, too."""
    loader = net.iterator_train
    return loader.own if isinstance(loader, _TakenOver) else loader


def _refuse_other_samplers(net: Any) -> None:
    """Refuse a net whose examples something else chooses: it would be ignored."""
    options = net.get_params_for("iterator_train")
    for name in ("sampler", "batch_sampler"):
        given = options.get(name)
        if given is not None:
            kind = type(given).__name__
            refuse_sampler("EPICCallback", f"the net has iterator_train__{name}={kind}")


def _rows_of(dataset: Any, given: Any) -> tuple[np.ndarray, int]:
    """Rows that a training set has in what was `given`, and the length of that."""
    if isinstance(dataset, Subset) and dataset is not given:
        rows, n = _rows_of(dataset.dataset, given)
        return rows[np.asarray(dataset.indices)], n
    return np.arange(len(dataset)), len(dataset)
