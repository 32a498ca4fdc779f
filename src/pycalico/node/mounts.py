"""``-init`` and ``-hostpath-init``: what must be mounted, and what a user other than root must own."""

from __future__ import annotations

import ctypes
import logging
import os
from collections.abc import Mapping
from pathlib import Path

from pycalico.base import log as base_log

log = logging.getLogger(__name__)

_BPF = "/sys/fs/bpf"
_CGROUP = "/run/calico/cgroup"
_HOST_MOUNTS = Path("/nodeproc/1/mountinfo")
_DEFAULT_USER = 1000


def init(*, best_effort: bool = False) -> int:
    """Mounts the BPF file system (failure: 2) and the host's root cgroup2 (failure: 3)."""
    base_log.configure("init-best-effort" if best_effort else "init")
    for what, action, code in (("BPF file system", _mount_bpf, 2), ("root cgroup2", _mount_cgroup, 3)):
        try:
            action()
        except OSError as error:
            log.error("Failed to mount the %s: %s", what, error)
            if not best_effort:
                return code
    return 0


def _mount_bpf() -> None:
    if _is_mounted(Path("/proc/self/mountinfo"), _BPF, "bpf"):
        log.info("BPF file system is mounted at %s", _BPF)
        return
    Path(_BPF).mkdir(parents=True, exist_ok=True)
    _mount("bpffs", _BPF, "bpf")


def _mount_cgroup() -> None:
    if _HOST_MOUNTS.exists() and _is_mounted(_HOST_MOUNTS, _CGROUP, "cgroup2"):
        log.info("cgroup2 is mounted at %s", _CGROUP)
        return
    Path(_CGROUP).mkdir(parents=True, exist_ok=True)
    _mount("none", _CGROUP, "cgroup2")


def _is_mounted(table: Path, target: str, kind: str) -> bool:
    for line in table.read_text().splitlines():
        fields = line.split(" ")
        if fields[4] == target and fields[fields.index("-") + 1] == kind:
            return True
    return False


def _mount(source: str, target: str, kind: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source.encode(), target.encode(), kind.encode(), 0, None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{os.strerror(number)}: {target}")
    log.info("Mounted %s at %s", kind, target)


def hostpath_init(environ: Mapping[str, str] = os.environ) -> int:
    """Directories for the user NODE_USER_ID (1000)."""
    base_log.configure("hostpath-init")
    text = environ.get("NODE_USER_ID", "") or str(_DEFAULT_USER)
    if not (text.isascii() and text.isdigit()):
        log.critical("NODE_USER_ID %r is no user id", text)
        return 1
    try:
        for path in ("/var/lib/calico", "/var/run/calico", "/var/log/calico/cni"):
            Path(path).mkdir(mode=0o700, parents=True, exist_ok=True)
            _give(Path(path), int(text))
    except OSError as error:
        log.critical("Unable to set up host paths: %s", error)
        return 1
    return 0


def _give(path: Path, user: int) -> None:
    os.chown(path, user, -1, follow_symlinks=False)
    for directory, names, files in os.walk(path):
        for name in (*names, *files):
            os.chown(Path(directory) / name, user, -1, follow_symlinks=False)
