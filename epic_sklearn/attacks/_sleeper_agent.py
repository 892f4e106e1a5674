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
from ._checks import source_rows
from ._gradient_attack import GradientAttack, Surrogate, seeded_torch
from ._matching import Matcher
from ._poisons import BackdoorPoisons
from ._trigger import PatchTrigger, trigger_or_random

# A classifier to clone and fit, or a function of (X, y).
Retrain = Any


def _train(retrain: Retrain, X: npt.NDArray[Any], y: Any) -> Any:
    return clone(retrain).fit(X, y) if hasattr(retrain, "fit") else retrain(X, y)


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
    n_poisons : int, default=50
        Number of poisons; the paper takes 1% of the training set.
    eps : float, default=16/255
        The largest change of any coordinate of a base example, in the units of `X`.
    n_steps : int, default=250
        Number of steps of signed Adam.
    step_size : float or None, default=None
        Step size at the start, in the units of `X`; divided by 10 after 3/8, 5/8
        and 7/8 of the steps. None takes ``0.3 * eps``.
    trigger : PatchTrigger or None, default=None
        None draws a random patch for the lower right corner, a quarter of the
        images high.
    n_sources : int, default=256
        The most training examples of the source class to put the trigger on.
    base_selection : {"gradient_norm", "random"}, default="gradient_norm"
        Whether base examples are those of the adversarial class whose loss
        gradients are the largest, or are drawn.
    retrain : classifier, callable or None, default=None
        How to train another model on the poisons so far: a classifier such as
        `TorchClassifier`, which is cloned and fitted, or a function of (X, y) that
        returns a module or a fitted classifier. None keeps the model given.
    retrain_every : int, default=50
        Steps between two trainings.
    augment : callable or None, default=None
        What the victim does to its batches, such as `RandomShiftFlip`: a
        differentiable function of a batch. Random numbers that it draws from torch
        follow `random_state`.
    batch_size : int, default=256
        Examples that are differentiated at once. It bounds memory and does not
        change the result.
    clip : tuple of (float, float) or None, default=(0.0, 1.0)
        The lowest and the highest value that a poison, or a trigger drawn at
        random, may take; None for no limits, and a trigger in [0, 1].
    random_state : int, RandomState instance or None, default=None
        Draws the trigger, the sources, random base examples and augmentation.
    verbose : int or bool, default=0
        Whether to show a progress bar.

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
        retrain: Retrain = None,
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
            Trained on clean data of the victim's kind. A module maps a batch
            (n, ...) to logits (n, n_classes), its columns in the order of the sorted
            labels in `y`. Used in evaluation mode; its modes, parameters and their
            gradients are as before afterwards. Only parameters that require
            gradients count.
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
        TypeError
            If `model` is neither, or the examples are not numbers.
        ValueError
            If a parameter is out of range, shapes do not fit, X contains NaN or
            infinity, there are too few examples of `adversarial_label` or none of
            `source_label`, or the sources' gradient is zero.
        """
        surrogate, X, candidates = self._prepare(model, X, y, adversarial_label)
        rows = source_rows(y, source_label, adversarial_label, len(X))
        seed, rng = self._seed()
        trigger = trigger_or_random(self.trigger, X, self.clip, seed)
        sources = rng.choice(rows, min(self.n_sources, len(rows)), replace=False)
        targets = trigger.apply(X[sources])
        matcher = surrogate.matcher(targets)
        indices = self._choose_bases(surrogate, X, candidates, rng)

        def retrained(examples: torch.Tensor) -> Matcher:
            poisoned = X.astype(np.float32)
            poisoned[indices] = examples.cpu().numpy()
            again = _train(self.retrain, poisoned, y)
            return self._surrogate(again, X, y, adversarial_label).matcher(targets)

        with seeded_torch(seed, surrogate.device):
            examples, loss = self._run(surrogate, X[indices], matcher, retrained)
        return BackdoorPoisons(
            examples=examples,
            indices=indices,
            target=targets,
            adversarial_label=adversarial_label,
            loss=loss,
            trigger=trigger,
            source_label=source_label,
        )

    def _run(
        self,
        surrogate: Surrogate,
        base_examples: npt.NDArray[Any],
        matcher: Matcher,
        retrained: Callable[[torch.Tensor], Matcher],
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
        def matcher_at(step: int, examples: torch.Tensor) -> Matcher:
            nonlocal matcher
            due = step > 0 and step % self.retrain_every == 0
            if self.retrain is not None and due:
                matcher = retrained(examples)
            return matcher

        optimizer = self._optimizer(surrogate, base_examples)
        with self._progress(self.n_steps) as progress:
            loss = self._descend(optimizer, matcher_at, progress)
        return optimizer.examples.cpu().numpy(), loss
