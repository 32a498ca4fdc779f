"""``calicoctl version``."""

from __future__ import annotations

import sys
import time

from pycalico import CALICO_VERSION, __version__
from pycalico.api.v3.clusterinformation import ClusterInformation
from pycalico.base import duration
from pycalico.calicoctl import connection
from pycalico.calicoctl.failure import Failure
from pycalico.calicoctl.syntax import Arguments
from pycalico.datastore.config import KUBERNETES
from pycalico.datastore.errors import DatastoreError


def run(arguments: Arguments) -> None:
    """Prints both versions; with ``--poll`` again and again, what has changed."""
    pause_s = _poll(arguments.text("--poll"))
    print(f"Client Version:    {CALICO_VERSION}\nGit commit:        pycalico-{__version__}", flush=True)
    kind = ""
    path = arguments.text("--config")
    try:
        kind = connection.config(path).datastore_type
        client = connection.client(path)
    except DatastoreError as error:
        if kind == KUBERNETES:
            print("Unable to detect installed Calico version")
            return
        raise Failure(error) from error
    shown = ("", "")
    while True:
        failure: Failure | None = None
        try:
            spec = client.get(ClusterInformation, "default").spec
        except DatastoreError as error:
            failure = Failure(f"Unable to retrieve Cluster Version or Type: {error}")
            shown = ("", "")
        else:
            shown = _show(shown, (spec.calico_version or "unknown", spec.cluster_type or "unknown"))
        if not pause_s:
            break
        if failure is not None:
            print(failure, file=sys.stderr, flush=True)
        time.sleep(pause_s)
    if failure is not None:
        raise failure


def _poll(text: str) -> float:
    """Seconds; 0 asks once."""
    if not text:
        return 0.0
    try:
        return max(0.0, duration.parse_seconds(text))
    except duration.DurationError as error:
        # Upstream names the duration that it could not read as zero.
        raise Failure("Invalid poll duration specified: 0s") from error


def _show(before: tuple[str, str], now: tuple[str, str]) -> tuple[str, str]:
    for heading, old, new in zip(("Cluster Version:  ", "Cluster Type:     "), before, now, strict=True):
        if old != new:
            print(heading, new, flush=True)
    return now
