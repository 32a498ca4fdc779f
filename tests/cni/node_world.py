"""A node in namespaces of its own with a real API server, where plugins are called as a runtime does."""

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.clusterinformation import ClusterInformation, ClusterInformationSpec
from pycalico.api.v3.ipam import IPAMBlock, IPAMHandle
from pycalico.api.v3.ippool import IPPool, IPPoolSpec
from pycalico.datastore.kubernetes.crds import crds
from pycalico.datastore.kubernetes.rest import path_of
from pycalico.datastore.open import open_client
from pycalico.ipam import block as blocks
from pycalico.kernel import netns

PROGRAMS = Path(sys.executable).parent
NODE = "n1"
SOCKET = "/run/calico/cni-agent.sock"
_SET_UP = """
for point in /run /var/lib/calico /var/lib/cni; do mkdir -p $point; mount -t tmpfs node $point; done
mkdir /run/netns /run/calico; ip link set lo up; printf n1 > /var/lib/calico/nodename; echo ready; exec sleep infinity
"""


class Answer:
    """What a plugin left: exit code, the object on stdout, seconds."""

    def __init__(self, done, seconds):
        self.code, self.seconds, self.text = done.returncode, seconds, done.stdout.decode()
        self.error = done.stderr.decode()
        self.object = json.loads(self.text) if self.text.strip() else None

    @property
    def addresses(self):
        return [item["address"].split("/")[0] for item in self.object["ips"]]


class World:
    """Close it. ``directory`` is outside of its mounts, so that both sides see it."""

    def __init__(self, directory, pool=None):
        self.directory = directory
        command = ["unshare", "-n", "-m", "--propagation", "private", "sh", "-ec", _SET_UP]
        self._holder = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._holder.stdout.readline() == b"ready\n"
        self.kubeconfig = directory / "kubeconfig"
        self.agent = None
        self._server = None
        self.start_server()
        self.environ = {
            "PATH": os.environ["PATH"], "HOME": str(directory), "DATASTORE_TYPE": "kubernetes",
            "KUBECONFIG": str(self.kubeconfig),
        }  # fmt: skip
        self.api(self._fill, pool or {"cidr": "172.16.0.0/16", "block_size": 24})

    @staticmethod
    def _fill(client, pool):
        for crd in crds():
            client.rest.create(path_of("apiextensions.k8s.io/v1", "customresourcedefinitions"), crd, dict)
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}
        client.rest.create(path_of("v1", "nodes"), node, dict)
        ready = ClusterInformationSpec(datastore_ready=True)
        client.create(ClusterInformation(metadata=ObjectMeta(name="default"), spec=ready))
        spec = IPPoolSpec(node_selector="all()", **pool)
        client.create(IPPool(metadata=ObjectMeta(name="pool"), spec=spec))

    def start_server(self):
        self.kubeconfig.unlink(missing_ok=True)
        command = [PROGRAMS / "pycalico", "apiserver", "--data", self.directory / "data", "--port", "6443"]
        self._server = self.start([*command, "--kubeconfig", self.kubeconfig])
        self.until(self.kubeconfig.exists)

    def stop_server(self):
        self._server.terminate()
        self._server.wait(10)

    def pause_server(self):
        """Connections stay, and nobody answers on them: the server as behind a firewall that drops."""
        self._server.send_signal(signal.SIGSTOP)

    def resume_server(self):
        self._server.send_signal(signal.SIGCONT)

    def start_agent(self):
        self.agent = self.start([PROGRAMS / "calico-cni-agent"])
        self.until(lambda: self.sh(f"test -S {SOCKET} && echo there"))

    def stop_agent(self):
        if self.agent is not None:
            self.agent.terminate()
            self.agent.wait(10)
            self.agent = None

    def close(self):
        self.stop_agent()
        self.resume_server()
        self.stop_server()
        self._holder.kill()
        self._holder.wait()

    def start(self, command, **options):
        options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **options}
        environ = getattr(self, "environ", os.environ)
        # exec, so that the process is the one that signals are for.
        return subprocess.Popen([*self._inside(), *map(str, command)], env=environ, **options)

    def _inside(self):
        return ["nsenter", "-t", str(self._holder.pid), "-n", "-m", "--"]

    def sh(self, command, check=False):
        done = subprocess.run(
            [*self._inside(), "sh", "-c", command], capture_output=True, text=True, check=check
        )
        return done.stdout.strip()

    def api(self, work, *arguments):
        """``work(client, …)`` in a thread that is in the node's network namespace."""
        outcome = []

        def run():
            netns.enter(f"/proc/{self._holder.pid}/ns/net")
            client = open_client(
                environ={**os.environ, **getattr(self, "environ", {}), "DATASTORE_TYPE": "kubernetes"}
            )
            try:
                outcome.append(work(client, *arguments))
            finally:
                client.close()

        thread = threading.Thread(target=run)
        thread.start()
        thread.join(60)
        assert outcome, "the API call failed"
        return outcome[0]

    def list(self, kind):
        return self.api(lambda client: client.list(kind).items)

    def pod(self, name, annotations=None):
        """In the API, and as a network namespace."""
        body = {
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "annotations": annotations or {}},
            "spec": {"nodeName": NODE, "containers": [{"name": "c", "image": "x"}]},
        }  # fmt: skip
        self.api(lambda client: client.rest.create(path_of("v1", "pods", "default"), body, dict))
        self.sh(f"ip netns add {name}", check=True)
        return name

    def call(
        self, verb, pod="", *, container="", plugin="calico", config=None, given=None, timeout=60, programs=PROGRAMS,
        **variables,
    ):  # fmt: skip
        """One call of a plugin; ``config`` adds to the conflist, None takes away. ``programs`` is where plugins are."""
        conflist = {
            "name": "net", "cniVersion": "0.3.1", "type": "calico", "datastore_type": "kubernetes", "nodename": NODE,
            "ipam": {"type": "calico-ipam"}, "policy": {"type": "k8s"},
            "kubernetes": {"kubeconfig": str(self.kubeconfig)}, **(config or {}),
        }  # fmt: skip
        conflist = {name: value for name, value in conflist.items() if value is not None}
        env = {
            "PATH": os.environ["PATH"], "CNI_COMMAND": verb, "CNI_CONTAINERID": container or f"c-{pod}",
            "CNI_NETNS": f"/run/netns/{pod}", "CNI_IFNAME": "eth0", "CNI_PATH": f"{programs}:/usr/lib/cni",
            "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod}", **variables,
        }  # fmt: skip
        began = time.monotonic()
        done = subprocess.run(
            [*self._inside(), Path(programs) / plugin], input=json.dumps(conflist).encode() if given is None else given,
            env={name: value for name, value in env.items() if value is not None}, capture_output=True,
            timeout=timeout, check=False,
        )  # fmt: skip
        return Answer(done, time.monotonic() - began)

    def links(self, pod=""):
        command = f"ip -j {'-n ' + shlex.quote(pod) if pod else ''} link"
        return [item["ifname"] for item in json.loads(self.sh(command) or "[]")]

    @staticmethod
    def until(check, seconds=15.0):
        deadline = time.monotonic() + seconds
        while True:
            found = check()
            if found:
                return found
            assert time.monotonic() < deadline, f"not within {seconds:g} s"
            time.sleep(0.02)


def held(world):
    """Handle → addresses, from the blocks."""
    found = {}
    for block in world.list(IPAMBlock):
        first, version = blocks.base_of(block.spec)
        for ordinal, holder in blocks.allocated(block.spec):
            found.setdefault(holder.handle, []).append(blocks.text(first + ordinal, version))
    return found


def nothing_is_left(world, pod):
    assert f"net.c-{pod}" not in held(world)
    assert f"net.c-{pod}" not in {item.spec.handle_id for item in world.list(IPAMHandle)}
    assert "eth0" not in world.links(pod)
