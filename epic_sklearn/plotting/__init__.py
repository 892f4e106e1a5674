"""Pictures of what is isolated, what is dropped, and at what price."""

from ._cluster_size import ClusterSizeDisplay
from ._drop_history import DropHistoryDisplay
from ._gradient_space import GradientSpaceDisplay
from ._tradeoff import TradeoffDisplay

__all__ = [
    "ClusterSizeDisplay",
    "DropHistoryDisplay",
    "GradientSpaceDisplay",
    "TradeoffDisplay",
]
