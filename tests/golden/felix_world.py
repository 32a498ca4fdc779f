"""A host of its own for one Felix: network namespace, etcd, the program, and eyes on what it left in the kernel.

Everything lives in the namespace of the calling thread (see ``pycalico.kernel.netns.private``) and in one temporary
folder, so that any number of them can work at once.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import msgspec

from pycalico.api.kinds import KINDS
from pycalico.datastore.errors import DatastoreError, NotFound
from pycalico.datastore.open import open_client
from pycalico.datastore.typed import TypedClient

NODE = "fx"
ETCD = "http://127.0.0.1:2379"
READINESS = "http://127.0.0.1:9099/readiness"
TABLES = ("raw", "mangle", "nat", "filter")
SETTINGS = (
    "ipv4/conf/{}/rp_filter", "ipv4/conf/{}/route_localnet", "ipv4/conf/{}/proxy_arp", "ipv4/conf/{}/forwarding",
    "ipv4/neigh/{}/proxy_delay", "ipv6/conf/{}/accept_ra", "ipv6/conf/{}/proxy_ndp", "ipv6/conf/{}/forwarding",
)  # fmt: skip
_HOST = """
ip link set lo up
ip link add eth0 type veth peer name up0
ip addr add 10.0.0.1/24 dev eth0
ip -6 addr add fd10::1/64 dev eth0 nodad
ip link set eth0 up
ip link set up0 up
ip route add default via 10.0.0.254
"""
_SEEN = {
    **{f"iptables {table}": f"iptables-legacy-save -t {table}" for table in TABLES},
    **{f"ip6tables {table}": f"ip6tables-legacy-save -t {table}" for table in TABLES},
    "ipsets": "ipset save",
    "routes": "ip -4 route show table all | grep -v 'table local'",
    "routes6": "ip -6 route show table all | grep -v 'table local' | grep -v -e fe80 -e ff00",
    "rules": "ip -4 rule",
    "neigh": "ip neigh show nud permanent",
    "fdb": "bridge fdb show dev vxlan.calico",
    "vxlan": "ip -d -o link show type vxlan",
}
_MARK = "=====state====="
_LOOK = "\n".join(f"echo '{_MARK}'; ({command}) 2>/dev/null" for command in _SEEN.values())
# sysfs shows the namespace that it was mounted in; the pod MTU file is nobody else's business.
_ENTRY = 'mount -t sysfs sysfs /sys && mount -t tmpfs tmpfs /var/lib && exec "$@"'


def shell(command, check=True, **more):
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, **more)
    assert not check or not done.returncode, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def state(interfaces):
    """In the recordings' form: everything without counters and in a stable order."""
    texts = dict(zip(_SEEN, shell(_LOOK, check=False).split(_MARK + "\n")[1:], strict=True))
    return {
        "iptables": {table: _chains(texts[f"iptables {table}"]) for table in TABLES},
        "ip6tables": {table: _chains(texts[f"ip6tables {table}"]) for table in TABLES},
        "ipsets": _sets(texts["ipsets"]),
        **{kind: _lines(texts[kind]) for kind in ("routes", "routes6", "rules", "neigh", "fdb")},
        "vxlan": [_vxlan(line) for line in texts["vxlan"].splitlines()],
        "sysctls": {
            name: Path("/proc/sys/net", name).read_text().strip()
            if Path("/proc/sys/net", name).exists()
            else ""
            for interface in interfaces
            for name in (setting.format(interface) for setting in SETTINGS)
        },
    }


def _chains(text):
    chains = {}
    for line in text.splitlines():
        if line.startswith(":"):
            name, policy = line[1:].split()[:2]
            chains[name] = {"policy": policy, "rules": []}
        elif line.startswith("-A "):
            _, name, rule = (line + " ").split(" ", 2)
            chains[name]["rules"].append(rule.strip())
    return chains


def _sets(text):
    sets = {}
    for line in text.splitlines():
        kind, name, rest = line.split(" ", 2)
        if kind == "create":
            options = re.sub(r" (hashsize|bucketsize|initval) \S+", "", rest)
            sets[name] = {"create": options, "members": []}
        elif not rest.startswith("fe80:"):
            sets[name]["members"].append(rest)
    for found in sets.values():
        found["members"].sort()
    return dict(sorted(sets.items()))


def _lines(text):
    return sorted(" ".join(line.split()) for line in text.splitlines() if line.strip())


def _vxlan(line):
    settings = re.search(r"vxlan id \d+.*?dstport \d+", line)
    address = re.search(r"link/ether \S+", line)
    return f"{settings.group(0) if settings else ''} {address.group(0) if address else ''}"


class FelixWorld:
    """Enter ``netns.private()`` first; ``close`` ends every process that was started.

    ``datastore`` names another datastore than the etcd of its own, in environment variables.
    """

    def __init__(self, folder, environ, datastore=None):
        self.folder = folder
        # Programs that were started elsewhere at the same time must not meet at one lock: some do not wait.
        self.environ = {**os.environ, "XTABLES_LOCKFILE": str(folder / "xtables.lock"), "TMPDIR": str(folder)}
        other, datastore = datastore, datastore or {"DATASTORE_TYPE": "etcdv3", "ETCD_ENDPOINTS": ETCD}
        self._felix_environ = {
            **self.environ,
            **datastore,
            "FELIX_FELIXHOSTNAME": NODE,
            "FELIX_LOGSEVERITYSCREEN": "warning",
            "FELIX_IPTABLESBACKEND": "legacy",
            "FELIX_HEALTHENABLED": "true",
            "FELIX_IPV6SUPPORT": "false",
            "PYTHONFAULTHANDLER": "1",
            **environ,
        }
        self._log = folder / "felix.log"
        self._felix = None
        self.etcd = None
        self.client = None if other else TypedClient(open_client(environ=datastore))
        shell(_HOST)

    def start_etcd(self):
        command = ["etcd", "--data-dir", str(self.folder / "etcd"), "--log-level", "error"]
        self.etcd = self._start(command, self.folder / "etcd.log")
        end = time.monotonic() + 20
        while True:
            with contextlib.suppress(DatastoreError):
                self.client.list(KINDS["Node"].type)
                return
            assert time.monotonic() < end, "etcd does not answer: " + (self.folder / "etcd.log").read_text()
            time.sleep(0.03)

    def _start(self, command, log):
        # The programs go with the test, however it ends.
        guarded = ["setpriv", "--pdeathsig", "KILL", *command]
        with log.open("a") as output:
            return subprocess.Popen(
                guarded, env=self._felix_environ, stdout=output, stderr=subprocess.STDOUT, cwd=self.folder
            )

    def run(self, command):
        shell(command, env=self.environ)

    # ---- the datastore

    def apply(self, raw):
        kind = KINDS[raw["kind"]].type
        resource = msgspec.convert(raw, kind, strict=False)
        meta = resource.metadata
        try:
            old = self.client.get(kind, meta.name, meta.namespace)
        except NotFound:
            self.client.create(resource)
            return
        meta.resource_version = old.metadata.resource_version
        meta.uid = old.metadata.uid
        meta.creation_timestamp = old.metadata.creation_timestamp
        self.client.update(resource)

    def delete(self, raw):
        meta = raw["metadata"]
        self.client.delete(KINDS[raw["kind"]].type, meta["name"], meta.get("namespace", ""))

    def put(self, key, value):
        """What resources cannot express; None deletes."""
        gateway = self.client.driver.gateway
        if value is None:
            gateway.delete_if(key, "")
        else:
            gateway.put_if(key, json.dumps(value).encode(), "")

    # ---- the program

    def supervise(self):
        """Starts Felix where it is not running, as a supervisor would after it asked for a fresh start."""
        if self._felix is None or self._felix.poll() is not None:
            program = str(Path(sys.executable).with_name("calico-felix"))
            private = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _ENTRY, "felix"]
            self._felix = self._start([*private, program], self._log)

    @property
    def pid(self):
        return self._felix.pid

    def signal(self, number):
        self._felix.send_signal(number)

    def exit_code(self, timeout_s):
        return self._felix.wait(timeout_s)

    def ready(self):
        try:
            with urllib.request.urlopen(READINESS, timeout=5) as answer:
                return answer.status in {200, 204}
        except (urllib.error.URLError, OSError):
            return False

    def diagnosis(self):
        """Ends Felix: what it says of its health, where each of its threads is, and its log."""
        try:
            with urllib.request.urlopen(READINESS, timeout=5) as answer:
                health = f"readiness {answer.status}"
        except urllib.error.HTTPError as error:
            health = f"readiness {error.code}: {error.read().decode(errors='replace')}"
        except OSError as error:
            health = f"readiness: {error}"
        ended = self._felix.poll() is not None
        if not ended:
            self.signal(signal.SIGABRT)
        return f"{health}\nended by itself: {ended}, code {self._felix.wait(10)}\n{self.log()[-6000:]}"

    def log(self):
        return self._log.read_text() if self._log.exists() else ""

    def stop_felix(self):
        if self._felix and self._felix.poll() is None:
            self._felix.terminate()
            try:
                code = self._felix.wait(20)
            except subprocess.TimeoutExpired:
                raise AssertionError(f"Felix does not end: {self.diagnosis()}") from None
            assert code == 0, f"{code}: {self.log()}"

    def close(self):
        try:
            self.stop_felix()
        finally:
            if self.client:
                self.client.close()
            for process in (self._felix, self.etcd):
                if process and process.poll() is None:
                    process.kill()
                    process.wait(10)
