"""Files on the host: whole at every moment, and never through a link that somebody put in the way."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def place(target: Path, content: bytes, mode: int) -> None:
    """Writes beside ``target``, then renames: a program that runs is replaced, not written over. Raises OSError."""
    staged = target.with_name(f"{target.name}.tmp")
    staged.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(staged, flags, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        staged.replace(target)
    except OSError:
        staged.unlink(missing_ok=True)
        raise


def same(source: Path, target: Path) -> bool:
    """Whether ``target`` is a plain file with the content and the permissions of ``source``."""
    try:
        found = target.lstat()
    except FileNotFoundError:
        return False
    wanted = source.stat()
    return (
        stat.S_ISREG(found.st_mode)
        and (found.st_size, found.st_mode) == (wanted.st_size, wanted.st_mode)
        and source.read_bytes() == target.read_bytes()
    )


def copy(source: Path, target: Path) -> bool:
    """Content and permissions; False when there was nothing to do. Raises OSError."""
    if same(source, target):
        return False
    place(target, source.read_bytes(), stat.S_IMODE(source.stat().st_mode))
    return True
