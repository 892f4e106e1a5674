"""What the options of a scan may name; help shows it without scikit-learn or torch."""

from __future__ import annotations

MODELS = ("logistic", "mlp", "forest", "boosting")
GRADIENTS = ("logit", "last-layer-input", "last-layer")
# Those of epic_sklearn._rules, which needs scikit-learn.
RULES = ("medoids", "neighbors")
