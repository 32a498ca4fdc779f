"""The recorded calls of calicoctl with a Kubernetes API server behind them.

``golden/data/calicoctl-kubernetes.json`` holds what calicoctl v3.28.1 did there, call by call: against the API server of
pycalico, with the same seeds; ``expect`` of an entry in ``calicoctl-kubernetes-differences.json`` what ours does instead.

Seeds are the etcd recordings' own, each brought to where Kubernetes has it: Calico's definitions, nodes, pods. What has
no place there (a profile of somebody's own, an endpoint that is no pod) is left out. Texts and objects are made
comparable by taking out what differs from run to run.
"""

import json
import re
import subprocess

import msgspec

from pycalico.api.kinds import KINDS
from pycalico.api.names import split_workload_endpoint
from pycalico.datastore.etcd import keys
from pycalico.datastore.etcd.ipamstores import IPAM_STORES
from pycalico.datastore.kubernetes.convert import node as node_convert
from pycalico.datastore.kubernetes.rest import path_of

NAMESPACES = ("dev", "prod", "qa")
_CRD = "crd.projectcalico.org/v1"
_PLURALS = {kind.plural: kind for kind in KINDS.values()}
_DATA = {
    **{f"{kind.name}": (_CRD, kind.plural) for kind in KINDS.values() if kind.crd},
    "Node": ("v1", "nodes"),
    "Pod": ("v1", "pods"),
}
_VARIABLE = (
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "<UID>"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d| [+-]\d{4} UTC)"), "<TIME>"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "<HEX32>"),
    (re.compile(r'(resourceVersion"?: "?)\d+(?:/\d*)?'), r"\1<REV>"),
    (re.compile(r"127\.0\.0\.1:\d+"), "<SERVER>"),
    (re.compile(r"(Git commit: +)\S+"), r"\1<COMMIT>"),
    (re.compile(r"\brv=\d+"), "rv=<REV>"),
)
_REVISION = re.compile(r"\{\{REV\+(\d+)\}\}")
#: What belongs to etcd, to its configuration or to another test.
_APART = ("env", "sandbox", "defect")


def applies(group, case):
    """Whether the call means something with Kubernetes behind it."""
    given = f"{case.get('stdin')} {json.dumps(case.get('files'))} {case['argv']}"
    pairs = seeds(group, case)
    return not (
        any(case.get(name) for name in _APART) or "{{ETCD}}" in given or any(isinstance(v, str) for _, v in pairs)
    )  # fmt: skip


def seeds(group, case):
    return [pair for seed in case.get("seed", []) for pair in group["seeds"][seed]] + case.get("etcd", [])


def comparable(found, folder):
    """The same without what differs from run to run."""
    if isinstance(found, dict):
        return {comparable(key, folder): comparable(value, folder) for key, value in found.items()}
    if isinstance(found, list):
        return [comparable(each, folder) for each in found]
    if not isinstance(found, str):
        return found
    found = found.replace(str(folder), "<CWD>")
    for pattern, name in _VARIABLE:
        found = pattern.sub(name, found)
    return found


class Cluster:
    """``client`` is a KubernetesClient of an API server that nobody else writes to."""

    def __init__(self, client):
        self._client = client
        self._rest = client.rest

    def prepare(self):
        for name in NAMESPACES:
            self._rest.create(path_of("v1", "namespaces"), {"metadata": {"name": name}}, dict)

    def clear(self):
        for kind, api in _DATA.items():
            for raw in self._rest.list_raw(path_of(*api)).items:
                meta = msgspec.json.decode(raw)["metadata"]
                self._rest.delete(path_of(*api, meta.get("namespace", ""), meta["name"]), grace_s=0)
            assert kind

    def seed(self, pairs):
        """The revisions of what was made, in order; those left out have none."""
        return [self._put(key, value) for key, value in pairs]

    def _put(self, key, value):
        if key.startswith(keys.RESOURCES):
            kind = _PLURALS[key.removeprefix(keys.RESOURCES).split("/")[0]]
            resource = msgspec.convert(value, kind.type)
            if kind.crd:
                return self._client.create(resource).metadata.resource_version
            return self._core(resource)
        for name, store in IPAM_STORES.items():
            found = store(KINDS[name], KINDS[name].type).decode(key, json.dumps(value).encode())
            if found is not None and key.startswith(store(KINDS[name], KINDS[name].type).prefix("", "")):
                return self._client.create(found).metadata.resource_version
        return ""

    def _core(self, resource):
        meta = {"name": resource.metadata.name}
        if resource.kind == "Node":
            notes = {name: text for name, text in node_convert.annotations_of(resource).items() if text}
            body = {"metadata": {**meta, "annotations": notes}}
            made = self._rest.create(path_of("v1", "nodes"), body, dict)
        elif resource.kind == "WorkloadEndpoint" and resource.spec.orchestrator == "k8s":
            spec = resource.spec
            notes = {"cni.projectcalico.org/podIP": spec.ip_networks[0]} if spec.ip_networks else {}
            notes["cni.projectcalico.org/podIPs"] = ",".join(spec.ip_networks)
            ports = [
                {"name": each.name, "containerPort": each.port, "protocol": each.protocol}
                for each in spec.ports
            ]
            container = {"name": "c", "image": "x", "ports": ports}
            body = {
                "metadata": {"name": split_workload_endpoint(meta["name"])[2], "annotations": notes},
                "spec": {"nodeName": spec.node, "containers": [container]},
            }
            made = self._rest.create(path_of("v1", "pods", resource.metadata.namespace), body, dict)
        else:
            return ""
        return made["metadata"]["resourceVersion"]

    def contents(self):
        """Every object, by kind, namespace and name."""
        found = {}
        for kind, api in _DATA.items():
            for raw in self._rest.list_raw(path_of(*api)).items:
                item = msgspec.json.decode(raw)
                meta = item["metadata"]
                for name in ("managedFields", "generation", "resourceVersion", "uid", "creationTimestamp"):
                    meta.pop(name, None)
                if kind in ("Node", "Pod"):
                    # Go programs write empty parts of a status; what counts are the annotations.
                    item.pop("status", None)
                    item["metadata"] = {name: value for name, value in meta.items() if value != {}}
                found[f"{kind}({meta.get('namespace', '')}/{meta['name']})"] = item
        return found


def replay(program, group, case, cluster, environ, folder):
    """What ``program`` does: exit code, texts, changed objects, files kept."""
    cluster.clear()
    revisions = cluster.seed(seeds(group, case))

    def filled(text):
        return _REVISION.sub(lambda match: ["0", *revisions][int(match[1])] or "1", text)

    for name, text in (case.get("files") or {}).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            path.mkdir(exist_ok=True)
        else:
            path.write_text(filled(text))
    before = cluster.contents()
    done = subprocess.run(
        [program, *map(filled, case["argv"])], input=filled(case.get("stdin") or ""), env=environ, cwd=folder,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    after = cluster.contents()
    changed = {
        key: after.get(key) for key in before.keys() | after.keys() if before.get(key) != after.get(key)
    }
    kept = {name: (folder / name).read_text() for name in case.get("keep", []) if (folder / name).exists()}
    found = {"rc": done.returncode, "stdout": done.stdout, "stderr": done.stderr}
    if changed:
        found["objects"] = changed
    if kept:
        found["files"] = {name: json.loads(text) for name, text in kept.items()}
    return comparable(found, folder)


def quiet(environ, kubeconfig, folder):
    """An environment that leads to the API server and nowhere else."""
    foreign = re.compile(r"(CALICO_|ETCD_|KUBE|K8S_|DATASTORE)")
    kept = {name: value for name, value in environ.items() if not foreign.match(name)}
    return kept | {"DATASTORE_TYPE": "kubernetes", "KUBECONFIG": str(kubeconfig), "HOME": str(folder)}


__all__ = ["Cluster", "applies", "comparable", "quiet", "replay", "seeds"]
