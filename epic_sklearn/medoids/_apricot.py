"""apricot, imported without its side effect on other libraries' threads.

apricot compiles parallel numba functions when it is imported and at some fits.
Starting numba's threads sets the number of OpenMP threads for the whole
process, torch's with it, whatever the user has asked for.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def torch_threads_kept() -> Iterator[None]:
    """Put torch's number of threads back as it was."""
    n_threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


with torch_threads_kept():
    from apricot import FacilityLocationSelection
    from apricot.optimizers import OPTIMIZERS, BaseOptimizer, GreeDi

__all__ = [
    "OPTIMIZERS",
    "BaseOptimizer",
    "FacilityLocationSelection",
    "GreeDi",
    "torch_threads_kept",
]
