"""Files of resources: which files, and what is in them (``api.manifests`` reads the text)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from pycalico.api.manifests import ManifestError, parse
from pycalico.api.meta import Resource

_SUFFIXES = (".yaml", ".yml", ".json")


def files(path: str, *, recursive: bool) -> Iterator[str]:
    """The file itself, or a directory's manifests in lexical order. ``-`` is standard input."""
    if path == "-" or not os.path.isdir(path):  # noqa: PTH112
        yield path
        return
    for name in sorted(os.listdir(path)):  # noqa: PTH208
        child = os.path.join(path, name)  # noqa: PTH118
        if os.path.isdir(child):  # noqa: PTH112
            if recursive and not os.path.islink(child):  # noqa: PTH114
                yield from files(child, recursive=True)
        elif os.path.splitext(name)[1].lower() in _SUFFIXES:  # noqa: PTH122
            yield child


def text_of(path: str) -> str:
    """Raises ManifestError."""
    try:
        if path == "-":
            if sys.stdin is None:  # closed by the caller
                raise ManifestError("read -: bad file descriptor")
            return sys.stdin.buffer.read().decode()
        with open(path, encoding="utf-8") as file:  # noqa: PTH123
            return file.read()
    except OSError as error:
        what = "read" if isinstance(error, IsADirectoryError) else "open"
        raise ManifestError(f"{what} {path}: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise ManifestError("error parsing document: yaml: invalid UTF-8") from error


def load(path: str) -> list[Resource]:
    """All resources of one file. Raises ManifestError, with the file and where in it."""
    text = text_of(path)
    try:
        return parse(text)
    except ManifestError as error:
        # Upstream's text for an unknown kind names it and ends there.
        if path == "-" or not str(error).startswith("error parsing document"):
            raise
        raise ManifestError(f"{error} ({path}, {error.place})") from error
