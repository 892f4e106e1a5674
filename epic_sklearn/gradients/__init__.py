"""What an example's gradient is, and how models give it."""

from .extractors import (
    GradientExtractor,
    LastLayerGradients,
    LastLayerInputGradients,
    LogitGradients,
    logit_gradients,
)
from .features import (
    Gradients,
    OuterProductGradients,
    check_gradients,
    gradient_norm_change,
)
from .last_layer import has_last_layer
from .sources import EXTRACTORS, PrecomputedGradients, as_extractor
from .tables import TableModel, default_classifier, table_encoder

__all__ = [
    "EXTRACTORS",
    "GradientExtractor",
    "Gradients",
    "LastLayerGradients",
    "LastLayerInputGradients",
    "LogitGradients",
    "OuterProductGradients",
    "PrecomputedGradients",
    "TableModel",
    "as_extractor",
    "check_gradients",
    "default_classifier",
    "gradient_norm_change",
    "has_last_layer",
    "logit_gradients",
    "table_encoder",
]
