"""Check, render and write the audit page."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Sequence
from importlib.metadata import version
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import column_or_1d

from ..base import is_dataframe, to_numpy
from ..gradients import check_gradients
from ..validation import refuse_other_order
from ._data import as_label, is_flagged, page_data
from ._decisions import fit_id
from ._differences import resolve_names
from ._model import model_warnings
from ._thumbnails import check_images

SCRIPTS = ("page.js", "decisions.js", "scatter.js", "table.js", "detail.js", "main.js")
# Parameters that do not decide what is flagged.
NOT_SHOWN = ("on_isolated", "n_jobs", "verbose")


def _check_path(path: str | PathLike[str], overwrite: bool) -> Path:
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the name of a file.")
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"{path} exists; give another name, or overwrite=True to replace it."
        )
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"There is no folder {path.absolute().parent}.")
    return path


def _environment() -> Any:
    try:
        import jinja2
    except ImportError as error:
        raise ImportError(
            "The audit page needs jinja2: pip install 'epic-sklearn[report]'."
        ) from error
    return jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _check_rows(detector: Any, X: Any, y: ArrayLike) -> tuple[Any, np.ndarray]:
    """Refuse data that cannot be the rows of the fit."""
    refuse_other_order(X=X, y=y)
    X, labels = detector._check_X(X, reset=False), column_or_1d(to_numpy(y))
    n = len(detector.keep_)
    if X.shape[0] != n or len(labels) != n:
        raise ValueError(
            f"X has {X.shape[0]} rows and y {len(labels)} labels, and the filter was "
            f"fitted on {n}; give the rows that it was fitted on."
        )
    fitted = detector.classes_[detector._codes]
    n_other = sum(a != b for a, b in zip(labels.tolist(), fitted.tolist(), strict=True))
    if n_other:
        raise ValueError(
            f"{n_other} of {n} labels in y are not those of the fit; give the rows "
            "that the filter was fitted on, in their order."
        )
    return X, labels


def _template_text(name: str) -> str:
    return (files(__package__) / "templates" / name).read_text(encoding="utf-8")


def _as_json(data: dict[str, Any]) -> str:
    """JSON that stays inside its script element, whatever texts it holds."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    # Half a surrogate pair, which no file in UTF-8 can hold.
    return text.encode("utf-8", "replace").decode("utf-8")


def _hash_source(text: str) -> str:
    """Name an inline script or style in a content security policy."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _class_lines(detector: Any) -> list[dict[str, Any]]:
    flagged = is_flagged(detector)
    sizes = np.bincount(detector._codes)
    counts = np.bincount(detector._codes[flagged], minlength=len(sizes))
    return [
        {"label": as_label(label), "n": int(n), "flagged": int(k), "share": k / n}
        for label, n, k in zip(detector.classes_.tolist(), sizes, counts, strict=True)
    ]


def _settings(detector: Any) -> list[tuple[str, str]]:
    """Parameters of the filter, and the rule's own."""
    values = detector.get_params(deep=False)
    values["rule"] = type(detector.rule_).__name__
    of_rule = detector.rule_.get_params().items()
    values.update({f"rule__{name}": value for name, value in of_rule})
    return [
        (name, " ".join(str(value).split())[:400])
        for name, value in values.items()
        if name not in NOT_SHOWN
    ]


def _context(
    detector: Any, title: str | None, warnings: Sequence[str]
) -> dict[str, Any]:
    by_round = detector.dropped_at_round_ >= 0
    return {
        "title": "EPIC audit" if title is None else str(title),
        "version": version("epic-sklearn"),
        "fit": fit_id(detector),
        "n": len(by_round),
        "n_kept": int(detector.keep_.sum()),
        "n_flagged": int(is_flagged(detector).sum()),
        "n_given_back": int((by_round & detector.keep_).sum()),
        "n_dropped_by_hand": int((~by_round & ~detector.keep_).sum()),
        "rho": detector.rho_,
        "rounds": detector.rounds_,
        "classes": _class_lines(detector),
        "settings": _settings(detector),
        "rule": detector.rule_,
        "rule_name": type(detector.rule_).__name__,
        "warnings": list(warnings),
    }


def _policy(script: str, style: str) -> str:
    """Content security policy of a page with this script and style."""
    return (
        f"default-src 'none'; script-src {_hash_source(script)}; "
        f"style-src {_hash_source(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _write_whole(path: Path, page: str) -> Path:
    """Write a page; an interrupted write leaves no part of it."""
    unfinished = path.with_name(path.name + ".tmp")
    try:
        unfinished.write_bytes(page.encode("utf-8", "replace"))
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def render(context: dict[str, Any], data: dict[str, Any], environment: Any) -> str:
    """Fill the page's template: all of `context` is escaped, `data` is text only."""
    from markupsafe import Markup

    style = _template_text("page.css")
    parts = "\n".join(_template_text(name) for name in SCRIPTS)
    script = f'"use strict";\n(() => {{\n{parts}\n}})();\n'
    return environment.from_string(_template_text("page.html")).render(
        **context,
        pieces=re.compile(r"(?<=\S[_\-./:,;(=\[])(?=[^\W\d_])").split,
        policy=_policy(script, style),
        style=Markup(style),
        script=Markup(script),
        data=Markup(_as_json(data)),
    )


def write_report(
    detector: Any,
    X: Any,
    y: ArrayLike,
    path: str | PathLike[str],
    *,
    images: ArrayLike | None = None,
    feature_names: ArrayLike | None = None,
    title: str | None = None,
    overwrite: bool = False,
    warnings: Sequence[str] | None = None,
) -> Path:
    """Write the audit page of a fitted filter.

    Parameters and errors are those of :meth:`epic_sklearn.EPICFilter.report`.

    Parameters
    ----------
    detector : EPICFilter
        Fitted.
    X, y, path, images, feature_names, title, overwrite : see EPICFilter.report
    warnings : sequence of str, optional
        What the page says first; default: a warning where the model has learned
        nothing.

    Returns
    -------
    pathlib.Path
        The file written; an interrupted write leaves no part of it.
    """
    path = _check_path(path, overwrite)
    environment = _environment()
    X, labels = _check_rows(detector, X, y)
    names = resolve_names(X, feature_names)
    pictures = None if images is None else check_images(images, len(labels))
    if pictures is not None and feature_names is None and not is_dataframe(X):
        names = None  # x0, x1, ... of an image say nothing
    gradients = check_gradients(detector.extractor_.compute(X, labels), len(labels))
    detector._refuse_other_rows(gradients)
    data = page_data(detector, X, gradients, pictures, names)
    if warnings is None:
        warnings = model_warnings(detector, X)
    page = render(_context(detector, title, warnings), data, environment)
    return _write_whole(path, page)
