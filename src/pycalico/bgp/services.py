"""Which service addresses this node announces.

The configured ranges are announced by every node; a single address beside them by the nodes that have a ready
endpoint of a service with externalTrafficPolicy Local, so that traffic comes straight to one of them.
"""

from __future__ import annotations

import msgspec

from pycalico.api.v3.bgpconfiguration import ServiceIPBlock
from pycalico.api.v3.kubernetes import KubernetesEndpointSlice, KubernetesService
from pycalico.bgp import values
from pycalico.bgp.inputs import Inputs, Settings
from pycalico.bgp.values import Network

EXCLUDE_LABEL = "node.kubernetes.io/exclude-from-external-load-balancers"
_SERVICE_LABEL = "kubernetes.io/service-name"
_TYPES = ("ClusterIP", "NodePort", "LoadBalancer")


class ServiceRoutes(msgspec.Struct):
    """CIDRs of both families: ``announced`` as static routes, ``rejected`` by the kernel's filter.

    ``load_balancer`` holds the configured ranges, single addresses included.
    """

    announced: set[str]
    rejected: set[str]
    load_balancer: list[Network]


class _Ranges(msgspec.Struct):
    cluster: list[Network]
    external: list[Network]
    load_balancer: list[Network]


def service_routes(inputs: Inputs, settings: Settings, problems: list[str]) -> ServiceRoutes:
    ranges = _ranges(inputs, settings, problems)
    wide = [
        *ranges.cluster,
        *ranges.external,
        *(net for net in ranges.load_balancer if net.num_addresses > 1),
    ]
    rejected = {str(net) for net in wide}
    node = inputs.nodes.get(settings.node)
    if node and node.metadata.labels.get(EXCLUDE_LABEL) == "true":
        return ServiceRoutes(set(), rejected, ranges.load_balancer)
    announced = set(rejected)
    if ranges.cluster or ranges.external or ranges.load_balancer:
        slices = _by_service(inputs)
        endpoint_node = settings.endpoint_node or settings.node
        for key, service in inputs.services.items():
            if _is_announced(service, slices.get(key, []), endpoint_node, ranges):
                announced.update(_routes(service, ranges))
    return ServiceRoutes(announced, rejected, ranges.load_balancer)


def wants_services(inputs: Inputs, settings: Settings) -> bool:
    """Whether any range is configured, so that services need to be watched at all."""
    spec = inputs.default
    return bool(
        settings.advertise_cluster_ips
        or spec.service_cluster_ips
        or spec.service_external_ips
        or spec.service_load_balancer_ips
    )


def _ranges(inputs: Inputs, settings: Settings, problems: list[str]) -> _Ranges:
    spec = inputs.default
    cluster = spec.service_cluster_ips
    if settings.advertise_cluster_ips:
        cluster = [ServiceIPBlock(cidr=settings.advertise_cluster_ips)]
    return _Ranges(
        _networks("serviceClusterIPs", cluster, problems),
        _networks("serviceExternalIPs", spec.service_external_ips, problems),
        _networks("serviceLoadBalancerIPs", spec.service_load_balancer_ips, problems),
    )


def _networks(what: str, blocks: list[ServiceIPBlock], problems: list[str]) -> list[Network]:
    found = []
    for block in blocks:
        network = values.network(block.cidr)
        if network is None:
            problems.append(f"BGPConfiguration default: {what}: {block.cidr!r} is no CIDR; left out")
        else:
            found.append(network)
    return found


def _by_service(inputs: Inputs) -> dict[tuple[str, str], list[KubernetesEndpointSlice]]:
    found: dict[tuple[str, str], list[KubernetesEndpointSlice]] = {}
    for (namespace, _), piece in inputs.slices.items():
        name = piece.metadata.labels.get(_SERVICE_LABEL, "")
        found.setdefault((namespace, name), []).append(piece)
    return found


def _is_announced(
    service: KubernetesService, slices: list[KubernetesEndpointSlice], node: str, ranges: _Ranges
) -> bool:
    spec = service.spec
    if spec.type not in _TYPES or spec.cluster_ip in ("", "None"):
        return False
    if (
        spec.type == "LoadBalancer"
        and spec.external_traffic_policy == "Cluster"
        and _inside(spec.load_balancer_ip, [net for net in ranges.load_balancer if net.num_addresses == 1])
    ):
        return True
    if spec.external_traffic_policy != "Local":
        return False
    family = "IPv6" if ":" in spec.cluster_ip else "IPv4"
    return any(
        endpoint.node_name == node and endpoint.conditions.ready is not False
        for piece in slices
        if piece.address_type == family
        for endpoint in piece.endpoints
    )


def _routes(service: KubernetesService, ranges: _Ranges) -> set[str]:
    addresses = [service.spec.cluster_ip] if ranges.cluster else []
    addresses += [ip for ip in service.spec.external_ips if _inside(ip, ranges.external)]
    ingress = service.status.load_balancer.ingress
    addresses += [entry.ip for entry in ingress if _inside(entry.ip, ranges.load_balancer)]
    found = [values.network(address) for address in addresses]
    return {str(net) for net in found if net is not None}


def _inside(text: str, networks: list[Network]) -> bool:
    address = values.address(text)
    return address is not None and any(address in net for net in networks)
