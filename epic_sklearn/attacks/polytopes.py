"""Polytopes: poisons whose features together enclose those of the target."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from .feature_collision import FeatureAttack


def _squared_length(target: Tensor) -> Tensor:
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
    The published attack does so for several feature extractors at once; this one
    takes one, the one that the victim uses.

    Parameters
    ----------
    n_poisons : int, default=5
        Number of poisons.
    eps, n_steps, step_size, clip, random_state, verbose
        See :class:`FeatureCollision`.

    See Also
    --------
    ConvexPolytope : Only encloses the target.

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
    >>> X, y = np.linspace(0, 1, 20).reshape(10, 2), np.repeat(["low", "high"], 5)
    >>> attack = BullseyePolytope(n_poisons=2, eps=0.2, n_steps=50, random_state=0)
    >>> attack.craft(nn.Identity(), X, y, X[0], "high").examples.shape
    (2, 2)
    """

    def _loss(self, features: Tensor, target: Tensor, change: Tensor) -> Tensor:
        distance = (target - features.mean(0)).square().sum()
        return distance / _squared_length(target)


def _nearest_combination(directions: Tensor) -> Tensor:
    """Weights of the point nearest to the origin in the rows' convex hull.

    Non-negative least squares on the rows, with ``sum(w) - 1`` as one more
    residual, finds a multiple of these weights: only its length depends on how
    much that residual counts.
    """
    rows = directions.detach().double().cpu().numpy()
    scale = np.linalg.norm(rows, axis=1).max() or 1.0
    system = np.vstack([rows.T / scale, np.ones(len(rows))])
    wanted = np.append(np.zeros(rows.shape[1]), 1.0)
    weights, _ = nnls(system, wanted, maxiter=100 * len(rows))
    return torch.from_numpy(weights / weights.sum()).to(directions)


class ConvexPolytope(FeatureAttack):
    r"""Clean-label poisons that enclose the target in feature space.

    As :class:`BullseyePolytope`, but the poisons minimise

    .. math::
        \min_{c \ge 0, \sum_i c_i = 1}
        \frac{\|\phi(t) - \sum_i c_i \phi(x_i)\|^2}{2 \|\phi(t)\|^2}

    with weights :math:`c` that are solved for exactly before each step [1]_. A linear
    head that gives all poisons their label gives it to everything between them.

    Parameters
    ----------
    n_poisons : int, default=5
        Number of poisons.
    eps, n_steps, step_size, clip, random_state, verbose
        See :class:`FeatureCollision`.

    See Also
    --------
    BullseyePolytope : Puts the target at the centre, which carries over better.

    References
    ----------
    .. [1] C. Zhu, W. R. Huang, A. Shafahi, H. Li, G. Taylor, C. Studer,
       T. Goldstein: "Transferable Clean-Label Poisoning Attacks on Deep Neural
       Nets", ICML, 2019. Equation 2 and Algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> from torch import nn
    >>> from epic_sklearn.attacks import ConvexPolytope
    >>> X, y = np.linspace(0, 1, 20).reshape(10, 2), np.repeat(["low", "high"], 5)
    >>> attack = ConvexPolytope(n_poisons=2, eps=0.2, n_steps=50, random_state=0)
    >>> attack.craft(nn.Identity(), X, y, X[0], "high").examples.shape
    (2, 2)
    """

    def _loss(self, features: Tensor, target: Tensor, change: Tensor) -> Tensor:
        directions = (features - target) / _squared_length(target).sqrt()
        weights = _nearest_combination(directions)
        # The weights are at their optimum: no gradient comes through them.
        return (weights @ directions).square().sum() / 2
