"""The command line: ``epic-sklearn``, or ``python -m epic_sklearn``."""

from __future__ import annotations

import csv
import io
import sys
import traceback
from collections.abc import Sequence
from importlib.util import find_spec

NEEDED = ("click", "rich", "pandas", "skrub")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command of `argv`, or of the process; the exit status, as help tells it."""
    missing = " and ".join(name for name in NEEDED if find_spec(name) is None)
    if missing:
        install = "pip install 'epic-sklearn[cli]'"
        print(f"The command line needs {missing}: {install}.", file=sys.stderr)
        return 2
    import click

    from ..reading.errors import Unusable
    from .commands import cli

    csv.field_size_limit(2**31 - 1)  # a text may be long
    if hasattr(sys.stdout, "reconfigure"):
        # A label that the terminal's encoding lacks is shown by its code.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        # What the command returns, or the status of --help and --version.
        return cli.main(args=argv, standalone_mode=False) or 0
    except click.ClickException as error:
        said = io.StringIO()
        error.show(said)
        return refuse(said.getvalue(), error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        print("Interrupted.", file=sys.stderr)
        return 130  # as a shell counts: 128 + SIGINT
    except (Unusable, OSError) as error:
        return refuse(f"Error: {error}\n")
    except Exception:  # a fault of ours; 1 says that a row is isolated
        traceback.print_exc()
        return 2


def refuse(text: str, status: int = 2) -> int:
    """Print an error to stderr; the exit status."""
    from .drawing import without_controls

    print(without_controls(text), end="", file=sys.stderr)
    return status
