"""The main job: a real attack on digits, undefended and with EPIC."""

from __future__ import annotations

import functools
import time
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from .datasets import PoisonedDigits, make_poisoned_digits
from .gradients import LogitGradients
from .training import EPICClassifier, TorchClassifier

N_TARGETS = 12
# Early enough that gradients have not all shrunk to nothing.
EPOCHS_DRAWN = 2
TABLE = """\
                           undefended      EPIC
attack success rate     {attack_success_undefended:>13.1%}{attack_success_epic:>10.1%}
clean accuracy          {accuracy_undefended:>13.1%}{accuracy_epic:>10.1%}
poisons left            {all:>13}{left:>10}
clean examples lost              0.0%{clean_dropped_fraction:>10.1%}
training, seconds       {seconds_undefended:>13.1f}{seconds_epic:>10.1f}"""


def run_demo(
    *, random_state: int = 0, figure: str | Path | None = None, verbose: int = 0
) -> dict[str, float]:
    """Poison digits for several targets; train with and without EPIC.

    Parameters
    ----------
    random_state : int, default=0
        Decides everything.
    figure : str, Path or None, default=None
        File for the picture of the poisoned class's gradients; needs matplotlib.
    verbose : int, default=0
        Above 0, progress bars.

    Returns
    -------
    dict
        ``attack_success_undefended``, ``attack_success_epic``,
        ``accuracy_undefended``, ``accuracy_epic``, ``poisons_crafted``,
        ``poisons_left`` (all targets together), ``clean_dropped_fraction`` and
        ``seconds`` (all of it, crafting included), further
        ``seconds_undefended`` and ``seconds_epic`` (training).
    """
    start = time.perf_counter()
    problem = make_poisoned_digits(
        N_TARGETS, random_state=random_state, verbose=verbose
    )
    head = functools.partial(nn.Linear, problem.X.shape[1], 10)
    settings: dict[str, Any] = {"lr": 0.05, "random_state": random_state}
    undefended = TorchClassifier(head, max_epochs=40, **settings)
    epic = EPICClassifier(head, max_epochs=40, **settings)
    arms, options = {"EPIC": epic}, {"random_state": random_state, "verbose": verbose}
    report = problem.report(undefended, arms, controls=False, **options)
    if figure is not None:
        _save_figure(problem, undefended, epic, figure)
    crafted = sum(len(each.indices) for each in problem.poisons)
    results: dict[str, float] = {}
    for name, record in zip(("undefended", "epic"), report.records, strict=True):
        results[f"attack_success_{name}"] = record["attack_success"]
        results[f"accuracy_{name}"] = record["clean_accuracy"]
        results[f"seconds_{name}"] = record["seconds"]
    return {
        **results,
        "poisons_crafted": crafted,
        "poisons_left": round(report.records[1]["poisons_left"] * crafted),
        "clean_dropped_fraction": report.records[1]["clean_lost"],
        "seconds": time.perf_counter() - start,
    }


def as_table(results: dict[str, float]) -> str:
    """Lay the results of :func:`run_demo` out for reading.

    Examples
    --------
    >>> from epic_sklearn.demo import as_table
    >>> print(as_table({
    ...     "attack_success_undefended": 0.5, "attack_success_epic": 0.0,
    ...     "accuracy_undefended": 0.9, "accuracy_epic": 0.9, "poisons_crafted": 10,
    ...     "poisons_left": 1, "clean_dropped_fraction": 0.1,
    ...     "seconds_undefended": 1.0, "seconds_epic": 1.5}))
                               undefended      EPIC
    attack success rate             50.0%      0.0%
    clean accuracy                  90.0%     90.0%
    poisons left                 10 of 10   1 of 10
    clean examples lost              0.0%     10.0%
    training, seconds                 1.0       1.5
    """
    crafted, left = results["poisons_crafted"], results["poisons_left"]
    counts = {"all": f"{crafted} of {crafted}", "left": f"{left} of {crafted}"}
    return TABLE.format(**results, **counts)


def _save_figure(
    problem: PoisonedDigits,
    undefended: TorchClassifier,
    epic: EPICClassifier,
    path: str | Path,
) -> None:
    """Draw the gradients of the first attack's poisoned class, as EPIC sees them."""
    import matplotlib.pyplot as plt

    from .plotting import GradientSpaceDisplay

    X, y = problem.poisoned(0)
    label = problem.poisons[0].adversarial_label
    undefended.set_params(max_epochs=EPOCHS_DRAWN).fit(X, y)
    compute = LogitGradients(undefended.module_)
    display = GradientSpaceDisplay.from_predictions(
        compute(X, y),
        y,
        epic.fit(X, y).keep_,
        poison_indices=problem.poisons[0].indices,
        target=compute(problem.targets[0], np.array([label])),
        target_label=label,
        classes=[label],
    )
    display.figure_.savefig(path, dpi=150)
    plt.close(display.figure_)
