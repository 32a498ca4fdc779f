"""kubectl and lightkube as clients."""

import json
import os
import re
import subprocess
import threading
import time

import pytest

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: busybox:1
        env: [{name: A, value: "1"}, {name: B, value: "2"}]
        ports: [{containerPort: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, name: http}, {port: 443, name: https}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress: [{from: [{podSelector: {}}]}]
"""

POD = """
apiVersion: v1
kind: Pod
metadata: {name: p, labels: {app: x}}
spec:
  nodeName: n1
  containers: [{name: c, image: "busybox:1", command: [sleep, "9"]}]
"""

CRD = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: pools.example.org}
spec:
  group: example.org
  scope: Cluster
  names: {plural: pools, kind: Pool, shortNames: [pl]}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              cidr: {type: string, description: The range.}
    additionalPrinterColumns:
    - {name: CIDR, type: string, jsonPath: .spec.cidr}
"""


@pytest.fixture
def kubectl(server, namespace):
    def run(*args, **options):
        return server.kubectl("-n", namespace, *args, **options)

    return run


@pytest.fixture(scope="module")
def minor(server):
    """The client's minor version: old ones lack some commands."""
    version = json.loads(server.kubectl("version", "-o", "json").stdout)
    return int(version["clientVersion"]["minor"].rstrip("+"))


def test_version_and_api_resources(server):
    version = json.loads(server.kubectl("version", "-o", "json").stdout)
    assert version["serverVersion"]["major"] == "1"
    names = server.kubectl("api-resources", "-o", "name").stdout.split()
    assert {"pods", "deployments.apps", "networkpolicies.networking.k8s.io"} <= set(names)
    assert "apps/v1" in server.kubectl("api-versions").stdout.split()


def test_apply_changes_and_leaves_alone(kubectl):
    assert kubectl("apply", "-f", "-", stdin=DEPLOYMENT).stdout.splitlines() == [
        "deployment.apps/web created", "service/web created", "networkpolicy.networking.k8s.io/web created"]  # fmt: skip
    assert kubectl("apply", "-f", "-", stdin=DEPLOYMENT).stdout.splitlines() == [
        "deployment.apps/web unchanged", "service/web unchanged", "networkpolicy.networking.k8s.io/web unchanged"]  # fmt: skip
    changed = DEPLOYMENT.replace('{name: A, value: "1"}, ', "").replace(", {port: 443, name: https}", "")
    assert "deployment.apps/web configured" in kubectl("apply", "-f", "-", stdin=changed).stdout
    deployment = json.loads(kubectl("get", "deploy", "web", "-o", "json").stdout)
    assert deployment["spec"]["template"]["spec"]["containers"][0]["env"] == [{"name": "B", "value": "2"}]
    assert deployment["metadata"]["generation"] == 2
    ports = kubectl("get", "svc", "web", "-o", "jsonpath={.spec.ports[*].port}").stdout
    assert ports == "80"
    assert kubectl("diff", "-f", "-", stdin=changed).stdout == ""


def test_server_side_apply_and_dry_run(kubectl):
    args = ("apply", "--server-side", "-f", "-")
    assert "deployment.apps/web serverside-applied" in kubectl(*args, stdin=DEPLOYMENT).stdout
    assert "(server dry run)" in kubectl("apply", "--dry-run=server", "-f", "-", stdin=POD).stdout
    assert kubectl("get", "pod", "p", check=False).returncode == 1


def test_forms_of_get(kubectl):
    kubectl("apply", "-f", "-", stdin=POD)
    assert kubectl("get", "pods").stdout.splitlines()[0].split() == [
        "NAME",
        "READY",
        "STATUS",
        "RESTARTS",
        "AGE",
    ]
    wide = kubectl("get", "pods", "-o", "wide").stdout.splitlines()
    assert wide[0].split()[5:7] == ["IP", "NODE"]
    assert wide[1].split()[6] == "n1"
    assert "nodeName: n1" in kubectl("get", "pod", "p", "-o", "yaml").stdout
    assert kubectl("get", "pod", "p", "-o", "jsonpath={.status.phase}").stdout == "Pending"
    assert kubectl("get", "pod", "-l", "app=x", "-o", "name").stdout == "pod/p\n"
    assert kubectl("get", "pod", "-l", "app!=x", "-o", "name").stdout == ""
    assert kubectl("get", "pod", "--field-selector", "spec.nodeName=n1", "-o", "name").stdout == "pod/p\n"
    assert "app=x" in kubectl("get", "pods", "--show-labels").stdout
    assert kubectl("get", "all", "-o", "name").stdout == "pod/p\n"
    missing = kubectl("get", "pod", "q", check=False)
    assert missing.stderr == 'Error from server (NotFound): pods "q" not found\n'


def test_describe(kubectl, namespace, minor):
    kubectl("apply", "-f", "-", stdin=POD + "---" + DEPLOYMENT)
    event = {"metadata": {"name": "e"}, "reason": "Started", "message": "it runs", "type": "Normal", "count": 1,
             "involvedObject": {"apiVersion": "v1", "kind": "Pod", "name": "p", "namespace": namespace}}  # fmt: skip
    uid = kubectl("get", "pod", "p", "-o", "jsonpath={.metadata.uid}").stdout
    event["involvedObject"]["uid"] = uid
    kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "Event", **event}))
    text = kubectl("describe", "pod", "p").stdout
    assert re.search(r"Node: +n1/", text)
    assert "it runs" in text
    if minor >= 26:
        assert "it runs" in kubectl("events", "--for", "pod/p").stdout
    for what in ("deploy/web", "svc/web", "netpol/web", "ns/" + namespace):
        assert "Name:" in kubectl("describe", what).stdout


def test_label_annotate_patch_scale_edit(kubectl):
    kubectl("apply", "-f", "-", stdin=POD + "---" + DEPLOYMENT)
    kubectl("label", "pod", "p", "tier=front", "app-")
    kubectl("annotate", "pod", "p", "note=some text")
    refused = kubectl("label", "pod", "p", "tier=back", check=False)
    assert refused.returncode == 1
    kubectl("label", "pod", "p", "tier=back", "--overwrite")
    metadata = json.loads(kubectl("get", "pod", "p", "-o", "json").stdout)["metadata"]
    assert metadata["labels"] == {"tier": "back"}
    assert metadata["annotations"]["note"] == "some text"
    kubectl("scale", "deploy/web", "--replicas=5")
    kubectl("set", "image", "deploy/web", "web=busybox:2")
    kubectl(
        "patch",
        "deploy",
        "web",
        "--type",
        "json",
        "-p",
        '[{"op":"remove","path":"/spec/template/spec/containers/0/env/0"}]',
    )
    spec = json.loads(kubectl("get", "deploy", "web", "-o", "json").stdout)["spec"]
    container = spec["template"]["spec"]["containers"][0]
    assert (spec["replicas"], container["image"], len(container["env"])) == (5, "busybox:2", 1)
    edited = kubectl("get", "deploy", "web", "-o", "yaml").stdout.replace("replicas: 5", "replicas: 6")
    kubectl("replace", "-f", "-", stdin=edited)
    again = kubectl("replace", "-f", "-", stdin=edited, check=False)
    assert (again.returncode, "the object has been modified" in again.stderr) == (1, True)


def test_delete_waits_for_the_kubelet_and_force_does_not(kubectl, server, namespace):
    kubectl("apply", "-f", "-", stdin=POD)
    path = f"/api/v1/namespaces/{namespace}/pods/p"

    def kubelet():
        while not server.call("GET", path)[1]["metadata"].get("deletionTimestamp"):
            time.sleep(0.05)
        time.sleep(0.3)
        server.call("DELETE", path, {"gracePeriodSeconds": 0})

    thread = threading.Thread(target=kubelet)
    thread.start()
    assert 'pod "p" deleted' in kubectl("delete", "pod", "p").stdout
    thread.join()
    kubectl("apply", "-f", "-", stdin=POD)
    assert 'pod "p" force deleted' in kubectl("delete", "pod", "p", "--force", "--grace-period=0").stdout
    kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    kubectl("delete", "-f", "-", stdin=DEPLOYMENT)
    assert kubectl("get", "deploy,svc,netpol", "-o", "name").stdout == ""


def test_wait_and_watch(kubectl, server, namespace):
    kubectl("apply", "-f", "-", stdin=POD)
    path = f"/api/v1/namespaces/{namespace}/pods/p/status"
    ready = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
    env = {**os.environ, "KUBECONFIG": str(server.kubeconfig)}
    watch = subprocess.Popen(
        [os.environ.get("KUBECTL", "kubectl"), "-n", namespace, "get", "pod", "p", "-w"],
        stdout=subprocess.PIPE,
        text=True,
        env=env,
    )
    try:
        assert watch.stdout.readline().startswith("NAME")
        assert watch.stdout.readline().split()[2] == "Pending"

        def later():
            server.call("PATCH", path, ready, content_type="application/strategic-merge-patch+json")

        timer = threading.Timer(0.5, later)
        timer.start()
        assert (
            kubectl("wait", "--for=condition=Ready", "pod/p", "--timeout=20s").stdout
            == "pod/p condition met\n"
        )
        assert watch.stdout.readline().split()[2] == "Running"
    finally:
        watch.terminate()
        watch.wait()


def test_custom_resources(server):
    server.kubectl("apply", "-f", "-", stdin=CRD)
    server.kubectl("wait", "--for=condition=Established", "crd/pools.example.org", "--timeout=10s")
    pool = "apiVersion: example.org/v1\nkind: Pool\nmetadata: {name: a}\nspec: {cidr: 10.0.0.0/8}\n"
    server.kubectl("apply", "-f", "-", stdin=pool)
    assert server.kubectl("get", "pl").stdout.split() == ["NAME", "CIDR", "a", "10.0.0.0/8"]
    assert "The range." in server.kubectl("explain", "pool.spec.cidr").stdout
    server.kubectl("apply", "-f", "-", stdin=pool.replace("10.0", "11.0"))
    server.kubectl("patch", "pool", "a", "--type=merge", "-p", '{"metadata":{"labels":{"x":"y"}}}')
    assert "11.0.0.0/8" in server.kubectl("describe", "pool", "a").stdout
    typo = server.kubectl("apply", "-f", "-", stdin=pool.replace("cidr", "cidrr"), check=False)
    assert typo.returncode == 1
    assert re.search(
        r'unknown field "(spec\.)?cidrr"', typo.stderr
    )  # said by the server, or by an old client
    server.kubectl("delete", "crd", "pools.example.org")
    gone = server.kubectl("get", "pools", check=False)
    assert (gone.returncode, "could not find the requested resource" in gone.stderr) == (1, True)


def test_more_commands(kubectl, namespace, minor):
    kubectl("create", "configmap", "m", "--from-literal=a=b")
    kubectl("create", "secret", "generic", "s", "--from-literal=a=b")
    assert kubectl("get", "secret", "s", "-o", "jsonpath={.data.a}").stdout == "Yg=="
    kubectl("create", "serviceaccount", "robot")
    if minor >= 24:
        assert kubectl("create", "token", "robot").stdout.count(".") == 2
    assert kubectl("auth", "can-i", "create", "pods").stdout == "yes\n"
    if minor >= 28:
        assert "kubernetes-admin" in kubectl("auth", "whoami").stdout
    kubectl("create", "role", "r", "--verb=get", "--resource=pods")
    kubectl("create", "rolebinding", "rb", "--role=r", "--serviceaccount=default:default")
    kubectl("create", "deployment", "d", "--image=busybox:1", "--replicas=2", "--port=8080")
    container = json.loads(kubectl("get", "deploy", "d", "-o", "json").stdout)["spec"]["template"]["spec"][
        "containers"
    ][0]
    assert (container["image"], container["ports"]) == (
        "busybox:1",
        [{"containerPort": 8080, "protocol": "TCP"}],
    )
    kubectl("create", "service", "nodeport", "np", "--tcp=80:8080")
    assert kubectl("get", "svc", "np", "-o", "jsonpath={.spec.ports[0].targetPort}").stdout == "8080"
    if minor >= 21:
        kubectl("create", "poddisruptionbudget", "b", "--selector=a=b", "--min-available=50%")
        assert kubectl("get", "pdb", "b", "-o", "jsonpath={.spec.minAvailable}").stdout == "50%"
    kubectl("create", "job", "j", "--image=busybox:1", "--", "true")
    kubectl("run", "one", "--image=busybox:1")
    kubectl("expose", "pod", "one", "--port=80")
    kubectl("delete", "configmap,secret,pod,svc", "--all")
    kubectl("delete", "ns", namespace)
    assert kubectl("get", "ns", namespace, check=False).returncode == 1


def test_lightkube(server, namespace):
    from lightkube import ApiError, Client, KubeConfig
    from lightkube.models.meta_v1 import ObjectMeta
    from lightkube.resources.core_v1 import ConfigMap, Namespace
    from lightkube.types import PatchType

    client = Client(KubeConfig.from_file(server.kubeconfig), namespace=namespace, trust_env=False)
    made = client.create(ConfigMap(metadata=ObjectMeta(name="a", labels={"l": "1"}), data={"k": "v"}))
    assert client.get(ConfigMap, "a").data == {"k": "v"}
    assert [m.metadata.name for m in client.list(ConfigMap, labels={"l": "1"}, chunk_size=1)] == ["a"]
    made.data = {"k": "w"}
    client.replace(made)
    with pytest.raises(ApiError) as caught:
        client.replace(made)
    assert (caught.value.status.code, caught.value.status.reason) == (409, "Conflict")
    client.patch(ConfigMap, "a", {"data": {"n": "x"}}, patch_type=PatchType.MERGE)
    assert client.get(ConfigMap, "a").data == {"k": "w", "n": "x"}
    watch = client.watch(ConfigMap, labels={"l": "1"})
    kind, seen = next(watch)
    assert (kind, seen.metadata.name) == ("ADDED", "a")
    client.delete(ConfigMap, "a")
    assert next(watch)[0] == "DELETED"
    watch.close()
    assert namespace in [n.metadata.name for n in client.list(Namespace)]
