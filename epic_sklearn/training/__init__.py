"""Training that drops: classifiers, a skorch callback, a torch sampler."""

from .callback import EPICCallback
from .epic_classifier import EPICClassifier
from .remember import RememberStates
from .sampler import EPICSubsetSampler
from .torch_classifier import TorchClassifier

__all__ = [
    "EPICCallback",
    "EPICClassifier",
    "EPICSubsetSampler",
    "RememberStates",
    "TorchClassifier",
]
