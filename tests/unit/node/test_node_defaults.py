import threading

import pytest

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.clusterinformation import ClusterInformation, ClusterInformationSpec
from pycalico.api.v3.felixconfiguration import FelixConfiguration
from pycalico.datastore.memory import MemoryClient
from pycalico.node import defaults


@pytest.mark.parametrize(
    ("existing", "asked", "kubeadm", "found"),
    [
        ("", "k8s,bgp", True, "k8s,bgp,kubeadm,kdd"),
        ("", "k8s,bgp", False, "k8s,bgp,kdd"),
        ("k8s,bgp,kdd", "k8s,bgp", True, "k8s,bgp,kdd,kubeadm"),
        ("typha,k8s", "k8s,k8s", False, "typha,k8s,kdd"),
        ("", "", False, "kdd"),
    ],
)
def test_cluster_type(existing, asked, kubeadm, found):
    environ = {"CLUSTER_TYPE": asked}
    assert defaults.cluster_type(existing, environ, kubeadm=kubeadm, rancher=False, kdd=True) == found


def test_what_is_there_is_kept(monkeypatch):
    client = MemoryClient()
    spec = ClusterInformationSpec(cluster_guid="g", calico_version="v3.0.0", datastore_ready=False)
    client.create(ClusterInformation(metadata=ObjectMeta(name="default"), spec=spec))
    defaults.ensure_cluster_information(client, lambda _: "k8s")
    found = client.get(ClusterInformation, "default").spec
    assert (found.cluster_guid, found.calico_version, found.datastore_ready) == ("g", "v3.28.1", False)
    revision = client.get(ClusterInformation, "default").metadata.resource_version
    defaults.ensure_cluster_information(client, lambda _: "k8s")
    assert client.get(ClusterInformation, "default").metadata.resource_version == revision


def test_many_nodes_at_once(monkeypatch):
    monkeypatch.setattr(defaults, "_FIRST_RETRY_S", 0.001)
    client = MemoryClient()

    def one():
        defaults.ensure_cluster_information(client, lambda _: "k8s,kdd")
        defaults.ensure_felix_defaults(client, "n1", etcd=False)

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(client.get(ClusterInformation, "default").spec.cluster_guid) == 32
    felix = client.get(FelixConfiguration, "default").spec
    assert (felix.reporting_interval, felix.log_severity_screen) == ("0s", "Info")


def test_etcd_also_gets_the_nodes_own():
    client = MemoryClient()
    defaults.ensure_felix_defaults(client, "n1", etcd=True)
    assert client.get(FelixConfiguration, "node.n1").spec.default_endpoint_to_host_action == "Return"
