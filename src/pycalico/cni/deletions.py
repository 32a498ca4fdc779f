"""Deletions that could not be finished because the datastore was away: kept on the node, finished by its agent.

A file each, for root alone, as a conflist may hold credentials. Finishing is by the container's handle, so that doing it
twice does nothing, and an address that somebody else has by then is not touched.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from pycalico.cni import hostfiles, netconf
from pycalico.cni.errors import TRY_AGAIN, CNIError
from pycalico.cni.invocation import Invocation, Stores

log = logging.getLogger(__name__)

DIRECTORY = Path("/var/lib/calico/cni-deletions")
#: Variables without which the call is the same: the interface is gone already.
_LEFT_OUT = ("CNI_NETNS",)


class _Left(msgspec.Struct):
    environ: dict[str, str]
    config: dict[str, Any]


def leave(call: Invocation, directory: Path | None = None) -> None:
    """Raises OSError."""
    directory = directory or DIRECTORY
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    environ = {
        name: value
        for name, value in call.environ.items()
        if name.startswith("CNI_") and name not in _LEFT_OUT
    }
    import hashlib  # noqa: PLC0415 - loads OpenSSL, which most calls do without

    # A container is one of a network, and its identifier is no name for a file.
    of = f"{call.config.name}/{call.arguments.container_id}/{call.arguments.ifname}"
    name = hashlib.sha256(of.encode()).hexdigest()[:32]
    hostfiles.place(directory / name, msgspec.json.encode(_Left(environ, call.raw)), 0o600)


def finish(stores: Stores, delete: Callable[[Invocation], None], directory: Path | None = None) -> int:
    """Does what was left, oldest first, until the datastore is away again; returns how many remain."""
    found = _oldest_first(directory or DIRECTORY)
    for number, path in enumerate(found):
        try:
            left = msgspec.json.decode(path.read_bytes(), type=_Left)
            arguments = netconf.parse_arguments(left.environ)
            config = netconf.parse_config(msgspec.json.encode(left.config))
            delete(Invocation(config, arguments, left.config, left.environ, stores))
        except CNIError as error:
            if error.code == TRY_AGAIN:
                return len(found) - number
            log.warning("%s is given up: %s", path, error)
        except (OSError, msgspec.DecodeError) as error:
            log.warning("%s is given up: %s", path, error)
        else:
            log.info("finished the deletion of %s", arguments.container_id)
        path.unlink(missing_ok=True)
    return 0


def _oldest_first(directory: Path) -> list[Path]:
    try:
        entries = [
            (entry.stat().st_mtime, entry.path) for entry in os.scandir(directory) if "." not in entry.name
        ]
    except FileNotFoundError:
        return []
    return [Path(path) for _, path in sorted(entries)]
