"""The order of examples in an epoch, and the sampler that drops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import validate_parameter_constraints
from torch.utils.data import Sampler

from .._utils import RandomState, keeps_last_fit, resolve_seed, warn_user
from ..epochs import Round
from ..gradients.features import called
from ..gradients.items import is_dataset
from ..gradients.labels import labels_and_digest, varies, warn_of_augmented
from ..report import Reviewable
from ..rules import Rule
from ..schedule import DropSchedule
from ..validation import label_array
from .checkpoint import to_arrays, to_tensors
from .distributed import decide_once, gather_gradients, place

PLAIN = (
    "Give this sampler, and what gradients are taken from, the same without it, in the "
    "same order."
)


class EpochOrder(Sampler[int]):
    """Kept examples in a random order that only the seed and epoch decide.

    A stateless order makes resuming exact, and lets a run that drops nothing
    see what an ordinary run sees.
    """

    def __init__(
        self,
        n: int,
        seed: int,
        shuffle: bool = True,
        shard: bool = True,
        keep_length: bool = False,
    ) -> None:
        self.n, self.seed, self.shuffle, self.shard = n, seed, shuffle, shard
        # Whether an epoch keeps its length: the first of the order again in place of
        # the dropped. Trainers plan by it: learning rates, evaluation, where to resume.
        self.keep_length = keep_length
        self.epoch = 0

    @property
    def keep(self) -> np.ndarray:
        """Which examples are visited, shape (n,), bool."""
        return np.ones(self.n, dtype=bool)

    def order(self) -> np.ndarray:
        """Row numbers in this epoch's order."""
        rows = np.arange(self.n)
        if self.shuffle:
            rows = np.random.default_rng((self.seed, self.epoch)).permutation(self.n)
        return rows[self.keep[rows]]

    def place(self) -> tuple[int, int]:
        """Which share of the examples is visited, and of how many."""
        return place() if self.shard else (0, 1)

    def __iter__(self) -> Iterator[int]:
        rank, size = self.place()
        # As many for each process, or they would wait for each other: the
        # first of the order come twice.
        rows = np.resize(self.order(), len(self) * size)
        return iter(rows[rank::size].tolist())

    def __len__(self) -> int:
        n = self.n if self.keep_length else int(self.keep.sum())
        return -(-n // self.place()[1])

    def step(self, epoch: int, gradients: Any) -> Round | None:
        """Begin the epoch after `epoch` trained ones; drop nothing."""
        self.epoch = int(epoch)
        return None

    def state_dict(self) -> dict[str, Any]:
        """Seed and epoch."""
        names = "epoch", "seed", "shuffle", "keep_length"
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state_dict`."""
        self.epoch, self.seed = int(state["epoch"]), int(state["seed"])
        self.shuffle = bool(state["shuffle"])
        self.keep_length = bool(state["keep_length"])


class EPICSubsetSampler(Reviewable, EpochOrder):
    """Drop isolated examples in your own torch loop.

    Give it to a ``DataLoader`` (with any number of workers) and call
    :meth:`step` before each epoch. In later epochs the loader yields only what
    is kept.

    Parameters
    ----------
    dataset_or_labels : Dataset or array-like of shape (n,)
        The data set that the loader draws from, or its labels. The items of a
        data set are read once for their labels, but for a ``TensorDataset``; where
        that is slow, pass the labels.
    rule, warmup, every, stop, min_class_fraction, n_jobs, random_state, max_epochs : \
see DropSchedule
        Give `max_epochs`, or `warmup` and `every`. `random_state` also decides the
        orders of examples.
    shuffle : bool, default=True
        Whether each epoch has a new order, from the seed and the epoch.
    shard : bool, default=True
        Whether each process of ``torch.distributed`` visits a share of its own,
        as with torch's ``DistributedSampler``. False: each visits all that is
        kept, for a framework that shares a sampler out itself, as Lightning and
        accelerate do.
    keep_length : bool, default=False
        Whether an epoch keeps its number of examples: kept ones come again in place of
        the dropped, for what plans by steps, as OneCycleLR does.

    Attributes
    ----------
    schedule : DropSchedule
        What decides.
    keep, dropped_at_epoch, rounds : see DropSchedule

    Notes
    -----
    The number of kept examples changes, and with it the size of the last
    batch: with batch norm, which fails on a batch of one, pass
    ``drop_last=True`` to the loader.

    Under ``torch.distributed`` rank 0 decides what to drop, and gives its state to the
    others in the first :meth:`step`.

    Examples
    --------
    >>> import torch
    >>> from torch.utils.data import DataLoader, TensorDataset
    >>> from epic_sklearn import EPICSubsetSampler, LogitGradients
    >>> _ = torch.manual_seed(0)
    >>> X = torch.randn(60, 2)
    >>> y = (X[:, 0] > 0).long() + (X[:, 1] > 0).long()
    >>> dataset, net = TensorDataset(X, y), torch.nn.Linear(2, 3)
    >>> sampler = EPICSubsetSampler(dataset, warmup=1, every=2, random_state=0)
    >>> loader = DataLoader(dataset, batch_size=10, sampler=sampler)
    >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    >>> for epoch in range(4):
    ...     _ = sampler.step(epoch, lambda: LogitGradients(net)(dataset))
    ...     for x, label in loader:
    ...         loss = torch.nn.functional.cross_entropy(net(x), label)
    ...         optimizer.zero_grad(); loss.backward(); optimizer.step()
    >>> [record.epoch for record in sampler.rounds]
    [1, 3]
    >>> len(sampler) == int(sampler.keep.sum()) < 60
    True

    To stop and go on, save its `state_dict` with the net's and the optimizer's:

    >>> resumed = EPICSubsetSampler(dataset, warmup=1, every=2)
    >>> resumed.load_state_dict(sampler.state_dict())
    >>> bool((resumed.keep == sampler.keep).all())
    True
    """

    _warns_at_once = True  # estimators and callbacks do at the end
    _way_back: ClassVar[str] = (
        "Give the file to `EPICSubsetSampler.apply_decisions` and go on: the sampler "
        "visits what is left. To train anew on it: "
        "`DataLoader(Subset(dataset, sampler.keep.nonzero()[0]), shuffle=True)`."
    )

    def __init__(
        self,
        dataset_or_labels: Any,
        *,
        rule: Rule | None = None,
        warmup: int | None = None,
        every: int | None = None,
        stop: int | None = None,
        min_class_fraction: float = 0.5,
        n_jobs: int | None = None,
        shuffle: bool = True,
        shard: bool = True,
        keep_length: bool = False,
        random_state: RandomState = None,
        max_epochs: int | None = None,
    ) -> None:
        given = {"shuffle": shuffle, "shard": shard, "keep_length": keep_length}
        validate_parameter_constraints(
            {name: ["boolean"] for name in given}, given, type(self).__name__
        )
        seed = resolve_seed(random_state)
        labels, seen = dataset_or_labels, None
        if is_dataset(labels):
            labels, seen = labels_and_digest(labels)
        elif not hasattr(labels, "iloc"):  # a pandas series keeps its index
            labels = label_array(labels)
        self.schedule = DropSchedule(
            labels,
            rule=rule,
            warmup=warmup,
            every=every,
            stop=stop,
            min_class_fraction=min_class_fraction,
            n_jobs=n_jobs,
            random_state=seed,
            max_epochs=max_epochs,
        )
        self._data, self.schedule.seen = dataset_or_labels, seen
        super().__init__(len(self.schedule.codes), seed, **given)
        self._next, self._is_stepped, self._n_passes = 0, False, 0

    @property
    def keep(self) -> np.ndarray:
        """Which examples are kept, shape (n,), bool."""
        return self.schedule.keep

    @property
    def dropped_at_epoch(self) -> np.ndarray:
        """Epochs trained when dropped, -1 where kept, shape (n,)."""
        return self.schedule.dropped_at_epoch

    @property
    def rounds(self) -> list[Round]:
        """One record a round."""
        return self.schedule.rounds

    def step(self, epoch: int, gradients: Any | Callable[[], Any]) -> Round | None:
        """Begin the epoch after `epoch` trained ones; :meth:`DropSchedule.step` first.

        Gradients, or what the function gives, are in the data set's order. Under
        ``torch.distributed`` each process may give those of its own
        :meth:`gradient_rows` only.
        """
        self.schedule.is_due(epoch)  # or no number of epochs: refused
        if self._next == 0:
            warn_of_augmented(type(self).__name__, self._data, PLAIN)
        if not self._is_stepped and place()[1] > 1:  # it may be loaded in one only
            self.load_state_dict(decide_once(self.state_dict))
        self._warn_of_missed(epoch)
        self.epoch, self._next, self._is_stepped = int(epoch), int(epoch) + 1, True
        if not self.schedule.is_due(epoch):
            return None
        everything = gather_gradients(called(gradients), self.n)

        def decide() -> dict[str, Any]:
            self.schedule.step(epoch, everything)
            return self.schedule.state_dict()

        self.schedule.load_state_dict(decide_once(decide))
        record, nothing = self.rounds[-1], self.schedule.nothing_learned
        if self._warns_at_once and record.n_dropped and nothing is not None:
            warn_user(
                f"EPICSubsetSampler dropped {record.n_dropped} examples for good. "
                f"{nothing} Let the first round come later (warmup), and count the "
                "epochs that are trained: 0 before the first."
            )
        return record

    def _warn_of_missed(self, epoch: int) -> None:
        """Warn of rounds between the last epoch that was begun and this one."""
        missed = [e for e in range(self._next, int(epoch)) if self.schedule.is_due(e)]
        if missed:
            warn_user(
                f"Rounds were due after epochs {', '.join(map(str, missed))}: they are "
                f"left out; step({epoch}, gradients) came first. Call it before each "
                "epoch, with the number of epochs trained so far; training that goes "
                "on from a checkpoint needs the sampler's, or callback's, state in it."
            )

    def __iter__(self) -> Iterator[int]:
        if self._n_passes == 1 and not self._is_stepped:
            since = "" if self._next == 0 else " since it was loaded"
            warn_user(
                "EPICSubsetSampler begins its second epoch and step(epoch, gradients) "
                f"was never called{since}: nothing is dropped, and every epoch has the "
                "same order. Call it before each epoch."
            )
        self._n_passes += 1
        return self._until_the_next(self.epoch, super().__iter__())

    def _until_the_next(self, epoch: int, rows: Iterator[int]) -> Iterator[int]:
        """Give the rows of an epoch; warn where the next begins in the middle of it."""
        for row in rows:
            if self.epoch != epoch:
                warn_user(
                    f"The iterator of epoch {epoch} goes on after step({self.epoch}, "
                    "...): its rows are those that were kept before. Make a new one, "
                    "iter(loader), after each step."
                )
                epoch = self.epoch
            yield row

    @property
    def _schedule(self) -> DropSchedule:  # type: ignore[override]
        return self.schedule

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_data": None}  # all of it, and not to be pickled

    def _check_seen(self, saved: str | None) -> None:
        """Refuse to go on with a state of other examples with the same labels."""
        ours = self.schedule.seen
        # Augmented items never have the same digest.
        if None in (saved, ours) or saved == ours or varies(self._data):
            return
        raise ValueError(
            "Training began with other examples than these, or in another order; go on "
            "with the data that it began with. Of a data set that changes some of its "
            "items at random, give both samplers the labels alone."
        )

    def gradient_rows(self) -> np.ndarray:
        """Contiguous rows whose gradients this process computes: all, on its own."""
        rank, size = place()
        return np.array_split(np.arange(self.n), size)[rank]

    def state_dict(self) -> dict[str, Any]:
        """Give the drops so far and the orders to come.

        Save it with the net's and the optimizer's state, and torch's random
        state if the loop draws random numbers (dropout, augmentation); a run
        resumed with all of them keeps what an unbroken one keeps. Tensors and plain
        values, which ``torch.load`` reads with its safe default.
        """
        schedule = to_tensors(self.schedule.state_dict())
        seen = self.schedule.seen
        return {**super().state_dict(), "schedule": schedule, "seen": seen}

    @keeps_last_fit
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state_dict`, as :meth:`DropSchedule.load_state_dict`.

        Examples of other values are refused as well, where they can be told. Seed,
        `shuffle` and `keep_length` become those that were saved.
        """
        if missing := self.state_dict().keys() - state.keys():
            raise ValueError(
                f"The saved state lacks {', '.join(sorted(missing))}; give what an "
                "EPICSubsetSampler's state_dict gave."
            )
        self._check_seen(state["seen"])
        super().load_state_dict(state)
        self.schedule.load_state_dict(to_arrays(state["schedule"]))
        self.schedule.seen = self.schedule.seen or state["seen"]
        self._next, self._is_stepped, self._n_passes = self.epoch + 1, False, 0
