"""All defences under one roof: train a victim on a poisoned set, somehow defended.

A defence is named by words and options. A rule's name alone, such as
``EPIC threshold=5``, lets it drop in rounds while the victim trains; with ``filter``
before it, such as ``filter DeepKNN k=3``, it judges the undefended net once, and the
victim trains anew on what it keeps, as most rivals were published. Options go to the
rule, and what the rule has not to the estimator that it works in.
"""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks.dp_sgd import private_module, private_sgd
from benchmarks.perturbations import (
    AdversarialPoisoning,
    BernoulliNoise,
    friendly_noise,
    jpeg,
)
from benchmarks.run import EPIC, NONE, ORACLE, Defended, Run, clock, everything
from epic_sklearn import EPICClassifier, EPICFilter
from epic_sklearn.rules import (
    ActivationClustering,
    DeepKNN,
    HighLoss,
    IsolatedMedoids,
    LowConfidence,
    NeighborVotes,
    RandomDrop,
    Rule,
    SpectralSignatures,
)

# --------------------------------------------------------------------------- rules

RULES: dict[str, type[Rule]] = {
    EPIC: IsolatedMedoids,
    "NeighborVotes": NeighborVotes,
    "RandomDrop": RandomDrop,
    "HighLoss": HighLoss,
    "LowConfidence": LowConfidence,
    "SpectralSignatures": SpectralSignatures,
    "ActivationClustering": ActivationClustering,
    "DeepKNN": DeepKNN,
}
# Options beside the rule's own.
OF_ROUNDS = ("gradients", "warmup", "every", "stop", "min_class_fraction")
OF_FILTER = ("min_class_fraction",)


def split_options(
    kind: type[Rule], options: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tell a rule's own options from the others."""
    names, others = kind().get_params(), dict(options)
    own = {name: others.pop(name) for name in options if name in names}
    return own, others


def make_rule(kind: type[Rule], run: Run, **own: Any) -> Rule:
    """Make a rule, with what the scenario and EPIC's record say where nothing else is.

    Rules that drop a fixed share drop of each class the share that EPIC dropped of
    all examples of this trial, rounded down, so somewhat fewer where classes are
    small, and more where rounds disagree. What EPIC gains over them comes from which
    examples it drops, not how many.
    """
    parameters = kind().get_params()
    if "subset_size" in parameters:
        own.setdefault("subset_size", run.problem.scenario.subset_size)
    if "drop_fraction" in parameters and "drop_fraction" not in own:
        own["drop_fraction"] = run.record(EPIC)["dropped"]
    return kind(**own)


def in_rounds(kind: type[Rule], run: Run, **options: Any) -> Defended:
    """Let a rule drop while the victim trains."""
    own, others = split_options(kind, options)
    rule, scenario = make_rule(kind, run, **own), run.problem.scenario
    # How much EPIC drops may decide when it begins.
    rounds = scenario.rounds(getattr(rule, "subset_size", scenario.subset_size))
    classifier = run.fit(
        "defended",
        run.trial.inputs,
        run.trial.labels,
        EPICClassifier,
        rule=rule,
        **{**rounds, **others},
    )
    assert isinstance(classifier, EPICClassifier)
    return Defended(classifier, run.problem.victim, classifier.keep_)


def retrained(run: Run, keep: np.ndarray, earlier_seconds: float = 0.0) -> Defended:
    """Train anew on what a filter keeps."""
    X, y = run.trial.inputs[keep], run.trial.labels[keep]
    classifier = run.fit("defended", X, y)
    return Defended(classifier, run.problem.victim, keep, earlier_seconds)


def filtered(kind: type[Rule], run: Run, **options: Any) -> Defended:
    """Train undefended, let a rule judge the trained net, train anew."""
    own, others = split_options(kind, options)
    rule, trial, seconds = make_rule(kind, run, **own), run.trial, 0.0
    extractor: Any = nothing
    if kind is not RandomDrop:  # which needs no net
        start = clock()
        extractor = run.undefended().module_
        seconds = run.record(NONE)["seconds"] - (clock() - start)
    filter_ = EPICFilter(extractor, rule=rule, random_state=run.seed, **others)
    keep = filter_.fit(trial.inputs, trial.labels).keep_
    return retrained(run, keep, seconds)


def nothing(X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Give gradients to a rule that does not look at them."""
    return np.zeros((len(y), 1))


def no_defence(run: Run) -> Defended:
    return Defended(run.undefended(), run.problem.victim, everything(run.trial))


def oracle(run: Run) -> Defended:
    """Drop the poisons and nothing else: what is left of the attack is chance."""
    keep = everything(run.trial)
    keep[run.trial.poison_index] = False
    return retrained(run, keep)


# ------------------------------------------------------------------------ training


def jpeg_compression(run: Run, quality: int = 50) -> Defended:
    trial, victim = run.trial, run.problem.victim
    inputs = victim.inputs(jpeg(run.images(), quality))
    classifier = run.fit("defended", inputs, trial.labels)
    return Defended(classifier, victim, everything(trial))


def friends(run: Run, begin: int | None = None, size: float = 8 / 255) -> Defended:
    """Friendly noise from an eighth of the training on, and Bernoulli noise."""
    images, labels = run.images(), run.trial.labels
    victim = run.problem.victim.on_images()
    end = victim.training.max_epochs
    begin = max(1, end // 8) if begin is None else begin
    first = run.fit("first", images, labels, victim=victim, epochs=(0, begin))
    noisy = images + friendly_noise(first.module_, images, seed=run.seed)
    augment = BernoulliNoise(size, first.augment)
    classifier = run.fit(
        "defended",
        noisy,
        labels,
        victim=victim,
        epochs=(begin, end),
        module=first.module_,
        augment=augment,
    )
    return Defended(classifier, victim, everything(run.trial))


def adversarial_poisoning(run: Run, share: float = 0.5, n_steps: int = 5) -> Defended:
    """Train against poisons as visible as the attack's: it knows their eps."""
    images, labels = run.images(), run.trial.labels
    victim = run.problem.victim.on_images()
    eps = run.problem.scenario.attack().eps
    callbacks = [AdversarialPoisoning(share, eps, n_steps)]
    classifier = run.fit("defended", images, labels, victim=victim, callbacks=callbacks)
    return Defended(classifier, victim, everything(run.trial))


def dp_sgd(run: Run, noise: float = 0.1, max_norm: float = 1.0) -> Defended:
    trial, victim = run.trial, run.problem.victim
    classifier = run.fit(
        "defended",
        trial.inputs,
        trial.labels,
        module=private_module(victim.module),
        optimizer=private_sgd(noise, max_norm, batch_size=128),
    )
    return Defended(classifier, victim, everything(trial))


# --------------------------------------------------------------------------- names

FILTERS = {f"filter {name}": kind for name, kind in RULES.items()}
DEFENCES: dict[str, Callable[..., Defended]] = {
    NONE: no_defence,
    ORACLE: oracle,
    **{name: functools.partial(in_rounds, kind) for name, kind in RULES.items()},
    **{name: functools.partial(filtered, kind) for name, kind in FILTERS.items()},
    "JPEG": jpeg_compression,
    "DP-SGD": dp_sgd,
    "FriendlyNoise": friends,
    "AdversarialPoisoning": adversarial_poisoning,
}
# What the table shows if nothing else is asked for, in order of what needs what.
TABLE = [
    NONE,
    ORACLE,
    EPIC,
    "EPIC subset_size=0.1",
    "EPIC subset_size=0.3",
    "EPIC threshold=5",
    "EPIC gradients=last_layer",
    *(name for name in DEFENCES if name not in (NONE, ORACLE, EPIC)),
]


def name_of(text: str) -> str:
    """Leave out a defence's options: ``filter DeepKNN`` of ``filter DeepKNN k=3``."""
    return " ".join(word for word in text.split() if "=" not in word)


def parse_defence(text: str) -> tuple[Callable[..., Defended], dict[str, Any]]:
    """Split ``EPIC threshold=5`` into what defends and its options.

    Raises
    ------
    ValueError
        If there is no such defence or option, or its value is refused.
    """
    name = name_of(text)
    if name not in DEFENCES:
        raise ValueError(
            f"There is no defence {name!r}; choose of {', '.join(DEFENCES)}, with "
            "options as in 'EPIC threshold=5'."
        )
    pairs = (word.split("=", 1) for word in text.split() if "=" in word)
    options = {key: _value(value) for key, value in pairs}
    defend = DEFENCES[name]
    known = _options_of(defend)
    if unknown := set(options) - known:
        raise ValueError(
            f"{name} has no option {', '.join(sorted(unknown))}; it has "
            f"{', '.join(sorted(known)) or 'none'}."
        )
    if isinstance(defend, functools.partial):
        try:
            _check(*defend.args, options)
        except ValueError as error:
            raise ValueError(f"{text}: {error}") from None
    return defend, options


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):  # a word
        return text


def _options_of(defend: Callable[..., Defended]) -> set[str]:
    """Names of a defence's options."""
    if isinstance(defend, functools.partial):  # of a rule
        (kind,) = defend.args
        others = OF_ROUNDS if defend.func is in_rounds else OF_FILTER
        return {*kind().get_params(), *others}
    return set(inspect.signature(defend).parameters) - {"run"}


def _check(kind: type[Rule], options: dict[str, Any]) -> None:
    """Let the estimator refuse options before any work."""
    own, others = split_options(kind, options)
    # Each scenario has its own epochs.
    EPICClassifier(rule=kind(**own), max_epochs=10**6, **others)._check_parameters()
