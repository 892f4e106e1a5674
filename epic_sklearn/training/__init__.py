"""Training that drops: classifiers, a skorch callback, a torch sampler."""

from ._callback import EPICCallback
from ._classifier import TorchClassifier
from ._epic import EPICClassifier
from ._sampler import EPICSubsetSampler

__all__ = ["EPICCallback", "EPICClassifier", "EPICSubsetSampler", "TorchClassifier"]
