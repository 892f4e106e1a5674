"""Warnings that point at the user's line, not at ours."""

from __future__ import annotations

import inspect
import warnings

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
