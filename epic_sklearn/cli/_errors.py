"""What the command line says when it cannot go on."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

import click


class Unusable(click.ClickException):
    """Input or an argument that cannot be used: one line, exit status 2."""

    exit_code = 2


def unknown(
    kind: str, name: str, known: Iterable[str], more_help: str = ""
) -> Unusable:
    """Error for a name that is not there: the closest one, and all there are.

    Parameters
    ----------
    kind : str
        What was looked for: "column", "array".
    name : str
        The name given.
    known : iterable of str
        The names there are.
    more_help : str, optional
        What else to say.

    Returns
    -------
    Unusable
        To be raised.

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
    shown = ", ".join(map(repr, names[:20]))
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return Unusable(
        f"There is no {kind} {name!r}{hint} There are {shown}{more}.{more_help}"
    )
