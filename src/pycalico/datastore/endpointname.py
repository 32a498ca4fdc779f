"""The name of a workload endpoint follows from its identifiers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycalico.api import names
from pycalico.datastore.errors import Invalid

if TYPE_CHECKING:
    from pycalico.api.v3.workloadendpoint import WorkloadEndpoint, WorkloadEndpointSpec


def node_prefix(node: str) -> str:
    """What the names of all endpoints of a node begin with (and perhaps those of a node named alike)."""
    return node.replace("-", "--") + "-"


def expected(spec: WorkloadEndpointSpec) -> str:
    """Raises Invalid when an identifier is missing or cannot be part of a name."""
    match spec.orchestrator:
        case "k8s":
            workload = ("pod", spec.pod)
        case "cni":
            workload = ("containerID", spec.container_id)
        case "libnetwork":
            workload = ("orchestrator", spec.orchestrator)
        case _:
            workload = ("workload", spec.workload)
    parts = (
        ("node", spec.node),
        ("orchestrator", spec.orchestrator),
        workload,
        ("endpoint", spec.endpoint),
    )
    for field, value in parts:
        if not value:
            shown = field if field == "node" else f"{field} = ''"
            raise Invalid(f"error with field {shown} (field should be assigned)")
        if value.startswith("-"):
            raise Invalid(f"error with field {field} = '{value}' (field must not begin with a '-')")
        if value.endswith("-"):
            raise Invalid(f"error with field {field} = '{value}' (field must not end with a '-')")
    return names.workload_endpoint(spec.node, spec.orchestrator, workload[1], spec.endpoint)


def fill(endpoint: WorkloadEndpoint) -> None:
    """Names a nameless endpoint. Raises Invalid when it has another name than it should."""
    name = expected(endpoint.spec)
    meta = endpoint.metadata
    meta.name = meta.name or name
    if meta.name != name:
        raise Invalid(
            f"error with field Name = '{meta.name}' (the WorkloadEndpoint name does not match the primary "
            f"identifiers assigned in the Spec: expected name {name})"
        )
