"""Effective poisons, epoch by epoch: when they are isolated, and what is dropped.

    python -m benchmarks.epochs --scenario bullseye-polytope --picture epochs.png

After Figures 2 to 5 of the paper. Which poisons are effective is found by training
on subsets of them, the others replaced by the clean examples that they were made of:
a poison's effect is how much more probable the adversarial label of the target is,
on average, with the poison than without. It is effective if that is more than two
standard errors above zero. With few poisons all subsets are trained on, with more
``--subsets`` random halves. The effect of one of a hundred poisons is lost in the
noise of training: ``--groups 5`` takes them in five equal groups, ordered by how close
their gradients come to the target's, and finds each group's effect. Only trials whose
attack works undefended are studied. Every finished training is a line of ``--out``; a
killed run goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax
from skorch.callbacks import Callback
from tqdm import tqdm

from benchmarks.defences import epic_options
from benchmarks.problem import Trial
from benchmarks.records import Record, group_by, key_of, read_records
from benchmarks.table import Table, add_common_arguments
from epic_sklearn import EPICClassifier, find_medoids
from epic_sklearn._forward import forward

GROUPS = ("effective poisons", "other poisons", "clean")


# ----------------------------------------------------------------- effective poisons


def draw_subsets(n_poisons: int, n_subsets: int, seed: int) -> np.ndarray:
    """Say which poisons are in which subset, (n, n_poisons) bool; all of them if few.

    Random ones come in pairs, a half and the other half, so that every poison is in
    as many as it is not.
    """
    if 2**n_poisons <= n_subsets:
        return (np.arange(2**n_poisons)[:, None] >> np.arange(n_poisons)) % 2 == 1
    rng = np.random.default_rng(seed)
    halves = np.zeros((-(-n_subsets // 2), n_poisons), dtype=bool)
    for half in halves:
        half[rng.permutation(n_poisons)[: n_poisons // 2]] = True
    return np.concatenate([halves, ~halves])[:n_subsets]


def effect_of_each(
    members: np.ndarray, probability: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean probability with each poison less without it, and the standard error.

    Parameters
    ----------
    members : ndarray of shape (n_subsets, n_poisons), bool
        Which poisons a victim was trained on.
    probability : ndarray of shape (n_subsets,)
        What it gave the target's adversarial label.
    """

    def mean_and_variance(chosen: np.ndarray) -> tuple[float, float]:
        values = probability[chosen]
        return values.mean(), values.var(ddof=1) / len(values)

    pairs = [
        (mean_and_variance(inside), mean_and_variance(~inside)) for inside in members.T
    ]
    effect = np.array([a[0] - b[0] for a, b in pairs])
    error = np.sqrt([a[1] + b[1] for a, b in pairs])
    return effect, error


# ---------------------------------------------------------------- epochs of one trial


class Recorder(Callback):
    """Look at the gradients of the poisons' class after each epoch.

    Parameters
    ----------
    trial : Trial
        What is trained on.
    target : ndarray of shape (1, ...)
        The target, as the victim sees it.
    subset_size : float
        Medoids as a share of the class.

    Attributes
    ----------
    cluster_size : list of ndarray of shape (n_class,)
        Of each example, with logit gradients, an entry an epoch.
    cosine_to_target : list of ndarray of shape (n_class,)
        Of the last layer's gradient to the target's under the adversarial label.
    cosines : list of ndarray of shape (n_poisons, n_poisons)
        Of the poisons' last-layer gradients to each other.
    """

    def __init__(self, trial: Trial, target: np.ndarray, subset_size: float) -> None:
        self.rows = np.flatnonzero(trial.labels == trial.adversarial_label)
        self.X = np.concatenate([trial.inputs[self.rows], target])
        self.poisons = np.flatnonzero(np.isin(self.rows, trial.poison_index))
        self.poison_index = trial.poison_index
        self.label, self.subset_size = trial.adversarial_label, subset_size
        self.cluster_size: list[np.ndarray] = []
        self.cosine_to_target: list[np.ndarray] = []
        self.cosines: list[np.ndarray] = []

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Record this epoch."""
        logits, _, inputs = forward(net.module_, self.X, with_inputs=True)
        assert inputs is not None
        errors = softmax(logits, axis=1)
        errors[:, self.label] -= 1
        medoids = find_medoids(
            errors[:-1], np.zeros(len(self.rows)), subset_size=self.subset_size
        )
        self.cluster_size.append(medoids.cluster_size)
        # The gradient is an outer product: its cosine is the product of cosines.
        with_bias = np.column_stack([inputs, np.ones(len(inputs))])
        e, h = (v / np.linalg.norm(v, axis=1)[:, None] for v in (errors, with_bias))
        self.cosine_to_target.append((e[:-1] @ e[-1]) * (h[:-1] @ h[-1]))
        e, h = e[self.poisons], h[self.poisons]
        self.cosines.append((e @ e.T) * (h @ h.T))

    def mean_cosine(self) -> np.ndarray:
        """Of each poison's gradient to the target's, in the order of `poison_index`."""
        mean = np.mean(self.cosine_to_target, axis=0)
        return mean[np.searchsorted(self.rows, self.poison_index)]


def group_poisons(cosine_to_target: np.ndarray, n_groups: int | None) -> np.ndarray:
    """Tell each poison's group, 0 the farthest from the target's gradient.

    Parameters
    ----------
    cosine_to_target : ndarray of shape (n_poisons,)
        Of each poison's gradient to the target's, mean over the epochs.
    n_groups : int or None
        Groups to make; None, or more than there are poisons, is a group each.
    """
    n = len(cosine_to_target)
    if n_groups is None or n_groups >= n:
        return np.arange(n)
    rank = cosine_to_target.argsort(kind="stable").argsort(kind="stable")
    return rank * n_groups // n


class Study(Table):
    """The epoch-wise study of one scenario's trials."""

    def run(self) -> None:
        """Study all trials that are not done."""
        for number in self.args.trials:
            if self.key(number, "epochs") in self.records:
                continue
            trial = self.make_problem().trial(number)
            everything = np.ones(len(trial.poison_index), dtype=bool)
            if self._probability(trial, number, everything) <= 0.5:
                continue
            recorder = self._watch(trial, number)
            group = group_poisons(recorder.mean_cosine(), self.args.groups)
            subsets = draw_subsets(group.max() + 1, self.args.subsets, number)
            probabilities = [
                self._probability(trial, number, subset[group])
                for subset in tqdm(subsets, f"{self.scenario} {number}, subsets")
            ]
            effect, error = effect_of_each(subsets, np.array(probabilities))
            found = self._epochs(trial, number, recorder, (effect > 2 * error)[group])
            about = {
                "group": group.tolist(),
                "effect": effect.round(4).tolist(),
                "error": error.round(4).tolist(),
            }
            self.save(self.key(number, "epochs"), {**found, **about})

    def _probability(self, trial: Trial, number: int, members: np.ndarray) -> float:
        """Train on some of the poisons: probability of the adversarial label."""
        name = "poisons " + "".join(str(int(is_in)) for is_in in members)
        key = self.key(number, name)
        if key not in self.records:
            problem = self.make_problem()
            absent = trial.poison_index[~members]
            X = trial.inputs.copy()
            X[absent] = problem.clean_inputs[absent]
            classifier = problem.victim.classifier(random_state=self.args.seed + number)
            classifier.fit(X, trial.labels)
            proba = classifier.predict_proba(problem.victim.inputs(trial.targets))
            probability = float(proba[:, trial.adversarial_label].mean())
            self.save(key, {"probability": probability})
        return float(self.records[key]["probability"])

    def _watch(self, trial: Trial, number: int) -> Recorder:
        """Train undefended, and look at every epoch."""
        problem = self.make_problem()
        target = problem.victim.inputs(trial.targets[:1])
        recorder = Recorder(trial, target, problem.scenario.subset_size)
        problem.victim.classifier(
            random_state=self.args.seed + number, callbacks=[recorder]
        ).fit(trial.inputs, trial.labels)
        return recorder

    def _epochs(
        self, trial: Trial, number: int, recorder: Recorder, is_effective: np.ndarray
    ) -> Record:
        """Train with EPIC, and sum up each group of examples in each epoch."""
        problem = self.make_problem()
        scenario = problem.scenario
        epic = problem.victim.classifier(
            EPICClassifier,
            random_state=self.args.seed + number,
            **epic_options(scenario),
        ).fit(trial.inputs, trial.labels)
        assert isinstance(epic, EPICClassifier)
        effective, others = (
            np.isin(recorder.rows, trial.poison_index[chosen])
            for chosen in (is_effective, ~is_effective)
        )
        members = (effective, others, ~effective & ~others)
        dropped_at = epic.dropped_at_epoch_[recorder.rows]
        n_epochs = len(recorder.cluster_size)
        series = {
            name: summarise_group(recorder, group, dropped_at, n_epochs)
            for name, group in zip(GROUPS, members, strict=True)
            if group.any()
        }
        return {
            "title": scenario.title,
            "kind": scenario.kind,
            "n_poisons": len(trial.poison_index),
            "n_effective": int(is_effective.sum()),
            "series": series,
        }


def summarise_group(
    recorder: Recorder, members: np.ndarray, dropped_at: np.ndarray, n_epochs: int
) -> dict[str, list[float]]:
    """Reduce one group's examples to numbers, one for each epoch.

    Parameters
    ----------
    recorder : Recorder
        After training.
    members : ndarray of shape (n_class,), bool
        The group.
    dropped_at : ndarray of shape (n_class,)
        Epoch after which EPIC dropped the example, -1 where kept.
    n_epochs : int
        Epochs trained.
    """
    sizes = [size[members] for size in recorder.cluster_size]
    to_target = recorder.cosine_to_target
    among = members[recorder.poisons]
    pairs = np.triu(np.outer(among, among), 1)
    each_other = [cosines[pairs] for cosines in recorder.cosines]
    gone = (dropped_at[members] >= 0)[:, None] & (
        dropped_at[members][:, None] <= np.arange(1, n_epochs + 1)
    )
    return {
        "cluster size": [float(np.median(size)) for size in sizes],
        "isolated": [float((size == 1).mean()) for size in sizes],
        "cosine to target": [float(c[members].mean()) for c in to_target],
        "cosine to each other": [float(c.mean()) for c in each_other if len(c)],
        "dropped": gone.mean(axis=0).tolist(),
    }


# --------------------------------------------------------------------------- picture

STYLES: dict[str, dict[str, Any]] = {
    "effective poisons": {"color": "#D55E00", "ls": "-", "marker": "o"},
    "other poisons": {"color": "#0072B2", "ls": "--", "marker": "s"},
    "clean": {"color": "black", "ls": ":", "marker": None},
}
PANELS = {
    "cluster size": "median cluster size",
    "isolated": "share alone in their cluster",
    "cosine to target": "cosine of gradient to target's",
    "cosine to each other": "cosine of gradients to each other",
    "dropped": "share dropped by EPIC so far",
}


def draw(records: list[Record], path: Path) -> None:
    """Draw what is recorded against the epoch, mean over the trials."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6), layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    for ax, (name, label) in zip(axes, PANELS.items(), strict=False):
        for group, style in STYLES.items():
            found = [r["series"][group][name] for r in records if group in r["series"]]
            found = [series for series in found if series]
            if not found:
                continue
            epochs = np.arange(1, len(found[0]) + 1)
            every = max(1, len(epochs) // 8)
            mean = np.mean(found, axis=0)
            ax.plot(epochs, mean, label=group, markevery=every, ms=5, **style)
        ax.set(xlabel="epoch", ylabel=label)
        ax.grid(alpha=0.25)
    axes[-1].axis("off")
    axes[-1].legend(*axes[0].get_legend_handles_labels(), loc="center", frameon=False)
    n_poisons = sum(r["n_poisons"] for r in records)
    n_effective = sum(r["n_effective"] for r in records)
    trials = "1 trial that works" if len(records) == 1 else f"{len(records)} that work"
    figure.suptitle(
        f"{records[0]['kind']}: {records[0]['title']}\n{trials} undefended; "
        f"{n_effective} of {n_poisons} poisons effective"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_common_arguments(parser)
    parser.add_argument("--subsets", type=int, default=32, help="trainings a trial")
    parser.add_argument("--groups", type=int, help="of poisons; default: each alone")
    parser.add_argument("--picture", type=Path, help="PNG file to draw")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    for scenario in args.scenario:
        Study(args, scenario).run()
    records = {key_of(r): r for r in read_records(args.out)}
    studied = [r for r in records.values() if r["defence"] == "epochs"]
    for names, group in group_by(studied, "scenario").items():
        if args.picture and names[0] in args.scenario:
            draw(group, args.picture)


if __name__ == "__main__":
    main()
