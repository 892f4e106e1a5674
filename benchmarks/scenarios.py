"""The attacks and the settings under which they are made: data, no code to run.

``cpu``: parts of CIFAR-10 and small nets, so that a trial takes seconds (transfer
learning) to minutes (from scratch). ``gpu``: all of CIFAR-10, ResNet-18 and the
paper's settings.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from benchmarks.cifar10 import ALL_CLASSES
from benchmarks.nets import fast_net, half_resnet18, resnet18, small_net, tiny_net
from benchmarks.victim import Training
from epic_sklearn.attacks import (
    BullseyePolytope,
    FeatureCollision,
    GradientMatching,
    PatchTrigger,
    RandomShiftFlip,
    SleeperAgent,
)

SCRATCH, BACKDOOR = "from scratch", "from scratch, backdoor"
TRANSFER, FINE_TUNING = "transfer", "fine-tuning"


@dataclass(frozen=True)
class Scenario:
    """One row of the table, at one scale.

    Attributes
    ----------
    title : str
        For tables.
    kind : str
        `SCRATCH`, `BACKDOOR`, `TRANSFER` or `FINE_TUNING`.
    attack : callable
        Called with ``random_state``, gives the attack.
    body : callable
        Makes the net without its last layer.
    n_features : int
        What the body gives.
    n_pretrain, n_per_class, n_test : int
        Sizes of the parts of CIFAR-10, see :func:`benchmarks.cifar10.split_cifar10`.
    training : Training
        The victim's.
    rounds : callable
        From subset_size to EPIC's warmup, every and stop.
    subset_size : float
        EPIC's, if not said otherwise.
    pretraining : Training or None
        The feature extractor's.
    second_guess : bool
        Whether the adversarial label is the clean net's second guess for the target,
        and not drawn at random.
    classes : tuple of int
        CIFAR-10's classes that are told apart. Labels, in results as well, are
        positions among them.
    """

    title: str
    kind: str
    attack: Callable[..., Any]
    body: Callable[[], nn.Module]
    n_features: int
    n_pretrain: int
    n_per_class: int
    n_test: int
    training: Training
    rounds: Callable[[float], dict[str, int]]
    subset_size: float = 0.2
    pretraining: Training | None = None
    second_guess: bool = False
    classes: tuple[int, ...] = ALL_CLASSES


def fixed_rounds(warmup: int, every: int, stop: int) -> Callable[[float], dict]:
    return lambda subset_size: {"warmup": warmup, "every": every, "stop": stop}


def paper_rounds(subset_size: float) -> dict[str, int]:
    """Take the paper's for 200 epochs: the more is dropped, the later it begins."""
    return {"warmup": round(100 * subset_size), "every": 10, "stop": 150}


matching = functools.partial(
    GradientMatching, base_selection="gradient_norm", augment=RandomShiftFlip()
)
sleeper = functools.partial(SleeperAgent, augment=RandomShiftFlip())

# ------------------------------------------------------------------- on two cores

CPU_LARGE_SCRATCH: dict[str, Any] = {
    "body": small_net,
    "n_features": 128,
    "n_pretrain": 0,
    "n_per_class": 800,
    "n_test": 2000,
    "training": Training(16, lr=0.1, one_cycle=True),
    "rounds": fixed_rounds(9, 1, 13),
}
# A training in 20 seconds: ten trials of all defences are hours, not days. A net so
# small leaves time for 10,000 images, on which the paper's 1% of poisons works.
CPU_SCRATCH: dict[str, Any] = {
    **CPU_LARGE_SCRATCH,
    "body": tiny_net,
    "n_per_class": 1000,
    "training": Training(10, lr=0.1, one_cycle=True),
    "rounds": fixed_rounds(5, 1, 8),
}
CPU_TRANSFER: dict[str, Any] = {
    "body": tiny_net,
    "n_features": 128,
    "n_pretrain": 30_000,
    "n_per_class": 250,
    "n_test": 2000,
    "pretraining": Training(12, lr=0.2, one_cycle=True),
}
CPU_HEAD: dict[str, Any] = {
    **CPU_TRANSFER,
    "kind": TRANSFER,
    "training": Training(40, lr=0.1, milestones=(25, 35), augment=False),
    "rounds": fixed_rounds(1, 1, 9),
}
# The method at home: a net that fits its data, as the paper's do. Four classes that
# are easy to tell apart (automobile, frog, horse, ship), all of their images: 95% in
# a minute. EPIC begins after a quarter of the training.
CPU_HOME: dict[str, Any] = {
    **CPU_SCRATCH,
    "kind": SCRATCH,
    "classes": (1, 6, 7, 8),
    "n_per_class": 5000,
    "n_test": 3000,
    "training": Training(12, lr=0.1, one_cycle=True),
    "rounds": fixed_rounds(3, 1, 11),
}
# The same on features: pre-trained on half of the images, then a part of the rest.
CPU_HOME_HEAD: dict[str, Any] = {
    **CPU_HEAD,
    "classes": CPU_HOME["classes"],
    "n_pretrain": 10_000,
    "n_per_class": 625,
    "n_test": 3000,
}
CPU = {
    # On so small a training set 1% of poisons turn a target only into a class that
    # it resembles.
    "gradient-matching": Scenario(
        title="gradient matching, 100 poisons in 10,000, eps 16/255",
        kind=SCRATCH,
        attack=functools.partial(matching, n_poisons=100, eps=16 / 255),
        second_guess=True,
        **CPU_SCRATCH,
    ),
    "gradient-matching-random": Scenario(
        title="gradient matching, 100 poisons in 10,000, eps 16/255, random labels",
        kind=SCRATCH,
        attack=functools.partial(matching, n_poisons=100, eps=16 / 255),
        **CPU_SCRATCH,
    ),
    "gradient-matching-5000": Scenario(
        title="gradient matching, 100 poisons in 5,000, eps 16/255",
        kind=SCRATCH,
        attack=functools.partial(matching, n_poisons=100, eps=16 / 255, n_steps=100),
        **{
            **CPU_LARGE_SCRATCH,
            "body": functools.partial(
                small_net, channels=(24, 48, 96, 128), pools=(True, True, True, False)
            ),
            "n_per_class": 500,
        },
    ),
    "gradient-matching-8000": Scenario(
        title="gradient matching, 80 poisons in 8,000, eps 16/255",
        kind=SCRATCH,
        attack=functools.partial(matching, n_poisons=80, eps=16 / 255, n_steps=100),
        **CPU_LARGE_SCRATCH,
    ),
    "home-gradient-matching": Scenario(
        title="gradient matching, 500 poisons in 20,000 of 4 classes, eps 16/255",
        attack=functools.partial(matching, n_poisons=500, eps=16 / 255, n_steps=100),
        **CPU_HOME,
    ),
    "home-gradient-matching-200": Scenario(
        title="gradient matching, 200 poisons in 20,000 of 4 classes, eps 16/255",
        attack=functools.partial(matching, n_poisons=200, eps=16 / 255, n_steps=100),
        **CPU_HOME,
    ),
    "home-gradient-matching-100": Scenario(
        title="gradient matching, 100 poisons in 20,000 of 4 classes, eps 16/255",
        attack=functools.partial(matching, n_poisons=100, eps=16 / 255, n_steps=100),
        **CPU_HOME,
    ),
    # A fifth of their class: from where on does EPIC fail?
    "home-gradient-matching-1000": Scenario(
        title="gradient matching, 1,000 poisons in 20,000 of 4 classes, eps 16/255",
        attack=functools.partial(matching, n_poisons=1000, eps=16 / 255, n_steps=100),
        **CPU_HOME,
    ),
    "home-sleeper-agent": Scenario(
        title="Sleeper Agent, 500 poisons in 20,000 of 4 classes, eps 32/255, "
        "patch 14 x 14",
        attack=functools.partial(
            sleeper,
            n_poisons=500,
            eps=32 / 255,
            n_steps=100,
            trigger=PatchTrigger.random((3, 32, 32), size=14, random_state=0),
        ),
        **{**CPU_HOME, "kind": BACKDOOR},
    ),
    "home-bullseye-polytope": Scenario(
        title="bullseye polytope, 5 poisons in 2,500 of 4 classes, eps 0.1",
        attack=functools.partial(BullseyePolytope, n_poisons=5, eps=0.1),
        **CPU_HOME_HEAD,
    ),
    "home-feature-collision-5": Scenario(
        title="feature collision, 5 poisons in 2,500 of 4 classes, eps 0.1",
        attack=functools.partial(FeatureCollision, n_poisons=5, eps=0.1),
        **CPU_HOME_HEAD,
    ),
    "home-feature-collision-1": Scenario(
        title="feature collision, 1 poison in 100 of 4 classes, eps 0.1",
        attack=functools.partial(FeatureCollision, n_poisons=1, eps=0.1),
        **{**CPU_HOME_HEAD, "n_per_class": 25},
    ),
    "home-bullseye-polytope-finetuning": Scenario(
        title="bullseye polytope, 50 poisons in 2,500 of 4 classes, eps 0.1",
        attack=functools.partial(BullseyePolytope, n_poisons=50, eps=0.1),
        **{
            **CPU_HOME_HEAD,
            "kind": FINE_TUNING,
            "training": Training(20, lr=0.005, augment=False),
            "rounds": fixed_rounds(4, 1, 12),
            "second_guess": True,
        },
    ),
    # With half of the poisons, or half of eps, the attack does not work here.
    "sleeper-agent": Scenario(
        title="Sleeper Agent, 200 poisons in 10,000, eps 32/255, patch 14 x 14",
        kind=BACKDOOR,
        attack=functools.partial(
            sleeper,
            n_poisons=200,
            eps=32 / 255,
            n_steps=150,
            trigger=PatchTrigger.random((3, 32, 32), size=14, random_state=0),
        ),
        **CPU_SCRATCH,
    ),
    "bullseye-polytope": Scenario(
        title="bullseye polytope, 5 poisons in 2,500, eps 0.1",
        attack=functools.partial(BullseyePolytope, n_poisons=5, eps=0.1),
        **CPU_HEAD,
    ),
    # What does the net's accuracy change?
    "bullseye-polytope-weak-net": Scenario(
        title="bullseye polytope, 5 poisons in 2,500, eps 0.1, net of one epoch",
        attack=functools.partial(BullseyePolytope, n_poisons=5, eps=0.1),
        **{**CPU_HEAD, "pretraining": Training(1, lr=0.2, one_cycle=True)},
    ),
    # Among 2,500 images a single poison hardly moves anything.
    "feature-collision-1": Scenario(
        title="feature collision, 1 poison in 250, eps 0.1",
        attack=functools.partial(FeatureCollision, n_poisons=1, eps=0.1),
        **{**CPU_HEAD, "n_per_class": 25},
    ),
    "feature-collision-5": Scenario(
        title="feature collision, 5 poisons in 2,500, eps 0.1",
        attack=functools.partial(FeatureCollision, n_poisons=5, eps=0.1),
        **CPU_HEAD,
    ),
    # The attack does not know of flips and shifts, and the victim makes none.
    "bullseye-polytope-finetuning": Scenario(
        title="bullseye polytope, 25 poisons in 2,500, eps 0.1",
        kind=FINE_TUNING,
        attack=functools.partial(BullseyePolytope, n_poisons=25, eps=0.1),
        training=Training(20, lr=0.005, augment=False),
        rounds=fixed_rounds(4, 1, 12),
        second_guess=True,
        **CPU_TRANSFER,
    ),
}
# The same on airplane, deer, dog and truck, which were not looked at when the default
# was chosen.
CPU |= {
    name.replace("home-", "others-"): replace(
        CPU[name],
        title=CPU[name].title.replace("4 classes", "4 other classes"),
        classes=(0, 4, 5, 9),
    )
    for name in (
        "home-gradient-matching",
        "home-bullseye-polytope",
        "home-feature-collision-5",
        "home-feature-collision-1",
    )
}

# ----------------------------------------------- on a GPU, with the paper's settings

GPU_SCRATCH: dict[str, Any] = {
    "body": resnet18,
    "n_features": 512,
    "n_pretrain": 0,
    "n_per_class": 5000,
    "n_test": 10_000,
    "training": Training(200, lr=0.1, milestones=(100, 150)),
    "rounds": paper_rounds,
}
# The same in seconds and in minutes, learning rates along one cycle.
GPU_FAST: dict[str, Any] = {
    **GPU_SCRATCH,
    "kind": SCRATCH,
    "body": fast_net,
    "n_features": 256,
    "training": Training(16, lr=0.4, one_cycle=True, batch_size=512, max_shift=2),
    "rounds": fixed_rounds(4, 1, 15),
}
matching_fast = functools.partial(
    matching, n_poisons=500, n_steps=100, augment=RandomShiftFlip(2)
)
GPU_SHORT: dict[str, Any] = {
    **GPU_SCRATCH,
    "kind": SCRATCH,
    "body": half_resnet18,
    "training": Training(40, lr=0.2, one_cycle=True, batch_size=256),
    "rounds": fixed_rounds(10, 2, 34),
}
GPU_TRANSFER: dict[str, Any] = {
    "body": resnet18,
    "n_features": 512,
    "n_pretrain": 50_000,
    "n_per_class": 5000,
    "n_test": 10_000,
    "pretraining": Training(200, lr=0.1, milestones=(100, 150)),
}
GPU_HEAD: dict[str, Any] = {
    **GPU_TRANSFER,
    "kind": TRANSFER,
    "training": Training(40, lr=0.1, milestones=(25, 35), augment=False),
    "rounds": fixed_rounds(1, 1, 10),
}
GPU = {
    "gradient-matching": Scenario(
        title="gradient matching, 1% poisons, eps 8/255",
        kind=SCRATCH,
        attack=functools.partial(matching, n_poisons=500, eps=8 / 255, n_restarts=8),
        **GPU_SCRATCH,
    ),
    "gradient-matching-fast": Scenario(
        title="gradient matching, 1% poisons, eps 16/255, fast net",
        attack=functools.partial(matching_fast, eps=16 / 255),
        **GPU_FAST,
    ),
    "gradient-matching-fast-8": Scenario(
        title="gradient matching, 1% poisons, eps 8/255, fast net",
        attack=functools.partial(matching_fast, eps=8 / 255),
        **GPU_FAST,
    ),
    "gradient-matching-40": Scenario(
        title="gradient matching, 1% poisons, eps 16/255, ResNet-18 of 40 epochs",
        attack=functools.partial(matching, n_poisons=500, eps=16 / 255),
        **GPU_SHORT,
    ),
    "sleeper-agent": Scenario(
        title="Sleeper Agent, 1% poisons, eps 16/255",
        kind=BACKDOOR,
        attack=functools.partial(sleeper, n_poisons=500, eps=16 / 255),
        **GPU_SCRATCH,
    ),
    "bullseye-polytope": Scenario(
        title="bullseye polytope, 1% poisons, eps 8/255",
        attack=functools.partial(BullseyePolytope, n_poisons=500, eps=8 / 255),
        **GPU_HEAD,
    ),
    "feature-collision-1": Scenario(
        title="feature collision, 1 poison, eps 8/255",
        attack=functools.partial(FeatureCollision, n_poisons=1, eps=8 / 255),
        **GPU_HEAD,
    ),
    "feature-collision-5": Scenario(
        title="feature collision, 5 poisons, eps 8/255",
        attack=functools.partial(FeatureCollision, n_poisons=5, eps=8 / 255),
        **GPU_HEAD,
    ),
    "bullseye-polytope-finetuning": Scenario(
        title="bullseye polytope, 1% poisons, eps 8/255",
        kind=FINE_TUNING,
        attack=functools.partial(BullseyePolytope, n_poisons=500, eps=8 / 255),
        training=Training(40, lr=1e-4, milestones=(25, 35)),
        rounds=fixed_rounds(5, 1, 10),
        subset_size=0.6,
        **GPU_TRANSFER,
    ),
}

# Small nets are trained faster there, too.
GPU |= {name: CPU[name] for name in CPU if name.startswith("home-")}

SCENARIOS = {"cpu": CPU, "gpu": GPU}
