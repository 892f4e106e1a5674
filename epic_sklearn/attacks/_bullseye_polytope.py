"""Bullseye polytope: poisons whose mean feature vector is the target's."""

from __future__ import annotations

import torch

from ._polytope import PolytopeAttack


class BullseyePolytope(PolytopeAttack):
    r"""Clean-label poisons that surround the target in feature space.

    The poisons :math:`x_1, ..., x_k` minimise, with :math:`\phi` the feature
    extractor and :math:`t` the target,

    .. math::
        \frac{\|\phi(t) - \frac{1}{k} \sum_i \phi(x_i)\|^2}{\|\phi(t)\|^2}

    within `eps` of their base examples in every coordinate [1]_. A linear head that
    gives all of them their label tends to give it to their centre, the target, too.

    Parameters
    ----------
    n_poisons : int, default=5
        Number of poisons.
    eps : float, default=0.1
        The largest change of any coordinate of a base example, in the units of `X`.
    n_steps : int, default=250
        Number of gradient steps.
    step_size : float or None, default=None
        Step size of Adam at the start, in the units of `X`; it falls to zero along
        half a cosine. None takes ``0.3 * eps``.
    clip : tuple of (float, float) or None, default=(0.0, 1.0)
        The lowest and the highest value that a poison may take; None for no limits.
    random_state : int, RandomState instance or None, default=None
        Draws the base examples.
    verbose : int or bool, default=0
        Whether to show a progress bar.

    See Also
    --------
    ConvexPolytope : Only encloses the target.
    FeatureCollision : Moves each poison by itself onto the target.

    Notes
    -----
    The published attack keeps the poisons' mean close to the target for several
    feature extractors at once; this one takes one extractor, the one that the victim
    uses.

    References
    ----------
    .. [1] H. Aghakhani, D. Meng, Y.-X. Wang, C. Kruegel, G. Vigna: "Bullseye
       Polytope: A Scalable Clean-Label Poisoning Attack with Improved
       Transferability", IEEE European Symposium on Security and Privacy, 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from torch import nn
    >>> from epic_sklearn.attacks import BullseyePolytope
    >>> X = np.linspace(0, 1, 20).reshape(10, 2)
    >>> y = np.repeat(["low", "high"], 5)
    >>> attack = BullseyePolytope(n_poisons=2, eps=0.2, n_steps=50, random_state=0)
    >>> poisons = attack.craft(nn.Identity(), X, y, X[0], "high")
    >>> poisons.examples.shape, [str(label) for label in y[poisons.indices]]
    ((2, 2), ['high', 'high'])
    >>> bool(poisons.loss[-1] < poisons.loss[0])
    True
    """

    def _distance(
        self,
        features: torch.Tensor,
        target_features: torch.Tensor,
        squared_norm: torch.Tensor,
    ) -> torch.Tensor:
        return (target_features - features.mean(0)).square().sum() / squared_norm
