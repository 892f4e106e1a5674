"""The audit page: look at what was isolated, decide, and apply the decisions."""

from ._decisions import decided_keep
from ._write import write_report

__all__ = ["decided_keep", "write_report"]
