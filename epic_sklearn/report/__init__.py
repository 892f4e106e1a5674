"""The audit page: look at what was isolated, decide, and apply the decisions."""

from ._case import Case, Page, shortened
from ._decisions import fit_id
from ._model import model_warnings, probabilities_of
from ._thumbnails import check_images
from ._trace_page import looks_of_trace, write_trace
from ._write import environment, write_page
from .review import Reviewable

__all__ = [
    "Case",
    "Page",
    "Reviewable",
    "check_images",
    "environment",
    "fit_id",
    "looks_of_trace",
    "model_warnings",
    "probabilities_of",
    "shortened",
    "write_page",
    "write_trace",
]
