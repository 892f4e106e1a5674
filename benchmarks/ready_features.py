"""Ready trials of transfer learning, given as features: no images, no extractor."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
from torch import nn

from benchmarks.problem import Trial, Trials, load_arrays
from benchmarks.scenarios import Scenario
from benchmarks.victim import Victim

# What the file calls the attacks.
ATTACKS = {
    "bullseye-polytope": "bp5",
    "feature-collision-1": "fc1",
    "feature-collision-5": "fc5",
}


def holds_features(path: Path) -> bool:
    """Tell a file of features from one of images."""
    with np.load(path) as file:
        return "features" in file.files


class FeatureProblem(Trials):
    """The trials of one attack, from a file of poisoned features.

    Defences that change images cannot be measured on them.

    Parameters
    ----------
    name : str
        The scenario's name, one of `ATTACKS`.
    scenario : Scenario
        How the head is trained.
    cache : Path
        Where a problem may keep what it makes.
    path : Path
        npz file with the clean training set `features` (n, d) and `label` (n,),
        `test_features` and `test_label`, and for each of t trials `attack` (t,),
        `target_features` (t, d), `true_label` (t,), `adversarial_label` (t,),
        `poison_index` (t, p), -1 where unused, and `poison_features` (t, p, d).
    """

    def __init__(self, name: str, scenario: Scenario, cache: Path, path: Path) -> None:
        if name not in ATTACKS:
            raise ValueError(
                f"{path} holds features, which the scenario {name!r} cannot use; "
                f"choose of {', '.join(ATTACKS)}."
            )
        arrays = load_arrays(path)
        # As many images as the file says, not as the scenario would take.
        n = f"in {len(arrays['label']):,}"
        title = re.sub(r"in [\d,]+\d", n, scenario.title)
        self.scenario = dataclasses.replace(scenario, title=title)
        self.cache, self._arrays = cache, arrays
        self._rows = np.flatnonzero(arrays["attack"] == ATTACKS[name])
        self.clean_inputs = arrays["features"]
        n_features = self.clean_inputs.shape[1]
        self.victim = Victim(
            lambda: nn.Linear(n_features, len(scenario.classes)), scenario.training
        )
        self.test_inputs, self.test_labels = (
            arrays["test_features"],
            arrays["test_label"].astype(np.int64),
        )

    def trial(self, number: int) -> Trial:
        """Read one trial.

        Raises
        ------
        ValueError
            If the file has no trial of this number.
        """
        if number >= len(self._rows):
            raise ValueError(
                f"Trial {number} was asked for, but the file holds {len(self._rows)} "
                "of this attack; lower --trials."
            )
        row, arrays = self._rows[number], self._arrays
        used = arrays["poison_index"][row] >= 0
        rows = arrays["poison_index"][row][used]
        inputs = self.clean_inputs.copy()
        inputs[rows] = arrays["poison_features"][row][used]
        return Trial(
            images=None,
            inputs=inputs,
            labels=arrays["label"].astype(np.int64),
            poison_index=rows,
            targets=arrays["target_features"][row][None],
            true_label=int(arrays["true_label"][row]),
            adversarial_label=int(arrays["adversarial_label"][row]),
        )
