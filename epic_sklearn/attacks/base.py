"""What the attacks share: checks, base examples, the projected descent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_array
from sklearn.utils._param_validation import Interval
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR
from tqdm import tqdm

from .._utils import DocLinks, RandomState
from ..metrics import equal_labels
from ..validation import refuse_masked, to_numpy

Array = npt.NDArray[Any]
Rows = npt.NDArray[np.int64]
Given = npt.ArrayLike | Tensor
Crafted = tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]
Constraints = dict[str, list[Any]]

# Up to so many values of all poisons together, one thread of torch is the fastest:
# twice as fast as two on digits when idle, ten times and more on a busy machine.
SMALL = 2**16

# From poisons and the number of steps made to their objective, one value or one a
# poison, and its gradient.
Objective = Callable[[Tensor, int], tuple[Tensor, Tensor]]

# Whole numbers up to this are exact in float32.
LARGEST_WHOLE = 2**24


def place(values: Array, module: nn.Module) -> Tensor:
    """Examples as float32 where a module's parameters are."""
    device = next(module.parameters(), torch.empty(0)).device
    return torch.from_numpy(values.astype(np.float32)).to(device)


def largest_value(X: Array) -> float:
    """Absolute value of what lies farthest from 0."""
    return max(abs(float(X.min())), abs(float(X.max())))


def check_examples(X: Any, clip: tuple[float, float] | None) -> Array:
    """Training examples as a finite array of shape (n, ...), within `clip`."""
    refuse_masked(X=X)
    X = check_array(to_numpy(X), allow_nd=True, input_name="X")
    largest = largest_value(X)
    if X.dtype.kind in "iu" and largest > LARGEST_WHOLE:
        raise ValueError(
            f"X has whole numbers up to {largest:g}, and poisons are made in float32, "
            f"which holds them up to {LARGEST_WHOLE}; scale X, as float."
        )
    if clip is None:
        return X
    if len(clip) != 2 or not clip[0] < clip[1]:
        raise ValueError(
            f"clip={clip!r}; give the lowest and the highest value of an example, such "
            "as (0.0, 1.0), or None."
        )
    # In the precision that the poisons are made in.
    lowest, highest = np.float32(X.min()), np.float32(X.max())
    if lowest < clip[0] or highest > clip[1]:
        raise ValueError(
            f"X has values from {lowest:g} to {highest:g}, outside clip={clip}; scale "
            "X, or set clip to its range or None."
        )
    return X


def check_target(
    target: Any, target_label: Any, X: Array, adversarial_label: Any, rows: Rows
) -> Array:
    """One finite example of the shape of those in `X`, of another class.

    `rows` are those that bear the adversarial label: if the target is one of them
    and its label is not given, that is its label.
    """
    target = check_array(
        to_numpy(target), ensure_2d=False, allow_nd=True, copy=True, input_name="target"
    )
    if target.shape != X.shape[1:]:
        raise ValueError(
            f"target has shape {target.shape}, the examples in X have shape "
            f"{X.shape[1:]}; give one example, without a batch axis."
        )
    if target_label is None:
        for row in rows:
            if np.array_equal(X[row], target):
                raise ValueError(
                    f"target is row {row} of X, which bears adversarial_label="
                    f"{adversarial_label!r} in y; give a target of another class, or "
                    "its own label as target_label."
                )
    refuse_same_label(target_label, adversarial_label)
    return target


def refuse_same_label(target_label: Any, adversarial_label: Any) -> None:
    """Refuse a target that bears the adversarial label already."""
    names = ("target_label", "adversarial_label")
    if target_label is None:
        return
    if equal_labels([target_label], adversarial_label, *names)[0]:
        raise ValueError(
            f"target_label={target_label!r} is the adversarial label, so there is "
            "nothing to attack; give another adversarial label, or target."
        )


def rows_of_label(
    y: Any, label: Any, n_examples: int, name: str = "adversarial_label"
) -> Rows:
    """Rows that bear a label, at least one; `name` is what errors call it."""
    labels = np.asarray(to_numpy(y))
    if labels.shape != (n_examples,):
        raise ValueError(
            f"y has shape {labels.shape}, X has {n_examples} examples; give one label "
            "an example."
        )
    rows = np.flatnonzero(equal_labels(labels, label, "y", name)).astype(np.int64)
    if len(rows) == 0:
        known = ", ".join(map(repr, sorted(set(labels.tolist()), key=str)[:10]))
        raise ValueError(
            f"{name}={label!r} does not occur in y; give one of y's labels, such as "
            f"{known}."
        )
    return rows


def rows_of_sources(
    y: Any, source_label: Any, adversarial_label: Any, n_examples: int
) -> Rows:
    """Rows that bear one source label, or any of a list, none the adversarial one."""
    several = isinstance(source_label, list | tuple | np.ndarray)
    labels = list(source_label) if several else [source_label]
    if not labels or adversarial_label in labels:
        raise ValueError(
            f"source_label={source_label!r}, adversarial_label={adversarial_label!r}; "
            "give one or more source labels other than the adversarial one."
        )
    rows = [rows_of_label(y, label, n_examples, "source_label") for label in labels]
    return np.unique(np.concatenate(rows))


def check_enough(n_poisons: int, candidates: Rows) -> None:
    """Refuse more poisons than there are base examples."""
    if n_poisons > len(candidates):
        raise ValueError(
            f"n_poisons={n_poisons}, but only {len(candidates)} examples bear a label "
            "that can be poisoned; give at most that many."
        )


def draw_rows(candidates: Rows, n_poisons: int, rng: np.random.Generator) -> Rows:
    """Draw base examples among the candidates, without replacement."""
    check_enough(n_poisons, candidates)
    return rng.choice(candidates, size=n_poisons, replace=False)


@dataclass(eq=False, repr=False)
class Attack(DocLinks, BaseEstimator):
    """Base class of all attacks: an estimator whose parameters are its fields.

    One of your own has a method ``craft(X, y, target, adversarial_label, *,
    target_label=None)`` that returns :class:`Poisons`. With the class attribute ``sees
    = "model"`` that gets the model, fitted on clean rows, before `X`; with
    ``"features"`` the frozen net that gives the features. Of a dataframe `target` is a
    frame of one row. What :func:`epic_sklearn.attack_report` hands over is a copy, or
    cannot be written to.

    Parameters
    ----------
    n_poisons : int, default=50
        Number of poisons.
    random_state : int, RandomState instance or None, default=None
        For what is drawn.

    Examples
    --------
    >>> from epic_sklearn.attacks import Attack, LabelFlip
    >>> isinstance(LabelFlip(), Attack)
    True
    """

    _parameter_constraints: ClassVar[Constraints] = {
        "n_poisons": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    sees: ClassVar[str | None] = None

    n_poisons: int = 50
    _: KW_ONLY
    random_state: RandomState = None


@dataclass(eq=False, repr=False)
class PerturbingAttack(Attack):
    """Base class of the attacks that change base examples a little, by descent."""

    _parameter_constraints: ClassVar[Constraints] = {
        **Attack._parameter_constraints,
        "eps": [Interval(Real, 0, None, closed="neither")],
        "n_steps": [Interval(Integral, 1, None, closed="left")],
        "step_size": [Interval(Real, 0, None, closed="neither"), None],
        "clip": [tuple, list, None],
        "verbose": ["verbose"],
    }
    # Whether only the signs of gradients count, and the last poisons are the result.
    # Otherwise it is the best met, each one's own if each has an objective.
    _signed: ClassVar[bool] = False

    n_poisons: int = 5
    eps: float = 0.1
    _: KW_ONLY
    n_steps: int = 250
    step_size: float | None = None
    clip: tuple[float, float] | None = (0.0, 1.0)
    verbose: int = 0

    def _check(self, X: Any, y: Any, adversarial_label: Any) -> tuple[Array, Rows]:
        """Parameters and training set; also the rows that can be poisoned."""
        self._validate_params()
        X = check_examples(X, self.clip)
        step = np.spacing(np.float32(largest_value(X)))
        if step > self.eps:
            raise ValueError(
                f"eps is {self.eps}, and float32, in which poisons are made, has steps "
                f"of {step:g} at the largest value of X; scale X, or give a larger eps."
            )
        if X.dtype.kind in "iu" and self.eps < 0.5:
            raise ValueError(
                f"eps is {self.eps} and X holds whole numbers, to which poisons would "
                "be rounded back; give X as float, or eps in its units."
            )
        candidates = rows_of_label(y, adversarial_label, len(X))
        check_enough(self.n_poisons, candidates)
        return X, candidates

    def _threads(self, X: Array) -> int:
        """Torch's threads to craft on: one where more would be slower."""
        is_small = self.n_poisons * X[0].size <= SMALL
        return 1 if is_small else torch.get_num_threads()

    def _descend(
        self,
        objective: Objective,
        bases: Tensor,
        rng: np.random.Generator,
        n_restarts: int = 1,
    ) -> Crafted:
        """Poisons and loss of the best of one or more descents within `eps`."""
        lowest, highest = bases - self.eps, bases + self.eps
        if self.clip is not None:
            lowest, highest = lowest.clamp(*self.clip), highest.clamp(*self.clip)
        results, start = [], bases
        for i in range(n_restarts):
            if i > 0:
                part = torch.from_numpy(rng.uniform(size=bases.shape)).to(bases)
                start = lowest + part * (highest - lowest)
            results.append(self._descend_once(objective, start, lowest, highest))
        examples, loss = min(results, key=lambda result: result[1][-1])
        loss[0] = results[0][1][0]
        return examples, loss

    def _descend_once(
        self, objective: Objective, start: Tensor, lowest: Tensor, highest: Tensor
    ) -> Crafted:
        """Poisons, and their mean objective before and after each projected step."""
        examples, n = start.clone(), self.n_steps
        step_size = 0.3 * self.eps if self.step_size is None else self.step_size
        optimizer = torch.optim.Adam([examples], lr=step_size)
        schedule: LRScheduler = CosineAnnealingLR(optimizer, n)
        if self._signed:
            schedule = MultiStepLR(optimizer, [int(n * i / 8) for i in (3, 5, 7)])
        value, gradient = objective(examples, 0)
        best, best_value, loss = start.clone(), value, [value.mean().item()]
        steps = range(1, n + 1)
        for step in tqdm(steps, type(self).__name__, disable=not self.verbose):
            examples.grad = gradient.sign() if self._signed else gradient
            optimizer.step()
            schedule.step()
            examples.copy_(torch.clamp(examples, lowest, highest))
            value, gradient = objective(examples, step)
            improved = (value < best_value).expand(len(best))
            best[improved] = examples[improved]
            best_value = torch.minimum(value, best_value)
            loss.append(value.mean().item())
        return (examples if self._signed else best).cpu().numpy(), np.array(loss)
