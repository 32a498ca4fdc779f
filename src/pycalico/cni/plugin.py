"""The CNI plugin ``calico``."""

from __future__ import annotations

import sys
from pathlib import Path

from pycalico.api.v3.clusterinformation import ClusterInformation
from pycalico.cni import collection, entry, readiness
from pycalico.cni.add import add
from pycalico.cni.delete import delete
from pycalico.cni.errors import CNIError
from pycalico.cni.invocation import Invocation
from pycalico.datastore.errors import DatastoreError, NotFound


def test(invocation: Invocation) -> None:
    """``-t``: can the datastore be reached? Raises CNIError."""
    try:
        invocation.client.get(ClusterInformation, "default")
    except NotFound:
        return
    except DatastoreError as error:
        raise CNIError("data store connection failed", 100, str(error)) from error


PLUGIN = entry.Plugin(
    "calico", "Calico", "Calico CNI plugin", add, delete, readiness.status, collection.collect, test=test
)


def main() -> None:
    # The image has the installer as a program of its own.
    if sys.argv[1:] == ["install"] or Path(sys.argv[0]).name == "install":
        from pycalico.cni import install  # noqa: PLC0415 - a pod's call pays nothing for it

        sys.exit(install.run())
    entry.main(PLUGIN)
