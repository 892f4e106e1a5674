"""Check, render and write pages: of an audit, and of why a model said that."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from importlib.metadata import version
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from .._utils import all_or_none, shortened
from ..gradients.items import n_items
from ..validation import refuse_other_order
from ._case import Case
from ._data import look_at_rows, page_data, rows_shown
from ._looks import Look, looks, span_of, thumbnails

SCRIPTS = ("page.js", "decisions.js", "scatter.js", "table.js", "detail.js", "main.js")
NUMBERS = "Train again without these row numbers, which count from 0."


def _environment() -> Any:
    """Return jinja2's environment, or say what to install."""
    try:
        import jinja2
        import PIL  # noqa: F401
    except ImportError as error:
        name = "pillow" if error.name == "PIL" else error.name
        raise ImportError(
            f"The audit page needs {name}: pip install 'epic-sklearn[report]'."
        ) from error
    return jinja2.Environment(
        loader=jinja2.PackageLoader(__package__),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def check_path(path: str | PathLike[str], overwrite: bool) -> Path:
    """Refuse a place where no page can be written, before any work."""
    path, _ = Path(path), _environment()
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the name of a file.")
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"{path} exists; give another name, or overwrite=True to replace it."
        )
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"There is no folder {path.absolute().parent}.")
    return path


def _as_json(data: dict[str, Any]) -> str:
    """JSON that stays inside its script element, whatever texts it holds."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _hash_source(text: str) -> str:
    """Name an inline script or style in a content security policy."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _context(case: Case, span: Any) -> dict[str, Any]:
    schedule, by_round = case.schedule, case.schedule.dropped_at_epoch >= 0
    keep, parameters = schedule.keep, schedule.rule.get_params()
    return {
        "case": case,
        "title": case.title,
        "n": len(keep),
        "n_kept": int(keep.sum()),
        "n_flagged": int(case.flagged.sum()),
        "n_by_rounds": int(by_round.sum()),
        "n_given_back": int((by_round & keep).sum()),
        "n_dropped_by_hand": int((~by_round & ~keep).sum()),
        "n_confirmed": int((schedule.decided & by_round & ~keep).sum()),
        "classes": case.counts(by_round)[:-1],
        "parameters": {k: shortened(v, 40) for k, v in parameters.items()},
        "span": span,
        "pieces": re.compile(r"(?<=\S[_\-./:,;(=\[])(?=[^\W\d_])").split,
    }


def fill(path: Path, template: str, scripts: Sequence[str], **context: Any) -> Path:
    """Fill a template and write the page, whole or not at all.

    All of `context` is escaped; of `data`, which the scripts read, no text ends its
    element.
    """
    from markupsafe import Markup

    folder = files(__package__) / "templates"
    style, *parts = ((folder / n).read_text("utf-8") for n in ("page.css", *scripts))
    script = f'"use strict";\n(() => {{\n{"".join(parts)}\n}})();\n'
    policy = (
        f"default-src 'none'; script-src {_hash_source(script)}; "
        f"style-src {_hash_source(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    data = Markup(_as_json(context.pop("data", None)))
    context["title"] = shortened(context["title"])
    how: Any = {"style": Markup(style), "script": Markup(script), "data": data}
    how |= {
        "shortened": shortened,
        "policy": policy,
        "version": version("epic-sklearn"),
    }
    page = _environment().get_template(template).render(**how, **context)
    with all_or_none({"page": path}) as made:
        # Half a surrogate pair, which a text may hold, cannot be in UTF-8.
        made["page"].write_bytes(page.encode("utf-8", "replace"))
    return path


def write_page(case: Case, path: Path) -> Path:
    """Write the audit page; an interrupted write leaves no part of it."""
    case, shown = look_at_rows(case, rows_shown(case))
    span = span_of(shown.images.values())
    data, context = page_data(case, shown, span), _context(case, span)
    return fill(path, "page.html", SCRIPTS, data=data, fit=data["fit"], **context)


def looks_of_trace(
    found: Any, X: Any, examples: Any, n_top: int
) -> tuple[dict[int, Look], dict[int, Look], tuple[float, float] | None]:
    """Examples and their first rows by number, each read once; span of all images."""
    n, m = n_items(X), n_items(examples)
    if (n, m) != (found.n_rows, len(found.labels)):
        raise ValueError(
            f"There are {n} rows and {m} examples, and the trace is of {found.n_rows} "
            f"and {len(found.labels)}; give the same, or what they look like, in the "
            "same order."
        )
    if found.index is not None:
        refuse_other_order(traced=found.index.to_series(), X=X)
    if found.example_index is not None:
        refuse_other_order(traced=found.example_index.to_series(), examples=examples)
    rows = found.indices[:, :n_top]
    of_rows = found.row_labels[:, :n_top]
    labels = dict(zip(rows.ravel().tolist(), of_rows.ravel().tolist(), strict=True))
    asked, of_rows = looks(examples, np.arange(m)), looks(X, rows[rows >= 0], labels)
    every = [*asked.values(), *of_rows.values()]
    return asked, of_rows, span_of(e.image for e in every if e.image is not None)


def write_trace(
    found: Any,
    X: Any,
    examples: Any,
    path: str | PathLike[str],
    *,
    n_top: int = 20,
    title: str = "Why this prediction",
    overwrite: bool = False,
    way_back: str = NUMBERS,
) -> Path:
    """Write the page; see :meth:`epic_sklearn.Trace.report`."""
    path = check_path(path, overwrite)
    asked, of_rows, span = looks_of_trace(found, X, examples, n_top)

    def shown(look: Look) -> dict[str, Any]:
        image = None if look.image is None else thumbnails({0: look.image}, span)[0]
        return {"image": image, "text": look.text}

    names = range(len(asked)) if found.example_index is None else found.example_index
    kind = getattr(names, "name", None) or "Example"
    parts: Any = [
        {"name": f"{kind} {shortened(name)}", "label": shortened(label)}
        | {**shown(asked[i]), "rows": []}
        for i, (name, label) in enumerate(zip(names, found.labels, strict=True))
    ]
    for line in found.to_frame().query("rank <= @n_top").to_dict("records"):
        row = {"index": line["row"], **line, **shown(of_rows[line["row"]])}
        parts[line["example"]]["rows"].append(row)
    kind = "Row" if found.index is None else str(found.index.name or "Index")
    context = {"title": title, "n": found.n_rows, "examples": parts, "row_kind": kind}
    context |= {"by_number": way_back == NUMBERS or kind == "Row", "way_back": way_back}
    return fill(path, "trace.html", ["trace.js"], **context)
