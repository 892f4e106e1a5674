"""Whether a net learned anything: else its gradients isolate at random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from ._warnings import warn_user


@dataclass(frozen=True)
class Margin:
    """What counts as chance.

    Attributes
    ----------
    accuracy : float
        Above chance by less than this share of the way to perfect,
    errors : float
        or by less than this many standard errors, which small data give to a model
        that learns noise; unless
    loss : float
        the loss is below that of the classes' shares by more than this share of
        it: a rare class may be learned and yet never be the likeliest.
    """

    accuracy: float
    errors: float
    loss: float


NEARLY = Margin(accuracy=0.05, errors=4, loss=0.1)
# A run that dropped nothing is no offence: only what is certain is worth a warning.
CERTAINLY = Margin(accuracy=0.0, errors=0, loss=0.01)


def accuracy_by_chance(
    probabilities: np.ndarray, codes: np.ndarray, margin: Margin = NEARLY
) -> tuple[float, float] | None:
    """Tell a model that knows its training labels no better than by chance.

    Chance is to name the most frequent class always.

    Parameters
    ----------
    probabilities : ndarray of shape (n, C)
        Of the training rows.
    codes : ndarray of shape (n,), int
        Column of each row's label.
    margin : Margin
        How much above chance still counts as chance.

    Returns
    -------
    tuple of (float, float) or None
        The model's accuracy and chance; None where it has learned something.

    Examples
    --------
    >>> import numpy as np
    >>> from epic_sklearn._learned import accuracy_by_chance
    >>> codes = np.arange(90) % 3
    >>> accuracy_by_chance(np.eye(3)[codes], codes) is None
    True
    >>> accuracy, chance = accuracy_by_chance(np.full((90, 3), 1 / 3), codes)
    >>> round(accuracy, 2), round(chance, 2)
    (0.33, 0.33)
    """
    n = len(codes)
    shares = np.bincount(codes) / n
    shares = shares[shares > 0]
    chance = float(shares.max())
    accuracy = float(np.mean(probabilities.argmax(axis=1) == codes))
    noise = margin.errors * np.sqrt(chance * (1 - chance) / n)
    if accuracy > chance + max(noise, margin.accuracy * (1 - chance)):
        return None
    given = np.clip(probabilities[np.arange(n), codes], 1e-12, None)
    entropy = -float(np.sum(shares * np.log(shares)))
    if -np.log(given).mean() < (1 - margin.loss) * entropy:
        return None
    return accuracy, chance


def warn_if_nothing_learned(name: str, codes: np.ndarray, logits: np.ndarray) -> None:
    """Warn of a run that dropped nothing with a net no better than chance.

    Such a net gives the examples of a class nearly the same gradient, or random
    ones; a run that looks clean then says nothing about the data.

    Parameters
    ----------
    name : str
        Of the class that dropped nothing; the warning's first word.
    codes : ndarray of shape (n,), int
        Column of each training example's label.
    logits : ndarray of shape (n, C)
        Of the training examples, after training.
    """
    found = accuracy_by_chance(softmax(logits, axis=1), codes, CERTAINLY)
    if found is None:
        return
    warn_user(
        f"{name} dropped nothing, and the net is right about {found[0]:.0%} of its "
        "training examples, where always giving the most frequent label would be "
        f"right about {found[1]:.0%}: it seems to have learned nothing, so what "
        "its gradients say of the examples means nothing. Change the learning rate, "
        "train for more epochs or scale the input until the net fits the data; then "
        "see what is dropped."
    )
