"""Nine pods of a Kubernetes cluster on one node under our Felix, and probes of every pair of them."""

import copy
import hashlib
import itertools
import time

import netpol_cases as cases
from felix_world import FelixWorld
from netpol_reference import Cluster
from reference import Packet
from server_process import Server
from underlay import HOST, Place, Underlay

_SETTLE_S = 8.0
_TRY_AGAIN_S = 0.3
_NODE = "fx"
_HOST_ADDRESSES = {"eth0": ["10.0.0.1/24", "fd10::1/64"]}
PODS = tuple(itertools.product(cases.NAMESPACES, cases.PODS))
_PORTS = [
    (f"serve-{port}-{protocol.lower()}", protocol, port)
    for port in cases.PORTS
    for protocol in cases.PROTOCOLS
]


def _own_name(namespace):
    """Every namespace has this label, from the API server."""
    return {"kubernetes.io/metadata.name": namespace}


def interface(namespace, pod):
    return "cali" + hashlib.sha1(f"{namespace}.{pod}".encode()).hexdigest()[:11]


class NetpolLab:
    """Inside ``netns.private()``."""

    def __init__(self, folder, dataplane):
        self.server = Server(folder, "--insecure")
        places = [
            Place(
                f"{namespace}/{pod}",
                interface(namespace, pod),
                (cases.address(namespace, pod, 4),),
                (cases.address(namespace, pod, 6),),
                f"02:00:00:00:01:{number:02x}",
            )
            for number, (namespace, pod) in enumerate(PODS)
        ]
        self.underlay = Underlay(places, [], _HOST_ADDRESSES)
        self.felix = FelixWorld(
            folder,
            {"FELIX_IPV6SUPPORT": "true", **dataplane},
            {"DATASTORE_TYPE": "kubernetes", "KUBECONFIG": str(self.server.kubeconfig)},
        )
        self.cluster = Cluster({}, {})

    def start(self):
        self.server.start()
        self.underlay.build()
        definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        from pycalico.datastore.kubernetes.crds import crds

        for definition in crds():
            self._call("POST", definitions, definition)
        annotations = {
            f"projectcalico.org/IPv{v}Address": a for v, a in ((4, "10.0.0.1/24"), (6, "fd10::1/64"))
        }
        self._call("POST", "/api/v1/nodes", {"metadata": {"name": _NODE, "annotations": annotations}})
        information = {
            "apiVersion": "crd.projectcalico.org/v1",
            "kind": "ClusterInformation",
            "metadata": {"name": "default"},
            "spec": {"datastoreReady": True},
        }
        self._call("POST", "/apis/crd.projectcalico.org/v1/clusterinformations", information)
        for namespace in cases.NAMESPACES:
            meta = {"name": namespace, "labels": {"ns": namespace}}
            self._call("POST", "/api/v1/namespaces", {"metadata": meta})
            self.cluster.namespaces[namespace] = {"ns": namespace, **_own_name(namespace)}
        for namespace, pod in PODS:
            self._make_pod(namespace, pod)
        self._at_first = copy.deepcopy((self.cluster.namespaces, self.cluster.pods))
        self.felix.supervise()
        return self

    def _call(self, method, path, body=None, accepted=(200, 201)):
        merge = {"content_type": "application/merge-patch+json"} if method == "PATCH" else {}
        status, answer = self.server.call(method, path, body, **merge)
        assert status in accepted, f"{method} {path}: {status} {answer}"
        return answer

    def _make_pod(self, namespace, name):
        path = f"/api/v1/namespaces/{namespace}/pods"
        containers = [
            {
                "name": "serve",
                "image": "serve",
                "ports": [{"name": n, "protocol": p, "containerPort": number} for n, p, number in _PORTS],
            }
        ]
        labels = {"pod": name}
        pod = {
            "metadata": {"name": name, "labels": labels},
            "spec": {"nodeName": _NODE, "containers": containers},
        }
        self._call("POST", path, pod)
        addresses = {version: cases.address(namespace, name, version) for version in (4, 6)}
        status = {
            "phase": "Running",
            "podIP": addresses[4],
            "podIPs": [{"ip": address} for address in addresses.values()],
        }
        self._call("PATCH", f"{path}/{name}/status", {"status": status})
        self.cluster.pods[namespace, name] = {"labels": labels, "addresses": addresses, "ports": _PORTS}

    # ---- cases

    def act(self, action):
        verb, namespace = action["action"], action["namespace"]
        policies = f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies"
        pods = f"/api/v1/namespaces/{namespace}/pods"
        if verb == "put policy":
            key = (namespace, action["name"])
            if key in self.cluster.policies:
                self._call("DELETE", f"{policies}/{action['name']}")
            self._call("POST", policies, {"metadata": {"name": action["name"]}, "spec": action["spec"]})
            self.cluster.policies[key] = action["spec"]
        elif verb == "delete policy":
            self._call("DELETE", f"{policies}/{action['name']}")
            del self.cluster.policies[namespace, action["name"]]
        elif verb == "label pod":
            held = self.cluster.pods[namespace, action["pod"]]["labels"]
            labels = {**dict.fromkeys(held.keys() - action["labels"].keys()), **action["labels"]}
            self._call("PATCH", f"{pods}/{action['pod']}", {"metadata": {"labels": labels}})
            self.cluster.pods[namespace, action["pod"]]["labels"] = action["labels"]
        elif verb == "label namespace":
            # A merge keeps what it does not name.
            gone = dict.fromkeys(self.cluster.namespaces[namespace].keys() - action["labels"].keys())
            labels = {**gone, **action["labels"], **_own_name(namespace)}
            self._call("PATCH", f"/api/v1/namespaces/{namespace}", {"metadata": {"labels": labels}})
            self.cluster.namespaces[namespace] = {**action["labels"], **_own_name(namespace)}
        elif verb == "delete pod":
            self._call("DELETE", f"{pods}/{action['pod']}?gracePeriodSeconds=0")
            del self.cluster.pods[namespace, action["pod"]]
        elif verb == "make pod":
            self._make_pod(namespace, action["pod"])
        else:
            raise AssertionError(verb)

    def reset(self):
        """Everything as at the start."""
        for namespace, name in list(self.cluster.policies):
            self.act({"action": "delete policy", "namespace": namespace, "name": name})
        namespaces, pods = copy.deepcopy(self._at_first)
        for namespace, labels in namespaces.items():
            if self.cluster.namespaces[namespace] != labels:
                self.act({"action": "label namespace", "namespace": namespace, "labels": labels})
        for (namespace, name), pod in pods.items():
            if self.cluster.pods[namespace, name]["labels"] != pod["labels"]:
                self.act(
                    {"action": "label pod", "namespace": namespace, "pod": name, "labels": pod["labels"]}
                )

    def run(self, case, choose=None):
        """Returns (probes sent, disagreements). ``choose`` may thin the probes out."""
        sent, wrong = 0, []
        for number, step in enumerate(cases.CASES[case]):
            for action in step:
                self.act(action)
            probes = list(self._probes())
            if choose is not None:
                probes = choose(probes)
            wrong += [(case, number, *found) for found in self._disagreements(probes)]
            sent += len(probes)
        self.reset()
        return sent, wrong

    def _probes(self):
        """(source, target, packet, whether it should arrive)."""
        source_port = 20000
        for (source, target), version, protocol, port in itertools.product(
            itertools.permutations(self.cluster.pods, 2), (4, 6), cases.PROTOCOLS, cases.PORTS
        ):
            source_port += 1
            addresses = [self.cluster.pods[pod]["addresses"][version] for pod in (source, target)]
            packet = Packet(*addresses, protocol.lower(), source_port, port)
            should = self.cluster.allows(source, target, version, protocol, port)
            yield "/".join(source), "/".join(target), packet, should

    def _disagreements(self, probes):
        end = time.monotonic() + _SETTLE_S
        while True:
            self.underlay.forget_connections()
            seen = self.underlay.probe([probe[:3] for probe in probes])
            probes = [probe for probe, arrived in zip(probes, seen, strict=True) if arrived != probe[3]]
            if not probes or time.monotonic() > end:
                return probes
            time.sleep(_TRY_AGAIN_S)

    def close(self):
        try:
            self.felix.close()
        finally:
            self.server.stop()
            self.underlay.close()


__all__ = ["HOST", "NetpolLab"]
