"""Check, render and write the audit page."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from importlib.metadata import version
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..base import is_dataframe
from ..gradients import gradient_norm_change
from ..validation import class_warnings
from ._case import Case, Page
from ._data import as_label, page_data
from ._decisions import fit_id
from ._differences import resolve_names
from ._model import model_warnings
from ._thumbnails import Pictures, pictures_of

SCRIPTS = ("page.js", "decisions.js", "scatter.js", "table.js", "detail.js", "main.js")


def check_path(path: str | PathLike[str], overwrite: bool) -> Path:
    """Refuse a place where no file can be written, before any work."""
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


def environment() -> Any:
    """Return jinja2's environment, or say how to install it."""
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


def _class_lines(case: Case) -> list[dict[str, Any]]:
    codes = case.schedule.codes
    sizes = np.bincount(codes)
    counts = np.bincount(codes[case.flagged], minlength=len(sizes))
    labels = case.schedule.classes.tolist()
    return [
        {"label": as_label(label), "n": int(n), "flagged": int(k), "share": k / n}
        for label, n, k in zip(labels, sizes, counts, strict=True)
    ]


def _as_setting(value: Any) -> str:
    return as_label(" ".join(str(value).split()), 400)


def _context(case: Case, page: Page, pictures: Pictures | None) -> dict[str, Any]:
    schedule, by_round = case.schedule, case.schedule.dropped_at_epoch >= 0
    keep, rule = schedule.keep, schedule.rule
    warnings = page.warnings and list(page.warnings)
    if warnings is None:
        labels = schedule.classes[schedule.codes]
        warnings = model_warnings(schedule, case.probabilities)
        warnings += class_warnings(labels)
    return {
        "title": "EPIC audit" if page.title is None else str(page.title),
        "version": version("epic-sklearn"),
        "fit": fit_id(schedule),
        "n": len(keep),
        "n_aside": case.n_given - len(keep),
        "n_kept": int(keep.sum()),
        "n_flagged": int(case.flagged.sum()),
        "n_given_back": int((by_round & keep).sum()),
        "n_dropped_by_hand": int((~by_round & ~keep).sum()),
        "rho": gradient_norm_change(case.gradients, keep),
        "rounds": schedule.rounds,
        "clock": case.clock,
        "classes": _class_lines(case),
        "settings": [(k, _as_setting(v)) for k, v in case.settings.items()],
        "columns": page.columns,
        "rule": rule,
        "rule_name": type(rule).__name__,
        "parameters": {k: as_label(v, 40) for k, v in rule.get_params().items()},
        "span": None if pictures is None else pictures.span,
        "way_back": case.way_back,
        "warnings": warnings,
    }


def _policy(script: str, style: str) -> str:
    """Content security policy of a page with this script and style."""
    return (
        f"default-src 'none'; script-src {_hash_source(script)}; "
        f"style-src {_hash_source(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def write_whole(path: Path, page: str) -> Path:
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


def write_page(case: Case, page: Page, path: Path, environment: Any) -> Path:
    """Write the audit page; an interrupted write leaves no part of it."""
    X = case.X
    pictures = pictures_of(X, page.images, case.n_given)
    names = resolve_names(X, page.feature_names)
    if pictures is not None and page.feature_names is None and not is_dataframe(X):
        names = None  # x0, x1, ... of an image say nothing
    data = page_data(case, page, pictures, names)
    text = render(_context(case, page, pictures), data, environment)
    return write_whole(path, text)
