"""What an attack gives back: poisons, and where they belong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from ._trigger import PatchTrigger

ArrayOrTensor = TypeVar("ArrayOrTensor", npt.NDArray[Any], torch.Tensor)


@dataclass(frozen=True, eq=False)
class Poisons:
    """Poisoned examples, and where in the training set they belong.

    Parameters
    ----------
    examples : ndarray of shape (n_poisons, ...), float32
        The poisons, in the units of the training examples that they replace.
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
    >>> poisons = Poisons(
    ...     examples=np.full((1, 2), 9, dtype=np.float32), indices=np.array([1]),
    ...     target=np.zeros(2), adversarial_label="a", loss=np.array([1.0]),
    ... )
    >>> poisons.insert_into(np.zeros((3, 2)))
    array([[0., 0.],
           [9., 9.],
           [0., 0.]])
    """

    examples: npt.NDArray[np.float32]
    indices: npt.NDArray[np.int64]
    target: npt.NDArray[Any]
    adversarial_label: Any
    loss: npt.NDArray[np.float64]

    def _check_rows(self, name: str, n_rows: int) -> None:
        if n_rows <= self.indices.max():
            raise ValueError(
                f"{name} has {n_rows} rows, the poisons replace rows up to "
                f"{self.indices.max()}; give the training set that they were made for."
            )

    def insert_into(self, X: ArrayOrTensor) -> ArrayOrTensor:
        """Copy a training set and replace the base examples by the poisons.

        Parameters
        ----------
        X : ndarray or Tensor of shape (n, ...)
            The training set that the poisons were made for. If it holds integers,
            the poisons are rounded to the nearest.

        Returns
        -------
        ndarray or Tensor of shape (n, ...)
            A new array of the kind and dtype of `X`.

        Raises
        ------
        ValueError
            If `X` does not have the poisons' shape, or has too few rows.
        """
        if tuple(X.shape[1:]) != self.examples.shape[1:]:
            raise ValueError(
                f"X has examples of shape {tuple(X.shape[1:])}, the poisons have "
                f"shape {self.examples.shape[1:]}; give the training set that they "
                "were made for."
            )
        self._check_rows("X", len(X))
        if isinstance(X, torch.Tensor):
            examples = torch.from_numpy(self.examples)
            rows = torch.from_numpy(self.indices).to(X.device)
            if not X.is_floating_point():
                examples = examples.round()
            poisoned = X.detach().clone()
            poisoned[rows] = examples.to(poisoned)
            return poisoned
        copy = np.array(X)
        whole = np.issubdtype(copy.dtype, np.integer)
        copy[self.indices] = np.rint(self.examples) if whole else self.examples
        return copy

    def relabel(self, y: ArrayOrTensor) -> ArrayOrTensor:
        """Copy the training labels and give the poisons theirs.

        Only an attack that mislabels needs it, such as `LabelFlip` and `BadNets`;
        clean-label poisons bear the adversarial label already.

        Parameters
        ----------
        y : ndarray or Tensor of shape (n,)
            The labels of the training set that the poisons were made for.

        Returns
        -------
        ndarray or Tensor of shape (n,)
            A new array of the kind and dtype of `y`.

        Raises
        ------
        ValueError
            If `y` has too few rows.
        """
        self._check_rows("y", len(y))
        if isinstance(y, torch.Tensor):
            relabelled = y.detach().clone()
            relabelled[torch.from_numpy(self.indices)] = self.adversarial_label
            return relabelled
        copy = np.array(y)
        copy[self.indices] = self.adversarial_label
        return copy


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
        """Copy images and paste the trigger into each.

        Parameters
        ----------
        X : ndarray or Tensor of shape (n, channels, height, width)
            Images, such as the test images of the source class.

        Returns
        -------
        ndarray or Tensor of the shape of `X`
            A new array of the kind and dtype of `X`.

        Raises
        ------
        ValueError
            If the trigger does not fit into the images.
        """
        return self.trigger.apply(X)
