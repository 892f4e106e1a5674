"""The audit page: look at what was isolated, decide, and apply the decisions."""

from ._case import Case
from ._data import stand_out
from ._decisions import fit_id
from ._looks import check_images
from ._notes import notes_of_rows
from ._pages import (
    check_path,
    looks_of_trace,
    write_page,
    write_trace,
)
from .review import Reviewable

__all__ = [
    "Case",
    "Reviewable",
    "check_images",
    "check_path",
    "fit_id",
    "looks_of_trace",
    "notes_of_rows",
    "stand_out",
    "write_page",
    "write_trace",
]
