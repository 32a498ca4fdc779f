"""How lists inside the built-in kinds merge: the strategic-merge-patch facts of Kubernetes' types.

A `Shape` describes one object: for each field, how it merges and the shape below. Lists that are not
named here are atomic (replaced whole), objects that are not named merge field by field.
"""

from __future__ import annotations

from typing import Final

import msgspec


class Shape(msgspec.Struct, frozen=True, eq=False):
    """``keys``: list field → merge key ("" for a list of plain values used as a set); ``fields``: below."""

    keys: dict[str, str] = {}
    fields: dict[str, Shape] = {}
    apply_keys: dict[str, tuple[str, ...]] = {}  # where server-side apply uses more keys than `keys`


PLAIN: Final = Shape()
_METADATA: Final = Shape(keys={"ownerReferences": "uid", "finalizers": ""})
_CONTAINER: Final = Shape(
    keys={"env": "name", "ports": "containerPort", "volumeMounts": "mountPath", "volumeDevices": "devicePath",
          "resizePolicy": "resourceName"},
    apply_keys={"ports": ("containerPort", "protocol")},
)  # fmt: skip
_POD_SPEC: Final = Shape(
    keys={
        "containers": "name",
        "initContainers": "name",
        "ephemeralContainers": "name",
        "volumes": "name",
        "imagePullSecrets": "name",
        "hostAliases": "ip",
        "topologySpreadConstraints": "topologyKey",
        "resourceClaims": "name",
        "schedulingGates": "name",
    },
    fields={"containers": _CONTAINER, "initContainers": _CONTAINER, "ephemeralContainers": _CONTAINER},
    apply_keys={"topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable")},
)
_CONDITIONS: Final = Shape(keys={"conditions": "type"})
_TEMPLATE: Final = Shape(fields={"metadata": _METADATA, "spec": _POD_SPEC})
_WORKLOAD: Final = Shape(
    fields={
        "metadata": _METADATA,
        "spec": Shape(fields={"template": _TEMPLATE}),
        "status": _CONDITIONS,
    }
)
_OTHER: Final = Shape(fields={"metadata": _METADATA, "status": _CONDITIONS})

_BY_ID: Final[dict[str, Shape]] = {
    "pods": Shape(
        fields={
            "metadata": _METADATA,
            "spec": _POD_SPEC,
            "status": Shape(keys={"conditions": "type", "podIPs": "ip", "hostIPs": "ip"}),
        }
    ),
    "nodes": Shape(
        fields={
            "metadata": _METADATA,
            "spec": Shape(keys={"podCIDRs": ""}),
            "status": Shape(keys={"conditions": "type", "addresses": "type"}),
        }
    ),
    "services": Shape(
        fields={
            "metadata": _METADATA,
            "spec": Shape(keys={"ports": "port"}, apply_keys={"ports": ("port", "protocol")}),
            "status": _CONDITIONS,
        }
    ),
    "serviceaccounts": Shape(
        keys={"secrets": "name", "imagePullSecrets": "name"}, fields={"metadata": _METADATA}
    ),
    "daemonsets.apps": _WORKLOAD,
    "deployments.apps": _WORKLOAD,
    "replicasets.apps": _WORKLOAD,
    "statefulsets.apps": _WORKLOAD,
    "jobs.batch": _WORKLOAD,
    "replicationcontrollers": _WORKLOAD,
}


def shape_of(resource_id: str) -> Shape:
    return _BY_ID.get(resource_id, _OTHER)
