"""deploy/pycalico.yaml by itself: current, consistent, and what a move from upstream needs."""

import re
import subprocess
import sys

import pytest
from roles import MANIFEST, ROOT, objects, of_kind

from pycalico import __version__
from pycalico.datastore.kubernetes.crds import crds
from pycalico.felix import parameters

#: Calico v3.28.1's calico.yaml: the DaemonSet's containers' variables, and its places on the host.
ENVIRONMENT = {
    "DATASTORE_TYPE", "WAIT_FOR_DATASTORE", "NODENAME", "CALICO_NETWORKING_BACKEND", "CLUSTER_TYPE", "IP",
    "CALICO_IPV4POOL_IPIP", "CALICO_IPV4POOL_VXLAN", "CALICO_IPV6POOL_VXLAN", "FELIX_IPINIPMTU", "FELIX_VXLANMTU",
    "FELIX_WIREGUARDMTU", "CALICO_DISABLE_FILE_LOGGING", "FELIX_DEFAULTENDPOINTTOHOSTACTION", "FELIX_IPV6SUPPORT",
    "FELIX_HEALTHENABLED",
}  # fmt: skip
INSTALLER = ["CNI_CONF_NAME", "CNI_NETWORK_CONFIG", "KUBERNETES_NODE_NAME", "CNI_MTU", "SLEEP"]
KEYS = {"typha_service_name", "calico_backend", "veth_mtu", "cni_network_config"}
PLACES = ["/host/etc/cni/net.d", "/lib/modules", "/run/xtables.lock", "/var/run/calico", "/var/lib/calico",
          "/var/log/calico/cni"]  # fmt: skip


def pod(kind, name):
    return of_kind(kind)[name]["spec"]["template"]["spec"]


def containers():
    return [
        (spec, container)
        for spec in (pod("DaemonSet", "calico-node"), pod("Deployment", "calico-kube-controllers"))
        for container in [*spec.get("initContainers", []), *spec["containers"]]
    ]


def names(container):
    return [variable["name"] for variable in container["env"]]


def test_the_definitions_are_those_that_the_program_prints():
    definitions = [item for item in objects() if item["kind"] == "CustomResourceDefinition"]
    assert definitions == list(crds())
    done = subprocess.run(
        [sys.executable, ROOT / "tools/manifest.py", "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_every_container_has_the_image_of_this_version():
    images = {container["image"] for _, container in containers()}
    assert images == {f"pycalico/pycalico:v{__version__}"}
    assert f"pycalico/pycalico:v{__version__} " in (ROOT / "Containerfile").read_text()


def test_names_keys_and_variables_are_upstreams():
    node = pod("DaemonSet", "calico-node")["containers"][0]
    assert set(names(node)) == ENVIRONMENT | {"NAMESPACE"}
    inits = {one["name"]: one for one in pod("DaemonSet", "calico-node")["initContainers"]}
    assert names(inits["install-cni"]) == INSTALLER
    assert set(of_kind("ConfigMap")["calico-config"]["data"]) == KEYS
    assert [mount["mountPath"] for mount in node["volumeMounts"]] == PLACES
    assert node["livenessProbe"]["exec"]["command"][1:] == ["-felix-live", "-bird-live"]
    assert node["readinessProbe"]["exec"]["command"][1:] == ["-felix-ready", "-bird-ready"]


def test_every_variable_is_read_by_the_programs():
    """Felix's own are its parameters; the others are named in the code, some of them by family and ending."""
    files = [
        path for path in (ROOT / "src/pycalico").rglob("*") if path.suffix == ".py" or path.name == "run"
    ]
    code = "\n".join(path.read_text() for path in files)
    felix_knows = {name.lower() for name in parameters.TABLE}
    unread = []
    for _, container in containers():
        for name in names(container):
            ending = re.fullmatch(r"CALICO_IPV[46]POOL_(\w+)", name)
            felix = name.startswith("FELIX_") and name.removeprefix("FELIX_").lower() in felix_knows
            if not (name in code or felix or (ending and re.search(rf"POOL.*_{ending[1]}\b", code))):
                unread.append(name)
    assert not unread


def test_every_reference_within_the_manifest_leads_somewhere():
    accounts, maps = of_kind("ServiceAccount"), of_kind("ConfigMap")
    for spec, container in containers():
        assert spec["serviceAccountName"] in accounts
        volumes = {volume["name"] for volume in spec["volumes"]}
        assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes
        for variable in container["env"]:
            key = variable.get("valueFrom", {}).get("configMapKeyRef")
            assert key is None or key["key"] in maps[key["name"]]["data"]
        for source in container.get("envFrom", []):
            assert source["configMapRef"]["optional"]
    used = {mount["name"] for _, container in containers() for mount in container.get("volumeMounts", [])}
    assert used == {volume["name"] for spec, _ in containers() for volume in spec["volumes"]}
    for name in ("calico-node", "calico-kube-controllers"):
        workload = (of_kind("DaemonSet") | of_kind("Deployment"))[name]
        labels = workload["spec"]["template"]["metadata"]["labels"]
        assert workload["spec"]["selector"]["matchLabels"].items() <= labels.items()
    budget = of_kind("PodDisruptionBudget")["calico-kube-controllers"]
    assert budget["spec"]["selector"]["matchLabels"] == {"k8s-app": "calico-kube-controllers"}


def revisions(server):
    columns = "NAME:.metadata.name,KIND:.kind,REVISION:.metadata.resourceVersion"
    return server.kubectl("get", "-f", str(MANIFEST), "-o", f"custom-columns={columns}").stdout


@pytest.mark.timeout(120)
def test_kubectl_applies_it_twice_and_the_second_time_changes_nothing(server):
    first = server.kubectl("apply", "-f", str(MANIFEST)).stdout.splitlines()
    assert len(first) == len(objects())
    assert all(line.endswith(" created") for line in first), first
    before = revisions(server)
    # kubectl calls a PodDisruptionBudget configured each time: its selector is replaced, by the same.
    second = server.kubectl("apply", "-f", str(MANIFEST)).stdout.splitlines()
    assert {line.rpartition(" ")[2] for line in second if "poddisruptionbudget" not in line} == {"unchanged"}
    assert revisions(server) == before
    assert server.kubectl("diff", "-f", str(MANIFEST), check=False).returncode == 0
    gone = server.kubectl("delete", "-f", str(MANIFEST), "--wait=false").stdout.splitlines()
    assert len(gone) == len(objects())
