"""EPIC inside a user's own skorch net."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler, Subset
from tqdm import tqdm

from .._rounds import Round, RoundOptions
from .._utils import RandomState, resolve_seed, warn_if_nothing_learned, warn_user
from ..gradients import LastLayerGradients, LastLayerInputGradients, LogitGradients
from ..gradients.features import Gradients
from ..gradients.modules import forward, looks_like_probabilities
from ..schedule import check_epochs
from ._loader import training_loader
from ._sampler import EPICSubsetSampler, labels_of

EXTRACTORS = {
    "logit": LogitGradients,
    "last_layer_input": LastLayerInputGradients,
    "last_layer": LastLayerGradients,
}


# Examples a forward pass when gradients are taken.
GRADIENT_BATCH = 512


def check_gradient_kind(kind: Any, rule: str) -> None:
    """Refuse an unknown name of a gradient definition, or one the rule can't use."""
    if kind not in EXTRACTORS:
        raise ValueError(f"gradients is {kind!r}; choose one of {tuple(EXTRACTORS)}.")
    if rule == "neighbors" and kind != "last_layer":
        raise ValueError(
            f"rule is 'neighbors' and gradients {kind!r}; the rule compares the last "
            "layer's inputs and errors: set gradients='last_layer'."
        )


def round_options_of(owner: Any) -> dict[str, Any]:
    """Collect what :class:`RoundOptions` takes from an estimator's parameters."""
    return {
        "subset_size": owner.subset_size,
        "threshold": owner.threshold,
        "cluster_on": owner.cluster_on,
        "rule": owner.rule,
        "cutoff": owner.cutoff,
        "metric": owner.metric,
        "optimizer": owner.selection_optimizer,
        "min_class_fraction": owner.min_class_fraction,
        "n_jobs": owner.n_jobs,
    }


class LogOf(nn.Module):
    """Logits of a module that gives probabilities: their logarithm."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Run the module and take the logarithm."""
        probabilities = self.module(*args, **kwargs)
        if not looks_like_probabilities(probabilities):
            raise ValueError(
                "The net's criterion is torch.nn.NLLLoss, for which skorch takes the "
                "module's output as probabilities, but its rows are negative or don't "
                "sum to 1. If the module gives logits, set "
                "criterion=torch.nn.CrossEntropyLoss."
            )
        return probabilities.clamp_min(torch.finfo(torch.float32).tiny).log()


def _logits_of(net: Any) -> nn.Module:
    """Give a skorch net's module, or one that turns its probabilities to logits."""
    gives_probabilities = isinstance(net.criterion_, nn.NLLLoss)
    return LogOf(net.module_) if gives_probabilities else net.module_


def _loader(net: Any, data: Any) -> DataLoader:
    """Batches as a skorch net's own validation loader makes them."""
    collate = net.get_params_for("iterator_valid").get("collate_fn")
    return DataLoader(data, batch_size=GRADIENT_BATCH, collate_fn=collate)


class EPICCallback(Callback):
    """Drop isolated examples while a skorch net trains.

    For your own ``NeuralNetClassifier``: with the criterion
    ``torch.nn.CrossEntropyLoss`` the module gives logits; with skorch's default
    ``torch.nn.NLLLoss`` it gives probabilities. The callback takes over which
    training examples are visited and in what order; labels must be integers
    0, 1, ..., C - 1. Training continued by ``partial_fit``, also after
    pickling, goes on with what was dropped.

    Parameters
    ----------
    warmup : int, default=10
        Epochs trained before the first round.
    every : int, default=5
        Epochs from round to round.
    stop : int or None, default=None
        Last epoch after which a round may come.
    subset_size : float, default=0.2
        Medoids as a share of each class.
    threshold : int, default=1
        Largest size of a cluster that counts as isolated.
    cluster_on : {"all", "kept"}, default="all"
        What rounds after the first cluster.
    rule : {"medoids", "neighbors"}, default="medoids"
        What is isolated; "neighbors" needs ``gradients="last_layer"``. See
        :class:`EPICClassifier`.
    cutoff : float, default=2.0
        Score above which "neighbors" drops; lower drops more.
    gradients : {"logit", "last_layer_input", "last_layer"}, default="logit"
        What is clustered.
    metric : {"euclidean", "cosine"}, default="euclidean"
        Distance between gradients.
    selection_optimizer : str, default="lazy"
        Any of apricot's optimizer names.
    min_class_fraction : float, default=0.5
        Share of each class that is always kept.
    clean_dataset : Dataset or None, default=None
        The training examples in the same order without augmentation, for a
        training set that augments its items; gradients are taken from it.
    n_jobs : int, default=None
        Classes worked on side by side.
    random_state : int, RandomState instance or None, default=None
        Seed of the orders of examples.
    verbose : int, default=0
        Above 0, one line a round.

    Attributes
    ----------
    keep_ : ndarray of shape (n,), bool
        Which rows passed to ``fit`` are kept. Rows that the net's
        ``train_split`` sets aside are not trained on and count as kept.
    dropped_at_epoch_ : ndarray of shape (n,), int
        Epochs trained when the row was dropped, -1 where it is kept.
    rounds_ : list of Round
        One record a round.
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

    sampler_: EPICSubsetSampler | None

    def __init__(
        self,
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
        clean_dataset: Dataset | None = None,
        n_jobs: int | None = None,
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
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
        self.clean_dataset = clean_dataset
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def initialize(self) -> EPICCallback:
        """Check the parameters and forget earlier runs.

        Returns
        -------
        self : EPICCallback

        Raises
        ------
        ValueError
            If a parameter is out of range.
        """
        check_epochs(self.warmup, self.every, self.stop)
        check_gradient_kind(self.gradients, self.rule)
        RoundOptions(**round_options_of(self))
        self.sampler_ = None
        self._taken_over_: dict[str, Any] | None = None
        return self

    def on_train_begin(
        self, net: Any, X: Any = None, y: Any = None, **kwargs: Any
    ) -> None:
        """Take over which examples the net's training loader visits.

        Parameters
        ----------
        net : NeuralNet
            The net that trains.
        X, y : object
            What was passed to ``fit``.
        **kwargs : dict
            Ignored.
        """
        if len(net.history) == 0 and self.warmup >= net.max_epochs:
            warn_user(
                f"EPICCallback's warmup is {self.warmup} and the net's max_epochs "
                f"{net.max_epochs}: nothing will be dropped unless training goes on by "
                "partial_fit."
            )
        if self._taken_over_ is None:  # not left from a run that was broken off
            names = [n for n in vars(net) if n.startswith("iterator_train")]
            self._taken_over_ = {name: getattr(net, name) for name in names}
        if net.iterator_train is DataLoader:
            net.iterator_train = training_loader
        for name in ("iterator_train__shuffle", "iterator_train__drop_last"):
            vars(net).pop(name, None)
        net.iterator_train__sampler = _LateSampler(self)

    def on_train_end(
        self, net: Any, X: Any = None, y: Any = None, **kwargs: Any
    ) -> None:
        """Give the loader back as it was; warn if there was nothing to drop by.

        Parameters
        ----------
        net : NeuralNet
            The net that trained.
        X, y : object
            What was passed to ``fit``.
        **kwargs : dict
            Ignored.
        """
        vars(net).pop("iterator_train__sampler", None)
        vars(net).update(self._taken_over_ or {})
        self._taken_over_ = None
        if self.sampler_ is not None and self.rounds_ and self.keep_.all():
            data = net.get_dataset(X, y)
            logits, _, _ = forward(_logits_of(net), _loader(net, data))
            warn_if_nothing_learned(type(self).__name__, labels_of(data), logits)

    def on_epoch_begin(
        self,
        net: Any,
        dataset_train: Any = None,
        dataset_valid: Any = None,
        **kwargs: Any,
    ) -> None:
        """Drop isolated examples if a round is due.

        Parameters
        ----------
        net : NeuralNet
            The net that trains.
        dataset_train, dataset_valid : Dataset
            What it trains and validates on.
        **kwargs : dict
            Ignored.

        Raises
        ------
        ValueError
            If the training set is not the one that training began with, or
            gradients are not finite.
        """
        sampler = self._bind(dataset_train)
        epoch = len(net.history) - 1
        record = sampler.step(epoch, lambda: self._gradients(net, dataset_train))
        if record is not None and self.verbose:
            tqdm.write(
                f"epoch {epoch}: dropped {record.n_dropped} examples, kept "
                f"{record.n_kept} of {sampler.n}, rho {record.rho:.3g}"
            )

    @property
    def keep_(self) -> np.ndarray:
        """Which rows passed to ``fit`` are kept, shape (n,), bool."""
        keep = np.ones(self._n_rows_, dtype=bool)
        keep[self._rows_] = self._bound.keep
        return keep

    @property
    def dropped_at_epoch_(self) -> np.ndarray:
        """Epochs trained when dropped, -1 where kept, shape (n,)."""
        epochs = np.full(self._n_rows_, -1, dtype=np.int64)
        epochs[self._rows_] = self._bound.dropped_at_epoch
        return epochs

    @property
    def rounds_(self) -> list[Round]:
        """One record a round."""
        return self._bound.rounds

    @property
    def _bound(self) -> EPICSubsetSampler:
        sampler = getattr(self, "sampler_", None)
        if sampler is None:
            raise AttributeError(
                "EPICCallback has not seen any training yet; fit its net first. Of a "
                "fitted net take it from net.callbacks_, which may hold a copy."
            )
        return sampler

    def _bind(self, dataset: Any) -> EPICSubsetSampler:
        """Make the sampler when the training set is first seen."""
        if self.sampler_ is None:
            self.sampler_ = EPICSubsetSampler(
                labels_of(dataset),
                warmup=self.warmup,
                every=self.every,
                stop=self.stop,
                random_state=resolve_seed(self.random_state),
                **round_options_of(self),
            )
            self._rows_, self._n_rows_ = _rows_of(dataset)
        if len(dataset) != self.sampler_.n:
            raise ValueError(
                f"Training began with {self.sampler_.n} examples and goes on with "
                f"{len(dataset)}; continue with the same, or call fit to start anew."
            )
        return self.sampler_

    def _gradients(self, net: Any, dataset: Any) -> Gradients:
        """Take gradients in evaluation mode, without augmentation, in order."""
        data: Any = dataset if self.clean_dataset is None else self.clean_dataset
        if len(data) != len(dataset):
            raise ValueError(
                f"clean_dataset has {len(data)} examples and the training set "
                f"{len(dataset)}; they must be the same examples in the same order."
            )
        extractor = EXTRACTORS[self.gradients](_logits_of(net))
        return extractor.compute(_loader(net, data), labels_of(dataset))


class _LateSampler(Sampler[int]):
    """The callback's sampler, which is made after the loader that uses it."""

    def __init__(self, callback: EPICCallback) -> None:
        self.callback = callback

    def __iter__(self) -> Iterator[int]:
        return iter(self.callback._bound)

    def __len__(self) -> int:
        return len(self.callback._bound)


def _rows_of(dataset: Any) -> tuple[np.ndarray, int]:
    """Rows that a training set has in what it was split from, and its length."""
    if isinstance(dataset, Subset):
        rows, n = _rows_of(dataset.dataset)
        return rows[np.asarray(dataset.indices)], n
    return np.arange(len(dataset)), len(dataset)
