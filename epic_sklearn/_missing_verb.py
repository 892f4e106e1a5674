"""Say which class to use where a method is missing on purpose."""

from __future__ import annotations

import inspect
from typing import Any


class MissingVerb:
    """A method that a class leaves out on purpose, with the reason.

    ``hasattr`` finds nothing, as pipelines need it; a call, and scikit-learn's
    Pipeline, FeatureUnion and ColumnTransformer when they check their steps, get
    a message that names the right class instead of a bare "doesn't implement".
    """

    def __init__(self, message: str) -> None:
        self.message = self.__doc__ = message

    def __get__(self, instance: Any, owner: type) -> MissingVerb:
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
