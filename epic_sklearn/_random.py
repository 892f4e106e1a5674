"""One random_state in, seeds out; the global random state is never read."""

from __future__ import annotations

import numbers

import numpy as np

RandomState = int | np.random.RandomState | None


def resolve_seed(random_state: RandomState) -> int:
    """Turn a scikit-learn style ``random_state`` into one integer seed.

    Parameters
    ----------
    random_state : int, RandomState instance or None
        None takes entropy from the operating system instead of numpy's global
        generator, so that neither the caller's random numbers nor ours change.

    Returns
    -------
    int
        In [0, 2**31 - 1).

    Raises
    ------
    ValueError
        If `random_state` is none of the accepted kinds.

    Examples
    --------
    >>> from epic_sklearn._random import resolve_seed
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
