"""The whole algorithm: train, drop what is isolated, go on with the rest."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils import column_or_1d
from torch import nn

from .._rounds import Round, RoundOptions
from .._utils import RandomState, warn_if_nothing_learned
from ..gradients import GradientExtractor
from ..gradients.modules import forward
from ..schedule import check_epochs
from ._callback import EXTRACTORS, check_gradient_kind, round_options_of
from ._classifier import FORWARD_BATCH, TorchClassifier
from ._sampler import EPICSubsetSampler


class EPICClassifier(TorchClassifier):
    """Train a torch module and drop poisoned examples while it trains.

    EPIC (paper, Algorithm 1): train for `warmup` epochs; then, every `every`
    epochs, choose medoids of the gradients of each class, assign every example
    to its nearest one, drop the members of clusters of at most `threshold`
    examples, and go on with the rest. Until the first round, training is that
    of a :class:`TorchClassifier` with the same parameters.

    No clean data, clean model or poison rate is asked for. It costs clean
    examples: a fifth of them is not rare.

    Parameters
    ----------
    module : torch.nn.Module, class, callable or None, default=None
        As for :class:`TorchClassifier`.
    warmup : int, default=10
        Epochs trained before the first round. Poisons separate only when the
        net has learned; dropping earlier costs clean examples for nothing. With
        a pre-trained feature extractor 1 is enough; 0 drops before training.
    every : int, default=5
        Epochs from round to round.
    stop : int or None, default=None
        Last epoch after which a round may come; None: until training ends.
    subset_size : float, default=0.2
        Medoids as a share of each class, in (0, 1]. More drops more.
    threshold : int, default=1
        Largest size, medoid included, of a cluster that counts as isolated.
        Poisons that collide on one point need it to be as large as their group,
        at a price in clean examples.
    cluster_on : {"all", "kept"}, default="all"
        Whether each round clusters all examples and intersects (published
        code), or what is left, with a constant number of medoids (paper).
    rule : {"medoids", "neighbors"}, default="medoids"
        What is isolated: a member of a small cluster (paper), or an example that
        is far from its class, or in a tight group of up to 10 that collide, and
        fitted badly. "neighbors" costs fewer clean examples and finds poisons
        that collide. It needs ``gradients="last_layer"``, and does not use
        `subset_size`, `threshold`, `metric` and `selection_optimizer`.
    cutoff : float, default=2.0
        Score above which "neighbors" drops, in robust standard deviations of
        the class; lower drops more, 4.25 or more nothing.
    gradients : {"logit", "last_layer_input", "last_layer"}, default="logit"
        What is clustered: the gradient with respect to the logits (published
        code), to the last layer's input (paper), or to its parameters.
    metric : {"euclidean", "cosine"}, default="euclidean"
        Distance between gradients.
    selection_optimizer : str, default="lazy"
        Any of apricot's optimizer names.
    min_class_fraction : float, default=0.5
        Share of each class that is always kept. When reached, the least
        isolated examples are given back and one warning names the class.
    max_epochs : int, default=40
        Passes over the kept examples; above `warmup`.
    lr, batch_size, optimizer, optimizer_params, lr_milestones, augment, \
callbacks, device, checkpoint : see TorchClassifier
    n_jobs : int, default=None
        Classes worked on side by side.
    random_state : int, RandomState instance or None, default=None
        Decides initial weights, order of examples, dropout and augmentation.
    verbose : int, default=0
        Above 0, a progress bar and one line a round.

    Attributes
    ----------
    keep_ : ndarray of shape (n,), bool
        Which training examples were kept to the end.
    dropped_at_epoch_ : ndarray of shape (n,), int
        Epochs trained when the example was dropped, -1 where it was kept.
    isolation_score_ : ndarray of shape (n,)
        Highest isolation score of all rounds; every dropped example is above
        every kept one of its class.
    rounds_ : list of Round
        Epoch, examples kept and dropped, seconds and rho of each round.
    rho_ : float
        Change in the norm of the mean gradient that dropping causes (Theorem
        3.1), in the last round.
    net_, module_, history_, classes_, n_features_in_ : see TorchClassifier

    See Also
    --------
    EPICFilter : For any scikit-learn classifier.
    EPICCallback : For your own skorch net.
    EPICSubsetSampler : For your own torch loop.

    References
    ----------
    Yang, Liu, Mirzasoleiman: Not All Poisons are Created Equal: Robust Training
    against Data Poisoning, ICML 2022.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from epic_sklearn import EPICClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> X[0] = X[100]  # a setosa that looks like a virginica
    >>> model = EPICClassifier(warmup=5, every=5, stop=10, subset_size=0.1,
    ...                        max_epochs=20, random_state=0).fit(X, y)
    >>> bool(model.keep_[0]), int(model.dropped_at_epoch_[0])
    (False, 5)
    >>> [record.epoch for record in model.rounds_]
    [5, 10]
    """

    def __init__(
        self,
        module: nn.Module | Callable[..., nn.Module] | None = None,
        *,
        warmup: int = 10,
        every: int = 5,
        stop: int | None = None,
        subset_size: float = 0.2,
        threshold: int = 1,
        cluster_on: str = "all",
        rule: str = "medoids",
        cutoff: float = 2.0,
        gradients: str = "logit",
        metric: str = "euclidean",
        selection_optimizer: str = "lazy",
        min_class_fraction: float = 0.5,
        max_epochs: int = 40,
        lr: float = 0.1,
        batch_size: int = 128,
        optimizer: type[torch.optim.Optimizer] = torch.optim.SGD,
        optimizer_params: dict[str, Any] | None = None,
        lr_milestones: Sequence[int] | None = None,
        augment: Callable[[torch.Tensor], torch.Tensor] | None = None,
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
            lr_milestones=lr_milestones,
            augment=augment,
            callbacks=callbacks,
            device=device,
            checkpoint=checkpoint,
            random_state=random_state,
            verbose=verbose,
        )
        self.warmup = warmup
        self.every = every
        self.stop = stop
        self.subset_size = subset_size
        self.threshold = threshold
        self.cluster_on = cluster_on
        self.rule = rule
        self.cutoff = cutoff
        self.gradients = gradients
        self.metric = metric
        self.selection_optimizer = selection_optimizer
        self.min_class_fraction = min_class_fraction
        self.n_jobs = n_jobs

    def fit(self, X: ArrayLike, y: ArrayLike) -> EPICClassifier:
        """Train, dropping isolated examples on the way.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Training examples, finite.
        y : array-like of shape (n,)
            Labels: strings, integers or bools, at least two classes.

        Returns
        -------
        self : EPICClassifier

        Raises
        ------
        ValueError
            If a parameter is out of range (a `warmup` not below `max_epochs`
            among them), the data cannot be used, the module does not fit them,
            or training diverges.
        """
        super().fit(X, y)
        sampler = self._sampler
        self.keep_ = sampler.keep
        self.dropped_at_epoch_ = sampler.dropped_at_epoch
        self.isolation_score_ = sampler.schedule.isolation_score
        self.rounds_: list[Round] = sampler.rounds
        self.rho_ = sampler.rounds[-1].rho
        if self.keep_.all():
            codes = np.searchsorted(self.classes_, column_or_1d(y))
            logits, _, _ = forward(self.module_, self._module_input(X), FORWARD_BATCH)
            warn_if_nothing_learned(type(self).__name__, codes, logits)
        return self

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_epochs(self.warmup, self.every, self.stop, self.max_epochs)
        check_gradient_kind(self.gradients, self.rule)
        RoundOptions(**round_options_of(self))

    def _make_sampler(self, codes: np.ndarray, seed: int) -> EPICSubsetSampler:
        self._sampler = EPICSubsetSampler(
            codes,
            warmup=self.warmup,
            every=self.every,
            stop=self.stop,
            random_state=seed,
            **round_options_of(self),
        )
        return self._sampler

    def _gradient_extractor(self) -> type[GradientExtractor]:
        return EXTRACTORS[self.gradients]
