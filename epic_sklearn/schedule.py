"""When to drop while training, and what has been dropped so far."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils._param_validation import Interval, validate_parameter_constraints

from ._utils import RandomState, keeps_last_fit, resolve_seed, warn_user
from .epochs import Epochs, Round
from .frames import RowsToFrame, index_of
from .gradients import Gradients, check_gradients, gradient_norm_change
from .gradients.features import called, read_only
from .learned import likeliest, model_probabilities, nothing_learned
from .rules import Judgement, Memory, Rule, resolve_rule
from .rules.base import check_judgement, refuse_shuffled, what_it_needs
from .validation import (
    FEWEST,
    check_labels,
    plain,
    refuse_other_order,
    warn_of_classes,
)

# Parameters of every filter and schedule that drops; `rule` is checked as it is made.
DROP_CONSTRAINTS: dict[str, Any] = {
    "rule": "no_validation",
    "min_class_fraction": [Interval(Real, 0, 1, closed="both")],
    "n_jobs": [None, Integral],
    "random_state": ["random_state"],
}
# Parameters of everything that drops along epochs.
SCHEDULE_CONSTRAINTS: dict[str, Any] = {
    **DROP_CONSTRAINTS,
    "warmup": [Interval(Integral, 0, None, closed="left"), None],
    "every": [Interval(Integral, 1, None, closed="left"), None],
    "stop": [Interval(Integral, 0, None, closed="left"), None],
}
# Attributes that have a value of each row, all of them in a state.
OF_ROWS = ("keep", "dropped_at_epoch", "_score", "_was_flagged", "decided")


def drop_within_floor(
    keep: np.ndarray,
    flagged: np.ndarray,
    score: np.ndarray,
    codes: np.ndarray,
    min_class_fraction: float,
) -> tuple[np.ndarray, list[int]]:
    """Drop flagged examples of those kept, but never below a share of their class.

    Where a class would fall below ``ceil(min_class_fraction * n_c)`` kept
    examples, or to none, the least suspicious of those just dropped are given
    back. Returns what is kept (n,), and the codes of such classes.
    """
    keep, before = keep & ~flagged, keep
    floored = []
    sizes = np.bincount(codes)
    floors = np.ceil(min_class_fraction * sizes - 1e-9).clip(1).astype(np.int64)
    missing = floors - np.bincount(codes[keep], minlength=len(sizes))
    for c in np.flatnonzero(missing > 0).tolist():
        dropped = np.flatnonzero(before & ~keep & (codes == c))
        given_back = dropped[np.argsort(score[dropped], kind="stable")][: missing[c]]
        if len(given_back):
            keep[given_back] = True
            floored.append(c)
    return keep, floored


class DropSchedule(RowsToFrame):
    """The rounds of dropping along the epochs of one training run.

    After `warmup` epochs, and then after every `every` further ones up to
    `stop`, a rule judges all examples, and what it flags is dropped for good
    (paper, Algorithm 1). All estimators, callbacks and samplers of this library
    drop through this class.

    Parameters
    ----------
    labels : array-like of shape (n,)
        Labels of the training examples, at least two classes.
    rule : Rule or None, default=None
        Which examples to drop. None: :class:`~epic_sklearn.rules.NeighborVotes`.
    warmup : int or None, default=None
        Epochs trained before the first drop; 0 drops before training, for a model
        that is trained already. None: a quarter of `max_epochs`. A rule that
        `watches` has rounds before it, which drop nothing.
    every : int or None, default=None
        Epochs from round to round. None: as gives 13 to 25 rounds until `max_epochs`;
        one where that is short or not known.
    stop : int or None, default=None
        Last epoch after which a round may come. None: no end.
    min_class_fraction : float, default=0.5
        Share of each class that is always kept. When reached, the least
        suspicious examples are given back and one warning names the class.
    n_jobs : int, default=None
        Classes worked on side by side, by rules that can.
    random_state : int, RandomState instance or None, default=None
        For rules that draw at random.
    max_epochs : int or None, default=None
        Epochs that the training will have; only asked for where `warmup` or
        `every` follows from it.
    verbose : int, default=0
        Above 0, rules show the progress of long rounds.

    Attributes
    ----------
    rule : Rule
        The clone that judges.
    epochs : Epochs
        After which epochs rounds come: `warmup`, `every`, `stop`.
    keep : ndarray of shape (n,), bool
        What is kept.
    dropped_at_epoch : ndarray of shape (n,), int
        Epochs trained when a round dropped the example, -1 where none did.
    details : dict of str to ndarray of shape (n,)
        What else the rule said: of dropped examples in the round that dropped them, of
        others in the last.
    rounds : list of Round
        One record a round.
    decided : ndarray of shape (n,), bool
        Which examples a person kept or dropped.
    classes, codes : ndarray
        Sorted labels (n_classes,), and the place of each example's among them.

    Examples
    --------
    >>> import numpy as np
    >>> from epic_sklearn import DropSchedule
    >>> from epic_sklearn.rules import IsolatedMedoids
    >>> gradients = np.array([[0.0], [0.1], [0.2], [5.0], [1.0], [1.1]])
    >>> schedule = DropSchedule(
    ...     list("aaaabb"), rule=IsolatedMedoids(subset_size=0.5), warmup=2, every=3)
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
        rule: Rule | None = None,
        warmup: int | None = None,
        every: int | None = None,
        stop: int | None = None,
        min_class_fraction: float = 0.5,
        n_jobs: int | None = None,
        random_state: RandomState = None,
        max_epochs: int | None = None,
        verbose: int = 0,
    ) -> None:
        given = {n: v for n, v in locals().items() if n in SCHEDULE_CONSTRAINTS}
        validate_parameter_constraints(SCHEDULE_CONSTRAINTS, given, type(self).__name__)
        self.rule = resolve_rule(rule)
        self.epochs = Epochs.of(self.rule, warmup, every, stop, max_epochs)
        self._from_length = {n for n in ("warmup", "every") if given[n] is None}
        self.min_class_fraction = min_class_fraction
        self.classes, self.codes = check_labels(labels)
        warn_of_classes(self.classes[self.codes])
        self.index = index_of(labels)  # of the frame of its rows
        self.seen: str | None = None  # digest of its rows
        self.clock = "epoch"  # what counts the rounds: of filters "round"
        # Of the last round: predicted classes, their probabilities; whether at chance.
        self.predictions: tuple[np.ndarray, np.ndarray] | None = None
        self.nothing_learned: str | None = None
        self._labels = labels  # whose index, if any, gradients must not contradict
        n = len(self.codes)
        self.keep = np.ones(n, dtype=bool)
        self.dropped_at_epoch = np.full(n, -1, dtype=np.int64)
        self.details: dict[str, np.ndarray] = {}
        self.rounds: list[Round] = []
        self._memory = Memory(self.keep, resolve_seed(random_state), n_jobs, verbose)
        self._score = np.zeros(n)
        self._was_flagged, self.decided = np.zeros((2, n), dtype=bool)
        small = np.bincount(self.codes) < FEWEST
        self._warned_of: list[int] = np.flatnonzero(small).tolist()

    @property
    def _schedule(self) -> Self:
        return self

    @property
    def isolation_score(self) -> np.ndarray:
        """Highest score of all rounds so far, shape (n,).

        Examples that were flagged and given back by the floor come below every
        dropped one of their class.
        """
        score, is_kept = self._score.copy(), self.dropped_at_epoch < 0
        for code in np.unique(self.codes[self._was_flagged & is_kept]):
            members = self.codes == code
            dropped = members & ~is_kept
            if dropped.any():
                given_back = members & self._was_flagged & is_kept
                below = np.nextafter(score[dropped].min(), -np.inf)
                score[given_back] = np.minimum(score[given_back], below)
        return score

    def is_due(self, epoch: int) -> bool:
        """Say whether a round, not yet run, comes after `epoch` epochs."""
        is_behind = self.rounds and epoch <= self.rounds[-1].epoch
        return self.epochs.is_due(epoch) and not is_behind

    def step(self, epoch: int, gradients: Any | Callable[[], Any]) -> Round | None:
        """Drop what the rule flags, if a round is due.

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
            If the gradients have the wrong shape, are not finite, or lack what
            the rule needs; nothing has changed then.
        """
        if not self.is_due(epoch):
            return None
        given = called(gradients)
        refuse_other_order(labels=self._labels, gradients=given)
        start = time.perf_counter()
        checked = check_gradients(given, len(self.codes))
        refuse_shuffled(checked, self.codes)
        judgement = self._judge(checked, epoch)
        score = np.asarray(judgement.score, dtype=np.float64)
        # The highest of the rounds that may drop; those before it only watch.
        has_dropped = self.rounds and self.rounds[-1].epoch >= self.epochs.warmup
        self._score = np.maximum(self._score, score) if has_dropped else score
        self._was_flagged |= judgement.flagged
        was, self.details = self.details, dict(judgement.details)
        for name, old in was.items():  # of what was dropped, those of then
            now = self.details.get(name, np.zeros_like(old))  # a rule may say less
            self.details[name] = np.where(self.keep, now, old)
        self._look_at_model(checked)
        before, flagged = self.keep, judgement.flagged & ~self.decided
        self.keep, floored = drop_within_floor(
            before, flagged, self._score, self.codes, self.min_class_fraction
        )
        self.dropped_at_epoch[before & ~self.keep] = epoch
        record = Round(
            epoch=int(epoch),
            n_kept=int(self.keep.sum()),
            n_dropped=int((before & ~self.keep).sum()),
            seconds=time.perf_counter() - start,
            rho=gradient_norm_change(checked, self.keep),
        )
        self.rounds.append(record)
        # Last, so that nothing is half done where warnings are errors.
        self._warn_of_floor(floored)
        return record

    def decide(self, rows: np.ndarray, keep: np.ndarray) -> None:
        """Keep or drop rows (m,) as a person says (m,); later rounds leave them."""
        self.keep = self.keep.copy()
        self.keep[rows] = keep
        self.decided[rows] = True

    def _judge(self, gradients: Gradients, epoch: int) -> Judgement:
        """Ask the rule; before the end of the warmup it flags nothing."""
        gradients = read_only(gradients)
        needed = what_it_needs(self.rule, gradients, self.codes)
        self._memory.keep = self.keep.copy()
        judgement = self.rule.judge(needed, read_only(self.codes), self._memory)
        judgement = check_judgement(judgement, len(self.codes), self.rule)
        flagged = judgement.flagged & (epoch >= self.epochs.warmup)
        return replace(judgement, flagged=flagged)

    def _look_at_model(self, gradients: Gradients) -> None:
        """Note what the model takes the rows for, if its gradients tell."""
        how, surely = (gradients, self.codes, len(self.classes)), self.clock == "epoch"
        self.nothing_learned = nothing_learned(*how, surely=surely)  # it may yet
        self.predictions, known = None, model_probabilities(*how)
        if known is not None:
            predicted = likeliest(known)
            self.predictions = predicted, known[np.arange(len(known)), predicted]

    def warn_at_end(self, name: str, n_epochs: int) -> None:
        """Warn of a run that ended too early, or whose net was at chance."""
        n, warmup = int((~self.keep).sum()), self.epochs.warmup
        if not self.rounds or self.rounds[-1].epoch < warmup:
            first = f"{name} was to drop after {warmup} first: nothing was dropped."
            warn_user(f"Training ended after {n_epochs} epochs, and {first}")
        elif self.nothing_learned is not None:
            what = f"{name} dropped {f'{n} examples' if n else 'nothing'}."
            warn_user(
                f"{what} {self.nothing_learned} So it was when it "
                f"judged them last, after {self.rounds[-1].epoch} epochs: if it "
                "learned later, let the first round come later (warmup)."
            )

    def _warn_of_floor(self, floored: list[int]) -> None:
        if not (newly := [c for c in floored if c not in self._warned_of]):
            return
        self._warned_of += newly
        sizes, labels = np.bincount(self.codes), self.classes.tolist()
        names = ", ".join(f"{labels[c]!r} (of {sizes[c]})" for c in newly)
        share = f"{self.min_class_fraction:.0%}" if self.min_class_fraction else "one"
        warn_user(
            f"So many examples of class {names} are flagged that the least suspicious "
            f"were kept, to keep {share} of the class "
            f"(min_class_fraction). {self.rule.to_drop_less} to drop less."
        )

    def _settings(self) -> dict[str, Any]:
        """Give what decides which examples are dropped, as plain values."""
        return {
            "warmup": self.epochs.warmup,
            "every": self.epochs.every,
            "min_class_fraction": self.min_class_fraction,
            "rule": type(self.rule).__name__,
            **{f"rule__{k}": plain(v) for k, v in self.rule.get_params().items()},
        }

    def state_dict(self) -> dict[str, Any]:
        """Give all that later rounds depend on, as numpy arrays and plain values.

        :meth:`EPICSubsetSampler.state_dict` has it as tensors, which ``torch.load``
        reads with its safe default.
        """
        return {
            "settings": self._settings(),
            "codes": self.codes.copy(),
            **{name.strip("_"): getattr(self, name).copy() for name in OF_ROWS},
            "details": {name: np.array(v) for name, v in self.details.items()},
            "memory": {name: np.array(v) for name, v in self._memory.items()},
            "seed": self._memory.seed,
            "rounds": [asdict(record) for record in self.rounds],
            "warned_of": list(self._warned_of),
            "predictions": self.predictions,
            "nothing_learned": self.nothing_learned,
        }

    @keeps_last_fit
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state_dict`.

        That of a schedule of the same labels, rule and settings; others raise
        ValueError, and change nothing. Its `stop` and the length of its training may
        differ, so that a run can be prolonged, and its seed takes the place of this
        one's.
        """
        if not np.array_equal(state["codes"], self.codes):
            raise ValueError(
                f"The saved state is of {len(state['codes'])} examples with other "
                f"labels, or in another order, than the {len(self.codes)} here."
            )
        ours, saved = self._settings(), state["settings"]
        ours |= {name: saved[name] for name in self._from_length & saved.keys()}
        other = {
            name: (saved.get(name), ours.get(name))
            for name in {**saved, **ours}
            if saved.get(name) != ours.get(name)
        }
        if other:
            raise ValueError(
                f"The saved state was made with other settings (saved, now): {other}; "
                "resume with those that training began with."
            )
        saved_epochs = {name: int(ours[name]) for name in ("warmup", "every")}
        if (epochs := replace(self.epochs, **saved_epochs)) != self.epochs:
            warn_user(
                "The saved training was of another length, from which its rounds "
                f"followed: they come after {epochs.warmup} epochs and every "
                f"{epochs.every}, and go on so. To choose, give warmup and every."
            )
        self.epochs = epochs
        of_rows = {name: np.array(state[name.strip("_")]) for name in OF_ROWS}
        vars(self).update(of_rows)
        self.details = {name: np.array(v) for name, v in state["details"].items()}
        every = *of_rows.values(), *self.details.values()
        is_whole = all(values.shape == self.codes.shape for values in every)
        if not is_whole or len({*self.codes[self.keep == 1]}) < len(self.classes):
            raise ValueError("The saved state lacks rows, or keeps none of a class.")
        how = self._memory.n_jobs, self._memory.verbose
        self._memory = Memory(self.keep, int(state["seed"]), *how)
        self._memory.update(state["memory"])  # which copies
        self.rounds = [Round(**record) for record in state["rounds"]]
        self._warned_of = [int(c) for c in state["warned_of"]]
        self.predictions = state["predictions"]  # made anew in each round, as is
        self.nothing_learned = state["nothing_learned"]
