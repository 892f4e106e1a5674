"""Per-example gradients that are too wide to be built: outer products."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from sklearn.utils import check_array
from torch import nn

from ..validation import refuse_masked, to_numpy

BLOCK = 4096  # rows added up at a time


@dataclass(frozen=True)
class OuterProductGradients:
    r"""Gradients of the last layer's parameters, kept as their two factors.

    The gradient of example i with respect to the weights and bias of the last
    linear layer is the outer product of ``errors[i]`` (softmax minus one-hot)
    and ``inputs[i]`` (the layer's input with a 1 appended for the bias). Inner
    products of such gradients are products of two small inner products, so
    distances never need the array of width C * (H + 1).

    Parameters
    ----------
    errors : ndarray of shape (n, C)
        Gradient of the loss with respect to the logits.
    inputs : ndarray of shape (n, H)
        Input of the last layer, the 1 for the bias included.

    Examples
    --------
    >>> import numpy as np
    >>> from epic_sklearn import OuterProductGradients
    >>> g = OuterProductGradients(np.array([[1.0, -1.0]]), np.array([[2.0, 3.0]]))
    >>> g.shape
    (1, 4)
    >>> g.toarray()
    array([[ 2.,  3., -2., -3.]])
    """

    errors: np.ndarray
    inputs: np.ndarray

    def __post_init__(self) -> None:
        """Refuse factors that don't fit together."""
        for name in ("errors", "inputs"):
            if not hasattr(getattr(self, name), "ndim"):  # lists
                object.__setattr__(self, name, np.asarray(getattr(self, name)))
        if self.errors.ndim != 2 or self.inputs.ndim != 2:
            raise ValueError(
                "errors and inputs must be 2-D; got shapes "
                f"{self.errors.shape} and {self.inputs.shape}."
            )
        if len(self.errors) != len(self.inputs):
            raise ValueError(
                f"errors has {len(self.errors)} rows and inputs {len(self.inputs)}; "
                "both need one row an example."
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the array that is never built: (n, C * H)."""
        return len(self.errors), self.errors.shape[1] * self.inputs.shape[1]

    def __len__(self) -> int:
        return len(self.errors)

    def __getitem__(self, rows: np.ndarray) -> OuterProductGradients:
        return OuterProductGradients(self.errors[rows], self.inputs[rows])

    def mean(self) -> np.ndarray:
        """Mean gradient, flattened, shape (C * H,), float64."""
        sums = np.zeros((self.errors.shape[1], self.inputs.shape[1]))
        for start in range(0, len(self), BLOCK):  # never all inputs in float64
            some = slice(start, start + BLOCK)
            sums += self.errors[some].T.astype(np.float64) @ self.inputs[some]
        return (sums / len(self)).ravel()

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise TypeError(
            f"These gradients of shape {self.shape} are kept as errors and inputs; "
            "their array, if you want it, is toarray()."
        )

    def toarray(self) -> np.ndarray:
        """Build the wide array, shape (n, C * H). For small data and tests."""
        return np.einsum("nc,nh->nch", self.errors, self.inputs).reshape(len(self), -1)


Gradients = np.ndarray | OuterProductGradients


def factors_of(gradients: Any) -> list[Any]:
    """Errors and inputs of outer products, or what else there is, alone."""
    if isinstance(gradients, OuterProductGradients):
        return [gradients.errors, gradients.inputs]
    return [gradients]


def of_factors(factors: list[Any]) -> Any:
    """Gradients of which these are the :func:`factors_of`."""
    return OuterProductGradients(*factors) if len(factors) == 2 else factors[0]


def _n_not_finite(features: np.ndarray) -> int:
    """Count rows that have NaN, infinity or what has no finite difference to others."""
    step = max(1, 2**22 // features.shape[1])  # some at a time to spare memory
    parts = (features[start : start + step] for start in range(0, len(features), step))
    with np.errstate(over="ignore"):
        return sum(int((~np.isfinite(4 * part).all(axis=1)).sum()) for part in parts)


def _as_floats(values: Any) -> np.ndarray:
    """Array of real numbers, float32 or, of what is more precise, float64."""
    refuse_masked(gradients=values)
    values = to_numpy(values)
    if hasattr(values, "toarray"):  # a scipy sparse array
        values = values.toarray()
    if hasattr(values, "iloc"):  # nullable columns would become objects
        values = check_array(values, ensure_all_finite=False)
    values = np.asarray(values)
    if values.dtype.kind not in "fiub":
        raise ValueError(
            f"Gradient features must be real numbers; got dtype {values.dtype}."
        )
    size = min(max(values.dtype.itemsize, 4), 8) if values.dtype.kind == "f" else 8
    return values.astype(f"f{size}", copy=False)


def check_gradients(gradients: object, n_examples: int) -> Gradients:
    """Validate gradient features: numeric, finite, one row an example, else ValueError.

    Returns them as an array (n_examples, d) or outer products, float32 or wider.
    """
    factors = [_as_floats(factor) for factor in factors_of(gradients)]
    if any(f.ndim != 2 or f.shape[1] == 0 for f in factors):
        shapes = " and ".join(str(f.shape) for f in factors)
        raise ValueError(
            "Gradient features must have shape (n_examples, n_features) with at "
            f"least one feature; got {shapes}. Reshape each example's gradient to "
            "one row."
        )
    if len(factors[0]) != n_examples:
        raise ValueError(
            f"Gradient features have {len(factors[0])} rows for {n_examples} "
            "examples; give one row an example, in the order of the examples."
        )
    bad = sum(_n_not_finite(f) for f in factors)
    if bad:
        raise ValueError(
            f"Gradient features contain NaN or infinity in {bad} of {n_examples} rows, "
            "or values whose differences are infinite. The input has NaN or infinity, "
            "or the model diverged: then lower its learning rate or scale its input."
        )
    return of_factors(factors)


def mean_gradient(gradients: Gradients) -> np.ndarray:
    """Return the mean gradient over all examples, flattened (d,), in float64."""
    if isinstance(gradients, OuterProductGradients):
        return gradients.mean()
    return gradients.mean(axis=0, dtype=np.float64)


def unit_gradients(gradients: Gradients) -> Gradients:
    """Gradients of length 1, in float64; those of length 0 as they are."""
    return of_factors([_unit(factor) for factor in factors_of(gradients)])


def _unit(vectors: np.ndarray) -> np.ndarray:
    largest = np.abs(vectors).max(axis=1, keepdims=True).astype(np.float64)
    scaled = vectors / np.where(largest > 0, largest, 1)  # small squares would vanish
    length = np.linalg.norm(scaled, axis=1, keepdims=True)
    return scaled / np.where(length > 0, length, 1)


def inner_products(left: Any, right: Any) -> np.ndarray:
    """Inner products (m, n) of m gradients and n others of the same kind."""
    pairs = zip(factors_of(left), factors_of(right), strict=True)
    return prod(some @ others.T for some, others in pairs)


def gradient_norm_change(gradients: Gradients, keep: np.ndarray) -> float:
    """Rho of Theorem 3.1: how much dropping changes the mean gradient's norm.

    ``abs(norm(mean(gradients[keep])) - norm(mean(gradients)))``. Training on
    the kept examples has dynamics close to training on all of them while this
    is small against the norm itself.

    In the gradients' own unit; `keep` (n,) must keep at least one example.
    """
    if keep.all():
        return 0.0
    norm_of_all = np.linalg.norm(mean_gradient(gradients))
    norm_of_kept = np.linalg.norm(mean_gradient(gradients[keep]))
    return float(abs(norm_of_kept - norm_of_all))


def called(gradients: Any) -> Any:
    """Gradients as they are given, or what a function without arguments gives."""
    name = type(gradients).__name__
    is_net = isinstance(gradients, nn.Module)
    if is_net or hasattr(gradients, "compute"):
        taken_by = "LastLayerGradients" if is_net else name
        raise TypeError(
            f"gradients is {name} itself, which says not of what; give a function that "
            f"takes them, lambda: {taken_by}(net)(dataset)."
        )
    return gradients() if callable(gradients) else gradients


def read_only(gradients: Any) -> Any:
    """Gradients that a rule can't change by accident: they are the caller's."""
    factors = factors_of(gradients)
    for at, factor in enumerate(factors):
        if isinstance(factor, np.ndarray):
            factors[at] = factor.view()
            factors[at].flags.writeable = False
    return of_factors(factors)
