"""The command line: ``python -m epic_sklearn``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from . import __version__


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m epic_sklearn",
        description="Find and drop poisoned training examples while a model trains.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser(
        "demo",
        help="attack a net trained on digits, with and without EPIC (under 90 s)",
        description=(
            "Train a small net on scikit-learn's digits, freeze it, craft poisons for "
            "several targets, and train its last layer on the poisoned data with and "
            "without EPIC."
        ),
    )
    demo.add_argument(
        "--json", action="store_true", help="print one line of JSON and nothing else"
    )
    demo.add_argument(
        "--figure",
        type=Path,
        help="where to save the picture (default: epic_demo.png; with --json: none)",
    )
    demo.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    return parser


def _demo(arguments: argparse.Namespace) -> int:
    from .demo import as_table, run_demo

    path = arguments.figure
    if path is None and not arguments.json:
        path = Path("epic_demo.png")
    if path is not None and find_spec("matplotlib") is None:
        print(
            "No picture: matplotlib is missing (pip install 'epic-sklearn[plot]').",
            file=sys.stderr,
        )
        path = None
    if path is not None and not path.absolute().parent.is_dir():
        folder = path.absolute().parent
        print(f"There is no folder {folder} for the picture.", file=sys.stderr)
        return 2
    results = run_demo(
        random_state=arguments.seed, figure=path, verbose=not arguments.json
    )
    if arguments.json:
        print(json.dumps(results))
        return 0
    print()
    print(as_table(results))
    print(f"\n{results['seconds']:.0f} s in all, making the attacks included.")
    if path is not None:
        print(f"Picture: {path.absolute()}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; default: those of the process.

    Returns
    -------
    int
        Exit status: 0, or 2 where an argument cannot be used.

    Examples
    --------
    >>> from epic_sklearn.cli import main
    >>> main(["demo", "--json"])  # doctest: +SKIP
    """
    return _demo(_parser().parse_args(argv))
