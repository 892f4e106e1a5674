"""Helpers that belong nowhere else: seeds, warnings, documentation links."""

from __future__ import annotations

import inspect
import numbers
import warnings
from dataclasses import dataclass
from importlib.metadata import metadata
from typing import Any

import numpy as np
from scipy.special import softmax

RandomState = int | np.random.RandomState | None


def resolve_seed(random_state: RandomState) -> int:
    """Turn a scikit-learn style ``random_state`` into one seed in [0, 2**31 - 1).

    None takes entropy from the operating system instead of numpy's global
    generator, so that neither the caller's random numbers nor ours change.

    Examples
    --------
    >>> from epic_sklearn._utils import resolve_seed
    >>> resolve_seed(7)
    7
    """
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0] % (2**31 - 1))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    if isinstance(random_state, numbers.Integral) and random_state >= 0:
        return int(random_state) % (2**31 - 1)
    raise ValueError(
        f"random_state is {random_state!r}; give a non-negative int, a numpy "
        "RandomState instance or None."
    )


_OURS = ("epic_sklearn", "sklearn", "skorch", "joblib", "imblearn", "torch")


def warn_user(message: str) -> None:
    """Warn with the location of the first caller outside the libraries.

    Parameters
    ----------
    message : str
        What to say.
    """
    level, frame = 1, inspect.currentframe()
    while frame is not None:
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package not in _OURS:
            break
        level, frame = level + 1, frame.f_back
    warnings.warn(message, UserWarning, stacklevel=level)


# Parts of the package whose public names are not at the top.
SUBPACKAGES = ("attacks", "rules")


def documentation_address() -> str:
    """Address of the documentation, as the installed package states it."""
    stated = metadata("epic-sklearn").get_all("Project-URL") or []
    links = dict(entry.split(", ", 1) for entry in stated)
    return links.get("Documentation", "").rstrip("/") + "/"


class DocLinks:
    """Mixin, before scikit-learn's BaseEstimator, for what that looks for."""

    _doc_link_module = "epic_sklearn"

    @property
    def _doc_link_template(self) -> str:
        return documentation_address() + "generated/{public_name}.html"

    def _doc_link_url_param_generator(self) -> dict[str, Any]:
        package, part, *_ = type(self).__module__.split(".")
        where = f"{package}.{part}" if part in SUBPACKAGES else package
        return {"public_name": f"{where}.{type(self).__name__}"}


class RefusedMethod:
    """A method that a class leaves out on purpose, with the reason.

    ``hasattr`` finds nothing, as pipelines need it; a call, and scikit-learn's
    Pipeline, FeatureUnion and ColumnTransformer when they check their steps, get
    a message that names the right class instead of a bare "doesn't implement".
    """

    def __init__(self, message: str) -> None:
        self.message = self.__doc__ = message

    def __get__(self, instance: Any, owner: type) -> RefusedMethod:
        if instance is None:  # documentation tools look at the class
            return self
        caller = inspect.currentframe()
        caller = caller.f_back if caller else None
        if (
            caller is not None
            and caller.f_code.co_name in ("_validate_steps", "_validate_transformers")
            and caller.f_globals.get("__name__", "").startswith("sklearn.")
        ):
            raise TypeError(self.message)
        raise AttributeError(self.message)


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
    >>> from epic_sklearn._utils import accuracy_by_chance
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


def learned_nothing(probabilities: np.ndarray, codes: np.ndarray) -> str | None:
    """Say so where a model knows its training labels no better than by chance.

    Parameters
    ----------
    probabilities, codes : see :func:`accuracy_by_chance`

    Returns
    -------
    str or None
        The warning; None where the model has learned something.
    """
    found = accuracy_by_chance(probabilities, codes)
    if found is None:
        return None
    return (
        f"The model has learned next to nothing: it is right on {found[0]:.1%} of its "
        f"own training rows, and always naming the most frequent class is right on "
        f"{found[1]:.1%}. Then what is isolated says nothing about the rows: look for "
        "better features or a better model first."
    )


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
