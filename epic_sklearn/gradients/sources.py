"""Where gradients come from when no extractor is given: arrays, functions, models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from torch import nn

from .._utils import DocLinks
from .extractors import (
    GradientExtractor,
    LastLayerGradients,
    LastLayerInputGradients,
    LogitGradients,
)
from .features import Gradients, check_gradients
from .last_layer import has_last_layer, refuse_fit_params

# What the parameter `gradients` of whatever trains may be.
EXTRACTORS: dict[str, type[GradientExtractor]] = {
    "logit": LogitGradients,
    "last_layer_input": LastLayerInputGradients,
    "last_layer": LastLayerGradients,
}


class PrecomputedGradients(DocLinks, BaseEstimator):
    """X already is the gradients: nothing is fitted or computed.

    An array, or the :class:`OuterProductGradients` that LastLayerGradients gives.
    Rules that look at the last layer's inputs take an array for these.

    Examples
    --------
    >>> import numpy as np
    >>> from epic_sklearn import PrecomputedGradients
    >>> PrecomputedGradients().fit(None, None).compute([[1.0, -1.0]], [0])
    array([[ 1., -1.]])
    """

    gives: ClassVar[tuple[str, ...] | None] = None  # as X may be

    def fit(self, X: Any, y: Any, **fit_params: Any) -> Self:
        """Do nothing; weights, which would change nothing, are refused."""
        refuse_fit_params("an array or function", fit_params)
        return self

    def compute(self, X: Any, y: ArrayLike) -> Gradients:
        """Return X, of which a wrong shape or a value that is not finite is refused.

        Parameters
        ----------
        X : array-like of shape (n, d) or OuterProductGradients
            Gradients.
        y : array-like of shape (n,)
            Labels; only their number is used.
        """
        return check_gradients(X, len(np.asarray(y)))

    def __call__(self, X: Any, y: ArrayLike) -> Gradients:
        """Compute them; see :meth:`compute`."""
        return self.compute(X, y)

    def __sklearn_is_fitted__(self) -> bool:
        return True


class CallableGradients(PrecomputedGradients):
    """A user's function (X, y) -> (n, d), with the extractors' methods."""

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        self.function = function

    def compute(self, X: Any, y: Any) -> Any:
        """Call the function."""
        return self.function(X, y)


def as_extractor(
    given: Any, kind: str, may_fall_back: bool = False, few: Any = None
) -> Any:
    """Turn what a user may give as `extractor` (see EPICFilter) into one.

    `kind`, one of `EXTRACTORS`, says which gradients are taken of a model; those with
    respect to the logits where it has no last layer that can be read, tried on a `few`
    examples if given, and `may_fall_back`. TypeError if nothing can be made of it.
    """
    wrapper = EXTRACTORS[kind]
    if may_fall_back and given is not None and not has_last_layer(given, few):
        wrapper = LogitGradients
    if given is None:
        return wrapper()
    if hasattr(given, "judge"):
        raise TypeError(f"extractor is the rule {given!r}; give rule={given!r}.")
    if isinstance(given, type):
        raise TypeError(
            f"extractor is the class {given.__name__}; give an instance of it."
        )
    if hasattr(given, "compute") and hasattr(given, "fit"):
        return given
    if hasattr(given, "predict_proba") or isinstance(given, BaseEstimator | nn.Module):
        return wrapper(given)
    if callable(given):
        return CallableGradients(given)
    raise TypeError(
        f"extractor is {given!r}; give an extractor such as "
        "LogitGradients(classifier), a classifier with predict_proba, a torch "
        "module, or a function (X, y) -> array of shape (n, d)."
    )
