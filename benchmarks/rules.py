"""Rules against each other: chosen on the even trials, reported on the odd.

    python -m benchmarks.rules --trials trials.npz --out rules.jsonl

``--trials`` is a file of ready trials of transfer learning, given as features, in the
format of :class:`benchmarks.ready_features.FeatureProblem`: the clean training set
`features` (n, d) and `label` (n,), `test_features` and `test_label`, and for each of t
trials `attack` (t,) (``bp5``, ``fc1`` or ``fc5``), `target_features` (t, d),
`true_label` (t,), `adversarial_label` (t,), `poison_index` (t, p), -1 where unused, and
`poison_features` (t, p, d). Without it the trials are made from CIFAR-10, as
``python -m benchmarks.table`` makes them.

Trials are run by ``benchmarks.table``; finished ones are lines of ``--out`` and are
skipped when the command is run again. With several ``--seeds`` each ready trial is
trained with each, and counts once, with the mean of its outcomes. ``--page`` puts the
tables into a page of the documentation as well, as :mod:`benchmarks.render` does.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks import table
from benchmarks.records import Record, group_by, read_records, wilson_interval
from benchmarks.render import fill
from benchmarks.table import existing_file, npz_file

SCENARIOS = ("bullseye-polytope", "feature-collision-1", "feature-collision-5")
RULES = (
    "none",
    "EPIC",
    "filter RandomDrop",
    "EPIC subset_size=0.1",
    "EPIC threshold=5",
    "FarNeighbors cutoff=1.5",
    "FarNeighbors",
    "FarNeighbors cutoff=2.5",
)
HALVES = ("even trials, for choosing", "odd trials, for reporting")
# A seed of the table is the first trial's; the others count on from it.
BETWEEN_SEEDS = 1000


def mean_of(trials: Sequence[Record], name: str) -> float:
    return float(np.mean([trial[name] for trial in trials]))


def row_of(trials: Sequence[Record], scenario: str, rule: str) -> str:
    """Sum up one rule against one attack, a table's row."""
    per_trial = group_by(trials, "trial")
    n = len(per_trial)
    success = sum(mean_of(runs, "success") for runs in per_trial.values())
    low, high = wilson_interval(success, n)
    return (
        f"| {scenario} | {rule} | {success:.3g} of {n} ({low:.0%} to {high:.0%}) "
        f"| {mean_of(trials, 'accuracy'):.1%} | {mean_of(trials, 'poisons_left'):.0%} "
        f"| {mean_of(trials, 'clean_lost'):.1%} |"
    )


def tables(records: Sequence[Record]) -> str:
    """Two Markdown tables, one for each half of the trials."""
    lines = []
    for parity, half in enumerate(HALVES):
        mine = [record for record in records if record["trial"] % 2 == parity]
        lines += [
            f"\n**{half[0].upper()}{half[1:]}**\n",
            "| attack | rule | attack success (95% interval) | clean accuracy "
            "| poisons left | clean lost |",
            "|---|---|---|---|---|---|",
        ]
        groups = group_by(mine, "scenario", "defence")
        lines += [
            row_of(groups[scenario, rule], scenario, rule)
            for scenario in dict.fromkeys(s for s, _ in groups)
            for rule in dict.fromkeys(r for _, r in groups)
            if (scenario, rule) in groups
        ]
    return "\n".join(lines)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--trials", type=npz_file, help="npz file; default: made from CIFAR-10")
    add("--number", type=int, default=20, help="trials of each attack")
    add("--seeds", type=int, default=1, help="training seeds a trial")
    add("--rules", nargs="+", default=list(RULES))
    add("--scenario", nargs="+", default=list(SCENARIOS))
    add("--cifar10", type=npz_file, help="npz file; default: from OpenML")
    add("--cache", type=Path, default=Path("benchmark_cache"))
    add("--out", type=Path, default=Path("rules.jsonl"))
    add("--page", type=existing_file, help="markdown page to put the tables into")
    args = parser.parse_args()
    if args.seeds > 1 and args.trials is None:
        parser.error("another seed makes other trials of CIFAR-10: give --trials")
    return args


def main() -> None:
    args = parse_args()
    options = ["--trials", str(args.number), "--out", str(args.out)]
    options += ["--cache", str(args.cache), "--defences", *args.rules]
    for name, path in (("--trials-file", args.trials), ("--cifar10", args.cifar10)):
        options += [name, str(path)] if path else []
    for k in range(args.seeds):
        seed = ["--seed", str(BETWEEN_SEEDS * k)]
        table.main(["--scenario", *args.scenario, *options, *seed])
    records = [
        record
        for record in read_records(args.out)
        if record["defence"] in args.rules and record["scenario"] in args.scenario
    ]
    found = tables(records)
    print(found)
    if args.page:
        args.page.write_text(fill(args.page.read_text(), "rules", found.strip()))


if __name__ == "__main__":
    main()
