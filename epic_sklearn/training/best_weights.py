"""Weights of a best epoch, which may be from before anything was dropped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from .._utils import warn_user
from ..schedule import DropSchedule


def epochs_loaded(net: Any) -> Iterator[int]:
    """Give the epochs of which a skorch net's callbacks put weights back at the end."""
    for _, callback in getattr(net, "callbacks_", ()):
        if not getattr(callback, "load_best", False):
            continue
        if hasattr(callback, "best_epoch_"):  # EarlyStopping
            yield callback.best_epoch_
        elif getattr(callback, "event_name", None):  # Checkpoint notes where it saved
            saved = [row for row in net.history if row.get(callback.event_name)]
            yield from [row["epoch"] for row in saved[-1:]]


def warn_of_best(schedule: DropSchedule, name: str, epochs: Iterable[int]) -> None:
    """Warn of weights of so many epochs from before anything was dropped."""
    first = next((each.epoch for each in schedule.rounds if each.n_dropped), None)
    for epoch in epochs:
        if first is not None and 0 < epoch <= first:  # 0: none was found
            warn_user(
                f"The weights that are left are those of epoch {epoch}, the best, and "
                f"{name} dropped nothing before epoch {first + 1}: they were trained "
                "on what was dropped, too. Keep the last weights, or choose the best "
                "of the epochs after the last round."
            )
