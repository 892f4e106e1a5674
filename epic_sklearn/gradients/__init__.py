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
    gradient_lengths,
    gradient_norm_change,
    mean_gradient,
)
from .sources import EXTRACTORS, PrecomputedGradients, as_extractor

__all__ = [
    "EXTRACTORS",
    "GradientExtractor",
    "Gradients",
    "LastLayerGradients",
    "LastLayerInputGradients",
    "LogitGradients",
    "OuterProductGradients",
    "PrecomputedGradients",
    "as_extractor",
    "check_gradients",
    "gradient_lengths",
    "gradient_norm_change",
    "logit_gradients",
    "mean_gradient",
]
