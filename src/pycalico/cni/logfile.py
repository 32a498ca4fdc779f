"""cni.log: the plugin's log on disk, rotated by size, count and age, as the conflist asks."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from pathlib import Path

from pycalico.base.log import LEVELS, LineFormatter
from pycalico.cni.netconf import NetConf

_MEGABYTE = 1 << 20
_DAY_S = 86400


def configure(config: NetConf) -> None:
    """Logs to stderr, and to the file where one is named. A file that cannot be written never stops a pod."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if config.log_file_path:
        path = Path(config.log_file_path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
            _rotate(path, config)
            handlers.append(logging.FileHandler(path))
        except OSError as error:
            logging.getLogger(__name__).warning("cannot log to %s: %s", path, error.strerror)
    for handler in handlers:
        handler.setFormatter(LineFormatter(""))
    root = logging.getLogger()
    root.handlers[:] = handlers
    known = {"debug", "info", "error"}
    root.setLevel(LEVELS[config.log_level.lower() if config.log_level.lower() in known else "info"])


def _rotate(path: Path, config: NetConf) -> None:
    """Renames a full file to ``cni-<time>.log`` and removes what is too old or too many."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size >= config.log_file_max_size * _MEGABYTE:
            stamp = (
                time.strftime("%Y-%m-%dT%H-%M-%S", time.gmtime())
                + f".{time.time_ns() // 1_000_000 % 1000:03d}"
            )
            path.rename(path.with_name(f"{path.stem}-{stamp}{path.suffix}"))
            backups = sorted(path.parent.glob(f"{path.stem}-*{path.suffix}"), reverse=True)
            oldest = time.time() - config.log_file_max_age * _DAY_S
            for number, backup in enumerate(backups):
                if number >= config.log_file_max_count or backup.stat().st_mtime < oldest:
                    backup.unlink(missing_ok=True)
