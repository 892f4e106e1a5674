"""Look-alikes: rows moved to where the target is, in any table, without a model."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval

from .._utils import resolve_seed
from .base import (
    Attack,
    Constraints,
    check_examples,
    check_target,
    draw_rows,
    rows_of_label,
)
from .poisons import Poisons


def _mixed(bases: Any, target: Any, share: float) -> Any:
    """Rows of a pandas frame on the way to another, a frame of one row."""
    moved = bases.copy()
    for i, dtype in enumerate(bases.dtypes):
        column, goal = bases.iloc[:, i].copy(), target.iloc[0, i]
        if dtype.kind in "fiu":
            column = (1 - share) * column + share * goal
            column = (column if dtype.kind == "f" else column.round()).astype(dtype)
        else:  # text, categories, dates and truths have no way in between
            column.iloc[:] = goal
        moved.isetitem(i, column)
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
    (array([[6.]], dtype=float32), array([3]))
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
        if not is_frame:
            target = check_target(target, target_label, X, adversarial_label, rows)
        rng = np.random.default_rng(resolve_seed(self.random_state))
        indices = draw_rows(rows, self.n_poisons, rng)
        if is_frame:
            examples = _mixed(X.iloc[indices], target, self.share)
        else:
            moved = (1 - self.share) * X[indices] + self.share * target
            examples = moved.astype(np.float32)
        return Poisons(examples, indices, target, adversarial_label, loss=np.empty(0))
