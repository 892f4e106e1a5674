"""The options of ``epic-sklearn scan``, and which of them go together."""

from __future__ import annotations

import ast
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .. import rules
from ..gradients import (
    LastLayerGradients,
    LastLayerInputGradients,
    LogitGradients,
    as_extractor,
)
from ..rules.base import Rule, refuse_what_lacks
from ._errors import Unusable, unknown
from ._parquet import import_pyarrow

MASK_SUFFIXES = (".csv", ".npz", ".parquet")
EXTRACTORS = {
    "logit": LogitGradients,
    "last_layer_input": LastLayerInputGradients,
    "last_layer": LastLayerGradients,
}
HAVE_LAST_LAYER = ("logistic", "mlp")


@dataclass(frozen=True)
class ScanOptions:
    """The options of the command, by the names it gives them."""

    data: Path
    label: str
    separator: str | None
    decimal: str
    features: tuple[str, ...]
    exclude: tuple[str, ...]
    probabilities: Path | None
    gradients: Path | None
    model: str | None
    gradient_of: str | None
    rule_name: str | None
    settings: tuple[str, ...]
    rounds: int
    seed: int
    jobs: int | None
    out: Path | None
    cut: tuple[str, ...]
    mask: Path | None
    report: Path | None
    images: str | None
    decisions: Path | None
    force: bool

    @property
    def outputs(self) -> dict[str, Path]:
        """Option and file, of those that are written."""
        given = {"--out": self.out, "--mask": self.mask, "--report": self.report}
        return {option: path for option, path in given.items() if path is not None}

    @property
    def inputs(self) -> list[Path]:
        """Files that are read."""
        given = (self.data, self.probabilities, self.gradients, self.decisions)
        return [path for path in given if path is not None]

    @property
    def is_from_elsewhere(self) -> bool:
        """Whether no model is fitted here."""
        return self.probabilities is not None or self.gradients is not None

    @property
    def model_name(self) -> str:
        """The model that is fitted."""
        return self.model or "logistic"

    @cached_property
    def rule(self) -> Rule:
        """What judges the rows."""
        return make_rule(self.rule_name, self.settings)

    def extractor(self, model: Any) -> Any:
        """Wrap a model, as asked for or as the rule needs it."""
        if self.gradient_of is None:
            return as_extractor(model, self.rule.needs)
        return EXTRACTORS[self.gradient_of](model)

    def gradient_name(self, extractor: Any) -> str:
        """Name an extractor as --gradient-of does."""
        return next(k for k, kind in EXTRACTORS.items() if type(extractor) is kind)


def rule_classes() -> dict[str, type[Rule]]:
    """All rules by their names.

    Examples
    --------
    >>> from epic_sklearn.cli._options import rule_classes
    >>> "IsolatedMedoids" in rule_classes()
    True
    """
    public = {name: getattr(rules, name) for name in rules.__all__}
    return {
        name: each
        for name, each in public.items()
        if isinstance(each, type) and issubclass(each, Rule) and each is not Rule
    }


def make_rule(name: str | None, settings: Sequence[str]) -> Rule:
    """Make a rule of its name and of NAME=VALUE.

    Examples
    --------
    >>> from epic_sklearn.cli._options import make_rule
    >>> make_rule("IsolatedMedoids", ["threshold=2", "metric=cosine"])
    IsolatedMedoids(metric='cosine', threshold=2)
    """
    known = rule_classes()
    if name is not None and name not in known:
        raise unknown("rule", name, known)
    rule = rules.resolve_rule(None if name is None else known[name]())
    parameters = rule.get_params()
    shown = ", ".join(f"{k}={v}" for k, v in parameters.items()) or "none"
    takes = f" {type(rule).__name__} takes, with these defaults: {shown}."
    for setting in settings:
        key, is_assigned, text = setting.partition("=")
        if not is_assigned:
            raise Unusable(f"--set {setting}: give NAME=VALUE.{takes}")
        if key not in parameters:
            raise unknown(f"{type(rule).__name__} parameter", key, parameters)
        rule.set_params(**{key: _value(text)})
    try:
        return rules.resolve_rule(rule)
    except (ValueError, TypeError) as error:
        raise Unusable(f"{error}{takes}") from error


def _value(text: str) -> Any:
    """Read a number, true, false or none; all else is text."""
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return value if isinstance(value, int | float) else text


def check_options(options: ScanOptions) -> None:
    """Refuse options that cannot be used, before anything is read."""
    if options.is_from_elsewhere:
        _check_no_model(options)
    _check_gradients(options)
    if options.separator is not None and len(options.separator) != 1:
        raise Unusable(
            f"--separator is {options.separator!r}; give one character, or 'tab'."
        )
    _check_formats(options)
    check_outputs(options)


def _check_gradients(options: ScanOptions) -> None:
    """Refuse gradients that the model does not have or the rule cannot use."""
    rule = options.rule
    gives: Sequence[str] | None = None  # a file tells when it is read
    way_out = "Give a model: --model logistic or mlp."
    if options.probabilities is not None:
        gives = ("errors",)
    elif options.gradients is None and options.gradient_of is not None:
        gives = EXTRACTORS[options.gradient_of].gives
        way_out = "Leave --gradient-of out, or give --gradient-of last_layer."
    elif options.gradients is not None and len(rule.needs) > 1:
        gives = rule.needs[:1]  # an array is one or the other
    try:
        refuse_what_lacks(rule, gives, way_out)
    except ValueError as error:
        raise Unusable(str(error)) from error
    is_logit = set(rule.needs) <= {"errors"}
    if options.gradient_of is not None:
        is_logit = options.gradient_of == "logit"
    if not is_logit and options.model_name not in HAVE_LAST_LAYER:
        raise Unusable(
            f"A model {options.model_name!r} has no last linear layer to take "
            f"gradients from, which --gradient-of or --rule asks for; choose --model "
            f"{' or '.join(HAVE_LAST_LAYER)}."
        )


def _check_no_model(options: ScanOptions) -> None:
    """Refuse what a model would be needed for."""
    if options.probabilities is not None and options.gradients is not None:
        raise Unusable("Give either --probabilities or --gradients.")
    source = "--gradients" if options.probabilities is None else "--probabilities"
    for name in ("features", "exclude", "model", "gradient_of"):
        if getattr(options, name) not in (None, ()):
            raise Unusable(
                f"--{name.replace('_', '-')} is for a model fitted here; with "
                f"{source} none is."
            )
    if options.rounds > 1:
        raise Unusable(
            f"--rounds above 1 fits a model again on what is left; with {source} "
            "there is none to fit."
        )


def _check_formats(options: ScanOptions) -> None:
    """Refuse outputs of a format that is not written."""
    suffix = options.data.suffix.lower()
    if options.out is not None and options.out.suffix.lower() != suffix:
        raise Unusable(
            f"--out {options.out}: kept rows are written in the format they were read "
            f"in; give a name that ends in {suffix!r}."
        )
    mask = options.mask
    if mask is not None and mask.suffix.lower() not in MASK_SUFFIXES:
        raise Unusable(
            f"--mask {mask}: give a name that ends in {', '.join(MASK_SUFFIXES)}."
        )
    if mask is not None and mask.suffix.lower() == ".parquet":
        import_pyarrow()
    if options.report is None:
        if options.images is not None:
            raise Unusable("--images is for --report.")
        return
    if options.report.suffix.lower() not in (".html", ".htm"):
        raise Unusable(f"--report {options.report}: give a name that ends in '.html'.")
    if find_spec("jinja2") is None:
        raise Unusable("--report needs jinja2: pip install 'epic-sklearn[report]'.")


def check_outputs(options: ScanOptions) -> None:
    """Refuse outputs that cannot be written, before any work."""
    taken = {path.resolve(): f"the input {path}" for path in options.inputs}
    for option, path in options.outputs.items():
        real = path.resolve()
        folder = real.parent
        if not folder.is_dir():
            raise Unusable(f"{option}: there is no folder {folder}.")
        if real in taken or any(_is_same(real, other) for other in taken):
            raise Unusable(
                f"{option}: {path} is {taken.get(real, 'an input')} as well."
            )
        if real.exists() and not real.is_file():
            raise Unusable(f"{option}: {path} is not a regular file.")
        if real.exists() and not options.force:
            raise Unusable(f"{option}: {path} exists; give --force to replace it.")
        if not os.access(folder, os.W_OK):
            raise Unusable(f"{option}: no permission to write in {folder}.")
        taken[real] = f"the file of {option}"


def _is_same(path: Path, other: Path) -> bool:
    """Whether both are one file under two names."""
    return path.exists() and other.exists() and path.samefile(other)
