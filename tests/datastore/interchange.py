"""One machine on which upstream's programs and ours take turns; run in fresh network and mount namespaces.

``unshare -n -m python interchange.py DATASTORE UPSTREAM FOLDER PART``: prints what was seen, line by line; a failed check
ends it.
"""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from api_process import ApiProcess
from etcd_process import EtcdProcess

from pycalico.api.kinds import KINDS
from pycalico.datastore.kubernetes.rest import path_of
from pycalico.ipam.allocator import Allocator

OURS = Path(sys.executable).parent
SEEDS = json.loads((Path(__file__).parents[1] / "golden/data/calicoctl/kinds.json").read_text())["seeds"]
NODE = "host"
READY = {"clusterGUID": "x", "datastoreReady": True, "calicoVersion": "v3.28.1"}
POLICY = """
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: pool}
spec: {cidr: 10.77.0.0/16, blockSize: 26, vxlanMode: Never, ipipMode: Never}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: web}
spec:
  selector: all()
  ingress:
  - {action: Allow, protocol: TCP, destination: {ports: [80, '8000:8080']}, source: {nets: [10.0.0.0/8]}}
  - {action: Deny}
  egress: [{action: Allow}]
"""


def run(argv, *, check=True, **options):
    done = subprocess.run([*map(str, argv)], capture_output=True, text=True, timeout=120, **options)
    assert not check or done.returncode == 0, (argv, done.stdout, done.stderr)
    return done


def eventually(what, seconds, told):
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, f"did not come to pass: {told}"
        time.sleep(0.1)
    return found


class Machine:
    def __init__(self, datastore, upstream, folder):
        self.datastore, self.folder = datastore, folder
        self.programs = {"ours": OURS, "upstream": Path(upstream)}
        for place in ("/run", "/var/lib/calico", "/var/lib/cni", "/etc/cni"):
            os.makedirs(place, exist_ok=True)
            run(["mount", "-t", "tmpfs", "none", place])
        os.makedirs("/run/netns")
        run(["ip", "link", "set", "lo", "up"])
        run(["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "outside"])
        run(["ip", "link", "set", "outside", "up"])
        run(["ip", "addr", "add", "192.168.77.1/24", "dev", "eth0"])
        run(["ip", "link", "set", "eth0", "up"])
        run(["ip", "route", "add", "default", "via", "192.168.77.254"])
        Path("/var/lib/calico/nodename").write_text(NODE)
        self._api = None
        if datastore == "kubernetes":
            (folder / "api").mkdir()
            self._store = self._api = ApiProcess(folder / "api")
            self._api.define()
        else:
            self._store = EtcdProcess(folder / "etcd").wait()
        self.client = self._store.client()
        self.environ = {**self._store.environ(), "HOME": str(folder)}
        self._running = []

    def api(self):
        """The API server, beside etcd for programs that need one there too."""
        if self._api is None:
            (self.folder / "api").mkdir()
            self._api = ApiProcess(self.folder / "api")
        return self._api

    def ctl(self, who, *argv, text=None, check=True):
        return run([self.programs[who] / "calicoctl", *argv], input=text, env=self.environ, check=check)

    def initialise(self):
        if self.datastore == "etcd":
            node = f"apiVersion: projectcalico.org/v3\nkind: Node\nmetadata: {{name: {NODE}}}\n"
            node += "spec: {bgp: {ipv4Address: 192.168.77.1/24}, orchRefs: [{nodeName: host, orchestrator: k8s}]}\n"
            self.ctl("upstream", "create", "-f", "-", text=node)
            return
        meta = {"name": NODE, "annotations": {"projectcalico.org/IPv4Address": "192.168.77.1/24"}}
        self.client.rest.create(path_of("v1", "nodes"), {"metadata": meta}, dict)
        body = {
            "apiVersion": "crd.projectcalico.org/v1", "kind": "ClusterInformation",
            "metadata": {"name": "default"}, "spec": READY,
        }  # fmt: skip
        self.client.rest.create(path_of("crd.projectcalico.org/v1", "clusterinformations"), body, dict)

    def start(self, argv, name, **environ):
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *map(str, argv)], stdout=log, stderr=log,
                env={**self.environ, **environ},
            )  # fmt: skip
        self._running.append(process)
        return process

    def stop(self, process):
        process.terminate()
        process.wait(20)
        self._running.remove(process)

    def close(self):
        for process in list(self._running):
            self.stop(process)
        self._store.close()
        if self._api not in (None, self._store):
            self._api.close()

    # ---- the plugins

    def cni(self, who, verb, pod, container):
        netns = f"/run/netns/{pod}"
        settings = (
            {"kubernetes": {"kubeconfig": self.environ["KUBECONFIG"]}, "policy": {"type": "k8s"}}
            if self.datastore == "kubernetes"
            else {"etcd_endpoints": self.environ["ETCD_ENDPOINTS"]}
        )
        config = {
            "name": "k8s-pod-network", "cniVersion": "0.3.1", "type": "calico", "nodename": NODE, "mtu": 1400,
            "datastore_type": "kubernetes" if self.datastore == "kubernetes" else "etcdv3",
            "ipam": {"type": "calico-ipam"}, **settings,
        }  # fmt: skip
        arguments = f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod}" if self._api else ""
        environ = {
            "PATH": os.environ["PATH"], "CNI_COMMAND": verb, "CNI_CONTAINERID": container, "CNI_NETNS": netns,
            "CNI_IFNAME": "eth0", "CNI_PATH": str(self.programs[who]), "CNI_ARGS": arguments,
        }  # fmt: skip
        done = run([self.programs[who] / "calico"], input=json.dumps(config), env=environ)
        return json.loads(done.stdout)["ips"][0]["address"] if verb == "ADD" else ""

    def pod(self, name):
        run(["ip", "netns", "add", name])
        if self.datastore == "kubernetes":
            spec = {"nodeName": NODE, "containers": [{"name": "c", "image": "x"}]}
            body = {"metadata": {"name": name}, "spec": spec}
            self.client.rest.create(path_of("v1", "pods", "default"), body, dict)


def calicoctl(machine):
    """What one writes the other shows, changes and deletes; both show the same to the byte."""
    kinds = ["BGPConfiguration", "BGPPeer", "BGPFilter", "FelixConfiguration", "GlobalNetworkPolicy", "GlobalNetworkSet",
             "HostEndpoint", "IPPool", "IPReservation", "KubeControllersConfiguration", "NetworkPolicy", "NetworkSet"]  # fmt: skip
    if machine.datastore == "etcd":
        kinds += ["Node", "Profile", "WorkloadEndpoint"]
    else:
        machine.client.rest.create(path_of("v1", "namespaces"), {"metadata": {"name": "prod"}}, dict)
    shown = 0
    for writer, other in (("ours", "upstream"), ("upstream", "ours")):
        for kind in kinds:
            objects = [value for _, value in SEEDS[kind]]
            for value in objects:
                meta = value["metadata"]
                value["metadata"] = {
                    name: meta[name]
                    for name in ("name", "namespace", "labels", "annotations")
                    if name in meta
                }
                value["metadata"]["name"] = meta["name"].removeprefix("default.")
                value.pop("status", None)
            text = "\n---\n".join(map(json.dumps, objects))
            machine.ctl(writer, "create", "-f", "-", text=text)
            everywhere = ["-A"] if KINDS[kind].namespaced else []
            for output in ("yaml", "json", "wide"):
                if (kind, output) in (("BGPFilter", "wide"), ("WorkloadEndpoint", "wide")):
                    continue  # upstream crashes on rules and on NATs
                both = {
                    who: machine.ctl(who, "get", kind, *everywhere, "-o", output).stdout
                    for who in machine.programs
                }
                assert both["ours"] == both["upstream"], (kind, output, both)
                shown += 1
            first = objects[0]["metadata"]
            place = ["-n", first["namespace"]] if "namespace" in first else []
            machine.ctl(other, "label", kind, first["name"], "by=other", *place)
            replaced = machine.ctl(other, "apply", "-f", "-", text=text)
            deleted = machine.ctl(other, "delete", "-f", "-", text=text)
            assert "Successfully applied" in replaced.stdout
            assert f"Successfully deleted {len(objects)}" in deleted.stdout
    print(f"calicoctl: {len(kinds)} kinds written by either, labelled, applied and deleted by the other; "
          f"{shown} outputs the same to the byte")  # fmt: skip


def plugins(machine):
    """An ADD by one, the DEL by the other; `ipam check` of both finds nothing wrong in between."""
    machine.initialise()
    machine.ctl("upstream", "apply", "-f", "-", text=POLICY)
    for adder, remover in (("ours", "upstream"), ("upstream", "ours")):
        pod = f"pod-{adder}"
        machine.pod(pod)
        address = machine.cni(adder, "ADD", pod, f"c-{adder}")
        seen = {who: machine.ctl(who, "get", "wep", "-A", "-o", "yaml").stdout for who in machine.programs}
        assert seen["ours"] == seen["upstream"]
        assert address.split("/")[0] in seen["ours"]
        for who in machine.programs:
            said = machine.ctl(who, "ipam", "check").stdout
            found = re.findall(r"found (\d+) problems", said)
            assert found == ["0"], said
        machine.cni(remover, "DEL", pod, f"c-{adder}")
        for who in machine.programs:
            said = machine.ctl(who, "ipam", "show", f"--ip={address.split('/')[0]}").stdout
            assert "is not assigned" in said, said
        run(["ip", "netns", "del", pod])
        print(
            f"plugins: ADD by {adder} gave {address}, DEL by {remover} gave it back, ipam check of both: 0 problems"
        )


def felix(machine):
    """Each Felix programs what the other's plugin and calicoctl wrote; the rules are the same."""
    machine.initialise()
    machine.ctl("ours", "apply", "-f", "-", text=POLICY)
    if machine.datastore == "kubernetes":
        path = path_of("v1", "namespaces")
        assert machine.client.rest.get(f"{path}/default", dict)
    for adder in ("ours", "upstream"):
        machine.pod(f"pod-{adder}")
        machine.cni(adder, "ADD", f"pod-{adder}", f"c-{adder}")
    seen = {}
    for who in ("upstream", "ours"):
        process = machine.start(
            [machine.programs[who] / "calico-felix"], f"felix-{who}", FELIX_FELIXHOSTNAME=NODE,
            FELIX_IPTABLESBACKEND="legacy", FELIX_IPV6SUPPORT="false", FELIX_LOGFILEPATH="none", FELIX_HEALTHENABLED="true",
            FELIX_DATASTORETYPE=machine.environ["DATASTORE_TYPE"],
            FELIX_ETCDADDR=machine.environ.get("ETCD_ENDPOINTS", "").removeprefix("http://"),
            FELIX_ETCDENDPOINTS=machine.environ.get("ETCD_ENDPOINTS", ""),
        )  # fmt: skip

        def programmed():
            ready = (
                run(["curl", "-fso", "/dev/null", "http://localhost:9099/readiness"], check=False).returncode
                == 0
            )
            return rules() if ready and sum("8000:8080" in line for line in rules()) == 1 else None

        seen[who] = eventually(programmed, 40, f"the rules of {who}")
        machine.stop(process)
    assert seen["ours"] == seen["upstream"], set(seen["ours"]) ^ set(seen["upstream"])
    print(
        f"felix: {len(seen['ours'])} rules of endpoints and policies, the same from both, taken over without a change"
    )


def rules():
    """Rules of endpoints and policies; hashes are part of them."""
    text = run(["iptables-legacy-save", "-t", "filter"]).stdout
    return sorted(line for line in text.splitlines() if re.match(r"-A cali-(tw|fw|pi|po|pri|pro)-", line))


def controllers(machine):
    """A node goes: either program gives back what the other's IPAM had given it."""
    machine.initialise()
    machine.ctl("ours", "apply", "-f", "-", text=POLICY)
    api = machine.api().client().rest
    for name in ("gone-ours", "gone-upstream", "stays"):
        api.create(path_of("v1", "nodes"), {"metadata": {"name": name}}, dict)
        if machine.datastore == "etcd":
            node = f"apiVersion: projectcalico.org/v3\nkind: Node\nmetadata: {{name: {name}}}\n"
            node += f"spec: {{orchRefs: [{{nodeName: {name}, orchestrator: k8s}}]}}\n"
            machine.ctl("ours", "create", "-f", "-", text=node)
    for who in ("upstream", "ours"):
        node = f"gone-{who}"
        Allocator(machine.client).auto_assign(
            2, 0, f"handle-{who}", {"node": node, "type": "vxlanTunnelAddress"}, node
        )
        assert node in machine.ctl("upstream", "ipam", "check", "--show-all-ips").stdout
        name = "kube-controllers" if who == "upstream" else "calico-kube-controllers"
        process = machine.start(
            [machine.programs[who] / name], f"controllers-{who}", ENABLED_CONTROLLERS="node",
            KUBECONFIG=str(machine.api().kubeconfig),
        )  # fmt: skip
        time.sleep(3)
        assert node in machine.ctl("upstream", "ipam", "check", "--show-all-ips").stdout, (
            "given back too early"
        )
        api.delete(path_of("v1", "nodes", "", node), grace_s=0)

        def released(node=node):
            return node not in machine.ctl("upstream", "ipam", "check", "--show-all-ips").stdout

        began = time.monotonic()
        eventually(released, 60, f"{who} releases the addresses of {node}")
        print(
            f"controllers: {who} gave back the addresses of a deleted node after {time.monotonic() - began:.1f} s"
        )
        machine.stop(process)


def migrate(machine):
    """An export of either is imported by the other, into an API server that knows nothing of Calico yet."""
    if machine.datastore == "kubernetes":
        return
    machine.initialise()
    machine.ctl("ours", "apply", "-f", "-", text=POLICY)
    Allocator(machine.client).auto_assign(3, 0, "handle", {"node": NODE}, NODE)
    machine.ctl("ours", "datastore", "migrate", "lock")
    for exporter, importer in (("ours", "upstream"), ("upstream", "ours")):
        folder = machine.folder / f"into-{importer}"
        folder.mkdir()
        file = folder / "export"
        file.write_text(machine.ctl(exporter, "datastore", "migrate", "export").stdout)
        server = ApiProcess(folder)
        try:
            server.client().rest.create(path_of("v1", "nodes"), {"metadata": {"name": NODE}}, dict)
            environ = {**server.environ(), "HOME": str(machine.folder)}

            def ctl(who, *argv, environ=environ):
                return run([machine.programs[who] / "calicoctl", *argv], env=environ).stdout

            said = ctl(importer, "datastore", "migrate", "import", "-f", str(file))
            assert "successfully imported" in said, said
            for kind in ("ippool", "globalnetworkpolicy"):
                assert ctl("ours", "get", kind, "-o", "yaml") == ctl("upstream", "get", kind, "-o", "yaml")
            assert "web" in ctl("ours", "get", "gnp")
            checked = ctl("upstream", "ipam", "check", "--show-all-ips")
            assert "record 3 allocations" in checked, checked
        finally:
            server.close()
        print(
            f"migrate: an export of {exporter} imported by {importer}: 3 addresses, pools and policies are there"
        )


PARTS = {each.__name__: each for each in (calicoctl, plugins, felix, controllers, migrate)}


def main():
    datastore, upstream, folder, part = sys.argv[1:]
    machine = Machine(datastore, upstream, Path(folder))
    try:
        PARTS[part](machine)
    finally:
        machine.close()


if __name__ == "__main__":
    main()
