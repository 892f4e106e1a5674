"""Convex polytope: poisons whose features enclose those of the target."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import nnls

from ._polytope import PolytopeAttack


def _nearest_combination(directions: torch.Tensor) -> torch.Tensor:
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


class ConvexPolytope(PolytopeAttack):
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

    def _distance(
        self,
        features: torch.Tensor,
        target_features: torch.Tensor,
        squared_norm: torch.Tensor,
    ) -> torch.Tensor:
        directions = (features - target_features) / squared_norm.sqrt()
        weights = _nearest_combination(directions)
        # The weights are at their optimum: no gradient comes through them.
        return (weights @ directions).square().sum() / 2
