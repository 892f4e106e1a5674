"""Effective poisons, epoch by epoch: when they are isolated, and what is dropped.

    python -m benchmarks.epochs --scenario bullseye-polytope --picture epochs.png

After Figures 2 to 5 of the paper. Which poisons are effective is found by training
on subsets of them, the others replaced by the clean examples that they were made of:
a poison's effect is how much more probable the adversarial label of the target is,
on average, with the poison than without. It is effective if that is more than two
standard errors above zero. With few poisons all subsets are trained on, with more
``--subsets`` random halves. The effect of one of a hundred poisons is lost in the
noise of training: ``--groups 5`` takes them in five equal groups, ordered by how close
their gradients come to the target's, and finds each group's effect. Where a training
takes too long for that, ``--closest 0.2`` trains on no subsets, and takes the fifth of
the poisons closest to the target's gradient in place of the effective ones. Only trials
whose attack works undefended are studied. Every finished training is a line of
``--out``; a killed run goes on.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.problem import Trial
from benchmarks.recorder import Recorder, summarise_group
from benchmarks.records import Record, group_by, key_of, read_records
from benchmarks.render import fill
from benchmarks.table import Table, add_common_arguments, existing_file
from epic_sklearn import EPICClassifier
from epic_sklearn.rules import IsolatedMedoids

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


def study_name(args: argparse.Namespace) -> str:
    """Tell the records of one kind of study from those of another in the same file."""
    return "epochs" if args.closest is None else f"epochs closest={args.closest}"


class Study(Table):
    """The epoch-wise study of one scenario's trials."""

    def run(self) -> None:
        """Study all trials that are not done."""
        for number in self.args.trials:
            key = self.key(number, study_name(self.args))
            if key in self.records:
                continue
            trial = self.make_problem().trial(number)
            everything = np.ones(len(trial.poison_index), dtype=bool)
            # Known already not to work: then there is nothing to look at.
            is_known = self._key_of_subset(number, everything) in self.records
            if is_known and self._probability(trial, number, everything) <= 0.5:
                continue
            recorder = self._watch(trial, number)
            if self._probability(trial, number, everything) <= 0.5:
                continue
            if self.args.closest is None:
                name, chosen, about = self._effective(trial, number, recorder)
            else:
                cosine = recorder.mean_cosine()
                name, about = "closest poisons", {}
                chosen = cosine > np.quantile(cosine, 1 - self.args.closest)
            found = self._epochs(trial, number, recorder, {name: chosen})
            self.save(key, {**found, **about})

    def _effective(
        self, trial: Trial, number: int, recorder: Recorder
    ) -> tuple[str, np.ndarray, Record]:
        """Find the effective poisons by training on subsets, and say how they did."""
        group = group_poisons(recorder.mean_cosine(), self.args.groups)
        subsets = draw_subsets(group.max() + 1, self.args.subsets, number)
        probabilities = [
            self._probability(trial, number, subset[group])
            for subset in tqdm(subsets, f"{self.scenario} {number}, subsets")
        ]
        effect, error = effect_of_each(subsets, np.array(probabilities))
        about = {
            "group": group.tolist(),
            "effect": effect.round(4).tolist(),
            "error": error.round(4).tolist(),
        }
        return "effective poisons", (effect > 2 * error)[group], about

    def _key_of_subset(self, number: int, members: np.ndarray) -> tuple[Any, ...]:
        name = "poisons " + "".join(str(int(is_in)) for is_in in members)
        return self.key(number, name)

    def _probability(self, trial: Trial, number: int, members: np.ndarray) -> float:
        """Train on some of the poisons: probability of the adversarial label."""
        key = self._key_of_subset(number, members)
        if key not in self.records:
            self._train(trial, number, members)
        return float(self.records[key]["probability"])

    def _train(
        self, trial: Trial, number: int, members: np.ndarray, **options: Any
    ) -> None:
        """Train undefended on some of the poisons, and save what the target becomes."""
        problem = self.make_problem()
        absent = trial.poison_index[~members]
        X = trial.inputs.copy()
        X[absent] = problem.clean_inputs[absent]
        classifier = problem.victim.classifier(
            random_state=self.args.seed + number, **options
        )
        classifier.fit(X, trial.labels)
        key = self._key_of_subset(number, members)
        if key not in self.records:
            proba = classifier.predict_proba(problem.victim.inputs(trial.targets))
            probability = float(proba[:, trial.adversarial_label].mean())
            self.save(key, {"probability": probability})

    def _watch(self, trial: Trial, number: int) -> Recorder:
        """Train on all poisons, and look at every epoch."""
        problem = self.make_problem()
        target = problem.victim.inputs(trial.targets[:1])
        recorder = Recorder(trial, target, problem.scenario.subset_size)
        everything = np.ones(len(trial.poison_index), dtype=bool)
        self._train(trial, number, everything, callbacks=[recorder])
        return recorder

    def _epochs(
        self,
        trial: Trial,
        number: int,
        recorder: Recorder,
        chosen: dict[str, np.ndarray],
    ) -> Record:
        """Train with EPIC, and sum up each group of examples in each epoch.

        `chosen` is the mask of the poisons of interest, by what they are called.
        """
        problem = self.make_problem()
        scenario = problem.scenario
        epic = problem.victim.classifier(
            EPICClassifier,
            random_state=self.args.seed + number,
            rule=IsolatedMedoids(scenario.subset_size),
            **scenario.rounds(scenario.subset_size),
        ).fit(trial.inputs, trial.labels)
        assert isinstance(epic, EPICClassifier)
        proba = epic.predict_proba(problem.victim.inputs(trial.targets))
        ((name, is_chosen),) = chosen.items()
        is_clean = ~np.isin(recorder.rows, trial.poison_index)
        members = {
            name: np.isin(recorder.rows, trial.poison_index[is_chosen]),
            "other poisons": np.isin(recorder.rows, trial.poison_index[~is_chosen]),
            "clean": is_clean,
        }
        dropped_at = epic.dropped_at_epoch_[recorder.rows]
        return {
            "title": scenario.title,
            "kind": scenario.kind,
            "n_poisons": len(trial.poison_index),
            "n_chosen": int(is_chosen.sum()),
            "epic_probability": float(proba[:, trial.adversarial_label].mean()),
            "epic_accuracy": epic.score(problem.test_inputs, problem.test_labels),
            "series": {
                name: summarise_group(recorder, group, is_clean, dropped_at)
                for name, group in members.items()
                if group.any()
            },
        }


# --------------------------------------------------------------------------- picture

STYLES: dict[str, dict[str, Any]] = {
    "effective poisons": {"color": "#D55E00", "ls": "-", "marker": "o"},
    "closest poisons": {"color": "#D55E00", "ls": "-", "marker": "o"},
    "other poisons": {"color": "#0072B2", "ls": "--", "marker": "s"},
    "clean": {"color": "black", "ls": ":", "marker": None},
}
PANELS = {
    "cluster size": "median cluster size",
    "isolated": "share alone in their cluster",
    "cosine to target": "cosine to target's gradient",
    "cosine to each other": "cosine to each other's gradient",
    "dropped": "share dropped by EPIC so far",
    "AUROC of clusters": "AUROC of small clusters",
    "AUROC of loss": "AUROC of the loss",
}


def mean_series(records: list[Record], group: str, name: str) -> np.ndarray | None:
    """Mean of one quantity over the trials, epoch by epoch; None if there is none."""
    found = [r["series"][group][name] for r in records if group in r["series"]]
    found = [series for series in found if series]
    return np.mean(found, axis=0) if found else None


def draw(records: list[Record], path: Path) -> None:
    """Draw what is recorded against the epoch, mean over the trials."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 6.4), layout="constrained")
    axes = figure.subplots(2, 4).ravel()
    axes[-1].remove()
    for ax, (name, label) in zip(axes[:-1], PANELS.items(), strict=True):
        for group, style in STYLES.items():
            mean = mean_series(records, group, name)
            if mean is None:
                continue
            epochs = np.arange(1, len(mean) + 1)
            every = max(1, len(epochs) // 8)
            ax.plot(epochs, mean, label=group, markevery=every, ms=5, **style)
        if name.startswith("AUROC"):
            ax.axhline(0.5, color="0.6", lw=1, zorder=0)
            ax.set_ylim(0, 1)
        ax.set(xlabel="epoch", ylabel=label)
        ax.grid(alpha=0.25)
    handles = axes[0].get_legend_handles_labels()[0]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    n_poisons = sum(r["n_poisons"] for r in records)
    n_chosen = sum(r["n_chosen"] for r in records)
    trials = (
        f"{len(records)} trial{'s that work' if len(records) > 1 else ' that works'}"
    )
    are = "effective"
    if any("closest poisons" in r["series"] for r in records):
        are = "closest to the target's gradient"
    figure.suptitle(
        f"{records[0]['kind']}: {records[0]['title']}\n{trials} undefended; "
        f"{n_chosen} of {n_poisons} poisons {are}"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def markdown_table(records: list[Record]) -> str:
    """Write what is drawn, after the first epoch, half of them and the last."""
    groups = [g for g in STYLES if any(g in r["series"] for r in records)]
    n_epochs = len(next(iter(records[0]["series"].values()))["dropped"])
    lines = [
        f"| after epoch 1 / {n_epochs // 2} / {n_epochs} | {' | '.join(groups)} |",
        "|---" * (len(groups) + 1) + "|",
    ]
    for name, label in PANELS.items():
        cells = [label]
        for group in groups:
            mean = mean_series(records, group, name)
            shown = () if mean is None else mean[[0, n_epochs // 2 - 1, -1]].tolist()
            digits = 1 if name == "cluster size" else 2
            cells.append(" / ".join(f"{value:.{digits}f}" for value in shown))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def show_on_page(records: list[Record], picture: Path, page: Path) -> None:
    """Put picture and table where the page says ``results:`` and the picture's path."""
    path = os.path.relpath(picture, page.parent)
    text = (
        f"![Cluster sizes, cosines, shares dropped and AUROC epoch by epoch, "
        f"{records[0]['kind']}: {records[0]['title']}]({path})\n\n"
        f"{markdown_table(records)}"
    )
    page.write_text(fill(page.read_text(), path, text))


def share(text: str) -> float:
    """Read a share of the poisons, between 0 and 1."""
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} is no share between 0 and 1")
    return value


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_common_arguments(parser)
    parser.add_argument("--subsets", type=int, default=32, help="trainings a trial")
    parser.add_argument("--groups", type=int, help="of poisons; default: each alone")
    parser.add_argument(
        "--closest", type=share, help="of the poisons, with no trainings on subsets"
    )
    parser.add_argument("--picture", type=Path, help="PNG file to draw")
    parser.add_argument(
        "--page", type=existing_file, help="markdown page to put picture and table into"
    )
    args = parser.parse_args(argv)
    if args.page and not args.picture:
        parser.error("--page shows the picture too: give --picture")
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    for scenario in args.scenario:
        Study(args, scenario).run()
    records = {key_of(r): r for r in read_records(args.out)}
    studied = [r for r in records.values() if r["defence"] == study_name(args)]
    groups = {names[0]: g for names, g in group_by(studied, "scenario").items()}
    for scenario in args.scenario:
        if scenario not in groups:
            print(f"{scenario}: none of these trials works undefended, none to study")
        elif args.picture:
            draw(groups[scenario], args.picture)
            if args.page:
                show_on_page(groups[scenario], args.picture, args.page)


if __name__ == "__main__":
    main()
