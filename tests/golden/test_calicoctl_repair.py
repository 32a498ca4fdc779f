"""``calicoctl ipam check --repair``: the plan, agreeing to it, and what must never be touched."""

import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.clusterinformation import ClusterInformation, ClusterInformationSpec
from pycalico.api.v3.ipam import IPAMBlock, IPAMHandle
from pycalico.api.v3.ippool import IPPool, IPPoolSpec
from pycalico.api.v3.node import Node, NodeBGPSpec, NodeSpec, NodeWireguardSpec
from pycalico.api.v3.workloadendpoint import WorkloadEndpoint, WorkloadEndpointSpec
from pycalico.datastore.open import open_client
from pycalico.ipam.allocator import Allocator

PROGRAM = str(Path(sys.executable).with_name("calicoctl"))
LONG_AGO = "2026-01-01 05:33:13.546412234 +0000 UTC"


@pytest.fixture
def env(store):
    store.clear()
    return {**os.environ, "DATASTORE_TYPE": "etcdv3", "ETCD_ENDPOINTS": store.url}


@pytest.fixture
def client(env):
    client = open_client(environ=env)
    spec = ClusterInformationSpec(datastore_ready=True, calico_version="v3.28.1")
    client.create(ClusterInformation(metadata=ObjectMeta(name="default"), spec=spec))
    for name, cidr, size in (("p4", "10.0.0.0/16", 26), ("p6", "fd00::/64", 122)):
        client.create(IPPool(metadata=ObjectMeta(name=name), spec=IPPoolSpec(cidr=cidr, block_size=size)))
    node = NodeSpec(
        bgp=NodeBGPSpec(ipv4_ipip_tunnel_addr="10.0.1.1"),
        ipv6_vxlan_tunnel_addr="fd00:0:0:0::101",
        wireguard=NodeWireguardSpec(interface_ipv6_address="fd00::102"),
    )
    client.create(Node(metadata=ObjectMeta(name="n1"), spec=node))
    yield client
    client.close()


def take(client, ip, handle, **attributes):
    attributes = {"node": "n1", "timestamp": LONG_AGO, **attributes}
    Allocator(client).assign_ip(ip, handle, attributes, "n1")


def pod(client, name, ip):
    spec = WorkloadEndpointSpec(
        orchestrator="k8s",
        node="n1",
        pod=name,
        endpoint="eth0",
        ip_networks=[f"{ip}/{128 if ':' in ip else 32}"],
    )
    meta = ObjectMeta(name=f"n1-k8s-{name}-eth0", namespace="default")
    client.create(WorkloadEndpoint(metadata=meta, spec=spec))


def repair(env, *options):
    command = [PROGRAM, "ipam", "check", "--repair", *options]
    return subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL
    )


def held(client):
    from pycalico.ipam import block as blocks

    return {
        str(blocks.network(each.spec)[ordinal])
        for each in client.list(IPAMBlock).items
        for ordinal, _ in blocks.allocated(each.spec)
    }


def fill(client):
    """Addresses of every sort; returns those that are leaked."""
    for name, ip in (("web", "10.0.1.5"), ("six", "fd00::5")):
        take(client, ip, f"net.{name}", namespace="default", pod=name)
        # The endpoint spells its address otherwise.
        pod(client, name, "fd00:0:0::0:5" if ":" in ip else ip)
    take(client, "10.0.1.1", "ipip-tunnel-addr-n1", type="ipipTunnelAddress")
    take(client, "fd00::101", "vxlan-v6-tunnel-addr-n1", type="vxlanV6TunnelAddress")
    take(client, "fd00::102", "wireguard-v6-tunnel-addr-n1", type="wireguardV6TunnelAddress")
    now = time.strftime("%Y-%m-%d %H:%M:%S.5 +0000 UTC", time.gmtime())
    take(client, "10.0.1.20", "net.young", namespace="default", pod="young", timestamp=now)
    take(client, "10.0.1.21", "mine")
    take(client, "10.0.1.30", "net.gone", namespace="default", pod="gone")
    take(client, "fd00::30", "net.gone", namespace="default", pod="gone")
    take(client, "10.0.1.31", "vxlan-tunnel-addr-n1", type="vxlanTunnelAddress")
    client.create(IPAMHandle(metadata=ObjectMeta(name="net.idle")))
    web = client.get(IPAMHandle, "net.web")
    client.delete(IPAMHandle, "net.web", revision=web.metadata.resource_version)
    return {"10.0.1.30", "fd00::30", "10.0.1.31"}


def test_the_plan_comes_first_and_without_agreement_nothing_is_changed(env, client, store):
    fill(client)
    before = store.contents()
    done = repair(env)
    assert done.returncode == 0, done.stderr
    plan = [" ".join(line.split()) for line in done.stdout.partition("\nPlan:\n")[2].splitlines()]
    days = next(line for line in plan if "10.0.1.21" in line).rpartition("allocated ")[2].split()[0]
    assert sorted(plan[: plan.index("")]) == sorted(
        [
            f"release 10.0.1.30 no endpoint of pod default/gone has it (node n1, allocated {days} d ago)",
            f"release fd00::30 no endpoint of pod default/gone has it (node n1, allocated {days} d ago)",
            f"release 10.0.1.31 vxlanTunnelAddress that node n1 does not have, allocated {days} d ago",
            f"keep 10.0.1.21 nothing tells whose it is (handle mine), allocated {days} d ago",
            next(line for line in plan if line.startswith("keep 10.0.1.20 its pod may be starting")),
            "delete handle net.idle no address has this handle",
            "create handle net.web 1 addresses in use have this handle",
        ]
    )
    assert plan[-1] == "Nothing has been changed. To carry it out: calicoctl ipam check --repair --yes"
    assert store.contents() == before


def test_what_was_agreed_to_is_done_and_a_second_run_finds_nothing(env, client):
    leaked = fill(client)
    before = held(client)
    done = repair(env, "--yes")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("Repaired 5; 0 left as they are; 0 failed.\n")
    assert held(client) == before - leaked
    handles = {each.spec.handle_id: each.spec.block for each in client.list(IPAMHandle).items}
    assert handles["net.web"] == {"10.0.1.0/26": 1}
    assert not {"net.idle", "net.gone", "vxlan-tunnel-addr-n1"} & handles.keys()
    # With its handle again, the address goes with its pod.
    assert Allocator(client).release_by_handle("net.web") == 1
    again = repair(env, "--yes")
    assert "release" not in again.stdout.partition("Plan:")[2]


def test_a_terminal_is_asked(env, client):
    leaked = fill(client)
    for answer, expected in ((b"n\n", True), (b"y\n", False)):
        master, slave = pty.openpty()
        process = subprocess.Popen(
            [PROGRAM, "ipam", "check", "--repair"], env=env, stdin=slave, stdout=subprocess.PIPE, text=True
        )
        os.write(master, answer)
        text = process.communicate(timeout=30)[0]
        os.close(slave)
        os.close(master)
        assert "Carry it out? [y/N]" in text
        assert (leaked <= held(client)) == expected


def test_what_came_into_use_after_the_check_stays(client):
    from pycalico.calicoctl.ipam import repair as module
    from pycalico.calicoctl.ipam.survey import Survey
    from pycalico.datastore.typed import TypedClient

    fill(client)
    survey = Survey(note=lambda _: None)
    for each in client.list(IPAMBlock).items:
        survey.add_block(each)
    steps = module.plan(survey, [], [], time.time())
    # Of all this, nothing was known to be in use when the plan was made.
    assert {step.what for step in steps if step.do == "release"} >= {
        "10.0.1.5",
        "fd00::5",
        "10.0.1.30",
        "fd00::101",
    }
    Allocator(client).release_ips(["10.0.1.30"])
    take(client, "10.0.1.30", "net.gone", namespace="default", pod="gone")
    module.carry_out(TypedClient(client), client, steps)
    # In use, given away again under the very same handle, or a tunnel's: all still there.
    assert {"10.0.1.5", "fd00::5", "10.0.1.30", "fd00::101", "fd00::102", "10.0.1.1"} <= held(client)
    assert "fd00::30" not in held(client)
