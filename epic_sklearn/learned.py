"""What a model knows of the rows that it was trained on, as its gradients tell."""

from __future__ import annotations

import numpy as np

from .gradients import Gradients
from .rules.base import errors_of, label_columns

# What counts as chance: an accuracy above it by less than this share of the way to
# perfect, or by less than this many standard errors, which small data give to a model
# that learns noise; unless the loss is below that of the classes' shares by more than
# this share of it: a rare class may be learned and yet never be the likeliest.
NEARLY_CHANCE = (0.05, 4, 0.1)
# Of a net while it trains only what is certain is worth a warning.
SURELY_CHANCE = (0.0, 0, 0.01)


def likeliest(probabilities: np.ndarray) -> np.ndarray:
    """Most probable class (n,), of equal ones the first, whatever the last bits say."""
    return probabilities.round(12).argmax(axis=1)


def learned_nothing(
    probabilities: np.ndarray, codes: np.ndarray, *, surely: bool = False
) -> str | None:
    """Say so where a model knows its training labels no better than by chance.

    Chance is to name the most frequent class always. Such a model gives the examples
    of a class nearly the same gradient, or random ones. Of probabilities (n, C) and the
    column of each label (n,); `surely`: only of what is certain.
    """
    above, errors, below = SURELY_CHANCE if surely else NEARLY_CHANCE
    n = len(codes)
    shares = np.bincount(codes) / n
    shares = shares[shares > 0]
    chance = float(shares.max())
    accuracy = float(np.mean(likeliest(probabilities) == codes))
    noise = errors * np.sqrt(chance * (1 - chance) / n)
    if accuracy > chance + max(noise, above * (1 - chance)):
        return None
    given = np.clip(probabilities[np.arange(n), codes], 1e-12, None)
    entropy = -float(np.sum(shares * np.log(shares)))
    if -np.log(given).mean() < (1 - below) * entropy:
        return None
    return (
        f"The model has learned next to nothing: it is right on {accuracy:.1%} of its "
        f"own training rows, and always naming the most frequent class is right on "
        f"{chance:.1%}. Then its gradients say nothing about the rows: look for "
        "better features or a better model first, or another learning rate, more "
        "epochs or scaled input."
    )


def model_probabilities(
    gradients: Gradients, codes: np.ndarray, n_classes: int
) -> np.ndarray | None:
    """Probabilities (n, C) that a model gave, of gradients that hold them, or None.

    Softmax minus one-hot does: a row sums to 0 and is negative in its label's column
    alone.
    """
    errors = errors_of(gradients)
    if errors.shape[1] != n_classes:
        return None
    probabilities = np.array(errors, dtype=np.float64)
    probabilities[np.arange(len(codes)), codes] += 1
    sums = probabilities.sum(axis=1)
    is_right = probabilities.min() >= -1e-6 and np.allclose(sums, 1, rtol=0, atol=1e-3)
    return probabilities if is_right else None


def nothing_learned(
    gradients: Gradients, codes: np.ndarray, n_classes: int, *, surely: bool = False
) -> str | None:
    """Say so where gradients show a model that knows its labels by chance only.

    Also where they have more columns than there are classes: those of a net may, that
    gives an embedding in place of logits.
    """
    errors, hint = errors_of(gradients), ""
    n = errors.shape[1]
    if n > n_classes:
        codes, is_error, is_sure = label_columns(errors)
        if not (is_error & is_sure).all():
            return None
        hint = f" It has {n} columns for {n_classes} classes: are these their logits?"
    known = model_probabilities(gradients, codes, max(n, n_classes))
    nothing = None if known is None else learned_nothing(known, codes, surely=surely)
    return nothing and nothing + hint
