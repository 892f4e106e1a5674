"""What an attack gives back: poisons, where they belong, and the trigger."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import scipy.sparse
import torch

from .._utils import RandomState, resolve_seed
from ..metrics import equal_labels
from ..validation import to_numpy

ArrayOrTensor = TypeVar("ArrayOrTensor", npt.NDArray[Any], torch.Tensor)


def _copy(values: Any) -> Any:
    return values.detach().clone() if torch.is_tensor(values) else np.array(values)


def _put(X: ArrayOrTensor, where: Any, values: npt.NDArray[Any]) -> ArrayOrTensor:
    """Copy `X` with numbers put in place, which its dtype must be able to hold."""
    is_tensor, copy = torch.is_tensor(X), _copy(X)
    library: Any = torch if is_tensor else np
    is_float = copy.is_floating_point() if is_tensor else copy.dtype.kind == "f"
    try:
        limits = (library.finfo if is_float else library.iinfo)(copy.dtype)
    except (TypeError, ValueError):
        raise TypeError(f"X has dtype {copy.dtype}; give numbers.") from None
    values = values.astype(np.float64)
    if not is_float:
        values = np.rint(values)
    low, high = values.min(), values.max()
    is_held = low >= limits.min and high <= limits.max
    if not is_held and not (is_float and np.isnan(low)):
        raise ValueError(
            f"the values to put in reach from {low:g} to {high:g}, "
            f"and {copy.dtype} holds {limits.min:g} to {limits.max:g}; give X as "
            "float, or make them with its range as clip."
        )
    copy[where] = torch.from_numpy(values).to(copy) if is_tensor else values
    return copy


def _put_in_frame(frame: Any, rows: npt.NDArray[np.int64], examples: Any) -> Any:
    """Copy a pandas frame with rows put in place, each column in its own dtype."""
    copy = frame.copy()
    if not hasattr(examples, "iloc"):
        examples = type(frame)(examples, columns=frame.columns)
    if list(examples.columns) != list(frame.columns):
        raise ValueError(
            f"X has columns {list(frame.columns)[:10]}, the poisons "
            f"{list(examples.columns)[:10]}; give the training set that they were made "
            "for, its columns in their order."
        )
    for i, dtype in enumerate(frame.dtypes):
        column = frame.iloc[:, i].copy()
        column.iloc[rows] = as_in_column(examples.iloc[:, i], dtype).array
        copy.isetitem(i, column)
    return copy


def as_in_column(values: Any, dtype: Any) -> Any:
    """Cast a pandas series to a column's dtype, numbers to whole ones where it has.

    ValueError if it cannot hold them: they would wrap, or be lost.
    """
    if dtype.kind in "iu" and values.dtype.kind == "f":
        values = values.round()
    try:
        cast = values.astype(dtype)
    except (TypeError, ValueError, OverflowError):
        cast = None
    if cast is not None:
        is_lost = cast.isna() != values.isna()  # categories that there are not
        if dtype.kind in "iub":
            is_lost |= ~(cast == values).fillna(True).astype(bool)
        elif dtype.kind == "f":
            is_lost |= np.isinf(cast.astype(float)) & ~np.isinf(values.astype(float))
        if not is_lost.any():
            return cast
        values = values[is_lost]
    raise ValueError(
        f"the column {values.name!r} of X has dtype {dtype}, which cannot hold values "
        f"to put in, such as {values.tolist()[0]!r}; give X with columns that can."
    )


@dataclass(frozen=True, eq=False)
class PatchTrigger:
    """A small image that covers part of every image it is applied to.

    Parameters
    ----------
    patch : ndarray of shape (channels, height, width)
        What is pasted, in the units of the images.
    row, column : int
        Where its upper left corner goes.

    Examples
    --------
    >>> import numpy as np
    >>> from epic_sklearn.attacks import PatchTrigger
    >>> trigger = PatchTrigger(np.ones((1, 1, 2)), row=2, column=1)
    >>> trigger.apply(np.zeros((1, 1, 3, 3)))[0, 0]
    array([[0., 0., 0.],
           [0., 0., 0.],
           [0., 1., 1.]])
    """

    patch: npt.NDArray[Any]
    row: int
    column: int

    @classmethod
    def random(
        cls,
        image_shape: tuple[int, ...],
        size: int | None = None,
        clip: tuple[float, float] = (0.0, 1.0),
        random_state: RandomState = None,
    ) -> PatchTrigger:
        """Draw a square patch of uniform noise for the lower right corner.

        Parameters
        ----------
        image_shape : tuple of (int, int, int)
            Channels, height and width of the images.
        size : int or None, default=None
            Height and width of the patch. None takes a quarter of the images'
            height.
        clip : tuple of (float, float), default=(0.0, 1.0)
            Its lowest and its highest value.
        random_state : int, RandomState instance or None, default=None
            Draws the patch.

        Raises
        ------
        ValueError
            If these are no images, or the patch is larger than they are.
        """
        if len(image_shape) != 3:
            raise ValueError(
                f"examples have shape {tuple(image_shape)}; a patch needs images, "
                "(channels, height, width)."
            )
        channels, height, width = image_shape
        if width in (1, 3) and width < channels:
            raise ValueError(
                f"examples of shape {tuple(image_shape)} look like images with their "
                "channels last; give (channels, height, width), np.moveaxis(X, -1, 1)."
            )
        size = max(1, height // 4) if size is None else size
        if not 1 <= size <= min(height, width):
            raise ValueError(
                f"size={size}; give at least 1 and at most {min(height, width)}, the "
                "images' smaller side."
            )
        rng = np.random.default_rng(resolve_seed(random_state))
        patch = rng.uniform(*clip, size=(channels, size, size)).astype(np.float32)
        return cls(patch, height - size, width - size)

    def check_fit(self, image_shape: tuple[int, ...]) -> None:
        """Refuse images, (..., channels, height, width), that it does not fit into."""
        if np.ndim(self.patch) != 3:
            raise ValueError(
                f"patch has shape {np.shape(self.patch)}; give (channels, height, "
                "width)."
            )
        channels, height, width = self.patch.shape
        inside = len(image_shape) >= 3 and (
            image_shape[-3] == channels
            and 0 <= self.row <= image_shape[-2] - height
            and 0 <= self.column <= image_shape[-1] - width
        )
        if not inside:
            raise ValueError(
                f"a patch of shape {self.patch.shape} at row {self.row}, column "
                f"{self.column} does not fit into images of shape "
                f"{tuple(image_shape[-3:])}; give images (channels, height, width) of "
                "as many channels that the patch lies in."
            )

    def apply(self, X: ArrayOrTensor) -> ArrayOrTensor:
        """Copy images and paste the patch into each.

        `X` is an ndarray or Tensor of shape (..., channels, height, width), and so is
        the copy, of the same dtype; for integers the patch is rounded. Images that it
        does not fit into, or whose integers cannot hold it, raise ValueError.
        """
        self.check_fit(tuple(X.shape))
        _, height, width = self.patch.shape
        rows = slice(self.row, self.row + height)
        columns = slice(self.column, self.column + width)
        return _put(X, (..., rows, columns), np.asarray(self.patch))


@dataclass(frozen=True, eq=False)
class Poisons:
    """Poisoned examples, and where in the training set they belong.

    Parameters
    ----------
    examples : ndarray of shape (n_poisons, ...)
        The poisons, in the units of the training examples that they replace; float32
        where they were optimised. Those of a dataframe are one.
    indices : ndarray of shape (n_poisons,), int64
        The rows of the training set that they replace.
    target : ndarray of shape (...)
        The example that the poisoned model is to misclassify.
    adversarial_label : object
        The label that the attack wants for the target, and that every poison bears.
        In a clean-label attack it is what these rows were labelled before, too.
    loss : ndarray of shape (n_steps + 1,), float64
        The attack's objective: ``loss[0]`` is that of the unchanged base examples,
        ``loss[i]`` that after `i` steps. Empty if the attack optimises nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from epic_sklearn.attacks import Poisons
    >>> example, rows, target = np.full((1, 2), 9), np.array([1]), np.zeros(2)
    >>> poisons = Poisons(example, rows, target, "cat", loss=np.empty(0))
    >>> poisons.insert_into(np.zeros((3, 2)))
    array([[0., 0.],
           [9., 9.],
           [0., 0.]])
    """

    examples: npt.NDArray[Any] = field(repr=False)
    indices: npt.NDArray[np.int64]
    target: npt.NDArray[Any] = field(repr=False)
    adversarial_label: Any
    loss: npt.NDArray[np.float64] = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse rows that are no numbers, one an example, each once."""
        indices = np.asarray(to_numpy(self.indices))
        if indices.ndim != 1 or indices.dtype.kind not in "iu" or not len(indices):
            raise ValueError(
                f"indices is an array of {indices.dtype} of shape {indices.shape}; "
                "give the numbers of the rows that the poisons replace, at least one "
                "(of a mask: np.flatnonzero(mask))."
            )
        if len(np.unique(indices)) < len(indices):
            raise ValueError("indices has rows that several poisons replace; give one.")
        given = self.examples
        as_is = hasattr(given, "iloc") or scipy.sparse.issparse(given)
        examples = given if as_is else np.asarray(to_numpy(given))
        if examples.shape[:1] != indices.shape:
            raise ValueError(
                f"examples has shape {examples.shape}, and indices names "
                f"{len(indices)} rows; give one poison a row."
            )
        object.__setattr__(self, "indices", indices.astype(np.int64))
        object.__setattr__(self, "examples", examples)

    def _check_rows(self, name: str, n_rows: int) -> None:
        if n_rows <= self.indices.max() or self.indices.min() < 0:
            raise ValueError(
                f"{name} has {n_rows} rows, the poisons replace rows "
                f"{self.indices.min()} to {self.indices.max()}; give the training set "
                "that they were made for."
            )

    def insert_into(self, X: ArrayOrTensor) -> ArrayOrTensor:
        """Copy a training set and replace the base examples by the poisons.

        Parameters
        ----------
        X : ndarray, Tensor or pandas dataframe of shape (n, ...)
            The training set that the poisons were made for. Where it holds
            integers, the poisons are rounded to the nearest, by which they may pass
            `eps` by a half.

        Returns
        -------
        ndarray, Tensor or dataframe of shape (n, ...)
            A new one of the kind and dtypes of `X`.

        Raises
        ------
        TypeError, ValueError
            If `X` does not hold numbers, does not have the poisons' shape, has too
            few rows, or cannot hold the poisons' values.
        """
        if tuple(X.shape[1:]) != self.examples.shape[1:]:
            raise ValueError(
                f"X has examples of shape {tuple(X.shape[1:])}, the poisons have "
                f"shape {self.examples.shape[1:]}; give the training set that they "
                "were made for."
            )
        self._check_rows("X", len(X))
        if hasattr(X, "iloc"):
            return _put_in_frame(X, self.indices, self.examples)
        return _put(X, self.indices, self.examples)

    def relabel(self, y: ArrayOrTensor) -> ArrayOrTensor:
        """Copy the training labels and give the poisons theirs.

        Only an attack that mislabels needs it, such as `LabelFlip` and `BadNets`;
        clean-label poisons bear the adversarial label already.

        `y` is an ndarray or Tensor of shape (n,), and so is the copy, of the same
        dtype. If it has too few rows, or cannot hold the adversarial label, it is
        refused by ValueError.
        """
        self._check_rows("y", len(y))
        label, names = self.adversarial_label, ("y", "adversarial_label")
        equal_labels(to_numpy(y), label, *names)
        relabelled = _copy(y)
        relabelled[self.indices] = label
        if not equal_labels(to_numpy(relabelled)[self.indices], label, *names).all():
            raise ValueError(
                f"y has dtype {relabelled.dtype}, which cannot hold adversarial_label="
                f"{label!r}; give labels of a wider dtype."
            )
        return relabelled


@dataclass(frozen=True, eq=False)
class BackdoorPoisons(Poisons):
    """Poisons that teach a model to answer to a trigger.

    What :class:`Poisons` has, with a `target` of another kind, and more.

    Parameters
    ----------
    target : ndarray of shape (n_targets, ...)
        Training examples of the source class with the trigger, which the poisons
        were made for.
    trigger : PatchTrigger
        The poisoned model is to give any example of the source class that bears it
        the adversarial label.
    source_label : object
        The source class, or a list of them.

    Examples
    --------
    >>> import numpy as np
    >>> from epic_sklearn.attacks import BadNets
    >>> X, y = np.zeros((6, 1, 8, 8)), np.array(["a", "b"] * 3)
    >>> poisons = BadNets(n_poisons=1, random_state=0).craft(X, y, "a", "b")
    >>> int((poisons.apply_trigger(X) != X).sum(axis=(1, 2, 3)).max())
    4
    """

    trigger: PatchTrigger
    source_label: Any

    def apply_trigger(self, X: ArrayOrTensor) -> ArrayOrTensor:
        """Paste the trigger into images, see :meth:`PatchTrigger.apply`."""
        return self.trigger.apply(X)


def trigger_or_random(
    trigger: PatchTrigger | None,
    X: npt.NDArray[Any],
    clip: tuple[float, float] | None,
    seed: int,
) -> PatchTrigger:
    """Return the trigger given, if it fits, or one drawn at random."""
    if trigger is None:
        limits = (0.0, 1.0) if clip is None else clip
        return PatchTrigger.random(X.shape[1:], clip=limits, random_state=seed)
    trigger.check_fit(X.shape)
    lowest, highest = (-np.inf, np.inf) if clip is None else clip
    if not ((trigger.patch >= lowest) & (trigger.patch <= highest)).all():
        raise ValueError(
            f"the trigger's patch has NaN or values outside clip={clip}; give a patch "
            "in the units of the images, or their range as clip."
        )
    return trigger
