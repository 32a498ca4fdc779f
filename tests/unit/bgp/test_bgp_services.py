import pytest

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.bgpconfiguration import BGPConfigurationSpec, ServiceIPBlock
from pycalico.api.v3.kubernetes import (
    EndpointConditions,
    KubernetesEndpointSlice,
    KubernetesService,
    LoadBalancerIngress,
    LoadBalancerStatus,
    ServiceSpec,
    ServiceStatus,
    SliceEndpoint,
)
from pycalico.api.v3.node import Node
from pycalico.bgp.inputs import Inputs, Settings
from pycalico.bgp.services import EXCLUDE_LABEL, service_routes

RANGES = {"10.96.0.0/12", "192.0.2.0/24", "198.51.100.0/24"}


def blocks(*cidrs):
    return [ServiceIPBlock(cidr=cidr) for cidr in cidrs]


def service(name, cluster_ip="10.96.0.10", **changes):
    spec = ServiceSpec(
        **{
            "type": "NodePort",
            "cluster_ip": cluster_ip,
            "external_traffic_policy": "Local",
            "external_ips": ["192.0.2.7", "203.0.113.1"],
            **changes,
        }
    )
    status = ServiceStatus(load_balancer=LoadBalancerStatus(ingress=[LoadBalancerIngress(ip="198.51.100.9")]))
    return KubernetesService(metadata=ObjectMeta(name=name, namespace="d"), spec=spec, status=status)


def piece(name, node="n1", *, ready=True):
    return KubernetesEndpointSlice(
        metadata=ObjectMeta(name=f"{name}-x", namespace="d", labels={"kubernetes.io/service-name": name}),
        address_type="IPv4",
        endpoints=[
            SliceEndpoint(
                addresses=["172.16.0.5"], node_name=node, conditions=EndpointConditions(ready=ready)
            )
        ],
    )


def inputs_of(services, slices, **config):
    spec = BGPConfigurationSpec(
        **{
            "service_cluster_ips": blocks("10.96.0.0/12"),
            "service_external_ips": blocks("192.0.2.0/24"),
            "service_load_balancer_ips": blocks("198.51.100.0/24"),
            **config,
        }
    )
    return Inputs(
        nodes={"n1": Node(metadata=ObjectMeta(name="n1"))},
        configurations={"default": spec},
        services={("d", item.metadata.name): item for item in services},
        slices={("d", item.metadata.name): item for item in slices},
    )


def announced(inputs, **settings):
    return service_routes(inputs, Settings(node="n1", **settings), []).announced - RANGES


def test_a_local_service_with_an_endpoint_here():
    inputs = inputs_of([service("s")], [piece("s")])
    assert announced(inputs) == {"10.96.0.10/32", "192.0.2.7/32", "198.51.100.9/32"}


@pytest.mark.parametrize(
    ("changes", "slices"),
    [
        ({}, []),
        ({}, [piece("s", node="n2")]),
        ({}, [piece("s", ready=False)]),
        ({"external_traffic_policy": "Cluster"}, [piece("s")]),
        ({"type": "ExternalName"}, [piece("s")]),
        ({"cluster_ip": "None"}, [piece("s")]),
    ],
)
def test_what_is_not_announced(changes, slices):
    assert announced(inputs_of([service("s", **changes)], slices)) == set()


def test_a_route_of_two_services_goes_with_the_last():
    inputs = inputs_of([service("s"), service("t", "10.96.0.11")], [piece("s"), piece("t")])
    del inputs.services[("d", "s")]
    assert announced(inputs) == {"10.96.0.11/32", "192.0.2.7/32", "198.51.100.9/32"}


def test_a_single_address_range_is_announced_through_a_service_only():
    lb = service(
        "lb",
        type="LoadBalancer",
        external_traffic_policy="Cluster",
        load_balancer_ip="198.51.100.9",
        external_ips=[],
    )
    config = {"service_load_balancer_ips": blocks("198.51.100.9/32"), "service_cluster_ips": []}
    inputs = inputs_of([], [], **config)
    assert announced(inputs) == set()
    inputs = inputs_of([lb], [], **config)
    assert announced(inputs) == {"198.51.100.9/32"}


def test_an_excluded_node_announces_nothing_and_still_keeps_the_ranges_out_of_the_kernel():
    inputs = inputs_of([service("s")], [piece("s")])
    inputs.nodes["n1"].metadata.labels = {EXCLUDE_LABEL: "true"}
    found = service_routes(inputs, Settings(node="n1"), [])
    assert found.announced == set()
    assert found.rejected == RANGES


def test_the_environment_wins_over_cluster_ranges():
    found = service_routes(inputs_of([], []), Settings(node="n1", advertise_cluster_ips="10.0.0.0/16"), [])
    assert found.announced == {"10.0.0.0/16", "192.0.2.0/24", "198.51.100.0/24"}
