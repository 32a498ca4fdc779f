"""The roles of deploy/pycalico.yaml against what the code reads and writes: enough, and nothing more."""

import re

import pytest
from roles import GROUP, Rights, asked

from pycalico.api.kinds import kind_of
from pycalico.calc import graph
from pycalico.cni.agent import memory
from pycalico.confd import collector
from pycalico.controllers import nodecontroller

#: Kinds that are views of Kubernetes' own objects.
VIEWS = {
    "Node": [("", "nodes")],
    "Profile": [("", "namespaces"), ("", "serviceaccounts")],
    "WorkloadEndpoint": [("", "pods")],
    "KubernetesNetworkPolicy": [("networking.k8s.io", "networkpolicies")],
    "KubernetesService": [("", "services")],
    "KubernetesEndpointSlice": [("discovery.k8s.io", "endpointslices")],
    "KubernetesNode": [("", "nodes")],
    "KubernetesPod": [("", "pods")],
}
#: IPAM: blocks are claimed, filled, emptied and given back; the configuration is made once.
IPAM = {
    *((GROUP, kind, verb) for kind in ("blockaffinities", "ipamblocks", "ipamhandles")
      for verb in ("get", "list", "create", "update", "delete")),
    (GROUP, "ipamconfigs", "get"), (GROUP, "ipamconfigs", "create"),
    (GROUP, "ippools", "list"), (GROUP, "ipreservations", "list"),
}  # fmt: skip
#: What is read or written one by one, by the function that does it.
SINGLE = {
    "calico-node": {
        ("", "nodes", "get"), ("", "nodes/status", "patch"),  # node/startup.py, node/tunnels.py, node/kubernetes.py
        ("", "configmaps", "get"),  # node/kubernetes.py config_map
        ("", "serviceaccounts/token", "create"),  # node/token.py
        (GROUP, "ippools", "create"),  # node/pools.py
        *((GROUP, kind, verb) for kind in ("clusterinformations", "felixconfigurations")
          for verb in ("get", "create", "update")),  # node/defaults.py
        (GROUP, "caliconodestatuses", "get"), (GROUP, "caliconodestatuses", "update"),  # node/reporter.py
        *IPAM,  # node/tunnels.py
    },
    "calico-cni-plugin": {
        ("", "pods", "get"), ("", "namespaces", "get"), ("", "pods/status", "patch"),  # cni/add.py
        ("", "nodes", "get"), (GROUP, "clusterinformations", "get"),
        *IPAM,
    },
    "calico-kube-controllers": {
        ("", "nodes", "get"), ("", "pods", "get"),  # controllers/nodesight.py: is it really gone?
        *((GROUP, "ipamblocks", verb) for verb in ("get", "update", "delete")),  # controllers/collector.py
        *((GROUP, kind, verb) for kind in ("blockaffinities", "ipamhandles")
          for verb in ("get", "list", "update", "delete")),
        (GROUP, "ipamconfigs", "get"),
        *((GROUP, "hostendpoints", verb) for verb in ("get", "create", "update", "delete")),  # hostendpoints.py
        *((GROUP, "clusterinformations", verb) for verb in ("get", "create", "update")),  # clusterinformation.py
        *((GROUP, "kubecontrollersconfigurations", verb)
          for verb in ("get", "list", "watch", "create", "update")),  # configfeed.py
        *(("coordination.k8s.io", "leases", verb) for verb in ("get", "create", "update")),  # election.py
    },
}  # fmt: skip


def resources(kind):
    known = VIEWS.get(kind.__name__)
    return known if known is not None else [(GROUP, kind_of(kind).plural.lower())]


def watched(account):
    """What the account's programs list and watch, from their own tables."""
    from pycalico.api.v3.caliconodestatus import CalicoNodeStatus

    kinds = {
        "calico-node": [
            *graph.KINDS, *graph.KUBERNETES_KINDS, CalicoNodeStatus, *memory.WATCHED,
            *(spec.kind for spec in (*collector.WATCHES, *collector.SERVICE_WATCHES)),
        ],
        "calico-cni-plugin": [],
        "calico-kube-controllers": [*nodecontroller._CALICO_KINDS, *nodecontroller._KUBERNETES_KINDS],
    }[account]  # fmt: skip
    return {(*found, verb) for kind in kinds for found in resources(kind) for verb in ("list", "watch")}


@pytest.mark.parametrize("account", SINGLE)
def test_each_account_may_do_exactly_what_its_programs_do(account):
    needed = watched(account) | SINGLE[account]
    assert Rights(account).granted() == needed


def test_no_rule_has_a_wildcard_and_none_reads_secrets():
    for account in SINGLE:
        for group, resource, verb in Rights(account).granted():
            assert "*" not in (group, resource, verb)
            assert resource != "secrets"


def test_tokens_and_config_maps_are_named_one_by_one_in_one_namespace():
    node = Rights("calico-node")
    token = {"namespace": "kube-system", "name": "calico-cni-plugin"}
    assert node.allow("create", "", "serviceaccounts/token", **token)
    assert not node.allow("create", "", "serviceaccounts/token", **{**token, "namespace": "default"})
    assert not node.allow("create", "", "serviceaccounts/token", **{**token, "name": "default"})
    assert node.allow("get", "", "configmaps", namespace="kube-system", name="kubeadm-config")
    assert not node.allow("get", "", "configmaps", namespace="kube-system", name="other")


def test_the_names_of_config_maps_are_those_that_start_up_asks_for():
    from roles import ROOT

    code = (ROOT / "src/pycalico/node/startup.py").read_text() + (
        ROOT / "src/pycalico/node/pools.py"
    ).read_text()
    code += (ROOT / "src/pycalico/node/kubernetes.py").read_text()
    for name in ("kubeadm-config", "full-cluster-state"):
        assert re.search(rf'"{name}"', code), name


def test_an_event_of_the_audit_log_is_read_as_a_request():
    event = {
        "verb": "patch", "user": {"username": "system:serviceaccount:kube-system:calico-node"},
        "objectRef": {"resource": "nodes", "subresource": "status", "name": "a", "apiVersion": "v1"},
    }  # fmt: skip
    assert asked(event) == ("calico-node", "patch", "", "nodes/status", "", "a")
    assert asked({**event, "user": {"username": "kubernetes-admin"}}) is None
