"""Host and workload endpoints."""

from __future__ import annotations

from pycalico.api.v3.hostendpoint import EndpointPort, HostEndpoint
from pycalico.api.v3.workloadendpoint import WorkloadEndpoint, WorkloadEndpointPort, WorkloadEndpointSpec
from pycalico.api.validate import rules, values
from pycalico.api.validate.faults import Faults


def host_endpoint(faults: Faults, found: HostEndpoint) -> None:
    spec = found.spec
    faults.field("Node", spec.node, "name", values.is_name)
    faults.field("InterfaceName", spec.interface_name, "interface", values.is_interface)
    faults.each("ExpectedIPs", spec.expected_ips, "ip", values.is_ip)
    faults.each("Profiles", spec.profiles, "name", values.is_name)
    for port in spec.ports:
        _port(faults, port, "EndpointPort", named=True)
    if not spec.interface_name and not spec.expected_ips:
        faults.add("InterfaceName", spec.interface_name, "no interface or expected IPs have been specified")
    if not spec.node:
        faults.add("InterfaceName", spec.node, "no node has been specified")


def workload_endpoint(faults: Faults, found: WorkloadEndpoint) -> None:
    spec = found.spec
    for name, value in (
        ("Orchestrator", spec.orchestrator),
        ("Workload", spec.workload),
        ("Node", spec.node),
    ):
        faults.field(name, value, "name", values.is_name)
    faults.field("ContainerID", spec.container_id, "containerID", values.is_container_id)
    for name, value in (
        ("Pod", spec.pod),
        ("Endpoint", spec.endpoint),
        ("ServiceAccountName", spec.service_account_name),
    ):
        faults.field(name, value, "name", values.is_name)
    faults.each("IPNetworks", spec.ip_networks, "net", values.is_net)
    for nat in spec.ip_nats:
        faults.field("InternalIP", nat.internal_ip, "ip", values.is_ip)
        faults.field("ExternalIP", nat.external_ip, "ip", values.is_ip)
        inner, outer = _version(nat.internal_ip), _version(nat.external_ip)
        if inner is not None and outer is not None and inner != outer:
            faults.add("ExternalIP", nat.external_ip, "mismatched IP versions")
    faults.field("IPv4Gateway", spec.ipv4_gateway, "ipv4", values.is_ipv4)
    faults.field("IPv6Gateway", spec.ipv6_gateway, "ipv6", values.is_ipv6)
    faults.each("Profiles", spec.profiles, "name", values.is_name)
    faults.field("InterfaceName", spec.interface_name, "interface", values.is_interface, required=True)
    faults.field("MAC", spec.mac, "mac", values.is_mac)
    for port in spec.ports:
        _port(faults, port, "WorkloadEndpointPort", named=False)
        if not port.name and not port.host_port:
            faults.add(
                "WorkloadEndpointPort.Name",
                port.name,
                "WorkloadEndpointPort name must not be empty if no HostPort is specified",
            )
    faults.each("AllowSpoofedSourcePrefixes", spec.allow_spoofed_source_prefixes, "cidr", values.is_cidr)
    _gateways(faults, spec)
    _addresses(faults, spec)


def _gateways(faults: Faults, spec: WorkloadEndpointSpec) -> None:
    for version, gateway in ((4, spec.ipv4_gateway), (6, spec.ipv6_gateway)):
        if _version(gateway) not in (None, 0, version):
            faults.add(f"IPv{version}Gateway", gateway, f"invalid IPv{version} gateway address specified")


def _version(text: str) -> int | None:
    """The version of an address or of a CIDR: 0 of empty text, None of what is neither."""
    if not text:
        return 0
    found = values.parts(text)
    return None if found is None else found[0].version


def _port(faults: Faults, port: EndpointPort | WorkloadEndpointPort, owner: str, *, named: bool) -> None:
    faults.field("Name", port.name, "portName", values.is_port_name, required=named)
    rules.protocol(faults, port.protocol)
    if port.port <= 0:
        faults.tag("Port", port.port, "gt")
    if isinstance(port, WorkloadEndpointPort):
        faults.field("HostIP", port.host_ip, "net", values.is_net)
    if not values.supports_ports(port.protocol):
        faults.add(f"{owner}.Protocol", port.protocol, f"{owner} protocol does not support ports.")


def _addresses(faults: Faults, spec: WorkloadEndpointSpec) -> None:
    networks = []
    for text in spec.ip_networks:
        found = values.parts(text)
        if found is None:
            continue
        networks.append(found[1])
        if found[1].num_addresses != 1:
            faults.add("IPNetworks", spec.ip_networks, "IP network contains multiple addresses")
    for nat in spec.ip_nats:
        inner = values.address(nat.internal_ip)
        if inner is None or not any(
            inner.version == network.version and inner in network for network in networks
        ):
            faults.add("IPNATs", spec.ip_nats, "NAT is not in the endpoint networks")
            return
