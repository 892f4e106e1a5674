"""The whole algorithm: train, drop what is isolated, go on with the rest."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.frozen import FrozenEstimator
from sklearn.utils._param_validation import StrOptions
from torch import nn

from .._utils import Parts, RandomState, keeps_last_fit
from ..base import check_weights, refuse_lacking_params, take_rows
from ..epochs import Epochs, Round
from ..frames import index_of
from ..gradients import EXTRACTORS
from ..gradients.labels import digest_of, warn_of_augmented
from ..report import Reviewable
from ..rules import Rule, resolve_rule
from ..schedule import SCHEDULE_CONSTRAINTS, DropSchedule
from .batches import CodedItems
from .best_weights import epochs_loaded, warn_of_best
from .net import (
    EpochStart,
    Extraction,
    first_two,
    gradients_for,
    steps_by_batch,
    unnamed,
)
from .sampler import EPICSubsetSampler
from .torch_classifier import TorchClassifier


class EPICClassifier(Parts, Reviewable, TorchClassifier):
    """Train a torch module and drop poisoned examples while it trains.

    EPIC (paper, Algorithm 1): train for `warmup` epochs; then, every `every`
    epochs, let a rule judge the gradients of all examples, drop what it flags, and
    go on with the rest. Until the first round, training is that of a
    :class:`TorchClassifier` with the same parameters.

    No clean data, clean model or poison rate is asked for. It costs clean examples.

    Parameters
    ----------
    module : see TorchClassifier
    rule : Rule or None, default=None
        Which examples to drop; cloned, never changed. None is
        :class:`~epic_sklearn.rules.NeighborVotes`; the paper's is
        :class:`~epic_sklearn.rules.IsolatedMedoids`. A rule's own parameters are
        reached as ``rule__...``.
    gradients : {"logit", "last_layer_input", "last_layer"} or None, default=None
        What the rule judges: the gradient with respect to the logits (published
        code), to the last layer's input (paper), or to its parameters. A rule that
        cannot use it is refused. None: what the rule `prefers`.
    warmup, every, stop, min_class_fraction, n_jobs : see DropSchedule
        `warmup` must be below `max_epochs`, from which `warmup` and `every` follow
        where they are None.
    max_epochs, lr, batch_size, optimizer, optimizer_params, augment, criterion, \
callbacks, device, checkpoint, random_state, verbose : see TorchClassifier

    Attributes
    ----------
    keep_ : ndarray of shape (n,), bool
        Which training examples were kept to the end.
    isolated_indices_ : ndarray of int
        Rows of the others.
    dropped_at_epoch_, details_, rounds_ : see DropSchedule
    isolation_score_ : ndarray of shape (n,)
        The rule's highest score of all rounds; every dropped example is above
        every kept one that was flagged in its class.
    rule_ : Rule
        The clone that judged.
    gradients_ : str
        Which gradients were judged, as `gradients` names them: those of the logits if
        nobody asked for others and the net has no last layer that can be read.
    extractor_ : extractor
        Gives these gradients, of the net as it is now.
    rho_ : float
        Change in the norm of the mean gradient that dropping causes (Theorem
        3.1), in the last round; 0 if there was none. A reviewer's decisions leave it.
    net_, module_, history_, classes_, n_features_in_ : see TorchClassifier

    See Also
    --------
    EPICFilter : For any scikit-learn classifier.
    EPICCallback : For your own skorch net.
    EPICSubsetSampler : For your own torch loop.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from epic_sklearn import EPICClassifier
    >>> from epic_sklearn.rules import IsolatedMedoids
    >>> X, y = load_iris(return_X_y=True)
    >>> X[0] = X[100]  # a setosa that looks like a virginica
    >>> model = EPICClassifier(rule=IsolatedMedoids(subset_size=0.1), warmup=5, every=5,
    ...                        stop=10, max_epochs=20, random_state=0).fit(X, y)
    >>> bool(model.keep_[0]), int(model.dropped_at_epoch_[0])
    (False, 5)
    >>> [record.epoch for record in model.rounds_]
    [5, 10]
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **TorchClassifier._parameter_constraints,
        **SCHEDULE_CONSTRAINTS,
        "gradients": [StrOptions(set(EXTRACTORS)), None],
    }
    _way_back: ClassVar[str] = (
        "Give the file to `EPICClassifier.apply_decisions`, then call `refit(X, y)`: "
        "it trains anew on what is left, and drops nothing more."
    )

    def __init__(
        self,
        module: nn.Module | Callable[..., nn.Module] | None = None,
        *,
        rule: Rule | None = None,
        gradients: str | None = None,
        warmup: int | None = None,
        every: int | None = None,
        stop: int | None = None,
        min_class_fraction: float = 0.5,
        max_epochs: int = 40,
        lr: float = 0.1,
        batch_size: int = 128,
        optimizer: type[torch.optim.Optimizer] = torch.optim.SGD,
        optimizer_params: dict[str, Any] | None = None,
        augment: Callable[[torch.Tensor], torch.Tensor] | None = None,
        criterion: nn.CrossEntropyLoss | None = None,
        callbacks: list[Any] | None = None,
        device: str = "auto",
        checkpoint: str | os.PathLike[str] | None = None,
        n_jobs: int | None = None,
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(
            module,
            max_epochs=max_epochs,
            lr=lr,
            batch_size=batch_size,
            optimizer=optimizer,
            optimizer_params=optimizer_params,
            augment=augment,
            criterion=criterion,
            callbacks=callbacks,
            device=device,
            checkpoint=checkpoint,
            random_state=random_state,
            verbose=verbose,
        )
        self.rule = rule
        self.gradients = gradients
        self.warmup = warmup
        self.every = every
        self.stop = stop
        self.min_class_fraction = min_class_fraction
        self.n_jobs = n_jobs

    @keeps_last_fit
    def fit(
        self,
        X: Any,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train as :meth:`TorchClassifier.fit`, dropping what the rule flags.

        Weights change how the net trains; the gradients that the rule judges, those
        of rows of weight 0 among them, have none.
        """
        super().fit(X, y, sample_weight)
        self._had_weights = sample_weight is not None
        self._params_of_fit = self.get_params(deep=False)
        schedule = self._schedule
        self._keep_as_decided()
        self.dropped_at_epoch_ = schedule.dropped_at_epoch
        self.isolation_score_ = schedule.isolation_score
        self.details_ = schedule.details
        schedule.index = index_of(X, y)
        self.rule_ = schedule.rule
        self.rounds_: list[Round] = schedule.rounds
        self.rho_ = self.rounds_[-1].rho if self.rounds_ else 0.0
        name = type(self).__name__
        schedule.warn_at_end(name, len(self.history_))
        warn_of_best(schedule, name, epochs_loaded(self.net_))
        return self

    def refit(
        self,
        X: Any,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        steps: Any = None,
    ) -> Self:
        """Train anew on what is kept, as a reviewer decided, and drop nothing more.

        Parameters
        ----------
        X, y, sample_weight : see `fit`
            The rows of the fit.
        steps : see :meth:`report`

        Returns
        -------
        self : EPICClassifier
            What the rounds found, and `keep_`, stay.

        Raises
        ------
        ValueError
            If X, y are not the rows of the fit.
        """
        self._check_judged()
        if self._had_weights and sample_weight is None:
            refuse_lacking_params(["sample_weight"], [])
        seen, labels = self._rows_of_the_fit(X, y, steps)
        rows = np.flatnonzero(self.keep_)
        kept = take_rows(seen, rows)
        weights = check_weights(sample_weight, X)
        weights = None if weights is None else weights[rows]
        self.net_ = self.undefended().fit(kept, labels[rows], weights).net_
        return self

    def undefended(self) -> TorchClassifier:
        """Give the classifier that trains as this one does, and drops nothing.

        Returns
        -------
        TorchClassifier
            Not fitted; its `checkpoint` is None, since it is a run of its own.

        Examples
        --------
        >>> from epic_sklearn import EPICClassifier
        >>> EPICClassifier(warmup=2, max_epochs=9).undefended()
        TorchClassifier(max_epochs=9)
        """
        names = TorchClassifier().get_params(deep=False)
        settings = {name: getattr(self, name) for name in names} | {"checkpoint": None}
        return TorchClassifier(**settings)

    @property
    def _schedule(self) -> DropSchedule:  # type: ignore[override]
        return self._start.sampler.schedule

    def _as_seen(self, X: Any) -> Any:
        return self._module_input(X)

    @property
    def extractor_(self) -> Any:
        """Gives the gradients that the rule judges, of the net as it is now."""
        kind = self._start.extraction.kind
        return kind(FrozenEstimator(self)).fit(None, self.classes_)

    @property
    def gradients_(self) -> str:
        """Which gradients are judged, as `gradients` names them."""
        return self._start.extraction.name

    def _check_parameters(self) -> None:
        super()._check_parameters()
        rule, epochs = resolve_rule(self.rule), (self.warmup, self.every, self.stop)
        Epochs.of(rule, *epochs, self.max_epochs)
        gradients_for(rule, self.gradients)

    def _epoch_start(
        self, labels: np.ndarray, seed: int, module: nn.Module, data: Any
    ) -> EpochStart:
        """Make what drops, and say which gradients the module turns out to have."""
        how = {name: getattr(self, name) for name in SCHEDULE_CONSTRAINTS}
        how |= {"random_state": seed, "max_epochs": self.max_epochs}
        by_batch = steps_by_batch(unnamed(self.callbacks))
        sampler = EPICSubsetSampler(labels, **how, keep_length=by_batch)
        sampler._warns_at_once = False
        rule, few = sampler.schedule.rule, first_two(data)
        extraction = Extraction(rule, self.gradients, module, few)
        sampler.schedule.seen = digest_of(data)
        if isinstance(data, CodedItems):  # of which the items tell
            way_out = "Give items without it, and augment=... to augment batches."
            differ = warn_of_augmented(type(self).__name__, data.items, way_out)
            sampler.schedule.seen = None if differ else self._digest
        return EpochStart(sampler, extraction)
