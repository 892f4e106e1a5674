"""The commands and their options, on click."""

from __future__ import annotations

import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click

from .. import __version__

# What options may name: help shows it without scikit-learn or torch.
MODELS = ("logistic", "mlp")
GRADIENTS = ("logit", "last_layer_input", "last_layer")
RULES = (
    *("NeighborVotes", "IsolatedMedoids", "HighLoss", "LowConfidence"),
    *("SpectralSignatures", "ActivationClustering", "DeepKNN", "RandomDrop"),
)
EXAMPLES = """\b
Examples:
  epic-sklearn scan train.csv --label species --set cutoff=1.5
  epic-sklearn scan train.csv --label species --rule IsolatedMedoids
  epic-sklearn scan train.csv --label y --exclude id --out kept.csv
  epic-sklearn scan train.npz --label y --probabilities p.npy --mask mask.csv
  epic-sklearn scan train.parquet --label y --report audit.html --fail-on-isolated

Exit status: 0; 1 with --fail-on-isolated if a row is isolated that --decisions leave
open; 2 if an argument or a file cannot be used; 130 if interrupted. Clean data have
isolated rows too, 1 to 10% by the default rule: isolated means look at it, not
poisoned.
"""
INPUT = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)
READ: dict[str, Any] = {"type": INPUT, "metavar": "FILE"}
WRITTEN: dict[str, Any] = {"type": click.Path(path_type=Path), "metavar": "FILE"}
NAMES: dict[str, Any] = {"multiple": True, "metavar": "A,B,..."}


def option(names: str, text: str, **how: Any) -> click.Option:
    """Make an option; help shows a default."""
    return click.Option(names.split(), help=text, show_default=True, **how)


JSON = option("--json as_json", "Print one line of JSON only.", is_flag=True)
SEED = option("--seed", "Random seed.", type=click.IntRange(0, 2**32 - 1), default=0)
# Of all commands that read tables, and of each.
READING = [
    option("--label", "Column (in .npz: array) of the classes.", required=True),
    option("--skip-unlabelled", "Leave rows without a label out, of --out, too.",
           is_flag=True),
    option("--features", "Columns or arrays to use (default: all but the label). A "
           "name with a comma is given alone; the option may be repeated.", **NAMES),
    option("--exclude", "Columns or arrays to leave out of the model. The page shows "
           "them, and the mask of a scan.", **NAMES),
    option("--show", "Columns or arrays to show there and here, beside those of "
           "--features; arrays of pictures as pictures.", **NAMES),
    option("--id", "Column to leave out and to name the rows by.", metavar="A"),
    option("--text as_text", "Columns to read as text, whatever they look like.",
           **NAMES),
    option("--separator", "Of CSV fields: one character, or 'tab'."),
    option("--header", "Line on which the names of columns stand, if not the first; "
           "those above it are kept.", type=click.IntRange(1)),
    option("--decimal", "What stands before the decimals in text (default: a point).",
           type=click.Choice([".", ","])),
    option("--thousands", "What groups the digits in text.",
           type=click.Choice([",", ".", "'", " "])),
    option("--plain", "Columns of numbers with points, whatever these two say.",
           **NAMES),
    option("--missing", "Stands for a missing value, as nothing, NA, nan and null do.",
           multiple=True, metavar="TEXT"),
    option("--date-format", "How dates are written if that is unsure: %d/%m/%Y."),
    option("--encoding", "Of text files (default: utf-8)."),
    option("--model", "Classifier to fit and take gradients from (default: logistic). "
           "Tables are encoded by skrub: numbers, categories, dates, free text.",
           type=click.Choice(MODELS)),
    SEED,
    option("--report", "Write a page on which to look at the rows and mark them.",
           **WRITTEN),
    option("--out", "Write the kept rows, as they are and in the format of DATA. Of an "
           ".npz only the label, the features and what --show names are cut.",
           **WRITTEN),
    option("--force", "Replace outputs that exist.", is_flag=True),
    JSON,
]  # fmt: skip
SCANNED = [
    option("--probabilities", "Of a model trained elsewhere, one row for each of the "
           "data's, one column a class: .csv and .parquet with their names, .npy in "
           "sorted order.", **READ),
    option("--gradient-of", "Which gradients of the model (default: those that the "
           "rule prefers).", type=click.Choice(GRADIENTS)),
    option("--rule rule_name", "What counts as isolated (the paper's is "
           f"IsolatedMedoids), one of {', '.join(RULES)}.", type=click.Choice(RULES),
           default="NeighborVotes", metavar="NAME"),
    option("--set settings", "A parameter of the rule, as in Python: --set cutoff=1.5. "
           "A wrong name lists those that there are.", multiple=True,
           metavar="NAME=VALUE"),
    option("--rounds", "How often to fit on what is left and drop again.",
           type=click.IntRange(1), default=1),
    option("--jobs", "Classes worked on side by side; -1: all cores.", type=int),
    option("--mask", "Write row (from 0), line of the file, kept, isolation_score, the "
           "rule's details, label of every row: .csv.", **WRITTEN),
    option("--decisions", "Keep and drop what was decided on the page of the same "
           "scan; the file that it gives.", **READ),
    option("--fail-on-isolated", "Exit with status 1 if a row is isolated that "
           "--decisions leave open.", is_flag=True),
    option("--verbose", "Show what is being done.", is_flag=True),
]  # fmt: skip
TRACED = [
    option("--score", "Alike in direction, or times their size: for wrong labels.",
           type=click.Choice(["cosine", "contribution"]), default="cosine"),
    option("--top", "Rows an example.", type=click.IntRange(1), default=10),
    option("--all-labels", "Rank rows of other labels, too.", is_flag=True),
    option("--drop", "Rows that --out leaves out, named as the page of the same trace "
           "names them: by --id, by line, or by number.", metavar="A,B,..."),
]  # fmt: skip
DEMO = [
    JSON,
    option("--figure", "Picture to save (default: epic_demo.png).", **WRITTEN),
    SEED,
]


def say(text: str) -> None:
    """Print to stdout; a closed pipe (`head`) is no failure."""
    try:
        click.echo(text)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say_notes(notes: list[str]) -> None:
    """Print what else is worth knowing to stderr."""
    from .drawing import without_controls

    for note in notes:
        click.echo(f"Note: {without_controls(note)}", err=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(version)s")
def cli() -> None:
    """Find and drop poisoned training examples."""


@cli.command(short_help="Attack a net, with and without EPIC.", params=DEMO)
def demo(as_json: bool, figure: Path | None, seed: int) -> None:
    """Attack a small net with and without EPIC (under 90 s).

    Train it on scikit-learn's digits, freeze it, craft poisons for several
    targets, and train its last layer on the poisoned data.
    """
    from ..demo import as_table, run_demo

    path = figure or (None if as_json else Path("epic_demo.png"))
    if path is not None and find_spec("matplotlib") is None:
        click.echo("No picture: pip install 'epic-sklearn[plot]'.", err=True)
        path = None
    if path is not None and not path.absolute().parent.is_dir():
        raise click.UsageError(f"There is no folder {path.absolute().parent}.")
    results = run_demo(random_state=seed, figure=path, verbose=not as_json)
    if as_json:
        say(json.dumps(results))
        return
    say(f"\n{as_table(results)}")
    say(f"\n{results['seconds']:.0f} s in all, making the attacks included.")
    if path is not None:
        say(f"Picture: {path.absolute()}")


@cli.command(
    "scan",
    short_help="Find isolated rows in a data file.",
    epilog=EXAMPLES,
    params=[click.Argument(["data"], type=INPUT), *READING, *SCANNED],
)
def scan_command(fail_on_isolated: bool, as_json: bool, **given: Any) -> int:
    """Find rows of DATA that are isolated in their class.

    DATA is .csv, .tsv, .jsonl (or one of these packed, as .csv.gz), .parquet or .npz.
    A classifier is fitted; rows whose gradients lie apart from those of their class
    are isolated. --rule says what that means.
    """
    from .scan import n_undecided, scan

    found = scan(SimpleNamespace(**given))
    if as_json:
        say(found.as_json())
    else:
        say_notes(found.case.notes)
        say(found.as_tables())
    return int(fail_on_isolated and bool(n_undecided(found.detector)))


@cli.command(
    "trace",
    short_help="Which rows of a data file taught a prediction.",
    params=[
        *(click.Argument([name], type=INPUT) for name in ("data", "examples")),
        *(*READING, *TRACED),
    ],
)
def trace_command(as_json: bool, **given: Any) -> None:
    """Rank rows of DATA by how much they taught a model what it says of EXAMPLES.

    Both files have the same columns. A classifier is fitted on DATA. The label column
    of EXAMPLES holds the label that each got; without one it is what the classifier
    predicts. Rows that bear that label are ranked.
    """
    from .trace import draw_trace, trace_files

    found, rows = trace_files(SimpleNamespace(**given))
    say_notes(rows.notes)
    if as_json:
        say(found.to_frame().to_json(orient="records"))
    else:
        say(draw_trace(found, rows))
