"""What the command line says when it cannot go on."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

import click

N_SHOWN = 20


class Unusable(click.ClickException):
    """Input or an argument that cannot be used: exit status 2."""

    exit_code = 2


def unknown(
    kind: str, name: str, known: Iterable[str], more_help: str = ""
) -> Unusable:
    """Error for a name that is not there: the closest one, and all there are.

    Examples
    --------
    >>> from epic_sklearn.cli._errors import unknown
    >>> print(unknown("column", "label", ["Label ", "x"]).message)
    There is no column 'label'; did you mean 'Label '? There are 'Label ', 'x'.
    """
    names = list(known)
    plain = {each.strip().casefold(): each for each in names}
    close = get_close_matches(name.strip().casefold(), plain, n=1)
    hint = f"; did you mean {plain[close[0]]!r}?" if close else "."
    shown = ", ".join(map(repr, names[:N_SHOWN]))
    more = f" and {len(names) - N_SHOWN} more" if len(names) > N_SHOWN else ""
    return Unusable(
        f"There is no {kind} {name!r}{hint} There are {shown}{more}.{more_help}"
    )


def check_names(path: object, names: Sequence[str], kind: str) -> None:
    """Refuse a file in which two columns or arrays have one name."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise Unusable(
            f"{path} has several {kind}s named {twice[0]!r}; give each its own name."
        )


def check_format(path: Path, suffixes: Sequence[str]) -> str:
    """Return a file's suffix; refuse files of another format, and empty ones."""
    suffix = path.suffix.lower()
    if suffix not in suffixes:
        raise Unusable(
            f"{path} ends in {suffix!r}; the formats read are {', '.join(suffixes)}."
        )
    if path.stat().st_size == 0:
        raise Unusable(f"{path} is empty.")
    return suffix


def as_option(names: Iterable[str]) -> str:
    """Names as a shell and --exclude take them.

    Examples
    --------
    >>> from epic_sklearn.cli._errors import as_option
    >>> print(as_option(["id", "first name", "x,y"]))
    'id,first name,"x,y"'
    """
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(names)
    return shlex.quote(line.getvalue())


def unusable_columns(problems: Sequence[tuple[str, str, str]]) -> Unusable:
    """Error for columns that cannot be used: all of them, so that one look is enough.

    Examples
    --------
    >>> from epic_sklearn.cli._errors import unusable_columns
    >>> wrong = [("a", "is of type date32", "a"), ("b", "is of type date32", "b")]
    >>> print(unusable_columns(wrong).message)
    2 columns cannot be used:
      'a' is of type date32
      'b' is of type date32
    Leave them out with --exclude a,b or mend them.
    """
    excluded = as_option(dict.fromkeys(option for _, _, option in problems))
    if len(problems) == 1:
        name, wrong, _ = problems[0]
        return Unusable(
            f"Column {name!r} {wrong}. Leave it out with --exclude {excluded} or mend "
            "it."
        )
    lines = [f"{len(problems)} columns cannot be used:"]
    lines += [f"  {name!r} {wrong}" for name, wrong, _ in problems[:N_SHOWN]]
    if len(problems) > N_SHOWN:
        lines.append(f"  and {len(problems) - N_SHOWN} more")
    lines.append(f"Leave them out with --exclude {excluded} or mend them.")
    return Unusable("\n".join(lines))
