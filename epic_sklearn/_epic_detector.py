"""EPIC's detector: rounds of a model, its gradients and what is isolated in them."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.utils import _safe_indexing
from tqdm import tqdm

from ._detector import Detector, as_extractor, check_weights
from ._rounds import DropRounds, Round, RoundOptions
from ._utils import RandomState, resolve_seed
from .gradients.features import Gradients, check_gradients


class EPICDetector(Detector):
    """Finds isolated examples; base of EPICFilter and EPICResampler."""

    rounds_: list[Round]

    def __init__(
        self,
        extractor: Any = None,
        *,
        subset_size: float = 0.2,
        threshold: int = 1,
        cluster_on: str = "all",
        rule: str = "medoids",
        cutoff: float = 2.0,
        n_rounds: int = 1,
        metric: str = "euclidean",
        optimizer: str = "lazy",
        min_class_fraction: float = 0.5,
        n_jobs: int | None = None,
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
        self.extractor = extractor
        self.subset_size = subset_size
        self.threshold = threshold
        self.cluster_on = cluster_on
        self.rule = rule
        self.cutoff = cutoff
        self.n_rounds = n_rounds
        self.metric = metric
        self.optimizer = optimizer
        self.min_class_fraction = min_class_fraction
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def _options(self) -> RoundOptions:
        """Check all parameters before any work."""
        n_rounds = self.n_rounds
        is_integer = isinstance(n_rounds, Integral) and not isinstance(n_rounds, bool)
        if not is_integer or n_rounds < 1:
            raise ValueError(f"n_rounds is {n_rounds!r}; it must be an integer >= 1.")
        return RoundOptions(
            subset_size=self.subset_size,
            threshold=self.threshold,
            cluster_on=self.cluster_on,
            rule=self.rule,
            cutoff=self.cutoff,
            metric=self.metric,
            optimizer=self.optimizer,
            min_class_fraction=self.min_class_fraction,
            n_jobs=self.n_jobs,
        )

    def _detect(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> tuple[Any, Any]:
        """Run all rounds, set the fitted attributes, return X and gradients."""
        options = self._options()
        extractor = as_extractor(self.extractor)
        seed = resolve_seed(self.random_state)
        X, labels = self._check_X_y(X, y)
        weights = check_weights(sample_weight, X)
        rounds = DropRounds(labels, options, seed)
        numbers = range(1, self.n_rounds + 1)
        one_round = self.n_rounds == 1
        for number in tqdm(
            numbers, desc="rounds", disable=one_round or not self.verbose
        ):
            gradients = self._gradients(
                clone(extractor), X, labels, rounds.keep, weights
            )
            record = rounds.run(number, gradients)
            if self.verbose:
                tqdm.write(
                    f"round {number}: dropped {record.n_dropped} of {len(labels)} "
                    f"examples, kept {record.n_kept}, rho {record.rho:.3g}"
                )
        self._set_results(rounds)
        return X, gradients

    def _gradients(
        self,
        extractor: Any,
        X: Any,
        labels: np.ndarray,
        keep: np.ndarray,
        sample_weight: np.ndarray | None,
    ) -> Gradients:
        """Fit a model on what is kept; gradients of all examples."""
        rows = np.flatnonzero(keep)
        weights = (
            {} if sample_weight is None else {"sample_weight": sample_weight[rows]}
        )
        if len(rows) == len(keep):
            extractor.fit(X, labels, **weights)
        else:
            extractor.fit(_safe_indexing(X, rows), labels[rows], **weights)
        self.extractor_ = extractor
        return check_gradients(extractor.compute(X, labels), len(labels))

    def _set_results(self, rounds: DropRounds) -> None:
        self.classes_ = rounds.classes
        self.keep_ = rounds.keep
        self.isolated_indices_ = np.flatnonzero(~rounds.keep)
        self.medoid_indices_ = rounds.medoid_indices
        self.cluster_sizes_ = rounds.cluster_size
        self.isolation_score_ = rounds.score
        self.rounds_ = rounds.rounds
        self.rho_ = rounds.rounds[-1].rho
        self.dropped_at_round_ = rounds.dropped_at
        self._codes = rounds.codes
