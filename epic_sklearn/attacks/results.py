"""What an attack did with and without defences: a table and a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..frames import as_frame
from ..metrics import wilson_interval
from .poisons import Poisons

MEANS = ("clean_accuracy", "poisons_left", "clean_lost")


@dataclass(frozen=True, eq=False)
class AttackReport:
    """What an attack on several targets did, with and without defences.

    Made by :func:`attack_report`. Printed, it is a table.

    Parameters
    ----------
    outcomes : dict of str to list of dict
        By name, one dict a target: the label ``"predicted"`` for it, whether that is
        ``"attack_success"``, ``"clean_accuracy"`` on the test set, the shares of
        ``"poisons_left"`` and ``"clean_lost"``, and ``"seconds"`` of training.
    keep : dict of str to ndarray of shape (n_targets, n), bool
        By name, the training rows that were kept.
    poisons : list of Poisons
        One attack a target.

    Examples
    --------
    See :func:`attack_report`.
    """

    outcomes: dict[str, list[dict[str, Any]]]
    keep: dict[str, np.ndarray]
    poisons: list[Poisons]

    @property
    def records(self) -> list[dict[str, Any]]:
        """One dict a row of the table.

        ``"name"``, the number of targets as ``"n_trials"`` and of attacks that
        succeeded as ``"n_success"``, ``"attack_success"``, their ratio, with the ends
        ``"low"`` and ``"high"`` of Wilson's 95% interval, the means of the outcomes
        and the sum of their ``"seconds"``.
        """
        return [self._record(name) for name in self.outcomes]

    def _record(self, name: str) -> dict[str, Any]:
        rows = self.outcomes[name]
        n_success = sum(row["attack_success"] for row in rows)
        low, high = wilson_interval(n_success, len(rows))
        return {
            "name": name,
            "n_trials": len(rows),
            "n_success": n_success,
            "attack_success": n_success / len(rows),
            "low": low,
            "high": high,
            **{key: float(np.mean([row[key] for row in rows])) for key in MEANS},
            "seconds": sum(row["seconds"] for row in rows),
        }

    def to_frame(self) -> Any:
        """Give the table as a pandas DataFrame, with the names as its index."""
        return as_frame(self.records).set_index("name")

    def plot(
        self,
        *,
        x: str = "clean_accuracy",
        y: str = "attack_success",
        ax: Any = None,
    ) -> Any:
        """Draw what each arm stops against what it costs.

        Parameters
        ----------
        x, y, ax : see :meth:`TradeoffDisplay.from_predictions`

        Returns
        -------
        TradeoffDisplay
        """
        from ..plotting import TradeoffDisplay

        n_poisons = sum(len(each.indices) for each in self.poisons)
        n_trials = n_poisons if y == "poisons_left" else len(self.poisons)
        records = [
            {"name": row["name"], x: row[x], y: row[y], "n_trials": n_trials}
            for row in self.records
        ]
        return TradeoffDisplay.from_predictions(records, x=x, y=y, ax=ax)

    def __str__(self) -> str:
        """Lay the table out for reading."""
        rows = [("", "success", "95%", "accuracy", "poisons left", "clean lost")]
        for r in self.records:
            success = f"{r['n_success']} of {r['n_trials']}"
            interval = f"{r['low']:.0%}-{r['high']:.0%}"
            shares = (f"{r[key]:.1%}" for key in MEANS)
            rows.append((r["name"], success, interval, *shares))
        width = max(len(row[0]) for row in rows)
        return "\n".join(
            f"{name:<{width}}{a:>10}{b:>10}{c:>10}{d:>14}{e:>12}"
            for name, a, b, c, d, e in rows
        )
