"""Who may do what after deploy/pycalico.yaml, as a cluster's RBAC reads it."""

from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
MANIFEST = ROOT / "deploy/pycalico.yaml"
ETCD_MANIFEST = ROOT / "deploy/etcd/pycalico-etcd.yaml"
MANIFESTS = (MANIFEST, ETCD_MANIFEST)
GROUP = "crd.projectcalico.org"
ACCOUNTS = ("calico-node", "calico-cni-plugin", "calico-kube-controllers")


def objects(path=MANIFEST):
    return [item for item in yaml.load_all(path.read_text(), yaml.CSafeLoader) if item]


def of_kind(kind, items=None):
    return {item["metadata"]["name"]: item for item in items or objects() if item["kind"] == kind}


class Rights:
    """The rules that bind one service account of kube-system: cluster-wide ones and those of its namespace."""

    def __init__(self, account, items=None):
        items = items or objects()
        self.rules = []
        for kind, role_kind in (("ClusterRoleBinding", "ClusterRole"), ("RoleBinding", "Role")):
            for binding in of_kind(kind, items).values():
                subject = {"kind": "ServiceAccount", "name": account, "namespace": "kube-system"}
                if subject in binding["subjects"]:
                    role = of_kind(role_kind, items)[binding["roleRef"]["name"]]
                    namespace = binding["metadata"].get("namespace", "")
                    self.rules += [(namespace, rule) for rule in role["rules"]]

    def allow(self, verb, group, resource, *, namespace="", name=""):
        """``resource`` with its sub-resource, as ``nodes/status``."""
        return any(
            verb in rule["verbs"]
            and group in rule["apiGroups"]
            and resource in rule["resources"]
            and where in ("", namespace)
            and name in rule.get("resourceNames", [name])
            for where, rule in self.rules
        )

    def granted(self):
        """{(group, resource, verb)}."""
        return {
            (group, resource, verb)
            for _, rule in self.rules
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }


def asked(event):
    """(account, verb, group, resource, namespace, name) of an audit event; None when no account of ours asked."""
    user = event["user"]["username"].removeprefix("system:serviceaccount:kube-system:")
    reference = event.get("objectRef")
    if user not in ACCOUNTS or reference is None:
        return None
    sub = reference.get("subresource", "")
    resource = reference["resource"] + (f"/{sub}" if sub else "")
    where = reference.get("namespace", ""), reference.get("name", "")
    return user, event["verb"], reference.get("apiGroup", ""), resource, *where
