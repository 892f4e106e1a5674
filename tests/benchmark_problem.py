"""A data set and scenarios small enough to benchmark in a test."""

import dataclasses
import functools
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

ROOT = Path(__file__).parent.parent
# The benchmarks are not installed with the package.
sys.path.insert(0, str(ROOT))

from benchmarks import table  # noqa: E402
from benchmarks.cifar10 import CIFAR10  # noqa: E402
from benchmarks.nets import Standardise, conv_norm  # noqa: E402
from benchmarks.records import read_records  # noqa: E402
from benchmarks.scenarios import CPU, SCENARIOS, fixed_rounds  # noqa: E402
from benchmarks.victim import Training  # noqa: E402

N_IN_FILE = 400


def tiny_body():
    parts = conv_norm(3, 16, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(2)
    return nn.Sequential(Standardise(), *parts, nn.Flatten())


def tiny_net():
    torch.manual_seed(0)
    return nn.Sequential(tiny_body(), nn.Linear(64, 10)).eval()


def craft_quickly(attack, **options):
    return attack(**{"n_steps": 2, "n_poisons": 2, **options})


def shrink(monkeypatch):
    """Ten classes of coloured noise, and every scenario on a tiny net."""
    rng = np.random.RandomState(0)
    labels = np.arange(N_IN_FILE) % 10
    means = rng.randint(60, 200, (10, 3, 1, 1))
    images = means[labels] + rng.randint(-50, 50, (N_IN_FILE, 3, 32, 32))
    data = CIFAR10(images.astype(np.uint8), labels, np.arange(N_IN_FILE) >= 300)
    monkeypatch.setattr(table, "read_cifar10", lambda path: data)
    for name, scenario in CPU.items():
        training = dataclasses.replace(
            scenario.training, max_epochs=4, lr=0.05, milestones=(3,)
        )
        shrunk = dataclasses.replace(
            scenario,
            attack=functools.partial(craft_quickly, scenario.attack),
            body=tiny_body,
            n_features=64,
            n_pretrain=100 if scenario.pretraining else 0,
            n_per_class=15,
            n_test=50,
            training=training,
            pretraining=scenario.pretraining and Training(2, lr=0.05),
            rounds=fixed_rounds(1, 1, 3),
            # A net that was trained leaves few of so few alone.
            subset_size=0.4 if scenario.kind == "fine-tuning" else scenario.subset_size,
        )
        monkeypatch.setitem(SCENARIOS["cpu"], name, shrunk)
    return data


def run_table(folder, *arguments, scenario="bullseye-polytope"):
    """Run trials, and give what stands in the file of results afterwards."""
    out = folder / "results.jsonl"
    common = ["--scenario", scenario, "--out", str(out), "--cache", str(folder / "c")]
    table.main([*common, *arguments])
    return read_records(out)
