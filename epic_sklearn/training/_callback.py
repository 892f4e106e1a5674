"""EPIC inside a user's own skorch net."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm import tqdm

from .._features import Gradients
from .._random import RandomState, resolve_seed
from .._rounds import Round, RoundOptions
from ..gradients import LastLayerGradients, LastLayerInputGradients, LogitGradients
from ..schedule import check_epochs
from ._loader import training_loader
from ._sampler import EPICSubsetSampler, labels_of

EXTRACTORS = {
    "logit": LogitGradients,
    "last_layer_input": LastLayerInputGradients,
    "last_layer": LastLayerGradients,
}


def check_gradient_kind(kind: Any) -> None:
    """Refuse an unknown name of a gradient definition."""
    if kind not in EXTRACTORS:
        raise ValueError(f"gradients is {kind!r}; choose one of {tuple(EXTRACTORS)}.")


class LogOf(nn.Module):
    """Logits of a module that gives probabilities: their logarithm."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the module and take the logarithm."""
        return self.module(x).clamp_min(torch.finfo(torch.float32).tiny).log()


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
    ...     torch.nn.Linear(2, 2), criterion=torch.nn.CrossEntropyLoss,
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
        check_gradient_kind(self.gradients)
        RoundOptions(**self._options())
        self.sampler_ = None
        return self

    def _options(self) -> dict[str, Any]:
        return {
            "subset_size": self.subset_size,
            "threshold": self.threshold,
            "cluster_on": self.cluster_on,
            "metric": self.metric,
            "optimizer": self.selection_optimizer,
            "min_class_fraction": self.min_class_fraction,
            "n_jobs": self.n_jobs,
        }

    def on_train_begin(
        self, net: Any, X: Any = None, y: Any = None, **kwargs: Any
    ) -> None:
        """Take over the net's training loader.

        Parameters
        ----------
        net : NeuralNet
            The net that trains.
        X, y : object
            What was passed to ``fit``.
        **kwargs : dict
            Ignored.
        """
        dataset, _ = net.get_split_datasets(X, y)
        if self.sampler_ is None:
            self.sampler_ = EPICSubsetSampler(
                labels_of(_Ordered(dataset, self._loader_options(net))),
                warmup=self.warmup,
                every=self.every,
                stop=self.stop,
                random_state=resolve_seed(self.random_state),
                **self._options(),
            )
        self._rows, self._n_rows = _rows_of(dataset)
        self._theirs = _iterator_options(net)
        if net.iterator_train is DataLoader:
            net.iterator_train = training_loader
        for name in ("shuffle", "drop_last"):
            self._theirs.setdefault(name, None)
            if hasattr(net, f"iterator_train__{name}"):
                delattr(net, f"iterator_train__{name}")
        net.set_params(iterator_train__sampler=self.sampler_)
