"""The file in which the program tells ``check-status``, and so the kubelet, how it is."""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import time
from pathlib import Path

import msgspec

log = logging.getLogger(__name__)

DEFAULT_FILE = "/status/status.json"
#: A process that looks after its health touches the file at least this often.
LIVE_S = 90.0


class Condition(msgspec.Struct, frozen=True, rename="pascal"):
    ready: bool
    reason: str = ""


class Status(msgspec.Struct, rename="pascal"):
    """The file's content (upstream's form)."""

    readiness: dict[str, Condition] = {}

    @property
    def ready(self) -> bool:
        """No condition at all is not ready."""
        return bool(self.readiness) and all(condition.ready for condition in self.readiness.values())

    def reasons(self) -> str:
        return "; ".join(condition.reason for condition in self.readiness.values() if not condition.ready)


def read(path: str) -> Status:
    """Raises OSError or msgspec.DecodeError."""
    return msgspec.json.decode(Path(path).read_bytes(), type=Status)


def age_s(path: str) -> float:
    """Since the process last wrote or touched it, by the wall clock. Raises OSError."""
    return max(0.0, time.time() - Path(path).stat().st_mtime)


class StatusFile:
    """Thread-safe; written only on change, and always whole."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._status = Status()
        self._lock = threading.Lock()

    def set(self, name: str, *, ready: bool, reason: str = "") -> None:
        with self._lock:
            condition = Condition(ready, reason)
            if self._status.readiness.get(name) == condition:
                return
            self._status.readiness[name] = condition
            try:
                self._write()
            except OSError as error:
                log.warning("Failed to write status file %s: %s", self._path, error.strerror or error)

    def touch(self) -> None:
        """A sign of life."""
        try:
            os.utime(self._path)
        except OSError as error:
            log.debug("cannot touch status file %s: %s", self._path, error)

    def ready(self, name: str) -> bool:
        with self._lock:
            return self._status.readiness.get(name, Condition(ready=False)).ready

    def _write(self) -> None:
        write_whole(self._path, msgspec.json.encode(self._status))


def write_whole(path: Path, data: bytes) -> None:
    """Readers see the old file or the new one. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".status-")
    except PermissionError:
        # Images that hand us the file but not its directory.
        path.write_bytes(data)
        return
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
        os.chmod(temporary, 0o644)  # noqa: PTH101 - of a bare name
        os.replace(temporary, path)  # noqa: PTH105
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise
