"""Label flip: the target's nearest neighbours, mislabelled."""

from __future__ import annotations

from numbers import Integral
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval

from .._utils import DocLinks, RandomState, resolve_seed
from .base import check_enough, check_examples, check_target, rows_of_label
from .poisons import Poisons


class LabelFlip(DocLinks, BaseEstimator):
    """Give the training examples nearest to the target the adversarial label.

    The simplest attack on one target, by wrong labels alone [1]_: a reference for
    the clean-label ones. Use ``relabel`` of the result; the examples are unchanged.

    Parameters
    ----------
    n_poisons : int, default=50
        Number of labels to change.
    random_state : int, RandomState instance or None, default=None
        Draws among examples that are equally near; nothing else is random.

    See Also
    --------
    BadNets : Mislabels examples that bear a trigger.
    GradientMatching : Needs no wrong label.

    Notes
    -----
    The cited attack chooses labels against a support vector machine; this one
    takes the target's neighbours, in Euclidean distance. For distances in feature
    space, give features as `X` and `target`.

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

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_poisons": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(self, n_poisons: int = 50, random_state: RandomState = None) -> None:
        self.n_poisons = n_poisons
        self.random_state = random_state

    def craft(
        self,
        X: npt.ArrayLike | torch.Tensor,
        y: npt.ArrayLike | torch.Tensor,
        target: npt.ArrayLike | torch.Tensor,
        adversarial_label: Any,
        *,
        target_label: Any = None,
    ) -> Poisons:
        """Choose the rows to mislabel for one target.

        Parameters
        ----------
        X, y, target, target_label
            See :meth:`GradientMatching.craft`.
        adversarial_label : object
            One of the labels in `y`, which the target is to be given. The poisons
            are examples of other labels.

        Returns
        -------
        Poisons
            Nearest first; `loss` is empty.

        Raises
        ------
        TypeError, ValueError
            As :meth:`GradientMatching.craft`, but for the model.
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
        distances = [
            np.linalg.norm(X[i].astype(np.float64) - target) for i in candidates
        ]
        indices = candidates[np.argsort(distances, kind="stable")[: self.n_poisons]]
        examples = X[indices].astype(np.float32)
        return Poisons(examples, indices, target, adversarial_label, loss=np.empty(0))
