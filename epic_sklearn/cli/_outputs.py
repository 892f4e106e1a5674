"""Files that a command writes: checked before the work, complete or not there."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from ._errors import Unusable


def check_outputs(
    outputs: dict[str, Path], inputs: Iterable[Path], force: bool
) -> None:
    """Refuse outputs that cannot be written, before any work.

    Parameters
    ----------
    outputs : dict of str to Path
        Option and file.
    inputs : iterable of Path
        Files that are read; never overwritten.
    force : bool
        Whether files that exist may be replaced.

    Raises
    ------
    Unusable
        If a folder is missing, a file exists, or two are the same.
    """
    taken = {path.resolve(): f"the input {path}" for path in inputs}
    for option, path in outputs.items():
        real = path.resolve()
        folder = real.parent
        if not folder.is_dir():
            raise Unusable(f"{option}: there is no folder {folder}.")
        if real in taken or any(_is_same(real, other) for other in taken):
            raise Unusable(
                f"{option}: {path} is {taken.get(real, 'an input')} as well."
            )
        if real.exists() and not real.is_file():
            raise Unusable(f"{option}: {path} is not a regular file.")
        if real.exists() and not force:
            raise Unusable(f"{option}: {path} exists; give --force to replace it.")
        if not os.access(folder, os.W_OK):
            raise Unusable(f"{option}: no permission to write in {folder}.")
        taken[real] = f"the file of {option}"


def _is_same(path: Path, other: Path) -> bool:
    """Whether both are one file under two names."""
    return path.exists() and other.exists() and path.samefile(other)


class AtomicFiles:
    """Files written under another name beside their place, then moved there.

    All are moved when the block ends, and none if it fails.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from epic_sklearn.cli._outputs import AtomicFiles
    >>> with TemporaryDirectory() as folder:
    ...     target = Path(folder, "out.txt")
    ...     with AtomicFiles() as files:
    ...         _ = files.temporary(target).write_text("done")
    ...         before = target.exists()
    ...     before, target.read_text()
    (False, 'done')
    """

    def __init__(self) -> None:
        self._moves: list[tuple[Path, Path]] = []

    def __enter__(self) -> AtomicFiles:
        return self

    def temporary(self, path: Path) -> Path:
        """Make an empty file to write in the place of `path`."""
        final = path.resolve()  # a link stays a link
        temporary = final.with_name(f".epic-{secrets.token_hex(8)}{final.suffix}")
        self._moves.append((temporary, final))
        temporary.touch(exist_ok=False)
        if final.exists():
            shutil.copymode(final, temporary)
        return temporary

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                for temporary, final in self._moves:
                    os.replace(temporary, final)
        finally:
            for temporary, _ in self._moves:
                temporary.unlink(missing_ok=True)
