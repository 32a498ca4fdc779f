"""What a resource may hold. Pure: cross-object rules are the typed client's. Texts are upstream's (observed).

``check`` collects every fault of one resource, in the order of its fields.
"""

from __future__ import annotations

import importlib

from pycalico.api.meta import Resource
from pycalico.api.validate.faults import Fault, Faults, ValidationError

__all__ = ["Fault", "Faults", "ValidationError", "check"]

#: kind → (module here, function). A kind without a row has metadata only.
_CHECKS = {
    "BGPConfiguration": ("bgp", "configuration"),
    "BGPFilter": ("bgp", "bgp_filter"),
    "BGPPeer": ("bgp", "peer"),
    "BlockAffinity": ("addresses", "affinity"),
    "CalicoNodeStatus": ("node", "status"),
    "FelixConfiguration": ("felix", "configuration"),
    "GlobalNetworkPolicy": ("policy", "global_policy"),
    "GlobalNetworkSet": ("addresses", "network_set"),
    "HostEndpoint": ("endpoints", "host_endpoint"),
    "IPAMConfig": ("addresses", "ipam_config"),
    "IPPool": ("addresses", "pool"),
    "IPReservation": ("addresses", "reservation"),
    "KubeControllersConfiguration": ("node", "controllers"),
    "NetworkPolicy": ("policy", "network_policy"),
    "NetworkSet": ("addresses", "network_set"),
    "Node": ("node", "node"),
    "Profile": ("policy", "profile"),
    "WorkloadEndpoint": ("endpoints", "workload_endpoint"),
}


def check(resource: Resource) -> None:
    """Raises ValidationError, which lists all faults."""
    from pycalico.api.validate import metadata  # noqa: PLC0415 (loaded by those who write)

    faults = Faults()
    metadata.check(faults, resource.metadata)
    row = _CHECKS.get(type(resource).__name__)
    if row is not None:
        getattr(importlib.import_module(f"{__name__}.{row[0]}"), row[1])(faults, resource)
    faults.raise_any()
