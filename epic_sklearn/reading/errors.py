"""What is said of a file or an option that cannot be used."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

N_SHOWN = 20
USUAL = (ValueError, NotImplementedError, OSError, MemoryError, ImportError)


class Unusable(Exception):
    """Input or an argument that cannot be used, and what to do."""


def refuse_if(is_wrong: object, message: str) -> None:
    """Stop with a message."""
    if is_wrong:
        raise Unusable(message)


@contextmanager
def refusing(before: str = "", after: str = "") -> Iterator[None]:
    """Stop with what others' errors say of what was given."""
    try:
        yield
    except USUAL as error:
        why = str(error) or "Not enough memory."
        raise Unusable(f"{before}{why}{after}") from error


def every(*steps: Callable[[], Any]) -> list[Any]:
    """Give what all steps give, or stop with what each says."""
    results, problems = list[Any](), list[str]()
    for step in steps:
        try:
            results.append(step())
        except Unusable as error:
            problems.append(str(error))
    refuse_if(problems, "\n".join(problems))
    return results


def unknown(kind: str, name: str, known: Iterable[str], hint: str = "") -> Unusable:
    """Error for a name that is not there: the closest one, and all there are."""
    names = list(known)
    plain = {each.strip().casefold(): each for each in names}
    close = get_close_matches(name.strip().casefold(), plain, n=1)
    meant = f"; did you mean {plain[close[0]]!r}?" if close else "."
    shown = ", ".join(map(repr, names[:N_SHOWN])) + ", ..." * (len(names) > N_SHOWN)
    return Unusable(f"There is no {kind} {name!r}{meant} There are {shown}.{hint}")


def as_option(names: Iterable[str]) -> str:
    """Names as a shell and --exclude take them."""
    quoted = (name.replace('"', '""') for name in names)
    return shlex.quote(",".join(f'"{n}"' if set(n) & set(',"') else n for n in quoted))
