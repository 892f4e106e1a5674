"""Sleeper agent: a backdoor planted by clean-label poisons that do not show it."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.utils._param_validation import HasMethods, Interval
from torch import nn

from .._utils import resolve_seed
from ..gradients.modules import torch_threads
from .arms import fit_copy
from .base import Array, Constraints, Given, place, rows_of_sources
from .gradient_matching import GradientAttack, Mismatch, module_and_column
from .poisons import BackdoorPoisons, PatchTrigger, trigger_or_random


@dataclass(eq=False, repr=False)
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
    n_poisons, eps, n_steps, step_size, base_selection : see GradientMatching
        By default, base examples are those of the largest loss gradients.
    augment, batch_size, clip, random_state, verbose : see GradientMatching
        The trigger and the sources are drawn, too.
    trigger : PatchTrigger or None, default=None
        None draws a random patch for the lower right corner, a quarter of the
        images high, of values within `clip`, or in [0, 1] if that is None.
    n_sources : int, default=256
        The most training examples of the source class to put the trigger on.
    retrain : classifier, callable or None, default=None
        How to train another model on the poisons so far: a classifier such as
        `TorchClassifier`, which is cloned and fitted (where its own `random_state` is
        None, it follows ours), or a function of (X, y) that returns a module or a
        fitted classifier. None keeps the model given.
    retrain_every : int, default=50
        Steps between two trainings.

    See Also
    --------
    GradientMatching : The same for one target.
    BadNets : A backdoor by mislabelled examples that bear the trigger.

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
    >>> poisons.apply_trigger(X[:2]).shape
    (2, 1, 4, 4)
    """

    _parameter_constraints: ClassVar[Constraints] = {
        **GradientAttack._parameter_constraints,
        "trigger": [PatchTrigger, None],
        "n_sources": [Interval(Integral, 1, None, closed="left")],
        "retrain": [HasMethods("fit"), callable, None],
        "retrain_every": [Interval(Integral, 1, None, closed="left")],
    }

    _: KW_ONLY
    base_selection: str = "gradient_norm"
    trigger: PatchTrigger | None = None
    n_sources: int = 256
    retrain: Any = None
    retrain_every: int = 50

    def craft(
        self,
        model: nn.Module | Any,
        X: Given,
        y: Given,
        source_label: Any,
        adversarial_label: Any,
    ) -> BackdoorPoisons:
        """Make the poisons for one trigger.

        As :meth:`GradientMatching.craft`, but `X` are images (n, channels, height,
        width), and the trigger is to turn those of `source_label`, one label or a
        list, into `adversarial_label`. The `loss` may rise where `retrain` comes in.
        Raises ValueError also if the trigger does not fit, or no example bears
        `source_label`.
        """
        X, candidates = self._check(X, y, adversarial_label)
        rows = rows_of_sources(y, source_label, adversarial_label, len(X))
        seed = resolve_seed(self.random_state)
        rng = np.random.default_rng(seed)
        trigger = trigger_or_random(self.trigger, X, self.clip, seed)
        sources = rng.choice(rows, min(self.n_sources, len(rows)), replace=False)
        targets = trigger.apply(X[sources])

        def mismatch_of(model: Any) -> Mismatch:
            given = module_and_column(model, X, y, adversarial_label)
            return Mismatch(*given, targets, self.batch_size)

        threads = torch.get_num_threads()
        with torch_threads(self._threads(X)):
            mismatch = mismatch_of(model)
            indices = self._choose_bases(mismatch, X, candidates, rng)
            bases = place(X[indices], mismatch.module)

            def mismatch_at(step: int, examples: torch.Tensor) -> Mismatch:
                nonlocal mismatch
                due = 0 < step < self.n_steps and step % self.retrain_every == 0
                if due and self.retrain is not None:
                    poisoned = X.astype(np.float32)
                    poisoned[indices] = examples.cpu().numpy()
                    with torch_threads(threads):
                        model = self._train(poisoned, y, seed + step)
                    mismatch = mismatch_of(model)
                return mismatch

            examples, loss = self._match(mismatch_at, bases, seed, rng)
        return BackdoorPoisons(
            examples, indices, targets, adversarial_label, loss, trigger, source_label
        )

    def _train(self, X: Array, y: Any, seed: int) -> Any:
        if hasattr(self.retrain, "fit"):
            with torch.random.fork_rng():
                return fit_copy(self.retrain, X, y, seed)
        return self.retrain(X, y)
