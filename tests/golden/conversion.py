"""Which recordings can be told to Kubernetes, where names and addresses follow from pods and namespaces."""

import hashlib
import json


def is_kubernetes(scenario):
    applied = [raw for step in scenario["steps"] for raw in step.get("apply", ())]
    profiles = {raw["metadata"]["name"] for raw in applied if raw["kind"] == "Profile"}
    # In a cluster every pod's namespace and account are there.
    if not all(profiles.issuperset(raw["spec"].get("profiles", ())) for raw in applied):
        return False
    return not any(
        step.get("etcd")
        or any(not _is_kubernetes(raw) for raw in (*step.get("apply", ()), *step.get("delete", ())))
        for step in scenario["steps"]
    )


def _is_kubernetes(raw):
    name, spec = raw["metadata"]["name"], raw.get("spec")
    if raw["kind"] in ("IPAMBlock", "BlockAffinity"):
        return False
    if raw["kind"] == "Profile":
        return spec is not None and (name.startswith("ksa.") or _is_namespace(name, spec))
    if raw["kind"] == "WorkloadEndpoint" and spec is not None:
        namespace = raw["metadata"]["namespace"]
        account = spec.get("serviceAccountName", "default")
        return (
            spec.get("orchestrator") == "k8s"
            and spec.get("interfaceName") == _interface(namespace, spec.get("pod", ""))
            and spec.get("profiles") == [f"kns.{namespace}", f"ksa.{namespace}.{account}"]
            and not spec.get("ipNATs")
            and not spec.get("allowSpoofedSourcePrefixes")
        )
    return True


def _is_namespace(name, spec):
    allow = [{"action": "Allow"}]
    labels = spec.get("labelsToApply", {})
    return (
        name.startswith("kns.")
        and spec.get("ingress") == spec.get("egress") == allow
        and labels.get("pcns.projectcalico.org/name") == name[4:]
    )


def _interface(namespace, pod):
    return "cali" + hashlib.sha1(f"{namespace}.{pod}".encode()).hexdigest()[:11]


def uses_legacy_by_name(scenario):
    return "iptables-legacy" in json.dumps(scenario)
