"""A small problem for the attacks on gradients, and their objective by float64."""

import pickle

import numpy as np
import torch
from torch import nn

from epic_sklearn.attacks import SleeperAgent

CLASSES = ["cat", "cow", "dog"]


def make_model():
    generator = torch.Generator().manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(),
        nn.Flatten(),
        nn.Linear(16, 3),
    )
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return module


def make_data():
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(60, 1, 4, 4)).astype(np.float32)
    return X, np.repeat(CLASSES, 20)


def craft(attack, model, data, **changes):
    """Towards "dog": the first cat, or all cats that bear the trigger."""
    X, y = data
    given = {"X": X, "y": y, "adversarial_label": "dog"}
    if isinstance(attack, SleeperAgent):
        given["source_label"] = "cat"
    else:
        given["target"] = np.asarray(X)[0]
    return attack.craft(model, **{**given, **changes})


def flat_gradient(model, examples, column=2):
    """Gradient of the summed loss, by torch's own backward pass, in float64."""
    model = pickle.loads(pickle.dumps(model)).double().cpu().eval()
    logits = model(torch.as_tensor(examples).double())
    labels = torch.full((len(logits),), column)
    nn.functional.cross_entropy(logits, labels, reduction="sum").backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()]).numpy()


def mismatch(model, examples, targets):
    a, b = flat_gradient(model, examples), flat_gradient(model, targets)
    return 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)
