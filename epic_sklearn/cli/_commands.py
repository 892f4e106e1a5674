"""The commands and their options, on click."""

from __future__ import annotations

import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from .. import __version__
from ._errors import Unusable

# What options may name: help shows it without scikit-learn or torch.
MODELS = ("logistic", "mlp", "forest", "boosting")
GRADIENTS = ("logit", "last_layer_input", "last_layer")
RULES = (
    "IsolatedMedoids",
    "FarNeighbors",
    "HighLoss",
    "LowConfidence",
    "SpectralSignatures",
    "ActivationClustering",
    "DeepKNN",
    "RandomDrop",
)

INPUT = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)
OUTPUT = click.Path(path_type=Path)
SEED = click.IntRange(0, 2**32 - 1)

EXAMPLES = """\b
Examples:
  epic-sklearn scan train.csv --label species --set subset_size=0.1
  epic-sklearn scan train.csv --label species --rule FarNeighbors --set cutoff=1.5
  epic-sklearn scan train.csv --label y --exclude id --out kept.csv
  epic-sklearn scan train.npz --label y --probabilities p.npy --mask mask.csv
  epic-sklearn scan train.parquet --label y --report audit.html --fail-on-isolated

Exit status: 0; 1 with --fail-on-isolated if a row is isolated; 2 if an argument or a
file cannot be used; 130 if interrupted. Clean data have isolated rows too, a fifth of
them is not rare: isolated means look at it, not poisoned.
"""


def say(text: str) -> None:
    """Print to stdout; a closed pipe (`head`) is no failure."""
    try:
        click.echo(text)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(version)s")
def cli() -> None:
    """Find and drop poisoned training examples."""


@cli.command(short_help="Attack a net trained on digits, with and without EPIC.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON only.")
@click.option(
    "--figure",
    type=OUTPUT,
    help="Where to save the picture (default: epic_demo.png; with --json: none).",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Random seed.")
def demo(as_json: bool, figure: Path | None, seed: int) -> None:
    """Attack a small net with and without EPIC (under 90 s).

    Train it on scikit-learn's digits, freeze it, craft poisons for several
    targets, and train its last layer on the poisoned data.
    """
    from ..demo import as_table, run_demo

    path = figure
    if path is None and not as_json:
        path = Path("epic_demo.png")
    if path is not None and find_spec("matplotlib") is None:
        click.echo(
            "No picture: matplotlib is missing (pip install 'epic-sklearn[plot]').",
            err=True,
        )
        path = None
    if path is not None and not path.absolute().parent.is_dir():
        raise Unusable(f"There is no folder {path.absolute().parent} for the picture.")
    results = run_demo(random_state=seed, figure=path, verbose=not as_json)
    if as_json:
        say(json.dumps(results))
        return
    say(f"\n{as_table(results)}")
    say(f"\n{results['seconds']:.0f} s in all, making the attacks included.")
    if path is not None:
        say(f"Picture: {path.absolute()}")


def _separator(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    return "\t" if value in ("tab", "\\t") else value


@cli.command("scan", short_help="Find isolated rows in a data file.", epilog=EXAMPLES)
@click.argument("data", type=INPUT)
@click.option("--label", required=True, help="Column (in .npz: array) of the classes.")
@click.option(
    "--features",
    multiple=True,
    metavar="A,B,...",
    help="Columns or arrays to use (default: all but the label; needed where an .npz "
    "holds several others). A name with a comma is given alone; the option may be "
    "repeated.",
)
@click.option(
    "--exclude",
    multiple=True,
    metavar="A,B,...",
    help="Columns or arrays to leave out, such as ids.",
)
@click.option("--separator", callback=_separator, help="Of CSV fields, or 'tab'.")
@click.option(
    "--decimal",
    type=click.Choice([".", ","]),
    default=".",
    show_default=True,
    help="What stands before the decimals in CSV files.",
)
@click.option(
    "--probabilities",
    type=INPUT,
    metavar="FILE",
    help="Of a model trained elsewhere, one row for each of the data's, one column a "
    "class, named by class or in sorted order: .csv, .parquet, .npz, .npy. Of several "
    "arrays in .npz the one called 'probabilities'.",
)
@click.option(
    "--gradients",
    type=INPUT,
    metavar="FILE",
    help="Per-example gradients computed elsewhere, one row for each of the data's. Of "
    "several arrays in .npz the one called 'gradients'.",
)
@click.option(
    "--model",
    type=click.Choice(MODELS),
    help="Classifier to fit and take gradients from (default: logistic). Numbers are "
    "scaled; a text column becomes indicators of its 32 most frequent values.",
)
@click.option(
    "--gradient-of",
    type=click.Choice(GRADIENTS),
    help="Which of its gradients (default: those that the rule reads, logit if any "
    "will do). With two or three classes last_layer sees more.",
)
@click.option(
    "--rule",
    "rule_name",
    metavar="NAME",
    help=f"What counts as isolated (default: IsolatedMedoids, the paper's), one of "
    f"{', '.join(RULES)}.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="A parameter of the rule, as in Python: --set subset_size=0.1 --set "
    "threshold=2. A wrong name lists those that there are.",
)
@click.option(
    "--rounds",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="How often to fit on what is left and drop again.",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Random seed.")
@click.option("--jobs", type=int, help="Classes worked on side by side; -1: all cores.")
@click.option(
    "--out",
    type=OUTPUT,
    metavar="FILE",
    help="Write the kept rows, as they are and in the format of DATA. Of an .npz only "
    "the label, the features, --images and what --cut names are cut.",
)
@click.option(
    "--cut",
    multiple=True,
    metavar="A,B,...",
    help="Further arrays with one row an example, for --out.",
)
@click.option(
    "--mask",
    type=OUTPUT,
    metavar="FILE",
    help="Write row (from 0), kept, isolation_score, the rule's details and label of "
    "every row: .csv, .npz or .parquet.",
)
@click.option("--report", type=OUTPUT, metavar="FILE", help="Write the audit page.")
@click.option("--images", metavar="ARRAY", help="Array of pictures for --report.")
@click.option(
    "--decisions",
    type=INPUT,
    metavar="FILE",
    help="Keep and drop what was decided on the audit page of the same scan; the file "
    "that it gives.",
)
@click.option("--force", is_flag=True, help="Replace outputs that exist.")
@click.option(
    "--fail-on-isolated", is_flag=True, help="Exit with status 1 if a row is isolated."
)
@click.option("--json", "json_only", is_flag=True, help="Print one line of JSON only.")
def scan_command(fail_on_isolated: bool, json_only: bool, **given: Any) -> int:
    """Find rows of DATA (.csv, .tsv, .parquet, .npz) that are isolated in their class.

    A classifier is fitted, and in each class medoids of the rows' gradients are
    chosen; rows that no other belongs to are isolated (EPIC), unless another rule is
    asked for.
    """
    from ._options import ScanOptions
    from ._outputs import as_json, as_table
    from ._scan import scan

    findings = scan(ScanOptions(**given))
    if json_only:
        say(as_json(findings))
    else:
        for note in findings.problem.notes:
            click.echo(f"Note: {note}", err=True)
        say(as_table(findings))
    return int(fail_on_isolated and findings.n_isolated > 0)
