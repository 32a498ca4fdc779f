from pycalico.datastore.kubernetes.plugintoken import Token
from pycalico.node import token


def test_it_is_renewed_well_before_its_end():
    assert token.next_wait_s(Token("t", 1000.0 + 86400), 1000.0) == 21600
    assert token.next_wait_s(Token("t", 1000.0), 1000.0) == 5.0


def test_the_kubeconfig_is_the_hosts_in_a_container_and_the_nodes_own_without_one(tmp_path):
    assert token.kubeconfig_path(tmp_path) == tmp_path / "etc/cni/net.d/calico-kubeconfig"
    (tmp_path / "host/etc/cni/net.d").mkdir(parents=True)
    assert token.kubeconfig_path(tmp_path) == tmp_path / "host/etc/cni/net.d/calico-kubeconfig"
