"""Attacks on the data alone, without a model: wrong labels, and look-alikes."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval

from .._utils import resolve_seed
from .base import (
    Attack,
    Constraints,
    Given,
    check_enough,
    check_examples,
    check_target,
    draw_rows,
    refuse_same_label,
    rows_of_label,
    rows_of_sources,
)
from .poisons import (
    BackdoorPoisons,
    PatchTrigger,
    Poisons,
    as_in_column,
    trigger_or_random,
)


@dataclass(eq=False, repr=False)
class BadNets(Attack):
    """Put the trigger on examples of the source class, and mislabel them.

    The simplest backdoor [1]_: visible, and not clean-label. A reference for
    :class:`SleeperAgent`. Use both ``insert_into`` and ``relabel`` of the result.

    Parameters
    ----------
    n_poisons : int, default=50
        Number of poisons.
    trigger, clip
        See :class:`SleeperAgent`.
    random_state : int, RandomState instance or None, default=None
        Draws the trigger and the examples.

    References
    ----------
    .. [1] T. Gu, B. Dolan-Gavitt, S. Garg: "BadNets: Identifying Vulnerabilities in
       the Machine Learning Model Supply Chain", arXiv:1708.06733, 2017. Section 4.

    Examples
    --------
    >>> import numpy as np
    >>> from epic_sklearn.attacks import BadNets
    >>> X, y = np.zeros((6, 1, 8, 8)), np.repeat(["seven", "one"], 3)
    >>> poisons = BadNets(n_poisons=2, random_state=0).craft(X, y, "seven", "one")
    >>> int((poisons.relabel(y) == "one").sum())
    5
    """

    _parameter_constraints: ClassVar[Constraints] = {
        **Attack._parameter_constraints,
        "trigger": [PatchTrigger, None],
        "clip": [tuple, list, None],
    }

    _: KW_ONLY
    trigger: PatchTrigger | None = None
    clip: tuple[float, float] | None = (0.0, 1.0)

    def craft(
        self,
        X: Given,
        y: Given,
        source_label: Any,
        adversarial_label: Any,
    ) -> BackdoorPoisons:
        """Make the poisons for one trigger.

        As :meth:`SleeperAgent.craft`, but without a model, and of examples of
        `source_label`. The poisons are their own `target`, and `loss` is empty.
        """
        self._validate_params()
        X = check_examples(X, self.clip)
        rows_of_label(y, adversarial_label, len(X))
        rows = rows_of_sources(y, source_label, adversarial_label, len(X))
        seed = resolve_seed(self.random_state)
        trigger = trigger_or_random(self.trigger, X, self.clip, seed)
        indices = draw_rows(rows, self.n_poisons, np.random.default_rng(seed))
        patched = trigger.apply(X[indices])
        return BackdoorPoisons(
            patched,
            indices,
            patched,
            adversarial_label,
            loss=np.empty(0),
            trigger=trigger,
            source_label=source_label,
        )


class LabelFlip(Attack):
    """Give the training examples nearest to the target the adversarial label.

    The simplest attack on one target, by wrong labels alone: a reference for the
    clean-label ones. Use ``relabel`` of the result; the examples are unchanged.
    Where [1]_ chooses labels against a support vector machine, this one takes the
    neighbours in Euclidean distance; give features for distances in their space.

    Parameters
    ----------
    n_poisons : int, default=50
        Number of labels to change.
    random_state : int, RandomState instance or None, default=None
        Draws among examples that are equally near; nothing else is random.

    References
    ----------
    .. [1] B. Biggio, B. Nelson, P. Laskov: "Support Vector Machines Under
       Adversarial Label Noise", ACML, 2011.

    Examples
    --------
    >>> import numpy as np
    >>> from epic_sklearn.attacks import LabelFlip
    >>> X, y = np.arange(6.0)[:, None], np.array([0, 0, 0, 0, 1, 1])
    >>> poisons = LabelFlip(n_poisons=2).craft(X, y, np.array([0.4]), 1)
    >>> poisons.relabel(y)
    array([1, 1, 0, 0, 1, 1])
    """

    def craft(
        self,
        X: Given,
        y: Given,
        target: Given,
        adversarial_label: Any,
        *,
        target_label: Any = None,
    ) -> Poisons:
        """Choose the rows to mislabel for one target, nearest first.

        As :meth:`GradientMatching.craft`, but without a model, and the poisons are
        examples of other labels than the adversarial one; their `loss` is empty.
        """
        self._validate_params()
        X = check_examples(X, clip=None)
        rows = rows_of_label(y, adversarial_label, len(X))
        target = check_target(target, target_label, X, adversarial_label, rows)
        candidates = np.setdiff1d(np.arange(len(X), dtype=np.int64), rows)
        check_enough(self.n_poisons, candidates)
        rng = np.random.default_rng(resolve_seed(self.random_state))
        candidates = rng.permutation(candidates)
        # One at a time: a float64 copy of all images would not always fit.
        distances = [np.linalg.norm(X[i].astype(float) - target) for i in candidates]
        indices = candidates[np.argsort(distances, kind="stable")[: self.n_poisons]]
        return Poisons(X[indices], indices, target, adversarial_label, loss=np.empty(0))


def _check_row(target: Any, frame: Any) -> None:
    """Refuse what is not one row of a frame like this."""
    columns = list(getattr(target, "columns", ()))
    if columns != list(frame.columns) or len(target) != 1:
        raise ValueError(
            f"target is a {type(target).__name__} of shape {np.shape(target)} and "
            f"columns {columns[:10]}; X is a dataframe: give one of one row with the "
            "same columns in their order, such as X_test.iloc[[0]]."
        )


def _mixed(bases: Any, target: Any, share: float) -> Any:
    """Rows of a pandas frame on the way to another, a frame of one row."""
    moved = bases.copy()
    for i, dtype in enumerate(bases.dtypes):
        column, goal = bases.iloc[:, i].copy(), target.iloc[0, i]
        if dtype.kind in "fiu":
            values = (1 - share) * column + share * goal
        else:  # text, categories, dates and truths have no way in between
            values = target.iloc[[0] * len(column), i].set_axis(column.index)
        moved.isetitem(i, as_in_column(values, dtype))
    return moved


@dataclass(eq=False, repr=False)
class LookAlikes(Attack):
    """Move training examples of the adversarial label to where the target is.

    Feature collision without a model, for tables and any classifier: a base example
    b becomes ``(1 - share) * b + share * target`` and keeps its label, as the
    watermarks of [1]_. Visible to whoever looks at rows near the target.

    Parameters
    ----------
    n_poisons : int, default=10
        Number of poisons.
    share : float, default=0.9
        How much of the way they go; 1 makes copies of the target.
    random_state : int, RandomState instance or None, default=None
        Draws the base examples.

    References
    ----------
    .. [1] A. Shafahi, W. R. Huang, M. Najibi, O. Suciu, C. Studer, T. Dumitras,
       T. Goldstein: "Poison Frogs! Targeted Clean-Label Poisoning Attacks on Neural
       Networks", NeurIPS, 2018. Section 4.2.

    Examples
    --------
    >>> import numpy as np
    >>> from epic_sklearn.attacks import LookAlikes
    >>> X, y = np.arange(4.0)[:, None], np.array(["a", "a", "a", "b"])
    >>> attack = LookAlikes(n_poisons=1, share=0.5, random_state=0)
    >>> poisons = attack.craft(X, y, target=np.array([9.0]), adversarial_label="b")
    >>> poisons.examples, poisons.indices
    (array([[6.]]), array([3]))
    """

    _parameter_constraints: ClassVar[Constraints] = {
        **Attack._parameter_constraints,
        "share": [Interval(Real, 0, 1, closed="right")],
    }

    n_poisons: int = 10
    share: float = 0.9

    def craft(
        self,
        X: Any,
        y: Any,
        target: Any,
        adversarial_label: Any,
        *,
        target_label: Any = None,
    ) -> Poisons:
        """Make the poisons for one target.

        As :meth:`LabelFlip.craft`, but base examples are drawn among those of the
        adversarial label. `X` may be a pandas dataframe, `target` then one of one
        row: numbers move, anything else becomes the target's, and so may be missing.
        """
        self._validate_params()
        is_frame = hasattr(X, "iloc")
        X = X if is_frame else check_examples(X, clip=None)
        rows = rows_of_label(y, adversarial_label, len(X))
        if is_frame:
            _check_row(target, X)
            refuse_same_label(target_label, adversarial_label)
        else:
            target = check_target(target, target_label, X, adversarial_label, rows)
        rng = np.random.default_rng(resolve_seed(self.random_state))
        indices = draw_rows(rows, self.n_poisons, rng)
        if is_frame:
            examples = _mixed(X.iloc[indices], target, self.share)
        else:
            examples = (1 - self.share) * X[indices] + self.share * target
        return Poisons(examples, indices, target, adversarial_label, loss=np.empty(0))
