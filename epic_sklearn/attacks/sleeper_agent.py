"""Sleeper agent: a backdoor planted by clean-label poisons that do not show it."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import clone
from sklearn.utils._param_validation import HasMethods, Interval
from torch import nn

from .._utils import RandomState
from .base import rows_of_sources, torch_threads
from .gradient_matching import GradientAttack
from .mismatch import Mismatch, Surrogate
from .poisons import BackdoorPoisons, PatchTrigger, trigger_or_random


class SleeperAgent(GradientAttack):
    r"""Clean-label poisons that plant a backdoor: a hidden trigger.

    With :math:`p(s)` an example :math:`s` of the source class that bears the
    trigger, the poisons :math:`x_1, ..., x_k`, which are made of examples of the
    adversarial class, minimise

    .. math::
        1 - \cos\Big(\sum_s \nabla_\theta \ell(p(s), y_{adv}),
        \sum_i \nabla_\theta \ell(x_i, y_{adv})\Big)

    within `eps` of their base examples in every coordinate [1]_. No training
    example bears the trigger; at test time it turns the source class into the
    adversarial one.

    Parameters
    ----------
    n_poisons, eps, n_steps, step_size, augment, batch_size, random_state, verbose
        See :class:`GradientMatching`. The trigger and the sources are drawn, too.
    trigger : PatchTrigger or None, default=None
        None draws a random patch for the lower right corner, a quarter of the
        images high.
    n_sources : int, default=256
        The most training examples of the source class to put the trigger on.
    base_selection : {"gradient_norm", "random"}, default="gradient_norm"
        See :class:`GradientMatching`.
    retrain : classifier, callable or None, default=None
        How to train another model on the poisons so far: a classifier such as
        `TorchClassifier`, which is cloned and fitted, or a function of (X, y) that
        returns a module or a fitted classifier. None keeps the model given.
    retrain_every : int, default=50
        Steps between two trainings.
    clip : tuple of (float, float) or None, default=(0.0, 1.0)
        See :class:`GradientMatching`. A trigger is drawn within it, too; in [0, 1]
        if it is None.

    See Also
    --------
    GradientMatching : The same for one target.
    BadNets : A backdoor by mislabelled examples that bear the trigger.

    Notes
    -----
    The published attack can match several models at once; this one takes one.

    References
    ----------
    .. [1] H. Souri, L. Fowl, R. Chellappa, M. Goldblum, T. Goldstein: "Sleeper
       Agent: Scalable Hidden Trigger Backdoors for Neural Networks Trained from
       Scratch", NeurIPS, 2022. Algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> from epic_sklearn import TorchClassifier
    >>> from epic_sklearn.attacks import SleeperAgent
    >>> X = np.linspace(0, 1, 20 * 16, dtype=np.float32).reshape(20, 1, 4, 4)
    >>> y = np.repeat(["low", "high"], 10)
    >>> model = TorchClassifier(max_epochs=5, random_state=0).fit(X, y)
    >>> attack = SleeperAgent(n_poisons=3, eps=0.2, n_steps=20, random_state=0)
    >>> poisons = attack.craft(model, X, y, "low", "high")
    >>> poisons.examples.shape, [str(label) for label in y[poisons.indices]]
    ((3, 1, 4, 4), ['high', 'high', 'high'])
    >>> poisons.apply_trigger(X[:2]).shape
    (2, 1, 4, 4)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **GradientAttack._parameter_constraints,
        "trigger": [PatchTrigger, None],
        "n_sources": [Interval(Integral, 1, None, closed="left")],
        "retrain": [HasMethods("fit"), callable, None],
        "retrain_every": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        n_poisons: int = 50,
        eps: float = 16 / 255,
        n_steps: int = 250,
        step_size: float | None = None,
        trigger: PatchTrigger | None = None,
        n_sources: int = 256,
        base_selection: str = "gradient_norm",
        retrain: Any = None,
        retrain_every: int = 50,
        augment: Callable[[torch.Tensor], torch.Tensor] | None = None,
        batch_size: int = 256,
        clip: tuple[float, float] | None = (0.0, 1.0),
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
        self.n_poisons = n_poisons
        self.eps = eps
        self.n_steps = n_steps
        self.step_size = step_size
        self.trigger = trigger
        self.n_sources = n_sources
        self.base_selection = base_selection
        self.retrain = retrain
        self.retrain_every = retrain_every
        self.augment = augment
        self.batch_size = batch_size
        self.clip = clip
        self.random_state = random_state
        self.verbose = verbose

    def craft(
        self,
        model: nn.Module | Any,
        X: npt.ArrayLike | torch.Tensor,
        y: npt.ArrayLike | torch.Tensor,
        source_label: Any,
        adversarial_label: Any,
    ) -> BackdoorPoisons:
        """Make the poisons for one trigger.

        Parameters
        ----------
        model : torch.nn.Module or fitted TorchClassifier
            See :meth:`GradientMatching.craft`.
        X : array-like or Tensor of shape (n, channels, height, width)
            Training images.
        y : array-like or Tensor of shape (n,)
            Their labels, of any kind.
        source_label : object or list
            The label, or labels, of the images that the trigger is to turn.
        adversarial_label : object
            What it is to turn them into: another label in `y`, which the poisons
            bear.

        Returns
        -------
        BackdoorPoisons
            The last step's. The values of `loss` between the first and the last are
            those of augmented poisons, and may rise where `retrain` comes in.

        Raises
        ------
        TypeError, ValueError
            As :meth:`GradientMatching.craft`; also if the trigger does not fit, or
            there are no examples of `source_label`.
        """
        X, candidates = self._check(X, y, adversarial_label)
        rows = rows_of_sources(y, source_label, adversarial_label, len(X))
        seed, rng = self._seed()
        trigger = trigger_or_random(self.trigger, X, self.clip, seed)
        sources = rng.choice(rows, min(self.n_sources, len(rows)), replace=False)
        targets = trigger.apply(X[sources])

        def mismatch_of(model: Any) -> Mismatch:
            given = (X, y, adversarial_label, self.batch_size)
            return Mismatch.of(Surrogate.of(model, *given), targets)

        threads = torch.get_num_threads()
        with torch_threads(self._threads(X)):
            mismatch = mismatch_of(model)
            surrogate = mismatch.surrogate
            indices = self._choose_bases(surrogate, X, candidates, rng)

            def mismatch_at(step: int, examples: torch.Tensor) -> Mismatch:
                nonlocal mismatch
                if self._is_retraining(step):
                    poisoned = X.astype(np.float32)
                    poisoned[indices] = examples.cpu().numpy()
                    with torch_threads(threads):
                        model = self._train(poisoned, y)
                    mismatch = mismatch_of(model)
                return mismatch

            examples, loss = self._match(
                mismatch_at, surrogate.place(X[indices]), seed, rng
            )
        return BackdoorPoisons(
            examples, indices, targets, adversarial_label, loss, trigger, source_label
        )

    def _is_retraining(self, step: int) -> bool:
        due = 0 < step < self.n_steps and step % self.retrain_every == 0
        return due and self.retrain is not None

    def _train(self, X: npt.NDArray[Any], y: Any) -> Any:
        if hasattr(self.retrain, "fit"):
            return clone(self.retrain).fit(X, y)
        return self.retrain(X, y)
