"""A Felix on the Kubernetes datastore, given the recordings' resources as what they are in a cluster."""

import contextlib

import msgspec
from felix_world import NODE, FelixWorld
from server_process import Server

from pycalico.datastore.kubernetes.crds import crds
from pycalico.datastore.open import open_client
from pycalico.datastore.typed import TypedClient


class KubernetesWorld(FelixWorld):
    """Profiles become Namespaces and ServiceAccounts, workload endpoints Pods, Nodes Nodes; the rest stays."""

    def __init__(self, folder, environ):
        self.server = Server(folder, "--insecure")
        self._datastore = {"DATASTORE_TYPE": "kubernetes", "KUBECONFIG": str(self.server.kubeconfig)}
        super().__init__(folder, environ, self._datastore)

    def start_datastore(self):
        self.server.start()
        for definition in crds():
            self._call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
        self.client = TypedClient(open_client(environ=self._datastore))
        kind = {"apiVersion": "projectcalico.org/v3", "kind": "ClusterInformation"}
        super().apply({**kind, "metadata": {"name": "default"}, "spec": {"datastoreReady": True}})
        self._node(NODE)

    def _call(self, method, path, body=None, accepted=(200, 201)):
        merge = {"content_type": "application/merge-patch+json"} if method == "PATCH" else {}
        status, answer = self.server.call(method, path, body, **merge)
        assert status in accepted, f"{method} {path}: {status} {answer}"

    def _node(self, name):
        self._call("POST", "/api/v1/nodes", {"metadata": {"name": name}}, (200, 201, 409))

    def _namespace(self, name, labels=None):
        self._call("POST", "/api/v1/namespaces", {"metadata": {"name": name}}, (200, 201, 409))
        if labels is not None:
            self._call("PATCH", f"/api/v1/namespaces/{name}", {"metadata": {"labels": labels}})

    def apply(self, raw):
        name = raw["metadata"]["name"]
        if raw["kind"] == "Profile":
            labels = {
                key.split(".", 1)[1]: value for key, value in raw["spec"].get("labelsToApply", {}).items()
            }
            labels.pop("projectcalico.org/name", None)
            if name.startswith("kns."):
                self._namespace(name[4:], labels)
            else:
                _, namespace, account = name.split(".")
                self._namespace(namespace)
                path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
                self._call("POST", path, {"metadata": {"name": account}}, (200, 201, 409))
                self._call("PATCH", f"{path}/{account}", {"metadata": {"labels": labels}})
        elif raw["kind"] == "WorkloadEndpoint":
            self._pod(raw)
        else:
            if raw["kind"] == "Node":
                self._node(name)
            if raw["metadata"].get("namespace"):
                self._namespace(raw["metadata"]["namespace"])
            super().apply(raw)

    def _pod(self, raw):
        meta, spec = raw["metadata"], raw["spec"]
        namespace, name = meta["namespace"], spec["pod"]
        self._namespace(namespace)
        self._node(spec["node"])
        labels = {
            key: value
            for key, value in meta.get("labels", {}).items()
            if not key.startswith("projectcalico.org/")
        }
        ports = [
            {"name": port["name"], "protocol": port["protocol"], "containerPort": port["port"]}
            for port in spec.get("ports", ())
        ]
        pods = f"/api/v1/namespaces/{namespace}/pods"
        self._call("DELETE", f"{pods}/{name}?gracePeriodSeconds=0", None, (200, 202, 404))
        pod = {
            "metadata": {"name": name, "labels": labels},
            "spec": {
                "nodeName": spec["node"],
                "serviceAccountName": spec.get("serviceAccountName", "default"),
                "containers": [{"name": "c", "image": "c", "ports": ports}],
            },
        }
        self._call("POST", pods, pod)
        addresses = [net.split("/")[0] for net in spec["ipNetworks"]]
        annotations = {"cni.projectcalico.org/podIPs": ",".join(spec["ipNetworks"])}
        self._call("PATCH", f"{pods}/{name}", {"metadata": {"annotations": annotations}})
        status = {"phase": "Running", "podIP": addresses[0], "podIPs": [{"ip": each} for each in addresses]}
        self._call("PATCH", f"{pods}/{name}/status", {"status": status})

    def delete(self, raw):
        meta = raw["metadata"]
        if raw["kind"] == "WorkloadEndpoint":
            pod = meta["name"].split("-k8s-", 1)[1].rsplit("-eth0", 1)[0]
            self._call(
                "DELETE",
                f"/api/v1/namespaces/{meta['namespace']}/pods/{pod}?gracePeriodSeconds=0",
                None,
                (200, 202),
            )
        elif raw["kind"] == "Node":
            self._call("DELETE", f"/api/v1/nodes/{meta['name']}", None, (200, 202))
        else:
            super().delete(raw)

    def close(self):
        with contextlib.ExitStack() as stack:
            stack.callback(self.server.stop)
            stack.callback(super().close)


__all__ = ["KubernetesWorld", "msgspec"]
