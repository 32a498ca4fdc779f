"""The host's copy of the secrets that the plugin needs for etcd."""

from __future__ import annotations

import logging
import shutil
import threading
from pathlib import Path

from pycalico.cni import hostfiles

log = logging.getLogger(__name__)

_NAMES = ("etcd-ca", "etcd-cert", "etcd-key")
_LOOK_S = 5.0


class SecretCopy:
    """``source`` is a mounted Secret, ``target`` a directory on the host."""

    def __init__(self, source: Path, target: Path) -> None:
        self._source = source
        self._target = target

    def has(self, name: str) -> bool:
        return (self._target / name).is_file()

    def replace(self) -> None:
        """Removes the old copy and makes a new one, if there is a Secret at all. Raises OSError."""
        shutil.rmtree(self._target, ignore_errors=True)
        if not any((self._source / name).is_file() for name in _NAMES):
            log.info("No TLS assets found in %s, skipping", self._source)
            return
        log.info("Installing any TLS assets")
        self._target.mkdir(parents=True, mode=0o700)
        for name in _NAMES:
            self._copy(name)
            if not self.has(name):
                log.warning("Missing %s", name)

    def follow(self, stop: threading.Event) -> None:
        """Until ``stop`` is set: a renewed certificate is copied. A Secret changes by new links, so files are looked at."""
        while not stop.wait(_LOOK_S):
            for name in _NAMES:
                try:
                    if self._copy(name):
                        log.info("Updated installed secret %s", name)
                except OSError as error:
                    log.warning("cannot copy the secret %s: %s", name, error.strerror)

    def _copy(self, name: str) -> bool:
        """False when there is nothing to copy or nothing new."""
        source = self._source / name
        return source.is_file() and hostfiles.copy(source, self._target / name)
