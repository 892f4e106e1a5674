"""Pictures of what is isolated, what is dropped, and at what price."""

from .cluster_size import ClusterSizeDisplay
from .drop_history import DropHistoryDisplay
from .gradient_space import GradientSpaceDisplay
from .trace import TraceDisplay
from .tradeoff import TradeoffDisplay

__all__ = [
    "ClusterSizeDisplay",
    "DropHistoryDisplay",
    "GradientSpaceDisplay",
    "TraceDisplay",
    "TradeoffDisplay",
]
