"""Convex polytope: poisons whose features enclose those of the target."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from .bullseye_polytope import squared_length
from .feature_collision import FeatureAttack


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

    The poisons :math:`x_1, ..., x_k` minimise, with :math:`\phi` the feature
    extractor and :math:`t` the target,

    .. math::
        \min_{c \ge 0, \sum_i c_i = 1}
        \frac{\|\phi(t) - \sum_i c_i \phi(x_i)\|^2}{2 \|\phi(t)\|^2}

    within `eps` of their base examples in every coordinate [1]_. A linear head that
    gives all of them their label gives it to everything between them, the target
    included.

    Parameters
    ----------
    n_poisons : int, default=5
        Number of poisons.
    eps, n_steps, step_size, clip, random_state, verbose
        See :class:`FeatureCollision`.

    See Also
    --------
    BullseyePolytope : Puts the target at the centre, which carries over better.

    Notes
    -----
    The weights are solved for exactly before each step. The published attack looks
    for one enclosure in each of several feature extractors at once; this one takes
    one extractor, the one that the victim uses.

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
    >>> X = np.linspace(0, 1, 20).reshape(10, 2)
    >>> y = np.repeat(["low", "high"], 5)
    >>> attack = ConvexPolytope(n_poisons=2, eps=0.2, n_steps=50, random_state=0)
    >>> poisons = attack.craft(nn.Identity(), X, y, X[0], "high")
    >>> poisons.examples.shape, [str(label) for label in y[poisons.indices]]
    ((2, 2), ['high', 'high'])
    >>> bool(poisons.loss[-1] < poisons.loss[0])
    True
    """

    def _loss(self, features: Tensor, target: Tensor, change: Tensor) -> Tensor:
        length = squared_length(target).sqrt()
        directions = (features - target) / length
        weights = _nearest_combination(directions)
        # The weights are at their optimum: no gradient comes through them.
        return (weights @ directions).square().sum() / 2
