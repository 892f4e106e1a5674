"""When to drop while training, and what has been dropped so far."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ._rounds import DropRounds, Round, RoundOptions
from ._utils import RandomState, resolve_seed


def check_epochs(
    warmup: Any, every: Any, stop: Any = None, max_epochs: int | None = None
) -> None:
    """Refuse a schedule that is malformed or never drops.

    Parameters
    ----------
    warmup, every, stop : int
        As for :class:`DropSchedule`.
    max_epochs : int, optional
        Epochs that will be trained.

    Raises
    ------
    ValueError
        If a value is out of range, or no round falls before the last epoch.

    Examples
    --------
    >>> from epic_sklearn.schedule import check_epochs
    >>> check_epochs(10, 5, None, 40)
    """
    for name, value, least in (("warmup", warmup, 0), ("every", every, 1)):
        is_integer = isinstance(value, Integral) and not isinstance(value, bool)
        if not is_integer or value < least:
            raise ValueError(
                f"{name} is {value!r}; it is a number of epochs and must be an "
                f"integer >= {least}."
            )
    if stop is not None and (not isinstance(stop, Integral) or stop < warmup):
        raise ValueError(
            f"stop is {stop!r}; it is the last epoch after which examples may be "
            f"dropped and must be None or an integer >= warmup ({warmup})."
        )
    if max_epochs is not None and warmup >= max_epochs:
        raise ValueError(
            f"warmup is {warmup} and max_epochs {max_epochs}: training would end "
            "before anything is dropped. Give a warmup below max_epochs."
        )


class DropSchedule:
    """The rounds of EPIC along the epochs of one training run.

    After `warmup` epochs, and then after every `every` further ones up to
    `stop`, isolated examples are dropped for good (paper, Algorithm 1). All
    estimators, callbacks and samplers of this library drop through this class.

    Parameters
    ----------
    labels : array-like of shape (n,)
        Labels of the training examples, at least two classes.
    warmup : int, default=10
        Epochs trained before the first round; 0 drops before training, for a
        model that is trained already.
    every : int, default=5
        Epochs from round to round.
    stop : int or None, default=None
        Last epoch after which a round may come. None: no end.
    subset_size : float, default=0.2
        Medoids as a share of each class.
    threshold : int, default=1
        Largest size of a cluster that counts as isolated.
    cluster_on : {"all", "kept"}, default="all"
        Whether a round clusters all examples and intersects, or what is left.
    rule : {"medoids", "neighbors"}, default="medoids"
        What is isolated; "neighbors" needs OuterProductGradients. See
        :class:`EPICClassifier`.
    cutoff : float, default=2.0
        Score above which "neighbors" drops; lower drops more.
    metric : {"euclidean", "cosine"}, default="euclidean"
        Distance between gradients.
    optimizer : str, default="lazy"
        Any of apricot's optimizer names.
    min_class_fraction : float, default=0.5
        Share of each class that is always kept.
    n_jobs : int, default=None
        Classes worked on side by side.
    random_state : int, RandomState instance or None, default=None
        For optimizers that draw at random.

    Attributes
    ----------
    keep : ndarray of shape (n,), bool
        What is kept.
    dropped_at_epoch : ndarray of shape (n,), int
        Epochs trained when the example was dropped, -1 where it is kept.
    rounds : list of Round
        One record a round.

    Examples
    --------
    >>> import numpy as np
    >>> from epic_sklearn import DropSchedule
    >>> gradients = np.array([[0.0], [0.1], [0.2], [5.0], [1.0], [1.1]])
    >>> schedule = DropSchedule(list("aaaabb"), warmup=2, every=3, subset_size=0.5)
    >>> [epoch for epoch in range(10) if schedule.is_due(epoch)]
    [2, 5, 8]
    >>> schedule.step(2, gradients).n_dropped
    1
    >>> schedule.keep
    array([ True,  True,  True, False,  True,  True])
    """

    def __init__(
        self,
        labels: ArrayLike,
        *,
        warmup: int = 10,
        every: int = 5,
        stop: int | None = None,
        subset_size: float = 0.2,
        threshold: int = 1,
        cluster_on: str = "all",
        rule: str = "medoids",
        cutoff: float = 2.0,
        metric: str = "euclidean",
        optimizer: str = "lazy",
        min_class_fraction: float = 0.5,
        n_jobs: int | None = None,
        random_state: RandomState = None,
    ) -> None:
        check_epochs(warmup, every, stop)
        options = RoundOptions(
            subset_size=subset_size,
            threshold=threshold,
            cluster_on=cluster_on,
            rule=rule,
            cutoff=cutoff,
            metric=metric,
            optimizer=optimizer,
            min_class_fraction=min_class_fraction,
            n_jobs=n_jobs,
        )
        self.warmup, self.every, self.stop = warmup, every, stop
        self._rounds = DropRounds(labels, options, resolve_seed(random_state))

    @property
    def keep(self) -> np.ndarray:
        """What is kept, shape (n,), bool."""
        return self._rounds.keep

    @property
    def dropped_at_epoch(self) -> np.ndarray:
        """Epochs trained when dropped, -1 where kept, shape (n,)."""
        return self._rounds.dropped_at

    @property
    def isolation_score(self) -> np.ndarray:
        """Highest isolation score of all rounds so far, shape (n,)."""
        return self._rounds.score

    @property
    def classes(self) -> np.ndarray:
        """Sorted labels."""
        return self._rounds.classes

    @property
    def rounds(self) -> list[Round]:
        """One record a round."""
        return self._rounds.rounds

    def is_due(self, epoch: int) -> bool:
        """Say whether a round comes after `epoch` epochs of training.

        Parameters
        ----------
        epoch : int
            Epochs trained so far.

        Returns
        -------
        bool
            False also for a round that has been run.
        """
        if self.rounds and epoch <= self.rounds[-1].epoch:
            return False
        if epoch < self.warmup or (self.stop is not None and epoch > self.stop):
            return False
        return (epoch - self.warmup) % self.every == 0

    def step(self, epoch: int, gradients: Any | Callable[[], Any]) -> Round | None:
        """Drop isolated examples if a round is due.

        Parameters
        ----------
        epoch : int
            Epochs trained so far.
        gradients : array-like of shape (n, d), OuterProductGradients or callable
            Gradient features of all examples in their order, dropped ones
            included; or a function without arguments that computes them, called
            only if a round is due.

        Returns
        -------
        Round or None
            None if no round is due.

        Raises
        ------
        ValueError
            If the gradients have the wrong shape or are not finite.
        """
        if not self.is_due(epoch):
            return None
        return self._rounds.run(
            epoch, gradients() if callable(gradients) else gradients
        )

    def state_dict(self) -> dict[str, Any]:
        """Give all that later rounds depend on, as plain arrays and numbers.

        Returns
        -------
        dict
        """
        timing = {"warmup": self.warmup, "every": self.every, "stop": self.stop}
        return {"timing": timing, **self._rounds.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state_dict`.

        Parameters
        ----------
        state : dict
            Saved by a schedule of the same labels and options. Its `stop` may
            differ, so that a run can be prolonged.

        Raises
        ------
        ValueError
            If it was saved for other labels or options; nothing has changed.
        """
        for name in ("warmup", "every"):
            if state["timing"][name] != getattr(self, name):
                raise ValueError(
                    f"The saved state was made with {name}={state['timing'][name]}, "
                    f"here it is {getattr(self, name)}; resume with the same."
                )
        self._rounds.load_state_dict(state)
