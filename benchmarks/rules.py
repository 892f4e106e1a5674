"""Rules against each other: chosen on the even trials, reported on the odd.

    python -m benchmarks.rules rules.jsonl --page docs/benchmarks.md

The results are those of ``python -m benchmarks.table``; where it ran with several
``--seed`` on a file of ready trials, each trial counts once, with the mean of its
outcomes. ``--page`` puts the tables into a page of the documentation as well, as
:mod:`benchmarks.render` does.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from benchmarks.records import Record, group_by, read_records, wilson_interval
from benchmarks.render import fill
from benchmarks.table import existing_file

HALVES = ("even trials, for choosing", "odd trials, for reporting")


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


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=existing_file, help="JSON lines file")
    parser.add_argument(
        "--page", type=existing_file, help="markdown page to put the tables into"
    )
    args = parser.parse_args(argv)
    found = tables(read_records(args.results))
    print(found)
    if args.page:
        args.page.write_text(fill(args.page.read_text(), "rules", found.strip()))


if __name__ == "__main__":
    main()
