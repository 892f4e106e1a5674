"""Rules: which examples to drop, from gradients."""

from __future__ import annotations

from typing import Any

from sklearn.base import clone

from ..gradients import EXTRACTORS
from ..medoids import METRICS
from .activation_clustering import ActivationClustering
from .base import Judgement, Memory, Rule
from .deep_knn import DeepKNN
from .isolated_medoids import IsolatedMedoids, flag_isolated, isolation_score
from .neighbor_votes import NeighborVotes
from .share import HighLoss, LowConfidence, RandomDrop, SpectralSignatures

__all__ = [
    "ActivationClustering",
    "DeepKNN",
    "HighLoss",
    "IsolatedMedoids",
    "Judgement",
    "LowConfidence",
    "Memory",
    "NeighborVotes",
    "RandomDrop",
    "Rule",
    "SpectralSignatures",
    "flag_isolated",
    "isolation_score",
]

# What rules may say that they need of the gradients.
NEEDS = {"errors", "inputs"}


def resolve_rule(given: Any) -> Rule:
    """Return a rule to work with: a checked clone, or, of None, the default one."""
    if given is None:
        return NeighborVotes()
    if not isinstance(given, Rule):
        raise TypeError(
            f"rule is {given!r}; give an instance of a rule, such as "
            "IsolatedMedoids(threshold=2) from epic_sklearn.rules, or None."
        )
    if not isinstance(given.needs, tuple) or not set(given.needs) <= NEEDS:
        raise TypeError(
            f"{type(given).__name__}.needs is {given.needs!r}; it must be a tuple of "
            f"some of {sorted(NEEDS)}, such as ('errors',), or ()."
        )
    rule = clone(given)
    if hasattr(rule, "_parameter_constraints"):
        rule._validate_params()
    for name, fits, wanted in (
        ("prefers", rule.prefers in (None, *EXTRACTORS), f"None or of {[*EXTRACTORS]}"),
        ("metric", rule.metric in METRICS, f"one of {METRICS}"),
        ("watches", 0 <= rule.watches <= 1, "a share, from 0 to 1"),
    ):
        if not fits:
            raise ValueError(
                f"{type(rule).__name__}.{name} is {getattr(rule, name)!r}; it must be "
                f"{wanted}."
            )
    return rule
