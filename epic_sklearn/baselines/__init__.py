"""Rivals of EPIC behind EPICFilter's interface, to compare with.

Filters that drop examples of a training set by features, by probabilities or at
random. In a scikit-learn pipeline they take EPICFilter's place; in a training loop
of one's own ``flag(values, y)`` judges plain arrays.
"""

from ._clustering import ActivationClustering
from ._controls import HighLoss, LowConfidence, RandomDrop
from ._neighbours import DeepKNN
from ._representations import LastLayerInputs, Probabilities
from ._spectral import SpectralSignatures

__all__ = [
    "ActivationClustering",
    "DeepKNN",
    "HighLoss",
    "LastLayerInputs",
    "LowConfidence",
    "Probabilities",
    "RandomDrop",
    "SpectralSignatures",
]
