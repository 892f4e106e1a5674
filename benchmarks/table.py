"""Attack success, accuracy and cost of all defences against all attacks.

    python -m benchmarks.table --scenario bullseye-polytope --scale cpu

A trial is one target with its poisons; every defence trains on it. Each finished one
is a line of ``--out``, and is skipped when the command is run again: after a kill the
same command goes on. Poisons and clean nets are kept in ``--cache``, and with them
the training that was going on, epoch by epoch. One process a file.
"""

from __future__ import annotations

import argparse
import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.cifar10 import read_cifar10
from benchmarks.defences import TABLE, parse_defence
from benchmarks.problem import Problem, Trial, Trials
from benchmarks.ready_features import FeatureProblem, holds_features
from benchmarks.records import (
    KEY,
    Record,
    append_record,
    digest_of,
    key_of,
    read_records,
)
from benchmarks.run import NONE, Impossible, Run, clock
from benchmarks.scenarios import SCENARIOS, TRANSFER
from epic_sklearn.metrics import attack_success_rate, clean_retention, poison_recall


def measure(run: Run) -> Record:
    """Train one victim, defended, and see what the attack did to it."""
    resumed = run.has_begun()  # then `seconds` is only a part
    defend, options = parse_defence(run.defence)
    start = clock()
    defended = defend(run, **options)
    seconds = clock() - start + defended.earlier_seconds
    if defended.earlier_seconds:
        resumed |= run.record(NONE)["resumed"]
    trial, problem, keep = run.trial, run.problem, defended.keep
    classifier, victim = defended.classifier, defended.victim
    probability = classifier.predict_proba(victim.inputs(trial.targets))
    targets = classifier.classes_[probability.argmax(axis=1)]
    test_inputs = problem.test_inputs
    if victim is not problem.victim and problem.test_images is not None:
        test_inputs = victim.inputs(problem.test_images)
    result = {
        "success": attack_success_rate(targets, trial.adversarial_label),
        # Of the adversarial label: success alone hides near misses.
        "probability": np.mean(probability[:, trial.adversarial_label]),
        "still_correct": np.mean(targets == trial.true_label),
        "accuracy": classifier.score(test_inputs, problem.test_labels),
        "poisons_left": 1 - poison_recall(keep, trial.poison_index),
        "clean_lost": 1 - clean_retention(keep, trial.poison_index),
        "dropped": np.mean(~keep),
        "seconds": seconds,
    }
    rounded = {name: round(float(value), 5) for name, value in result.items()}
    return {"poisons": len(trial.poison_index), **rounded, "resumed": resumed}


def make_problem(args: argparse.Namespace, name: str) -> Trials:
    """Read a scenario's data, and get its clean nets where they are needed."""
    scenario, cache = SCENARIOS[args.scale][name], args.cache / args.scale
    ready = args.trials_file
    if ready is not None and holds_features(ready):
        return FeatureProblem(name, scenario, cache, ready)
    data = read_cifar10(args.cifar10)
    return Problem(name, scenario, data, args.seed, cache, ready)


class Table:
    """The trials of one scenario, and which of them are to be run.

    Parameters
    ----------
    args : Namespace
        The command's arguments.
    scenario : str
        The scenario's name.
    """

    def __init__(self, args: argparse.Namespace, scenario: str) -> None:
        self.args, self.scenario = args, scenario
        self.records = {key_of(r): r for r in read_records(args.out)}
        self.trials_digest = digest_of(args.trials_file)
        self.problem: Trials | None = None
        self.check_same_trials()

    def check_same_trials(self) -> None:
        """Refuse to go on with results of other trials that bear the same numbers.

        Raises
        ------
        SystemExit
            If some of this scenario's results come from another file of trials.
        """
        digests = {
            record.get("trials_file")
            for key, record in self.records.items()
            if key[:2] == (self.scenario, self.args.scale)
        }
        others = digests - {self.trials_digest}
        if others:
            made = "crafted here" if None in others else "from another --trials-file"
            raise SystemExit(
                f"{self.args.out} holds results of {self.scenario} whose trials were "
                f"{made}; give another --out."
            )

    def key(self, trial: int, defence: str) -> tuple[Any, ...]:
        """Tell a result from all others, as `key_of` does."""
        return self.scenario, self.args.scale, self.args.seed, trial, defence

    def is_wanted(self, trial: int, defence: str) -> bool:
        """Whether it is to be run: not done, and worth it."""
        if self.key(trial, defence) in self.records:
            return False
        undefended = self.records.get(self.key(trial, NONE))
        works = undefended is None or undefended["success"] > 0.5
        return defence == NONE or works or not self.args.only_working

    def make_problem(self) -> Trials:
        """Read the data and get the clean nets, once and only if needed."""
        if self.problem is None:
            self.problem = make_problem(self.args, self.scenario)
        return self.problem

    def run(self) -> None:
        """Run all that is wanted, trial after trial."""
        todo = [(t, d) for t in self.args.trials for d in self.args.defences]
        todo = [pair for pair in todo if self.is_wanted(*pair)]
        if not todo:
            print(f"{self.scenario}: nothing to do, {self.args.out} has all results")
            return
        trial: Trial | None = None
        current, memory = -1, dict[str, Any]()
        for number, defence in tqdm(todo, desc=self.scenario):
            if not self.is_wanted(number, defence):
                continue
            if number != current or trial is None:
                trial = self.make_problem().trial(number)
                current, memory = number, {}
            self._run_one(trial, number, defence, memory)

    def _run_one(
        self, trial: Trial, number: int, defence: str, memory: dict[str, Any]
    ) -> None:
        problem, key = self.make_problem(), self.key(number, defence)
        folder = problem.cache / f"{self.scenario}_seed{self.args.seed}_{number}"
        # Seconds of training are not worth the writing of checkpoints.
        checkpoints = None if problem.scenario.kind == TRANSFER else folder
        earlier = {k[-1]: r for k, r in self.records.items() if k[:-1] == key[:-1]}
        seed = self.args.seed + number
        run = Run(problem, trial, seed, defence, checkpoints, earlier, memory)
        try:
            result = measure(run)
        except Impossible as reason:
            tqdm.write(f"trial {number}, {defence}: {reason}")
            return
        about = {
            "title": problem.scenario.title,
            "kind": problem.scenario.kind,
            "true_label": trial.true_label,
            "adversarial_label": trial.adversarial_label,
        }
        self.save(key, {**about, **result})
        # What begins with the undefended net still needs its checkpoint.
        if not any(self.is_wanted(number, name) for name in self.args.defences):
            shutil.rmtree(folder, ignore_errors=True)

    def save(self, key: tuple[Any, ...], result: Record) -> None:
        """Write one result, so that it is never made again."""
        record = {**dict(zip(KEY, key, strict=True)), **result}
        if self.trials_digest is not None:
            record["trials_file"] = self.trials_digest
        append_record(self.args.out, record)
        self.records[key] = record


def numbers(text: str) -> list[int]:
    """``20`` is trials 0 to 19, ``0,4`` just these."""
    chosen = [int(t) for t in text.split(",")] if "," in text else range(int(text))
    if len(chosen) == 0 or min(chosen) < 0:
        raise argparse.ArgumentTypeError(f"{text} names no trials; give 20, or 0,4")
    return list(chosen)


def existing_file(text: str) -> Path:
    """Take a file's name, and refuse one that is not there before any work."""
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return path


def npz_file(text: str) -> Path:
    """Take the name of a file of arrays."""
    path = existing_file(text)
    if not zipfile.is_zipfile(path):
        raise argparse.ArgumentTypeError(f"{text} is no npz file")
    return path


def add_common_arguments(
    parser: argparse.ArgumentParser, more: Iterable[str] = ()
) -> None:
    """Say what is attacked, with what data, and where results go.

    `more` are scenarios beyond those on CIFAR-10.
    """
    add = parser.add_argument
    cpu, gpu = SCENARIOS["cpu"], SCENARIOS["gpu"]
    names = [name for name in gpu if name in cpu and not name.startswith("home-")]
    others = [name for name in {**cpu, **gpu} if name not in names]
    add(
        "--scenario",
        nargs="+",
        choices=[*names, *others, *more],
        default=names,
        metavar="NAME",
        help=f"attacks: {', '.join(names)} (default: all of these), and "
        f"{', '.join([*others, *more])}, which not every scale has",
    )
    scales = "small parts of CIFAR-10 and small nets, or all of it and ResNet-18"
    add("--scale", choices=list(SCENARIOS), default="cpu", help=scales)
    trials = "how many, or which: 0,4 (default: 20)"
    add("--trials", type=numbers, default="20", help=trials)
    seed = "draws the trials; each trains with this plus its number (default: 0)"
    add("--seed", type=int, default=0, help=seed)
    out = "results, a line each; what is there is not run again (default: %(default)s)"
    add("--out", type=Path, default=Path("results.jsonl"), help=out)
    cache = "folder of poisons and clean nets (default: %(default)s)"
    add("--cache", type=Path, default=Path("benchmark_cache"), help=cache)
    add("--cifar10", type=npz_file, help="npz file; default: from OpenML")
    add("--trials-file", type=npz_file, help="npz file of ready poisons")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_common_arguments(parser)
    parser.add_argument(
        "--defences", nargs="+", default=TABLE, help="such as 'EPIC threshold=5'"
    )
    parser.add_argument(
        "--only-working", action="store_true", help="defend what works undefended"
    )
    args = parser.parse_args(argv)
    for scenario in args.scenario:
        if scenario not in SCENARIOS[args.scale]:
            parser.error(f"there is no --scenario {scenario} at --scale {args.scale}")
    for defence in args.defences:
        try:
            parse_defence(defence)
        except ValueError as error:
            parser.error(str(error))
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    for scenario in args.scenario:
        Table(args, scenario).run()


if __name__ == "__main__":
    main()
