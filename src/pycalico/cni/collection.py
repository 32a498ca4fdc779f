"""GC of CNI 1.1: the runtime says which containers it has; what others of this node hold is given back."""

from __future__ import annotations

import logging
from typing import Any

from pycalico.api.v3.ipam import IPAMBlock
from pycalico.cni import netconf
from pycalico.cni.errors import INVALID_CONFIG, CNIError
from pycalico.cni.invocation import Invocation
from pycalico.datastore.errors import DatastoreError, NotFound
from pycalico.ipam import block as blocks
from pycalico.ipam.errors import IPAMError

log = logging.getLogger(__name__)

_VALID = "cni.dev/valid-attachments"


def collect(call: Invocation) -> None:
    """Handles of this network that no valid container has are released; those of other nodes are not looked at.

    Raises CNIError, after all that could be released was.
    """
    valid = {f"{call.config.name}.{container}" for container in _containers(call.raw)}
    failures = []
    for handle in sorted(_held_here(call) - valid):
        try:
            call.allocator.release_by_handle(handle)
            log.info("gave back what %s held", handle)
        except NotFound:
            continue
        except (IPAMError, DatastoreError) as error:
            failures.append(f"{handle}: {error}")
    if failures:
        raise CNIError("; ".join(failures))


def _containers(raw: dict[str, Any]) -> list[str]:
    listed = raw.get(_VALID)
    # No list at all is not an empty one: it would give back what every pod has.
    if not isinstance(listed, list) or not all(
        isinstance(item, dict) and isinstance(item.get("containerID"), str) for item in listed
    ):
        raise CNIError(f"GC needs {_VALID}, a list of objects with containerID", INVALID_CONFIG)
    return [item["containerID"] for item in listed]


def _held_here(call: Invocation) -> set[str]:
    node, prefix = netconf.node_name(call.config), f"{call.config.name}."
    try:
        listed = call.client.list(IPAMBlock).items
    except DatastoreError as error:
        raise CNIError.of(error) from error
    return {
        holder.handle
        for block in listed
        for _, holder in blocks.allocated(block.spec)
        if holder.handle is not None
        and holder.handle.startswith(prefix)
        and holder.attributes.get("node") == node
    }
