"""The options of ``epic-sklearn scan``, and which of them go together."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ._errors import Unusable
from ._model import check_model
from ._outputs import check_outputs
from ._parquet import import_pyarrow

MASK_SUFFIXES = (".csv", ".npz", ".parquet")


@dataclass(frozen=True)
class ScanOptions:
    """The options of the command, by the names it gives them."""

    data: Path
    label: str
    separator: str | None
    features: tuple[str, ...]
    exclude: tuple[str, ...]
    probabilities: Path | None
    gradients: Path | None
    model: str | None
    gradient_of: str | None
    subset_size: float
    threshold: int
    rule: str
    cutoff: float
    rounds: int
    seed: int
    jobs: int | None
    out: Path | None
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


def check_options(options: ScanOptions) -> None:
    """Refuse options that cannot be used, before anything is read.

    Raises
    ------
    Unusable
        If two contradict each other, a package is missing, or an output cannot
        be written.
    """
    if options.probabilities is not None or options.gradients is not None:
        _check_no_model(options)
    check_model(options.model or "logistic", options.gradient_of or "logit")
    if options.rule == "neighbors" and options.gradient_of != "last-layer":
        raise Unusable(
            "--rule neighbors compares what goes into a last linear layer; give "
            "--gradient-of last-layer with --model logistic or mlp."
        )
    if options.rule == "neighbors" and (options.subset_size, options.threshold) != (
        0.2,
        1,
    ):
        raise Unusable("--subset-size and --threshold are for --rule medoids.")
    if options.rule == "medoids" and options.cutoff != 2.0:
        raise Unusable("--cutoff is for --rule neighbors.")
    if options.separator is not None and len(options.separator) != 1:
        raise Unusable(
            f"--separator is {options.separator!r}; give one character, or 'tab'."
        )
    _check_formats(options)
    check_outputs(options.outputs, options.inputs, options.force)


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
    if options.mask is not None:
        _check_mask(options.mask)
    if options.report is not None:
        _check_report(options.report)
    elif options.images is not None:
        raise Unusable("--images is for --report.")


def _check_mask(path: Path) -> None:
    if path.suffix.lower() not in MASK_SUFFIXES:
        raise Unusable(
            f"--mask {path}: give a name that ends in {', '.join(MASK_SUFFIXES)}."
        )
    if path.suffix.lower() == ".parquet":
        import_pyarrow()


def _check_report(path: Path) -> None:
    if path.suffix.lower() not in (".html", ".htm"):
        raise Unusable(f"--report {path}: give a name that ends in '.html'.")
    if find_spec("jinja2") is None:
        raise Unusable("--report needs jinja2: pip install 'epic-sklearn[report]'.")
