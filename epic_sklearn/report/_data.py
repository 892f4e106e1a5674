"""What the audit page shows, as plain lists, numbers and texts."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from .._detector import is_dataframe
from .._neighbours import nearest_kept
from ..gradients.features import Gradients
from ..gradients.modules import forward
from ._decisions import fit_id
from ._differences import Categories, differences
from ._projection import project
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


def predicted(extractor: Any, X: Any) -> np.ndarray | None:
    """Predict the rows with the extractor's model, if it has one that can."""
    model: Any = getattr(extractor, "classifier_", None)
    if isinstance(model, nn.Module):
        logits = forward(model, X, extractor.batch_size, False)[0]
        return np.asarray(extractor.classes_)[np.asarray(logits).argmax(axis=1)]
    return np.asarray(model.predict(X)) if hasattr(model, "predict") else None


def flagged_rows(detector: Any) -> np.ndarray:
    """Rows that a round or a reviewer dropped, most isolated first."""
    rows = np.flatnonzero((detector.dropped_at_round_ >= 0) | ~detector.keep_)
    return rows[np.argsort(-detector.isolation_score_[rows], kind="stable")]


def _earlier_decisions(detector: Any, rows: np.ndarray) -> list[str]:
    kept, by_round = detector.keep_[rows], detector.dropped_at_round_[rows] >= 0
    return np.select([kept, ~by_round], ["keep", "drop"], "").tolist()


def kept_shown(detector: Any, seed: int = 0) -> list[np.ndarray]:
    """Kept rows to draw, class by class: all, or a random part of many."""
    flagged = np.zeros(len(detector.keep_), dtype=bool)
    flagged[flagged_rows(detector)] = True
    n_classes = len(detector.classes_)
    most = min(MOST_KEPT_OF_CLASS, max(50, MOST_KEPT // n_classes))
    rng = np.random.default_rng(seed)
    shown = []
    for code in range(n_classes):
        rows = np.flatnonzero((detector._codes == code) & ~flagged)
        shown.append(np.sort(rng.permutation(rows)[:most]))
    return shown


def gradient_space(
    detector: Any,
    gradients: Gradients,
    flagged: np.ndarray,
    shown: list[np.ndarray],
) -> list[dict[str, Any]]:
    """Points of each class in the plane, kept and flagged.

    Parameters
    ----------
    detector : EPICFilter
        Fitted.
    gradients : ndarray of shape (n, d) or OuterProductGradients
        Of all rows.
    flagged : ndarray of shape (m,), int
        The rows of the table, in its order.
    shown : list of ndarray
        Kept rows to draw, class by class.

    Returns
    -------
    list of dict
    """
    spaces = []
    for code, kept in enumerate(shown):
        rows = np.flatnonzero(detector._codes == code)
        places = np.flatnonzero(detector._codes[flagged] == code)
        wanted = np.searchsorted(rows, np.concatenate([kept, flagged[places]]))
        points, explained = project(gradients[rows], wanted, detector.metric)
        xy = np.rint(points * GRID).astype(int)
        spaces.append(
            {
                "explained": round(explained, 4),
                "nKept": len(rows) - len(places),
                "kept": kept.tolist(),
                "flagged": places.tolist(),
                "x": xy[:, 0].tolist(),
                "y": xy[:, 1].tolist(),
            }
        )
    return spaces


def _names_and_codes(
    classes: np.ndarray, predictions: np.ndarray | None
) -> tuple[list[str], np.ndarray]:
    """Texts of labels and predictions, and the number of each prediction's."""
    names = [as_label(label) for label in classes.tolist()]
    if predictions is None:
        return names, np.empty(0, dtype=int)
    number = {label: i for i, label in enumerate(classes.tolist())}
    codes = []
    for label in predictions.tolist():
        if label not in number:
            number[label] = len(names)
            names.append(as_label(label))
        codes.append(number[label])
    return names, np.array(codes)


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
    categories: Categories | None = None,
) -> dict[str, Any]:
    """Collect what the page's script needs.

    Parameters
    ----------
    detector : EPICFilter
        Fitted.
    X : array, sparse matrix or dataframe of shape (n, ...)
        The rows it was fitted on.
    gradients : ndarray of shape (n, d) or OuterProductGradients
        Their gradients.
    images : ndarray of shape (n, H, W, C) or None
        What they look like.
    names : list of str or None
        Of the columns of X; None shows no differences.
    categories : sequence of (sequence of str or None), optional
        Texts that the values of a column number; see `differences`.

    Returns
    -------
    dict
        Lists, numbers and texts, for JSON.
    """
    flagged, shown = flagged_rows(detector), kept_shown(detector)
    near = nearest_kept(
        flagged, gradients, detector._codes, detector.keep_, detector.metric
    )
    predictions = predicted(detector.extractor_, X)
    labels, codes = _names_and_codes(detector.classes_, predictions)
    table = {
        "row": flagged.tolist(),
        "index": _index_of(X, flagged),
        "label": detector._codes[flagged].tolist(),
        "prediction": codes[flagged].tolist() if len(codes) else None,
        "score": detector.isolation_score_[flagged].round(5).tolist(),
        "size": detector.cluster_sizes_[flagged].tolist(),
        "round": detector.dropped_at_round_[flagged].tolist(),
        "near": np.where(near == flagged, -1, near).tolist(),
        "decision": _earlier_decisions(detector, flagged),
        "differences": None
        if names is None
        else differences(X, flagged, near, categories),
    }
    return {
        "fit": fit_id(detector),
        "labels": labels,
        "nClasses": len(detector.classes_),
        "features": names,
        "table": table,
        "spaces": gradient_space(detector, gradients, flagged, shown),
        "grid": GRID,
        "thumbnails": None
        if images is None
        else _thumbnail_data(images, flagged, near, shown),
    }
