"""Replays the recorded CNI calls against our plugins, in network and mount namespaces that only this process has.

Run by test_cni.py as ``unshare -n -m python cni_replay.py DIRECTORY [WORD...]``; prints one JSON line for each case:
``{"name", "problems"}``. With the word ``agent`` the node's agent serves. With ``bare`` the plugins are those of an
image, on a host that has neither Python nor a C library: the installer of the image has put them there. Each step's
API objects are written to a real API server, the plugins are called as a runtime does, and what they leave in the
kernel and the datastore is compared with the recording.
"""

import difflib
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from pycalico.cni import hosttree

NODE = "cx"
BARE, AGENT = "bare" in sys.argv[2:], "agent" in sys.argv[2:]
CASES = Path(__file__).parent / "data/cni/cases.json"
PROGRAMS = Path(sys.executable).parent
GROUP = "/apis/crd.projectcalico.org/v1"
KINDS = ["ippools", "ipamblocks", "blockaffinities", "ipamhandles", "ipamconfigs", "ipreservations",
         "clusterinformations", "felixconfigurations"]  # fmt: skip
#: Devices that some kernels put into every new namespace.
KERNELS_OWN = {
    "lo",
    "tunl0",
    "gre0",
    "gretap0",
    "erspan0",
    "sit0",
    "ip6tnl0",
    "ip_vti0",
    "ip6_vti0",
    "ip6gre0",
}
POD_SYSCTLS = ("ipv4/ip_forward", "ipv6/conf/all/disable_ipv6", "ipv6/conf/default/forwarding")
HOST_SYSCTLS = ("ipv4/conf/%s/forwarding", "ipv4/conf/%s/proxy_arp", "ipv4/conf/%s/route_localnet",
                "ipv4/neigh/%s/proxy_delay", "ipv6/conf/%s/disable_ipv6")  # fmt: skip


def sh(command, pod=""):
    space = ["ip", "netns", "exec", f"pod-{pod}"] if pod else []
    return subprocess.run([*space, "sh", "-c", command], capture_output=True, text=True).stdout


class Server:
    """A real API server of ours, with the definitions installed."""

    def __init__(self, directory):
        self.kubeconfig = directory / "kubeconfig"
        self.plugins = install(directory)
        self.prefix = ["chroot", str(bare_host(directory))] if BARE else []
        self.process = subprocess.Popen(
            [PROGRAMS / "pycalico", "apiserver", "--data", directory / "data", "--port", "0",
             "--kubeconfig", self.kubeconfig], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 20
        while not self.kubeconfig.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit("the API server did not start")
            time.sleep(0.02)
        text = self.kubeconfig.read_text()
        self.url = re.search(r"server:\s*\"?([^\"\s]+)", text)[1]
        self.token = re.search(r"token:\s*\"?([^\"\s]+)", text)[1]
        self.context = ssl._create_unverified_context()
        shown = subprocess.run([PROGRAMS / "pycalico", "datastore", "crds"], capture_output=True, check=True)
        env = {**os.environ, "KUBECONFIG": str(self.kubeconfig)}
        subprocess.run(
            ["kubectl", "apply", "-f", "-"], input=shown.stdout, env=env, capture_output=True, check=True
        )

    def ask(self, method, path, body=None, kind="application/json"):
        data = None if body is None else json.dumps(body).encode()
        headers = {
            "Content-Type": kind,
            "Accept": "application/json",
            "Authorization": f"Bearer {self.token}",
        }
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, context=self.context, timeout=30) as answer:
                return answer.status, json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"{}")

    def items(self, path):
        return self.ask("GET", path)[1].get("items", [])

    def wipe(self):
        for pod in self.items("/api/v1/pods"):
            meta = pod["metadata"]
            self.ask(
                "DELETE", f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}?gracePeriodSeconds=0"
            )
        for kind in KINDS:
            for item in self.items(f"{GROUP}/{kind}"):
                self.ask("DELETE", f"{GROUP}/{kind}/{item['metadata']['name']}")
        self.ask("DELETE", f"/api/v1/nodes/{NODE}")


# ---- what there is after a step


def masked(value):
    """Without the times and identifiers that differ from run to run."""
    text = json.dumps(value, sort_keys=True)
    text = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.\d]*( \+0000 UTC|Z)?", "<time>", text)
    return json.loads(re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<uid>", text))


def rows(text, *, drop=""):
    return sorted(
        " ".join(line.split()) for line in text.splitlines() if not (drop and line.startswith(drop))
    )


def pod_state(pod):
    if not Path(f"/var/run/netns/pod-{pod}").exists():
        return None
    links = {}
    for name, flags, mtu in re.findall(
        r"^\d+: ([^@:]+)\S*: <(\S+)> mtu (\d+)", sh("ip -o link", pod), re.MULTILINE
    ):
        if name not in KERNELS_OWN:
            links[name] = {"mtu": int(mtu), "up": "UP" in flags.split(",")}
    return {
        "links": links,
        "addr": sorted(re.findall(r"inet6? (\S+) .*scope global", sh("ip addr", pod))),
        "routes": rows(sh("ip route", pod)),
        "routes6": [
            re.sub(r"fe80::\S+", "<ll>", row) for row in rows(sh("ip -6 route", pod), drop="fe80::/64")
        ],
        "neigh": rows(sh("ip neigh show nud permanent | sed 's/ PERMANENT//'", pod)),
        "sysctl": {key: sh(f"cat /proc/sys/net/{key}", pod).strip() for key in POD_SYSCTLS},
    }


def host_state():
    links = [
        {"name": name, "mtu": int(mtu), "mac": mac, "up": "UP" in flags.split(",")}
        for name, flags, mtu, mac in re.findall(
            r"^\d+: (cali[^@:]+)\S*: <(\S+)> mtu (\d+).*link/ether (\S+)", sh("ip -o link"), re.MULTILINE
        )
    ]
    links.sort(key=lambda link: link["name"])
    return {
        "links": links,
        "routes": [row for row in rows(sh("ip route")) if "cali" in row],
        "routes6": [row for row in rows(sh("ip -6 route"), drop="fe80") if "cali" in row],
        "sysctl": {
            link["name"]: {key: sh(f"cat /proc/sys/net/{key % link['name']}").strip() for key in HOST_SYSCTLS}
            for link in links
        },
    }


def runs(numbers):
    """``0-3,7``: numbers in their order, neighbours joined."""
    found = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ",".join(f"{first}-{last}" if first != last else str(first) for first, last in found)


def store_state(server):
    state = {
        "pods": {
            pod["metadata"]["name"]: pod["metadata"].get("annotations", {})
            for pod in server.items("/api/v1/pods")
        }
    }
    for kind in ("ipamblocks", "blockaffinities", "ipamhandles"):
        state[kind] = {
            item["metadata"]["name"]: {
                key: value for key, value in item["spec"].items() if not key.startswith("sequenceNumber")
            }
            for item in server.items(f"{GROUP}/{kind}")
        }
    for block in state["ipamblocks"].values():
        used = {str(at): who for at, who in enumerate(block["allocations"]) if who is not None}
        block["allocations"] = {"size": len(block["allocations"]), "used": used}
        block["unallocated"] = runs(block["unallocated"])
    return masked(state)


# ---- the calls


def install(directory):
    """A directory of plugins, as on a node: ours, and Debian's host-local."""
    plugins = directory / "bin"
    plugins.mkdir()
    if BARE:
        image = directory / "image"
        image.mkdir()
        subprocess.run(
            [sys.executable, "-m", "pycalico.cni.hosttree", image], check=True, stdout=subprocess.DEVNULL
        )
        hosttree.install(image, plugins)
        for name in ("calico", "calico-ipam", "host-local"):
            shutil.copy2(image / name, plugins)
        shutil.rmtree(image)
        return plugins
    for program in (PROGRAMS / "calico", PROGRAMS / "calico-ipam", Path("/usr/lib/cni/host-local")):
        (plugins / program.name).symlink_to(program)
    return plugins


def bare_host(directory):
    """A root with a shell and nothing else."""
    root = directory / "host"
    (root / "bin").mkdir(parents=True)
    shutil.copy2("/usr/bin/busybox", root / "bin/sh")
    for point in ("/proc", "/sys", "/dev", "/run", "/var", str(directory)):
        (root / point[1:]).mkdir(parents=True, exist_ok=True)
        if point == "/run":  # where the pods' namespaces will be mounted
            subprocess.run(["mount", "--make-rshared", point], check=True)
        subprocess.run(["mount", "--rbind", point, str(root / point[1:])], check=True)
    return root


def call(server, case, wanted):
    """One call of a plugin, as a container runtime makes it."""
    pod = wanted["pod"]
    config = {
        "name": "k8s-pod-network", "cniVersion": "0.3.1", "type": "calico", "log_level": "error",
        "datastore_type": "kubernetes", "nodename": NODE, "mtu": 0, "ipam": {"type": "calico-ipam"},
        "policy": {"type": "k8s"}, "kubernetes": {"kubeconfig": str(server.kubeconfig)},
        **case.get("conf", {}), **wanted.get("conf", {}),
    }  # fmt: skip
    env = {
        "PATH": os.environ["PATH"], "CNI_COMMAND": wanted["cmd"], "CNI_CONTAINERID": wanted.get("cid", f"cid-{pod}"),
        "CNI_NETNS": f"/var/run/netns/pod-{pod}", "CNI_IFNAME": "eth0", "CNI_PATH": str(server.plugins),
        "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE={wanted.get('ns', 'default')};K8S_POD_NAME={pod};"
                    f"K8S_POD_INFRA_CONTAINER_ID=cid-{pod}",
        **wanted.get("env", {}),
    }  # fmt: skip
    given = json.dumps({key: value for key, value in config.items() if value is not None})
    done = subprocess.run(
        [*server.prefix, server.plugins / wanted.get("plugin", "calico")],
        input=wanted.get("stdin") or given,
        env={key: value for key, value in env.items() if value is not None},
        capture_output=True,
        text=True,
    )
    try:
        said = json.loads(done.stdout) if done.stdout.strip() else None
    except ValueError:
        said = done.stdout
    return {"exit": done.returncode, "stdout": masked(said)}


def clean(server):
    server.wipe()
    shutil.rmtree("/var/lib/cni/networks/k8s-pod-network", ignore_errors=True)
    for name in sh("ip netns").split():
        if name.startswith("pod-"):
            sh(f"ip netns del {name}")
    for name in re.findall(r"(cali\w+)@?", sh("ip -o link")):
        sh(f"ip link del {name}")


def replay(server, case):
    clean(server)
    problems = []
    for number, step in enumerate(case["steps"]):
        for method, path, *more in step.get("api", []):
            status, answer = server.ask(method, path, *more)
            if status >= 300:
                problems.append(f"step {number} {method} {path}: {status} {answer.get('message')}")
        for pod in step.get("netns_del", []):
            sh(f"ip netns del pod-{pod}")
        for pod in step.get("netns", []):
            sh(f"ip netns add pod-{pod} && ip -n pod-{pod} link set lo up")
        seen = {}
        if step.get("cni"):
            seen["results"] = [call(server, case, wanted) for wanted in step["cni"]]
        problems += settled_difference(server, case, step["expect"], seen, number)
    return problems


def settled_difference(server, case, expect, seen, number):
    """The kernel removes the links of a namespace that is gone in its own time."""
    deadline = time.monotonic() + 3
    while True:
        seen |= {
            "pods": {pod: pod_state(pod) for pod in case.get("pods", [])},
            "host": host_state(),
            "store": store_state(server),
        }
        text = (
            json.dumps(seen)
            .replace(str(server.plugins), "<bin>")
            .replace(str(server.kubeconfig), "<kubeconfig>")
            .replace(server.url, "<server>")
        )
        found = difference(expect, json.loads(text), number)
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


def difference(expect, seen, number):
    if expect == seen:
        return []
    texts = [json.dumps(value, indent=1, sort_keys=True).splitlines() for value in (expect, seen)]
    lines = difflib.unified_diff(*texts, "recorded", f"seen after step {number}", lineterm="", n=2)
    return ["\n".join(list(lines)[:60])]


def start_agent():
    process = subprocess.Popen([PROGRAMS / "calico-cni-agent"], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 10
    while not Path("/run/calico/cni-agent.sock").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit("the agent did not start")
        time.sleep(0.02)
    return process


def main():
    directory = Path(sys.argv[1])
    for point in ("/run", "/var/lib/calico", "/var/lib/cni"):
        os.makedirs(point, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "replay", point], check=True)
    os.makedirs("/run/netns")
    Path("/var/lib/calico/nodename").write_text(NODE)
    sh("ip link set lo up")
    server = Server(directory)
    agent = start_agent() if AGENT else None
    try:
        for case in json.loads(CASES.read_text()):
            print(json.dumps({"name": case["name"], "problems": replay(server, case)}), flush=True)
        clean(server)
    finally:
        for process in filter(None, (agent, server.process)):
            process.terminate()
            process.wait(10)


if __name__ == "__main__":
    main()
