"""Tables and texts as a terminal shows them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

N_COLUMNS = 30
LONGEST = 300  # text of a cell


def without_controls(text: str) -> str:
    """Text with codes for what a terminal obeys or hides, lines apart."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def printable(value: Any) -> Text:
    """Text of a label: no control characters, quotes where its ends are blank."""
    text = without_controls(str(value)).replace("\n", "\\n")
    text = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    # Text, not str: a label may hold rich's markup.
    return Text(text if text == text.strip() and text else repr(text))


def draw(columns: Mapping[str, Iterable[Any]], has_total: bool = False) -> str:
    """Draw a table, in colour on a terminal; of numbers with a total at the end."""
    table = Table(box=box.ROUNDED)
    for j, name in enumerate(columns):
        how: Any = {"justify": "right", "no_wrap": True} if has_total and j else {}
        table.add_column(printable(name), overflow="fold", **how)
    for line in zip(*columns.values(), strict=True):
        table.add_row(*(None if v is None else printable(v) for v in line))
    if has_total:
        table.rows[-2].end_section, table.rows[-1].style = True, "bold"
    console = Console()
    with console.capture() as drawn:
        console.print(table)
    return drawn.get()


def beside(ours: dict[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Put a file's columns behind ours; one that has a name of ours gets another."""
    for name, values in theirs.items():
        while name in ours:
            name = f"data {name}"
        ours = {**ours, name: values}
    return ours


def draw_columns(columns: Sequence[tuple[str, str]]) -> str:
    """Draw how columns were read, unless all are plain numbers."""
    if all(what == "number" for _, what in columns):
        return ""
    n = len(columns)
    more = [("...", f"{n} in all, see --json")] * (n > N_COLUMNS)
    names, what = zip(*columns[:N_COLUMNS], *more, strict=True)
    return draw({"column": names, "read as": what})
