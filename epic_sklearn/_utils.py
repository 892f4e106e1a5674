"""Helpers that belong nowhere else: seeds, warnings, documentation links."""

from __future__ import annotations

import functools
import inspect
import numbers
import os
import secrets
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import metadata
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar, cast

import numpy as np
from sklearn.utils import _param_validation

RandomState = int | np.random.RandomState | None
Function = TypeVar("Function", bound=Callable[..., Any])
# Shown by their codes: what turns the direction of text, or cannot be seen, by which
# one name may be made to look like another.
HIDDEN = {
    sign: f"\\u{sign:04x}"
    for sign in (
        *(0x061C, 0x115F, 0x1160, 0x200B, *range(0x200E, 0x2010)),
        *(*range(0x202A, 0x202F), *range(0x2060, 0x2070), 0x2800, 0x3164),
        *(0xFEFF, 0xFFA0, *range(9), 0x1B, 0x7F),
    )
}


def shortened(value: Any, longest: int = 200) -> str:
    """Text of bounded length, nothing in it hidden."""
    text = str(value).translate(HIDDEN)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def resolve_seed(random_state: RandomState) -> int:
    """Turn a scikit-learn style ``random_state`` into one seed in [0, 2**31 - 1).

    None takes entropy from the operating system instead of numpy's global
    generator, so that neither the caller's random numbers nor ours change.
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
    """Warn with the location of the first caller outside the libraries."""
    level, frame = 1, inspect.currentframe()
    while frame is not None:
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package not in _OURS:
            break
        level, frame = level + 1, frame.f_back
    warnings.warn(message, UserWarning, stacklevel=level)


def validate_params(constraints: Any, **how: Any) -> Callable[[Function], Function]:
    """scikit-learn's decorator, after which a type checker still knows the function."""
    return cast(Any, _param_validation.validate_params(constraints, **how))


@contextmanager
def all_or_none(targets: Mapping[str, Path]) -> Iterator[dict[str, Path]]:
    """Give empty files beside the targets; move them there at the end, or none."""
    finals = {name: path.resolve() for name, path in targets.items()}  # links stay
    made = {
        name: final.with_name(f".epic-{secrets.token_hex(8)}{final.suffix}")
        for name, final in finals.items()
    }
    try:
        for name, final in finals.items():
            made[name].touch(exist_ok=False)
            if final.exists():
                shutil.copymode(final, made[name])
        yield made
        for name, final in finals.items():
            os.replace(made[name], final)
    finally:
        for temporary in made.values():
            temporary.unlink(missing_ok=True)


def keeps_last_fit(fit: Function) -> Function:
    """Decorate a fit, or the loading of a state: where it fails, all is as before."""

    @functools.wraps(fit)
    def fitted(self: Any, *args: Any, **kwargs: Any) -> Any:
        before = dict(vars(self))
        try:
            return fit(self, *args, **kwargs)
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    return cast(Any, fitted)


# Parts of the package whose public names are not at the top.
SUBPACKAGES = ("attacks", "rules")


class DocLinks:
    """Mixin, before scikit-learn's BaseEstimator, for what that looks for."""

    _doc_link_module = "epic_sklearn"

    @property
    def _doc_link_template(self) -> str:
        # Under the address that the installed package states.
        stated = metadata("epic-sklearn").get_all("Project-URL") or []
        links = dict(entry.split(", ", 1) for entry in stated)
        address = links.get("Documentation", "").rstrip("/")
        return address + "/generated/{public_name}.html"

    def _doc_link_url_param_generator(self) -> dict[str, Any]:
        package, part, *_ = type(self).__module__.split(".")
        where = f"{package}.{part}" if part in SUBPACKAGES else package
        return {"public_name": f"{where}.{type(self).__name__}"}


class Parts:
    """Mixin, before BaseEstimator, of what has other estimators as parameters.

    Those of an estimator for which None stands can't be set, which is said with its
    name; scikit-learn would say that None has no set_params.
    """

    _none_stands_for: ClassVar[dict[str, str]] = {
        "rule": "NeighborVotes()",
        "extractor": "LogisticRegression(max_iter=1000)",
    }

    def set_params(self, **params: Any) -> Self:
        """Set parameters of this estimator and of those inside it.

        Parameters
        ----------
        **params : dict
            Names and values; ``rule__threshold`` is the rule's.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If there is no such parameter; so it is for those of a part that is None.
        """
        for part, stands in self._none_stands_for.items():
            inside = [name for name in params if name.startswith(f"{part}__")]
            if inside and params.get(part, getattr(self, part, part)) is None:
                raise ValueError(
                    f"{', '.join(inside)} cannot be set: {part} is None. Give what it "
                    f"stands for, {part}={stands}; then its parameters can be set and "
                    "searched."
                )
        return super().set_params(**params)  # type: ignore[misc]


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
