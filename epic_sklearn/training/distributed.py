"""Several processes of ``torch.distributed``: whose rows, gathered, decided once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch.distributed as dist

from ..gradients import Gradients
from ..gradients.features import factors_of, of_factors

_FOR_ITSELF = ContextVar("each process for itself", default=False)


@contextmanager
def each_for_itself() -> Iterator[None]:
    """Let each process train a net of its own, of which the others know nothing."""
    token = _FOR_ITSELF.set(True)
    try:
        yield
    finally:
        _FOR_ITSELF.reset(token)


def place() -> tuple[int, int]:
    """Rank of this process and number of processes; (0, 1) on its own."""
    is_one_of_many = dist.is_available() and dist.is_initialized()
    if _FOR_ITSELF.get() or not is_one_of_many:
        return 0, 1
    return dist.get_rank(), dist.get_world_size()


def gather_gradients(gradients: Gradients, n: int) -> Gradients:
    """Put the processes' shares of n rows together; gradients of all rows stay."""
    _, size = place()
    if size == 1 or len(gradients) == n:
        return gradients
    parts: list[Any] = [None] * size
    dist.all_gather_object(parts, gradients)
    factors = zip(*map(factors_of, parts), strict=True)
    return of_factors([np.concatenate(shares) for shares in factors])


def decide_once(decide: Callable[[], Any]) -> Any:
    """Run on the first process; give its result, or raise its error, on all.

    Processors may round differently: what one decides holds for all.
    """
    rank, size = place()
    if size == 1:
        return decide()
    outcome: list[Any] = [None, None]
    if rank == 0:
        try:
            outcome[0] = decide()
        except Exception as error:
            outcome[1] = error
    dist.broadcast_object_list(outcome, src=0)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]
