"""What the callbacks of all frameworks share: parameters, rounds, results."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils._param_validation import StrOptions
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm import tqdm

from .._utils import RandomState
from ..base import is_dataframe
from ..epochs import Epochs, Round
from ..gradients import EXTRACTORS, Gradients
from ..gradients.items import inputs_and_labels, is_dataset, like
from ..gradients.labels import labels_and_digest, varies, warn_of_augmented
from ..report import Case, Reviewable
from ..rules import Rule, resolve_rule
from ..schedule import SCHEDULE_CONSTRAINTS, DropSchedule
from .best_weights import warn_of_best
from .distributed import decide_once, place
from .net import Extraction, gradients_for
from .sampler import EPICSubsetSampler


class EPICRounds(Reviewable, BaseEstimator):
    """Base of callbacks that drop while a net trains; parameters: see EPICCallback."""

    sampler_: EPICSubsetSampler | None = None
    _extraction: Extraction | None = None
    _trained_: tuple[nn.Module, DataLoader]  # what was trained last, by what batches
    _planned_: dict[str, Any]  # warmup, and max_epochs if the training has an end

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **SCHEDULE_CONSTRAINTS,
        "gradients": [StrOptions(set(EXTRACTORS)), None],
        "clean_dataset": "no_validation",
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        rule: Rule | None = None,
        gradients: str | None = None,
        warmup: int | None = None,
        every: int | None = None,
        stop: int | None = None,
        min_class_fraction: float = 0.5,
        clean_dataset: Dataset | None = None,
        n_jobs: int | None = None,
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
        self.rule = rule
        self.gradients = gradients
        self.warmup = warmup
        self.every = every
        self.stop = stop
        self.min_class_fraction = min_class_fraction
        self.clean_dataset = clean_dataset
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @property
    def keep_(self) -> np.ndarray:  # type: ignore[override]
        """Which training rows are kept, shape (n,), bool."""
        return self._of_all(self._bound.keep, True)

    @property
    def dropped_at_epoch_(self) -> np.ndarray:
        """Epochs trained when dropped, -1 where kept, shape (n,)."""
        return self._of_all(self._bound.dropped_at_epoch, -1)

    @property
    def isolated_indices_(self) -> np.ndarray:  # type: ignore[override]
        """Row numbers of those that are not kept."""
        return np.flatnonzero(~self.keep_)

    @property
    def gradients_(self) -> str | None:
        """Which gradients are judged, as `gradients` names them; None so far."""
        return None if self._extraction is None else self._extraction.name

    @property
    def rounds_(self) -> list[Round]:
        """One record a round."""
        return self._bound.rounds

    def to_frame(self) -> Any:
        """As :meth:`EPICFilter.to_frame`, of the rows trained on, by row number."""
        return self._bound.to_frame().set_axis(self._judged()[0])

    @property
    def _schedule(self) -> DropSchedule:  # type: ignore[override]
        return self._bound.schedule

    def _of_all(self, values: np.ndarray, of_others: Any) -> np.ndarray:
        rows, n = self._judged()
        of_all = np.full(n, of_others, dtype=values.dtype)
        of_all[rows] = values
        return of_all

    @property
    def _bound(self) -> EPICSubsetSampler:
        if self.sampler_ is None:
            raise NotFittedError(
                f"{type(self).__name__} has not seen any training yet; train first. Of "
                "a fitted skorch net take it from net.callbacks_, which may hold a "
                "copy."
            )
        return self.sampler_

    def _check_parameters(self) -> None:
        self._validate_params()
        gradients_for(resolve_rule(self.rule), self.gradients)

    def _plan(self, warmup: int | None, max_epochs: int | None) -> None:
        """Say when rounds come, or refuse it."""
        rule = resolve_rule(self.rule)
        Epochs.of(rule, warmup, self.every, self.stop, max_epochs)
        self._planned_ = {"warmup": warmup, "max_epochs": max_epochs}

    def _begin(self, dataset: Any, seed: int, **options: Any) -> EPICSubsetSampler:
        """Make the sampler for a training set."""
        labels, seen = decide_once(lambda: labels_and_digest(_items(dataset)))
        how = {name: getattr(self, name) for name in SCHEDULE_CONSTRAINTS}
        how |= {**self._planned_, "random_state": seed}
        self.sampler_ = EPICSubsetSampler(labels, **how, **options)
        self.sampler_._warns_at_once = False
        self._extraction = None
        if self.clean_dataset is not None:  # is what is judged, and shown
            seen = _check_clean(self.clean_dataset, dataset, self._schedule)
        else:
            way_out = "Give them without it, in the same order, as clean_dataset."
            if warn_of_augmented(type(self).__name__, _items(dataset), way_out):
                seen = None
        self._schedule.seen = seen
        return self.sampler_

    def _round(self, epoch: int, module: nn.Module, loader: DataLoader) -> None:
        """Begin an epoch: drop what the rule flags if a round is due."""
        sampler = self._bound
        if self._extraction is None:  # what is wrong shows now, not after the warmup
            self._extraction = self._make_extraction(module, loader)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # two rows tell no order of columns
                self._extract(module, loader, np.arange(2))
        record = sampler.step(
            epoch, lambda: self._extract(module, loader, sampler.gradient_rows())
        )
        if record is not None and self.verbose and place()[0] == 0:
            tqdm.write(
                f"epoch {epoch}: dropped {record.n_dropped} examples, kept "
                f"{record.n_kept} of {sampler.n}, rho {record.rho:.3g}"
            )

    def _some(self, loader: DataLoader, rows: np.ndarray) -> DataLoader:
        """Make a loader of some of the rows, as they are to be judged."""
        data = loader.dataset if self.clean_dataset is None else self.clean_dataset
        if len(rows) < self._bound.n:
            data = Subset(data, rows.tolist())
        return like(loader, data)

    def _extract(
        self, module: nn.Module, loader: DataLoader, rows: np.ndarray
    ) -> Gradients:
        """Take gradients of some rows, in order, in evaluation mode."""
        schedule = self._schedule
        labels = schedule.classes[schedule.codes[rows]]
        extraction = self._extraction or self._make_extraction(module, loader)
        return extraction(module, self._some(loader, rows), labels)

    def _make_extraction(self, module: nn.Module, loader: DataLoader) -> Extraction:
        few = self._some(loader, np.arange(2))
        return Extraction(self._schedule.rule, self.gradients, module, few)

    def _look(self, seen: Any, labels: np.ndarray) -> Gradients:
        return self._extract(*self._trained_, np.arange(self._bound.n))

    def _case(self, X: Any, y: Any, *args: Any) -> Case:
        if y is None and (X is None or is_dataframe(X)):
            raise TypeError(
                f"X is a {type(X).__name__} without labels; give the data set that was "
                "trained on, or rows and their labels."
            )
        return super()._case(_items(X) if y is None else X, y, *args)

    def _warn_at_end(self, n_epochs: int, best: Iterable[int] = ()) -> None:
        """Warn of a run that ended before it dropped, or with a net at chance.

        And of weights of the `best` epochs, if these come to be the net's.
        """
        if self.sampler_ is not None:
            name = type(self).__name__
            self._schedule.warn_at_end(name, n_epochs)
            warn_of_best(self._schedule, name, best)


def _items(dataset: Any) -> Any:
    """Make a data set of what a loader draws from, which may be a plain list."""
    return dataset if is_dataset(dataset) else DataLoader(dataset)


def _check_clean(clean: Any, dataset: Any, schedule: DropSchedule) -> str | None:
    """Refuse other examples, or an order that labels show to be another; the digest."""
    if len(clean) != len(dataset):
        raise ValueError(
            f"clean_dataset has {len(clean)} examples and the training set "
            f"{len(dataset)}; they must be the same examples in the same order."
        )
    if inputs_and_labels(clean[0])[1] is None:
        return None
    items = _items(clean)
    labels, digest = labels_and_digest(items)
    n_other = int((labels != schedule.classes[schedule.codes]).sum())
    if n_other:
        raise ValueError(
            f"{n_other} of {len(dataset)} labels in clean_dataset are not those of the "
            "training set; give the same examples in the same order."
        )
    return None if varies(items) else digest
