"""The audit page: look at what was isolated, decide, and apply the decisions."""

from ._decisions import decided_keep, fit_id
from ._model import model_warnings
from ._thumbnails import check_images
from ._trace_page import check_looks, looks, write_trace
from ._write import write_report
from .review import Reviewable

__all__ = [
    "Reviewable",
    "check_images",
    "check_looks",
    "decided_keep",
    "fit_id",
    "looks",
    "model_warnings",
    "write_report",
    "write_trace",
]
