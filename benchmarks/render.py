"""Results as tables and pictures in a page of the documentation.

    python -m benchmarks.render docs/results/*.jsonl --out docs/benchmarks.md

Each scenario fills the part of the page between ``<!-- results: SCALE/SCENARIO -->``
and ``<!-- end of results -->``; one that the page lacks is added at its end. Pictures
go to the folder ``results`` beside the page, and begin with its name.
"""

from __future__ import annotations

import argparse
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.defences import DEFENCES, name_of
from benchmarks.records import (
    KEY,
    Record,
    group_by,
    key_of,
    read_records,
    wilson_interval,
)
from benchmarks.run import EPIC, NONE
from benchmarks.table import existing_file
from epic_sklearn.plotting import TradeoffDisplay

END = "<!-- end of results -->"
# Pictures show defences whose accuracy is at most this far below the best.
LARGEST_LOSS = 0.2


# What a picture of more names, each as it was first asked for; the rest is grey.
MOST_NAMES = 8
NAMED = (NONE, EPIC, "NeighborVotes", "RandomDrop", "HighLoss")


@dataclass(frozen=True)
class Row:
    """One defence against one attack, over its trials.

    Attributes
    ----------
    defence : str
        Its name.
    n : int
        Trials.
    successes, undefended : float
        Successful attacks among them, with the defence and with none; of a
        backdoor the sum of the trials' rates. `undefended` is None where not all
        of the trials have been run without a defence.
    accuracy, poisons_left, clean_lost : float
        Means over the trials; of the undefended net over those that defences ran on.
    seconds : float
        Mean over the same trials less those that were resumed.
    """

    defence: str
    n: int
    successes: float
    undefended: float | None
    accuracy: float
    poisons_left: float
    clean_lost: float
    seconds: float

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's, of the success rate."""
        return wilson_interval(self.successes, self.n)


def trial_of(record: Record) -> tuple[int, int]:
    """Return what tells one trial of a scenario from all others."""
    return record["seed"], record["trial"]


def compared(records: list[Record]) -> list[Record]:
    """Leave out trials that no defence ran on, unless none ran at all.

    Beside defences that ran where the attack works, the undefended net would look
    better than they do, were it summed up over all trials.
    """
    defended = {trial_of(r) for r in records if r["defence"] != "none"}
    return [r for r in records if trial_of(r) in defended] or records


def by_name(records: list[Record]) -> list[tuple[str, list[Record]]]:
    """Sort records by defence: one order for all tables, whatever ran first."""
    order = {name: i for i, name in enumerate(DEFENCES)}
    groups = [
        (names[0], group) for names, group in group_by(records, "defence").items()
    ]
    return sorted(groups, key=lambda pair: order.get(name_of(pair[0]), len(order)))


def summarise(records: list[Record]) -> list[Row]:
    """Sum up the trials of one scenario, a row for each defence."""
    without = {trial_of(r): r["success"] for r in records if r["defence"] == "none"}
    defended = {trial_of(r) for r in compared(records)}
    rows = []
    for defence, trials in by_name(records):
        numbers = [trial_of(record) for record in trials]
        paired = all(number in without for number in numbers)
        within = [r for r in trials if trial_of(r) in defended] or trials
        whole = [r["seconds"] for r in within if not r["resumed"]]
        mean = {
            name: float(np.mean([record[name] for record in within]))
            for name in ("accuracy", "poisons_left", "clean_lost")
        }
        rows.append(
            Row(
                defence=defence,
                n=len(trials),
                successes=sum(record["success"] for record in trials),
                undefended=sum(without[i] for i in numbers) if paired else None,
                seconds=float(np.mean(whole)) if whole else float("nan"),
                **mean,
            )
        )
    return rows


def count(successes: float | None) -> str:
    """Write a number of successes, which for a backdoor need not be whole."""
    if successes is None:
        return "?"
    return f"{successes:.0f}" if float(successes).is_integer() else f"{successes:.1f}"


def markdown_table(rows: list[Row]) -> str:
    """Write the rows as a table."""
    lines = [
        "| defence | attack success (95% interval) | undefended, same trials "
        "| clean accuracy | poisons left | clean examples lost | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        low, high = row.interval
        lines.append(
            f"| {row.defence} "
            f"| {count(row.successes)} of {row.n} ({low:.0%} to {high:.0%}) "
            f"| {count(row.undefended)} | {row.accuracy:.1%} | {row.poisons_left:.0%} "
            f"| {row.clean_lost:.1%} | {row.seconds:.1f} |"
        )
    return "\n".join(lines)


def those_that_matter(rows: list[Row]) -> tuple[list[Row], list[Row]]:
    """Tell what a picture names from the rest; of few, or of one rule's, all."""
    first = {
        name_of(row.defence).removeprefix("filter "): row for row in reversed(rows)
    }
    named = [first[name] for name in NAMED if name in first]
    if len(rows) <= MOST_NAMES or len(named) < len(NAMED) - 2:
        return rows, []
    return named, [row for row in rows if row not in named]


def draw(rows: list[Row], title: str, path: Path) -> None:
    """Draw success against accuracy."""
    import matplotlib

    matplotlib.use("agg")
    # One that learns nothing would squeeze all others into a corner.
    floor = max(row.accuracy for row in rows) - LARGEST_LOSS
    far = [f"{r.defence} at {r.accuracy:.0%}" for r in rows if r.accuracy < floor]
    rows = [row for row in rows if row.accuracy >= floor]
    rows, others = those_that_matter(rows)
    columns: dict[str, Any] = {
        "name": [row.defence for row in rows],
        "attack_success": [row.successes / row.n for row in rows],
        "clean_accuracy": [row.accuracy for row in rows],
        "n_trials": [row.n for row in rows],
    }
    display = TradeoffDisplay.from_predictions(columns)
    display.ax_.plot(
        [row.accuracy for row in others],
        [row.successes / row.n for row in others],
        **{"marker": "o", "ms": 5, "ls": "none", "color": "0.7", "zorder": 1},
        clip_on=False,
    )
    # Longer lines would run into the legend beside the axes.
    lines = textwrap.wrap(title, 50)
    if others:
        lines.append("(grey: others of the table)")
    if far:
        lines += textwrap.wrap(f"(out of the picture: {', '.join(far)} accuracy)", 50)
    display.ax_.set_title("\n".join(lines))
    path.parent.mkdir(parents=True, exist_ok=True)
    display.figure_.savefig(path, dpi=110, bbox_inches="tight")


def section(name: str, records: list[Record], page: Path) -> str:
    """Render one scenario: picture drawn, table and heading returned."""
    title = f"{records[0]['kind']}: {records[0]['title']}"
    rows = summarise(records)
    file_name = f"{page.stem}_{name.replace('/', '_')}.png"
    picture = page.parent / "results" / file_name
    draw(summarise(compared(records)), title, picture)
    return (
        f"{markdown_table(rows)}\n\n"
        f"![Attack success against clean accuracy, {title}]"
        f"({picture.relative_to(page.parent).as_posix()})"
    )


def fill(page: str, name: str, text: str) -> str:
    """Put a section where the page wants it, or at its end."""
    begin = f"<!-- results: {name} -->"
    block = f"{begin}\n\n{text}\n\n{END}"
    if begin not in page:
        return f"{page.rstrip()}\n\n## {name}\n\n{block}\n".lstrip()
    pattern = re.escape(begin) + ".*?" + re.escape(END)
    return re.sub(pattern, lambda _: block, page, flags=re.DOTALL)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "results", nargs="+", type=existing_file, help="JSON lines files"
    )
    parser.add_argument("--out", type=Path, required=True, help="markdown page")
    args = parser.parse_args(argv)
    # A trial that stands in several files counts once; what other scripts wrote is no
    # trial of a defence here.
    ours = {*KEY, "success"}
    lines = [r for path in args.results for r in read_records(path) if ours <= r.keys()]
    records = {key_of(r): r for r in lines}
    page = args.out.read_text() if args.out.exists() else ""
    for names, group in group_by(records.values(), "scale", "scenario").items():
        name = "/".join(names)
        page = fill(page, name, section(name, group, args.out))
    args.out.write_text(page)


if __name__ == "__main__":
    main()
