"""Settings of all tests."""

from contextlib import contextmanager

import pytest
import torch

# The nets here are tiny: more threads only wait for each other, and on a busy
# machine for long.
torch.set_num_threads(1)


@contextmanager
def one_seed():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture(autouse=True, scope="module")
def same_nets_in_each_module():
    """Draw the nets of fixtures that tests share, and skorch's, from one seed."""
    with one_seed():
        yield


@pytest.fixture(autouse=True)
def same_nets_in_each_test():
    """Draw the tests' own nets, and skorch's, from one seed."""
    with one_seed():
        yield
