"""What pyproject.toml promises, and what `make test-oldest` installs, are one."""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
# torch is the tested one: older ones have no wheels to try with.
NOT_OLDEST = {"torch"}


def test_the_oldest_versions_tested_are_the_lowest_allowed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    allowed = [*project["dependencies"], *extras["test"]]
    for extra in ("plot", "imblearn", "dask", "cli", "parquet", "report"):
        allowed += extras[extra]
    lowest = {}
    for requirement in map(Requirement, allowed):
        if requirement.name not in {"epic-sklearn", *NOT_OLDEST}:
            (bound,) = requirement.specifier
            lowest[requirement.name] = bound.version
    pinned = {}
    for line in (ROOT / "constraints-oldest.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, version = line.split("==")
            pinned[name] = version

    def plain(version):
        return version.split(".") + ["0"] * (3 - len(version.split(".")))

    for name, version in lowest.items():
        assert plain(pinned[name]) == plain(version), name
