"""Bullseye polytope: poisons whose mean feature vector is the target's."""

from __future__ import annotations

from torch import Tensor

from .feature_collision import FeatureAttack


def squared_length(target: Tensor) -> Tensor:
    """Squared norm of the target's features, the unit of a polytope's distance."""
    squared_norm = target.square().sum()
    if squared_norm == 0:
        raise ValueError(
            "feature_extractor maps the target to zeros, so there is no direction "
            "to imitate; give features that are not all zero for this target."
        )
    return squared_norm


class BullseyePolytope(FeatureAttack):
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
    eps, n_steps, step_size, clip, random_state, verbose
        See :class:`FeatureCollision`.

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

    def _loss(self, features: Tensor, target: Tensor, change: Tensor) -> Tensor:
        distance = (target - features.mean(0)).square().sum()
        return distance / squared_length(target)
