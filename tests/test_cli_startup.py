"""Help, version and wrong arguments answer at once: nothing heavy is imported."""

import subprocess
import sys

import pytest

import epic_sklearn
from epic_sklearn._rules import RULES
from epic_sklearn.cli import _choices, _model

CODE = """
import sys
from epic_sklearn.cli import main
status = main(sys.argv[1:])
heavy = {"torch", "sklearn", "scipy", "numba", "numpy"} & set(sys.modules)
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


def test_choices_of_the_options_are_those_of_the_code():
    assert _choices.RULES == RULES
    assert tuple(_model.EXTRACTORS) == _choices.GRADIENTS
    assert set(_model.HAVE_LAST_LAYER) < set(_choices.MODELS)
    made = [_model.make_model(name, 0, [False])[-1] for name in _choices.MODELS]
    assert len({type(model) for model in made}) == len(_choices.MODELS)
