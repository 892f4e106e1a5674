"""BadNets: a backdoor by mislabelled examples that bear the trigger."""

from __future__ import annotations

from numbers import Integral
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval

from .._utils import DocLinks, RandomState, resolve_seed
from .base import check_examples, draw_rows, rows_of_label, rows_of_sources
from .poisons import BackdoorPoisons, PatchTrigger, trigger_or_random


class BadNets(DocLinks, BaseEstimator):
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

    See Also
    --------
    SleeperAgent : A backdoor by clean-label poisons that do not bear the trigger.
    LabelFlip : Mislabels without a trigger.

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
    >>> X_poisoned, y_poisoned = poisons.insert_into(X), poisons.relabel(y)
    >>> int((y_poisoned == "one").sum())
    5
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_poisons": [Interval(Integral, 1, None, closed="left")],
        "trigger": [PatchTrigger, None],
        "clip": [tuple, list, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_poisons: int = 50,
        trigger: PatchTrigger | None = None,
        clip: tuple[float, float] | None = (0.0, 1.0),
        random_state: RandomState = None,
    ) -> None:
        self.n_poisons = n_poisons
        self.trigger = trigger
        self.clip = clip
        self.random_state = random_state

    def craft(
        self,
        X: npt.ArrayLike | torch.Tensor,
        y: npt.ArrayLike | torch.Tensor,
        source_label: Any,
        adversarial_label: Any,
    ) -> BackdoorPoisons:
        """Make the poisons for one trigger.

        Parameters
        ----------
        X, y, adversarial_label
            See :meth:`SleeperAgent.craft`.
        source_label : object or list
            The label, or labels, of the images that the trigger is to turn; the
            poisons are made of some of them.

        Returns
        -------
        BackdoorPoisons
            Its `target` are the poisons themselves, its `loss` is empty.

        Raises
        ------
        TypeError, ValueError
            As :meth:`SleeperAgent.craft`, but for the model.
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
            patched.astype(np.float32),
            indices,
            patched,
            adversarial_label,
            loss=np.empty(0),
            trigger=trigger,
            source_label=source_label,
        )
