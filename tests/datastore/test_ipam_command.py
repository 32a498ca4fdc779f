"""``pycalico ipam`` against a real API server: events of the audit, the rest of released addresses."""

import subprocess
import sys
from pathlib import Path

import pytest
from stores import open_store

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.ipam import IPAMBlock
from pycalico.api.v3.ippool import IPPool, IPPoolSpec
from pycalico.datastore.kubernetes.rest import path_of
from pycalico.ipam import block
from pycalico.ipam.allocator import Allocator

CRDS = path_of("apiextensions.k8s.io/v1", "customresourcedefinitions")


class Cluster:
    def __init__(self, directory):
        self.store = open_store("kubernetes", directory)
        self.client = self.store.client()
        self.rest = self.client.rest
        self.ipam = Allocator(self.client)
        self.rest.create(path_of("v1", "nodes"), {"metadata": {"name": "n1"}}, dict)
        spec = IPPoolSpec(cidr="10.0.0.0/26", block_size=26, node_selector="all()", allowed_uses=["Workload"])
        self.client.create(IPPool(metadata=ObjectMeta(name="p"), spec=spec))

    def command(self, *words):
        return subprocess.run(
            [Path(sys.executable).with_name("pycalico"), "ipam", *words],
            env=self.store.process.environ(),
            capture_output=True,
            text=True,
        )

    def pod(self, name, address):
        notes = {"cni.projectcalico.org/podIP": address, "cni.projectcalico.org/containerID": f"c-{name}"}
        body = {
            "metadata": {"name": name, "annotations": notes},
            "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "x"}]},
        }
        return self.rest.create(path_of("v1", "pods", "default"), body, dict)["metadata"]["uid"]

    def take(self, pod):
        attributes = {"node": "n1", "namespace": "default", "pod": pod}
        taken, _ = self.ipam.auto_assign(1, 0, f"net.c-{pod}", attributes, "n1")
        return taken.addresses[0].split("/")[0]

    def events(self):
        found = self.rest.get(path_of("v1", "events", "default"), dict)["items"]
        return {
            (each["involvedObject"]["kind"], each["involvedObject"]["uid"], each["reason"]): each["message"]
            for each in found
        }

    def prune(self, plural, *path):
        """The cluster's definition as v3.28.1 has it, without a field."""
        name = f"{plural}.crd.projectcalico.org"
        definition = self.rest.get(f"{CRDS}/{name}", dict)
        *parents, field = ("versions", 0, "schema", "openAPIV3Schema", "properties", "spec", *path)
        place = definition["spec"]
        for step in parents:
            place = place[step]
        del place[field]
        self.rest.replace(f"{CRDS}/{name}", definition, dict)


@pytest.fixture
def cluster(tmp_path):
    cluster = Cluster(tmp_path)
    yield cluster
    cluster.client.close()
    cluster.store.close()


def test_the_audit_tells_pods_and_nodes_and_does_not_repeat_itself(cluster):
    good, other = cluster.take("good"), cluster.take("somebody")
    gone = [cluster.take("gone"), cluster.take("gone-too")]
    cluster.pod("good", good)
    missing, mistaken = cluster.pod("missing", "10.0.0.60"), cluster.pod("mistaken", other)
    assert cluster.command("audit").returncode == 1
    assert cluster.events() == {}
    told = cluster.command("audit", "--events")
    assert told.returncode == 1
    assert "3 new events" in told.stdout, told.stdout + told.stderr
    assert cluster.events() == {
        ("Pod", missing, "AddressNotAllocated"): (
            "10.0.0.60 is not allocated in Calico IPAM: another pod may be given it"
        ),
        ("Pod", mistaken, "AddressOfAnother"): (
            f"{other} is allocated to net.c-somebody in Calico IPAM: two pods may have it"
        ),
        ("Node", "n1", "AddressesLeaked"): (
            f"2 addresses are allocated in Calico IPAM and no pod has them, {gone[0]} among them"
        ),
    }
    cluster.take("gone-as-well")
    assert "0 new events" in cluster.command("audit", "--events").stdout


def test_addresses_rest_when_they_are_told_to(cluster):
    assert cluster.command("cooldown").stdout == "Released addresses rest for 0 s.\n"
    assert cluster.command("cooldown", "300").stdout == "Released addresses rest for 300 s.\n"
    address = cluster.take("a")
    cluster.ipam.release_by_handle("net.c-a")
    wire = cluster.rest.get(path_of("crd.projectcalico.org/v1", "ipamblocks"), dict)["items"][0]["spec"]
    assert [sorted(each) for each in wire["attributes"]] == [["releasedAt", "secondary"]]
    assert cluster.take("b") != address
    assert cluster.command("cooldown", "0").returncode == 0


def test_definitions_without_the_fields_do_no_harm(cluster):
    assert cluster.command("cooldown", "300").returncode == 0
    cluster.prune("ipamblocks", "properties", "attributes", "items", "properties", "releasedAt")
    address = cluster.take("a")
    cluster.ipam.release_by_handle("net.c-a")
    (found,) = cluster.client.list(IPAMBlock).items
    assert [each.released_at for each in found.spec.attributes] == [None]
    assert block.rests_since_s(found.spec) is not None
    assert cluster.take("b") != address
    cluster.prune("ipamconfigs", "properties", "ipCooldownSeconds")
    refused = cluster.command("cooldown", "200")
    assert refused.returncode == 1
    assert "apply the definitions" in refused.stderr
    cluster.take("c")
    (found,) = cluster.client.list(IPAMBlock).items
    assert block.rests_since_s(found.spec) is None
