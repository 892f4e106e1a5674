"""Results as JSON lines, one finished trial a line, and what sums them up."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Record = dict[str, Any]
KEY = ("scenario", "scale", "seed", "trial", "defence")


def key_of(record: Record) -> tuple[Any, ...]:
    """Return what tells one result from all others."""
    return tuple(record[name] for name in KEY)


def digest_of(path: Path | None) -> str | None:
    """Tell a file of ready trials from others, whatever it is called."""
    if path is None:
        return None
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def read_records(path: Path) -> list[Record]:
    """All finished trials; a last line that a kill cut off is left out."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
    try:
        return [json.loads(line) for line in lines]
    except json.JSONDecodeError:
        raise SystemExit(f"{path} holds no results: not a JSON object a line") from None


def append_record(path: Path, record: Record) -> None:
    """Add a line, on disk when this returns; a line cut off before is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        file.seek(0)
        whole = file.read()
        file.truncate(whole.rfind(b"\n") + 1)
        file.write(json.dumps(record).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def wilson_interval(successes: float, n: int) -> tuple[float, float]:
    """95% confidence interval of a proportion (Wilson's score interval).

    Parameters
    ----------
    successes : float
        Successful trials; for a backdoor the sum of the trials' rates, so that a
        trial counts once, however many images it was tested on.
    n : int
        Trials.
    """
    z = 1.959964
    centre = (successes + z**2 / 2) / (n + z**2)
    half = z / (n + z**2) * math.sqrt(successes * (n - successes) / n + z**2 / 4)
    return max(0.0, centre - half), min(1.0, centre + half)


def group_by(
    records: Iterable[Record], *names: str
) -> dict[tuple[Any, ...], list[Record]]:
    """Sort records into groups of equal values, in order of first appearance."""
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(tuple(record[name] for name in names), []).append(record)
    return groups
