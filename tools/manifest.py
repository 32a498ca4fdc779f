"""Brings the manifests of deploy/ up to date with the code.

deploy/pycalico.yaml: its definitions and the version of its image; the rest is written by hand.
deploy/etcd/pycalico-etcd.yaml: all of it, made of the former, for clusters that keep Calico's objects in an etcd.

``python tools/manifest.py`` writes the files; with ``--check`` it only says whether it would.
"""

import copy
import re
import sys
from pathlib import Path
from typing import Any

import yaml

from pycalico import __version__
from pycalico.datastore.kubernetes.crds import crds

MANIFEST = Path(__file__).parents[1] / "deploy" / "pycalico.yaml"
ETCD_MANIFEST = MANIFEST.parent / "etcd" / "pycalico-etcd.yaml"
BEGIN, END = "# >>> definitions\n", "# <<< definitions\n"

ETCD_HEADER = """\
# pycalico on a Kubernetes cluster, with an etcd as its datastore:
#
#   set etcd_endpoints in the ConfigMap calico-config; with TLS also etcd_ca, etcd_cert and etcd_key, to
#   /calico-secrets/etcd-ca, -cert and -key, and put the files (base64) into the Secret calico-etcd-secrets
#   kubectl apply -f pycalico-etcd.yaml
#
# Names, keys and variables are those of Calico v3.28.1's calico-etcd.yaml (docs/installing.md).
# Written by "make manifest" from pycalico.yaml, where the comments are.
"""
#: What is asked of the Kubernetes API when Calico's own objects are elsewhere.
ETCD_RULES: dict[str, list[dict[str, list[str]]]] = {
    "pycalico-kube-controllers": [
        {
            "apiGroups": [""],
            "resources": ["nodes", "pods", "namespaces", "serviceaccounts"],
            "verbs": ["get", "list", "watch"],
        },
        {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": ["list", "watch"]},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]},
    ],
    "pycalico-node": [
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["nodes/status"], "verbs": ["patch"]},
        {"apiGroups": [""], "resources": ["services"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ],
    "pycalico-cni-plugin": [
        {"apiGroups": [""], "resources": ["pods", "nodes", "namespaces"], "verbs": ["get"]}
    ],
}
ETCD_KEYS = {"etcd_endpoints": "http://<ETCD_IP>:<ETCD_PORT>", "etcd_ca": "", "etcd_cert": "", "etcd_key": ""}
ETCD_VARIABLES = {
    "ETCD_ENDPOINTS": "etcd_endpoints", "ETCD_CA_CERT_FILE": "etcd_ca", "ETCD_KEY_FILE": "etcd_key",
    "ETCD_CERT_FILE": "etcd_cert",
}  # fmt: skip
ETCD_PLUGIN = ("etcd_endpoints", "etcd_key_file", "etcd_cert_file", "etcd_ca_cert_file")
CONTROLLERS = "policy,namespace,serviceaccount,workloadendpoint,node"

Object = dict[str, Any]


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as such."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def renewed(text: str) -> str:
    """Raises ValueError when the marks are not there."""
    head, _, rest = text.partition(BEGIN)
    if END not in rest:
        raise ValueError(f"{MANIFEST}: the marks around the definitions are missing")
    tail = rest.partition(END)[2]
    definitions = yaml.safe_dump_all(crds(), sort_keys=False)
    tail = re.sub(r"(image: pycalico/pycalico):\S+", rf"\1:v{__version__}", tail)
    return f"{head}{BEGIN}---\n{definitions}{END}{tail}"


def on_etcd(text: str) -> str:
    """The manifest for etcd from the text of that for the Kubernetes datastore."""
    made = []
    for item in yaml.load_all(text, yaml.CSafeLoader):
        if not item or item["kind"] == "CustomResourceDefinition":
            continue
        change = _CHANGES.get(item["kind"])
        made.append(change(copy.deepcopy(item)) if change else item)
        if item["kind"] == "ConfigMap":
            made.append(_secret(item["metadata"]["namespace"]))
    body = yaml.dump_all(made, Dumper=_Dumper, sort_keys=False, width=120)
    return f"{ETCD_HEADER}{body}"


def _secret(namespace: str) -> Object:
    name = {"name": "calico-etcd-secrets", "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": name, "data": {}}


def _config(item: Object) -> Object:
    plugin = item["data"].pop("cni_network_config")
    # The node's name is what start-up leaves in /var/lib/calico/nodename, as with upstream.
    for line in ("datastore_type", "nodename"):
        plugin = re.sub(rf' *"{line}": .*\n', "", plugin)
    lines = "".join(rf'\g<1>"{key}": "__{key.upper()}__",\n' for key in ETCD_PLUGIN)
    plugin, times = re.subn(r'( *)"mtu":', rf"{lines}\g<0>", plugin)
    if times != 1:
        raise ValueError(f"{MANIFEST}: cni_network_config is not what it was: its line mtu is missing")
    item["data"] = {**ETCD_KEYS, **item["data"], "cni_network_config": plugin}
    return item


def _role(item: Object) -> Object:
    return {**item, "rules": ETCD_RULES[item["metadata"]["name"]]}


def _variables(names: list[str]) -> list[Object]:
    return [
        {
            "name": name,
            "valueFrom": {"configMapKeyRef": {"name": "calico-config", "key": ETCD_VARIABLES[name]}},
        }
        for name in names
    ]


def _reaches_etcd(spec: Object, container: Object, variables: list[Object], *, mode: int) -> None:
    container["env"] = [*variables, *(one for one in container["env"] if one["name"] != "DATASTORE_TYPE")]
    container["volumeMounts"].append({"mountPath": "/calico-secrets", "name": "etcd-certs"})
    volume = {"name": "etcd-certs", "secret": {"secretName": "calico-etcd-secrets", "defaultMode": mode}}
    spec["volumes"] = [one for one in spec["volumes"] if one["name"] != "etcd-certs"] + [volume]


def _daemons(item: Object) -> Object:
    spec = item["spec"]["template"]["spec"]
    # Nodes with host-local keep their records of it in the Kubernetes datastore alone.
    spec["initContainers"] = [one for one in spec["initContainers"] if one["name"] != "upgrade-ipam"]
    spec["volumes"] = [one for one in spec["volumes"] if one["name"] != "host-local-net-dir"]
    [installer], [node] = spec["initContainers"], spec["containers"]
    installer["env"] = [one for one in installer["env"] if one["name"] != "KUBERNETES_NODE_NAME"]
    _reaches_etcd(spec, installer, _variables(["ETCD_ENDPOINTS"]), mode=0o400)
    for variable in node["env"]:
        # The node's name is the machine's; which node of Kubernetes it is, is said apart.
        if variable["name"] == "NODENAME":
            variable["name"] = "CALICO_K8S_NODE_REF"
    _reaches_etcd(spec, node, _variables(list(ETCD_VARIABLES)), mode=0o400)
    return item


def _controllers(item: Object) -> Object:
    spec = item["spec"]["template"]["spec"]
    # Policy must not come between the controllers and what it is made of.
    spec["hostNetwork"] = True
    # Its user is not root: the group reads the Secret's files.
    spec["securityContext"]["fsGroup"] = spec["securityContext"]["runAsGroup"]
    [container] = spec["containers"]
    _reaches_etcd(spec, container, _variables(list(ETCD_VARIABLES)), mode=0o440)
    for variable in container["env"]:
        if variable["name"] == "ENABLED_CONTROLLERS":
            variable["value"] = CONTROLLERS
    return item


_CHANGES = {"ConfigMap": _config, "ClusterRole": _role, "DaemonSet": _daemons, "Deployment": _controllers}


def main() -> None:
    kubernetes = renewed(MANIFEST.read_text())
    for path, wanted in ((MANIFEST, kubernetes), (ETCD_MANIFEST, on_etcd(kubernetes))):
        if path.exists() and path.read_text() == wanted:
            continue
        if sys.argv[1:] == ["--check"]:
            sys.exit(f"{path} is not up to date: run 'make manifest'")
        path.write_text(wanted)
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
