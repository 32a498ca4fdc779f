"""The configuration directory: files replaced as a whole, and only after BIRD has accepted them together."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from pycalico.bgp import daemon
from pycalico.bgp.render import MAIN_FILES

log = logging.getLogger(__name__)

_STAGE_PREFIX = ".staged-"
_SESSION = re.compile(r"^protocol bgp (\w+)", re.MULTILINE)


class Outcome(msgspec.Struct):
    """``changed``: families whose BIRD must read anew. ``refused``: by family, what BIRD said of what is left out."""

    changed: set[int]
    refused: dict[int, str] = msgspec.field(default_factory=dict)

    def refusal(self) -> str:
        """One line; "" when nothing was refused."""
        return "; ".join(f"{MAIN_FILES[n]} is left as it was: {said}" for n, said in self.refused.items())


class ConfigDirectory:
    """``keep_stage`` leaves the staged files behind, for debugging."""

    def __init__(self, path: Path, *, keep_stage: bool = False) -> None:
        self.path = path
        self._keep_stage = keep_stage
        self._unchecked_told = False

    def apply(self, files: Mapping[str, str]) -> Outcome:
        """Makes the directory hold ``files``. A family's files change together or not at all. Raises OSError."""
        self.path.mkdir(parents=True, exist_ok=True)
        for stale in self.path.glob(_STAGE_PREFIX + "*"):
            shutil.rmtree(stale, ignore_errors=True)
        outcome = Outcome(set())
        for family, main in MAIN_FILES.items():
            names = _family_files(main)
            if all(_same(self.path / name, files[name]) for name in names):
                continue
            try:
                self._replace(family, names, files)
                outcome.changed.add(family)
            except daemon.Refused as error:
                outcome.refused[family] = str(error)
        return outcome

    def written_s(self, family: int) -> float:
        """When the newest file of the family was written, in seconds since 1970. Raises OSError."""
        return max((self.path / name).stat().st_mtime for name in _family_files(MAIN_FILES[family]))

    def _replace(self, family: int, names: list[str], files: Mapping[str, str]) -> None:
        stage = Path(tempfile.mkdtemp(prefix=_STAGE_PREFIX, dir=self.path))
        try:
            for name in names:
                _write(stage / name, files[name])
            self._check(family, stage / names[-1])
            for name in names:
                if not _same(self.path / name, files[name]):
                    _move(stage / name, self.path / name, files[name])
        finally:
            if not self._keep_stage:
                shutil.rmtree(stage, ignore_errors=True)

    def _check(self, family: int, main: Path) -> None:
        try:
            daemon.check(family, main)
        except daemon.Missing as error:
            if not self._unchecked_told:
                log.warning("configuration is written without a check: %s", error)
                self._unchecked_told = True


def generation(family: int, files: Mapping[str, str]) -> str:
    """A digest of one family's files."""
    text = "\0".join(files[name] for name in _family_files(MAIN_FILES[family]))
    return f"{zlib.crc32(text.encode()):08x}"


def sessions(family: int, files: Mapping[str, str]) -> frozenset[str]:
    """Names of the BGP protocols that the family's main file defines."""
    return frozenset(_SESSION.findall(files[MAIN_FILES[family]]))


def _family_files(main: str) -> list[str]:
    """In the order of replacement: what is included comes before what includes it."""
    stem = main.removesuffix(".cfg")
    return [f"{stem}_aggr.cfg", f"{stem}_ipam.cfg", main]


def _mode(text: str) -> int:
    """Passwords are for root alone; the rest may be read by all, as upstream's."""
    return 0o600 if "\n  password " in text else 0o644


def _same(path: Path, text: str) -> bool:
    try:
        found = path.stat()
        return (
            found.st_mode & 0o777 == _mode(text)
            and found.st_uid == os.geteuid()
            and path.read_bytes() == text.encode()
        )
    except OSError:
        return False


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(descriptor, _mode(text))
        file.write(text)
        file.flush()
        os.fsync(descriptor)


def _move(staged: Path, target: Path, text: str) -> None:
    try:
        staged.replace(target)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        # A file that is itself a mount cannot be replaced, only filled.
        _write(target, text)
