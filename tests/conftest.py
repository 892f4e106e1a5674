"""Settings of all tests."""

import torch

# The nets here are tiny: more threads only wait for each other, and on a busy
# machine for long.
torch.set_num_threads(1)
