"""Help, version and wrong arguments answer at once: nothing heavy is imported."""

import subprocess
import sys

import pytest

import epic_sklearn
from epic_sklearn import rules
from epic_sklearn.cli import commands
from epic_sklearn.gradients import EXTRACTORS

CODE = """
import sys
from epic_sklearn.cli import main
status = main(sys.argv[1:])
heavy = {"torch", "sklearn", "scipy", "numba", "numpy", "pandas", "skrub"}
heavy &= set(sys.modules)
assert not heavy, heavy
sys.exit(status)
"""


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["scan", "--help"], 0),
        (["demo", "--help"], 0),
        (["scan", "no_such_file.csv", "--label", "y"], 2),
    ],
)
def test_no_heavy_import_before_there_is_work(arguments, status):
    command = [sys.executable, "-c", CODE, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    assert (
        "Usage" in done.stdout + done.stderr
        or done.stdout == f"{epic_sklearn.__version__}\n"
    )


def test_what_help_names_is_what_there_is():
    assert set(commands.RULES) < set(rules.__all__)
    for name in rules.__all__:
        is_rule = isinstance(getattr(rules, name), type) and name in commands.RULES
        assert is_rule == hasattr(getattr(rules, name), "judge") or name == "Rule"
    (rule,) = (p for p in commands.cli.commands["scan"].params if p.name == "rule_name")
    assert rule.default == type(rules.resolve_rule(None)).__name__
    assert tuple(EXTRACTORS) == commands.GRADIENTS
