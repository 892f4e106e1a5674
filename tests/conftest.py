"""Settings of all tests."""

import pytest
import torch

# The nets here are tiny: more threads only wait for each other, and on a busy
# machine for long.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def same_nets_in_each_run():
    """Draw the tests' own nets, and skorch's, from one seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
