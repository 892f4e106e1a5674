"""What the audit page shows, as plain lists, numbers and texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import scipy.sparse
from scipy.stats import rankdata
from sklearn.preprocessing import StandardScaler

from .._utils import shortened
from ..base import is_dataframe, is_text, nearest_kept, take_rows
from ..gradients.items import is_dataset
from ..learned import likeliest
from ..projection import GradientPlane
from ..validation import is_missing
from ._case import Case, as_text
from ._decisions import fit_id
from ._looks import (
    LONGEST_TEXT,
    check_images,
    least_factor,
    looks,
    n_that_fit,
    thumbnails,
)
from ._notes import columns_of

# Kept points drawn in the gradient space, per class and in all.
MOST_KEPT_OF_CLASS = 1500
MOST_KEPT = 15_000
as_str = np.frompyfunc(str, 1, 1)  # of what astype refuses, too
# Columns in which two rows differ most.
N_FEATURES = 12
LONG = 60  # texts from which a column is shown by itself
BLOCK = 256


@dataclass(frozen=True)
class Shown:
    """Which of the judged rows the page shows, and what they look like."""

    flagged: np.ndarray  # most isolated first, (m,)
    near: np.ndarray  # the nearest kept row of each; itself where there is none
    needed: np.ndarray  # all of these, which are looked at beside each other
    kept: list[np.ndarray]  # drawn, class by class
    images: dict[int, np.ndarray] = field(default_factory=dict)  # by row as given


def rows_shown(case: Case) -> Shown:
    """Choose flagged rows, their neighbours, and kept rows to draw, some of many."""
    schedule = case.schedule
    score, codes = schedule.isolation_score, schedule.codes
    flagged = np.flatnonzero(case.flagged)
    flagged = flagged[np.argsort(-score[flagged], kind="stable")]
    how = codes, schedule.keep, schedule.rule.metric
    n_classes = len(schedule.classes)
    most = min(MOST_KEPT_OF_CLASS, max(50, MOST_KEPT // n_classes))
    rng = np.random.default_rng(0)
    kept = []
    for code in range(n_classes):
        rows = np.setdiff1d(np.flatnonzero(codes == code), flagged)
        kept.append(np.sort(rng.permutation(rows)[:most]))
    near = nearest_kept(flagged, case.gradients, *how)
    return Shown(flagged, near, np.unique(np.concatenate([flagged, near])), kept)


def as_compared(
    case: Case, rows: np.ndarray
) -> tuple[Any, list[str] | None, dict[str, Any]]:
    """Columns in which rows are compared and their names; and those of long texts.

    No names where what is shown is no table.
    """
    X, names = case.X, case.names
    if names is None or not is_dataframe(X):
        return X, names, {}
    long, compared = {}, {}
    for name, column in zip(names, X.columns, strict=True):
        values = np.asarray(take_rows(X[column], rows)).tolist()
        if any(isinstance(value, str) and len(value) > LONG for value in values):
            long[name] = X[column]
        else:
            compared[column] = name
    return X[list(compared)], list(compared.values()), long


def _spread(X: Any) -> np.ndarray:
    """Give each column's standard deviation; NaN where it is not of numbers."""
    blocks = [each[:, None] for each in columns_of(X)] if is_dataframe(X) else [X]
    scale = StandardScaler(with_mean=False)
    found = [
        scale.fit(block).scale_
        if block.dtype.kind in "iuf"
        else np.full(block.shape[1], np.nan)
        for block in blocks
    ]
    return np.hstack([[], *found])


def _values(X: Any, rows: np.ndarray) -> np.ndarray:
    """Rows as a dense array, of numbers or of objects."""
    block = take_rows(X, rows)
    if scipy.sparse.issparse(block):
        return block.toarray()
    if not is_dataframe(block):
        return np.asarray(block)
    values = np.empty(block.shape, dtype=object)  # to_numpy would leave pandas' NA
    for i, column in enumerate(columns_of(block)):
        values[:, i] = column
    return values


def _gaps(ours: np.ndarray, theirs: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """How much pairs of rows (m, d) differ in each column."""
    gap, is_text = np.zeros(ours.shape), np.isnan(spread)
    texts, others = (as_str(each[:, is_text]) for each in (ours, theirs))
    gap[:, is_text] = texts != others
    a, b = (each[:, ~is_text].astype(np.float64) for each in (ours, theirs))
    far = np.nan_to_num(np.abs(a - b) / spread[~is_text])
    gap[:, ~is_text] = np.where(np.isnan(a) != np.isnan(b), 1.0, far)
    return gap


def differences(X: Any, rows: np.ndarray, others: np.ndarray) -> list[list[Any]]:
    """Find the features in which pairs of rows, of numbers (m,), differ most.

    Numbers are compared in standard deviations of their column; any other
    values that differ, and one that is missing, count as one.

    For each pair at most 12 times column number, value, other value and
    difference, one after another, the largest difference first.
    """
    spread, found = _spread(X), []
    for start in range(0, len(rows), BLOCK):
        ours = _values(X, rows[start : start + BLOCK])
        theirs = _values(X, others[start : start + BLOCK])
        gap = _gaps(ours, theirs, spread)
        largest = np.argsort(-gap, axis=1, kind="stable")[:, :N_FEATURES]
        for i, columns in enumerate(largest):
            pair: list[Any] = []
            for j in columns[gap[i, columns] > 0].tolist():
                texts = as_text(ours[i, j]), as_text(theirs[i, j])
                pair += [j, *texts, round(float(gap[i, j]), 2)]
            found.append(pair)
    return found


def stand_out(case: Case, rows: np.ndarray) -> list[str]:
    """Say in which two columns rows of a table differ most from the nearest kept.

    As ``width 6 (1.4)``, the kept row's value between brackets, or, where only long
    texts differ, how the first of these begins; nothing where the rows are no table.
    """
    schedule = case.schedule
    how = schedule.codes, schedule.keep, schedule.rule.metric
    near = nearest_kept(rows, case.gradients, *how)
    X, names, long = as_compared(case, np.concatenate([rows, near]))
    texts = [""] * len(rows)
    if names is None:
        return texts
    for name, column in list(long.items())[:1]:
        pairs = zip(take_rows(column, rows), take_rows(column, near), strict=True)
        texts = [
            f"{name} {shortened(a, 40)}" + f" ({shortened(b, 40)})" * (a != b)
            for a, b in pairs
        ]
    found = []
    for pair, text in zip(differences(X, rows, near), texts, strict=True):
        largest = list(zip(pair[::4], pair[1::4], pair[2::4], strict=True))[:2]
        parts = ((names[j], shortened(a, 20), shortened(b, 20)) for j, a, b in largest)
        found.append(", ".join(f"{name} {a} ({b})" for name, a, b in parts) or text)
    return found


def look_at_rows(case: Case, shown: Shown) -> tuple[Case, Shown]:
    """Add images, where there are any, of what is needed and of kept rows.

    Of a data set the rows that are shown are read, each once, and the case gets their
    texts; those of others stay empty.
    """
    source, is_items = case.X, is_dataset(case.X)
    if case.images is not None:
        check_images(case.images, case.n_given)
        source = case.images
    elif not is_items and len(getattr(source, "shape", ())) != 4:
        return case, shown
    found = looks(source, case.rows[shown.needed])
    sizes = [look.image for look in found.values() if look.image is not None]
    if sizes:
        largest = max(sizes, key=np.size)
        room = n_that_fit(largest, least_factor(largest)) - len(shown.needed)
        others = np.setdiff1d(np.concatenate(shown.kept), shown.needed)
        if len(others) > room:  # all of some classes would be worse than some of all
            rng = np.random.default_rng(0)
            others = rng.permutation(others)[: max(0, room)]
        found |= looks(source, case.rows[others])
    images = {row: each.image for row, each in found.items() if each.image is not None}
    if is_items:
        texts = np.full(case.n_given, "", dtype=object)
        texts[list(found)] = [look.text for look in found.values()]
        case = replace(case, X=texts if texts.any() else None)
    return case, replace(shown, images=images)


def _gradient_space(case: Case, shown: Shown) -> list[dict[str, Any]]:
    """Points of each class in the plane, kept and flagged."""
    codes, gradients, flagged = case.schedule.codes, case.gradients, shown.flagged
    spaces = []
    for code, kept in enumerate(shown.kept):
        rows = np.flatnonzero(codes == code)
        places = np.flatnonzero(codes[flagged] == code)
        plane = GradientPlane(gradients[rows], case.schedule.rule.metric)
        points = plane.project(gradients[np.concatenate([kept, flagged[places]])])
        points -= np.median(points, axis=0)  # near the middle digits are wanted most
        xs, ys = ([float(f"{v:.4g}") for v in axis] for axis in points.T.tolist())
        spaces.append(
            {
                "explained": round(float(plane.explained_variance_ratio.sum()), 4),
                "nKept": len(rows) - len(places),
                "kept": case.rows[kept].tolist(),
                "flagged": places.tolist(),
                "x": xs,
                "y": ys,
            }
        )
    return spaces


def shown_scores(score: np.ndarray) -> tuple[str, list[str]]:
    """Name and texts of the scores (m,); ranks where most would read the same."""
    texts = [f"{value:#.4g}" for value in score.tolist()]
    distinct, place, counts = np.unique(texts, return_inverse=True, return_counts=True)
    if len(distinct) and 2 * counts.max() > len(texts):
        same = score[place == counts.argmax()]
        if same.min() < same.max():
            ranks = rankdata(-score, method="min").astype(int)
            return "Isolation rank", ranks.astype(str).tolist()
    return "Isolation score", texts


def _details(details: Mapping[str, Any], rows: np.ndarray) -> list[dict[str, Any]]:
    """Make columns of what else the rule says of each row, but for medoids."""
    columns = []
    for name, values in details.items():
        if name == "medoid":
            continue
        cells: list[Any] = np.asarray(values)[rows].tolist()
        is_number = np.asarray(values).dtype.kind in "iuf"
        if is_number:  # JSON knows no NaN
            cells = [float(f"{v:.5g}") if np.isfinite(v) else None for v in cells]
        else:
            cells = list(map(shortened, cells))
        title = shortened(name).replace("_", " ").capitalize()
        columns.append(
            {"name": name, "title": title, "isNumber": is_number, "values": cells}
        )
    return columns


def _names(case: Case, rows: np.ndarray) -> dict[str, Any]:
    """Say what rows are called, and name those that have more than a number."""
    numbers = case.rows[rows].tolist()
    names = {k: shortened(case.index[k]) for k in numbers} if case.names_rows else None
    return {"rowKind": case.row_kind, "names": names}


def _texts(asides: Mapping[str, Any], rows: np.ndarray) -> list[dict[str, Any]]:
    """Columns that are shown beside those of the model: texts by row number."""
    found = []
    for name, column in asides.items():
        values = np.asarray(take_rows(column, rows)).tolist()
        texts = ["" if is_missing(v) else shortened(v, LONGEST_TEXT) for v in values]
        shown = dict(zip(rows.tolist(), texts, strict=True))
        found.append({"name": shortened(name), "values": shown})
    return found


def _table(case: Case, flagged: np.ndarray, near: np.ndarray) -> dict[str, Any]:
    """Columns of the table of flagged rows, but for differences."""
    schedule, rows, known = case.schedule, case.rows, case.probabilities
    decided, keep = schedule.decided[flagged], schedule.keep[flagged]
    return {
        "row": rows[flagged].tolist(),
        "label": schedule.codes[flagged].tolist(),
        "prediction": None if known is None else likeliest(known[flagged]).tolist(),
        "score": schedule.isolation_score[flagged].tolist(),
        "details": _details(schedule.details, flagged),
        "round": schedule.dropped_at_epoch[flagged].tolist(),
        "near": np.where(near == flagged, -1, rows[near]).tolist(),
        "decision": np.select([decided & keep, decided], ["keep", "drop"], "").tolist(),
    }


def page_data(case: Case, shown: Shown, span: Any) -> dict[str, Any]:
    """Collect what the page's script needs: lists, numbers and texts, for JSON."""
    schedule, rows = case.schedule, case.rows
    flagged, near, needed = shown.flagged, shown.near, shown.needed
    X, names, long = as_compared(case, rows[needed])
    if shown.images and case.feature_names is None and not is_dataframe(X):
        names = None  # x0, x1, ... of an image say nothing
    seen = {"Text": X} if is_text(X) else long
    table, pairs = _table(case, flagged, near), (X, rows[flagged], rows[near])
    table["differences"] = differences(*pairs) if names else None
    scores = schedule.isolation_score[flagged]
    score_name, table["scoreTexts"] = shown_scores(scores)
    return {
        "fit": fit_id(schedule),
        "labels": list(map(shortened, schedule.classes.tolist())),
        "features": names or None,
        "scoreName": score_name,
        "clock": schedule.clock,
        **_names(case, np.unique(np.concatenate([needed, *shown.kept]))),
        "asides": [
            {**column, "isSeen": is_seen}
            for is_seen, some in ((True, seen), (False, case.asides))
            for column in _texts(some, rows[needed])
        ],
        "hasTexts": bool(long),
        "table": table,
        "spaces": _gradient_space(case, shown),
        "thumbnails": thumbnails(shown.images, span) if shown.images else None,
    }
