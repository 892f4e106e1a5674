"""What the audit page shows, as plain lists, numbers and texts."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import rankdata

from ..base import is_dataframe, nearest_kept
from ..gradients import Gradients
from ..projection import GradientPlane
from ._decisions import fit_id
from ._differences import differences
from ._model import probabilities_of
from ._thumbnails import n_that_fit, thumbnails

# Kept points drawn in the gradient space, per class and in all.
MOST_KEPT_OF_CLASS = 1500
MOST_KEPT = 15_000
LONGEST_LABEL = 200
# Coordinates are whole numbers up to this.
GRID = 10_000


def as_label(value: Any) -> str:
    """Text of a label, of bounded length."""
    text = str(value)
    return text if len(text) <= LONGEST_LABEL else text[: LONGEST_LABEL - 1] + "…"


def is_flagged(detector: Any) -> np.ndarray:
    """Whether a round or a reviewer dropped each row, shape (n,)."""
    return (detector.dropped_at_round_ >= 0) | ~detector.keep_


def _earlier_decisions(detector: Any, rows: np.ndarray) -> list[str]:
    kept, by_round = detector.keep_[rows], detector.dropped_at_round_[rows] >= 0
    return np.select([kept, ~by_round], ["keep", "drop"], "").tolist()


def _kept_shown(detector: Any, flagged: np.ndarray) -> list[np.ndarray]:
    """Kept rows to draw, class by class: all, or a random part of many."""
    n_classes = len(detector.classes_)
    most = min(MOST_KEPT_OF_CLASS, max(50, MOST_KEPT // n_classes))
    rng = np.random.default_rng(0)
    shown = []
    for code in range(n_classes):
        rows = np.setdiff1d(np.flatnonzero(detector._codes == code), flagged)
        shown.append(np.sort(rng.permutation(rows)[:most]))
    return shown


def _gradient_space(
    detector: Any, gradients: Gradients, flagged: np.ndarray, shown: list[np.ndarray]
) -> list[dict[str, Any]]:
    """Points of each class in the plane, kept and flagged."""
    spaces = []
    for code, kept in enumerate(shown):
        rows = np.flatnonzero(detector._codes == code)
        places = np.flatnonzero(detector._codes[flagged] == code)
        plane = GradientPlane(gradients[rows], detector.rule_.metric)
        points = plane.project(gradients[np.concatenate([kept, flagged[places]])])
        xy = np.rint(points / (np.abs(points).max() or 1.0) * GRID).astype(int)
        spaces.append(
            {
                "explained": round(float(plane.explained_variance_ratio.sum()), 4),
                "nKept": len(rows) - len(places),
                "kept": kept.tolist(),
                "flagged": places.tolist(),
                "x": xy[:, 0].tolist(),
                "y": xy[:, 1].tolist(),
            }
        )
    return spaces


def shown_scores(score: np.ndarray) -> tuple[str, list[str]]:
    """Name and texts of the scores (m,); ranks where most would read the same.

    Examples
    --------
    >>> import numpy as np
    >>> from epic_sklearn.report._data import shown_scores
    >>> shown_scores(np.array([0.98, 0.75]))
    ('Isolation score', ['0.9800', '0.7500'])
    >>> shown_scores(1 - np.array([1e-9, 1e-8, 1e-7]))
    ('Isolation rank', ['1', '2', '3'])
    """
    texts = [f"{value:#.4g}" for value in score.tolist()]
    distinct, place, counts = np.unique(texts, return_inverse=True, return_counts=True)
    if len(distinct) and 2 * counts.max() > len(texts):
        same = score[place == counts.argmax()]
        if same.min() < same.max():
            ranks = rankdata(-score, method="min").astype(int)
            return "Isolation rank", ranks.astype(str).tolist()
    return "Isolation score", texts


def _details(detector: Any, rows: np.ndarray) -> list[dict[str, Any]]:
    """Make columns of what else the rule says of each row, but for medoids."""
    columns = []
    for name, values in detector.details_.items():
        if name == "medoid":
            continue
        cells: list[Any] = np.asarray(values)[rows].tolist()
        is_number = np.asarray(values).dtype.kind in "iuf"
        if is_number:  # JSON knows no NaN
            cells = [float(f"{v:.5g}") if np.isfinite(v) else None for v in cells]
        else:
            cells = list(map(as_label, cells))
        title = as_label(name).replace("_", " ").capitalize()
        columns.append(
            {"name": name, "title": title, "isNumber": is_number, "values": cells}
        )
    return columns


def _labels_and_predictions(
    detector: Any, X: Any, rows: np.ndarray
) -> tuple[list[str], list[int] | None]:
    """Texts of all labels, and the number among them of each row's prediction."""
    labels = detector.classes_.tolist()
    found = probabilities_of(detector.extractor_, X)
    if found is None:
        return list(map(as_label, labels)), None
    probabilities, columns = found
    known = {label: i for i, label in enumerate(labels)}
    predictions = columns[probabilities[rows].argmax(axis=1)].tolist()
    codes = [known.setdefault(label, len(known)) for label in predictions]
    return list(map(as_label, known)), codes


def _index_of(X: Any, rows: np.ndarray) -> list[str] | None:
    """Index labels of a pandas dataframe that has more than row numbers."""
    index = getattr(X, "index", None)
    if not is_dataframe(X) or index is None or type(index).__name__ == "RangeIndex":
        return None
    return [as_label(label) for label in index[rows]]


def _thumbnail_data(
    images: np.ndarray, flagged: np.ndarray, near: np.ndarray, shown: list[np.ndarray]
) -> dict[str, Any]:
    """Sheets, and the number on them of each row that is shown, where it has one."""
    needed = np.unique(np.concatenate([flagged, near]))
    others = np.setdiff1d(np.concatenate(shown), needed)
    room = max(0, n_that_fit(images) - len(needed))
    if len(others) > room:  # all of some classes would be worse than some of all
        others = np.sort(np.random.default_rng(0).permutation(others)[:room])
    rows = np.concatenate([needed, others])
    return {**thumbnails(images, rows), "rows": rows.tolist()}


def page_data(
    detector: Any,
    X: Any,
    gradients: Gradients,
    images: np.ndarray | None,
    names: list[str] | None,
) -> dict[str, Any]:
    """Collect what the page's script needs: lists, numbers and texts, for JSON.

    `names` are those of the columns of X; None shows no differences.
    """
    flagged = np.flatnonzero(is_flagged(detector))  # most isolated first
    score = detector.isolation_score_
    flagged = flagged[np.argsort(-score[flagged], kind="stable")]
    shown = _kept_shown(detector, flagged)
    codes, keep = detector._codes, detector.keep_
    near = nearest_kept(flagged, gradients, codes, keep, detector.rule_.metric)
    labels, predictions = _labels_and_predictions(detector, X, flagged)
    score_name, score_texts = shown_scores(score[flagged])
    table = {
        "row": flagged.tolist(),
        "index": _index_of(X, flagged),
        "label": codes[flagged].tolist(),
        "prediction": predictions,
        "score": score[flagged].tolist(),
        "scoreTexts": score_texts,
        "details": _details(detector, flagged),
        "round": detector.dropped_at_round_[flagged].tolist(),
        "near": np.where(near == flagged, -1, near).tolist(),
        "decision": _earlier_decisions(detector, flagged),
        "differences": None,
    }
    if names is not None:
        table["differences"] = differences(X, flagged, near)
    return {
        "fit": fit_id(detector),
        "labels": labels,
        "nClasses": len(detector.classes_),
        "features": names,
        "scoreName": score_name,
        "table": table,
        "spaces": _gradient_space(detector, gradients, flagged, shown),
        "thumbnails": None
        if images is None
        else _thumbnail_data(images, flagged, near, shown),
    }
