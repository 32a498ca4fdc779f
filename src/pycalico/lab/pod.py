"""One pod on one node: its network, its containers, its status. A thread each."""

from __future__ import annotations

import base64
import logging
import secrets
import subprocess
import threading
import time
from typing import Any, Protocol

from pycalico.datastore.errors import DatastoreError
from pycalico.lab import enter, environment, images, plugins
from pycalico.lab.cluster import Cluster, Object, now
from pycalico.lab.container import Container
from pycalico.lab.course import BACKOFF_MAX_S, BACKOFF_S, Course
from pycalico.lab.machine import Machine

_log = logging.getLogger(__name__)
_TICK_S = 0.2
_SLOW_TICK_S = 1.0
#: The least time between SIGTERM and SIGKILL, also for a forced deletion, as the kubelet has it.
_LEAST_GRACE_S = 2.0
_SECRETS = "/var/run/secrets/kubernetes.io/serviceaccount"


class Host(Protocol):
    """What a pod needs of its kubelet."""

    machine: Machine
    cluster: Cluster
    address: str
    api_server: tuple[str, int]

    def network(self) -> plugins.PluginList | None: ...

    def take_turn(self, pod: Pod) -> None:
        """Has ``pod.attach`` called when it is the pod's turn."""

    def predecessors_gone(self, pod: Pod) -> bool: ...


class Pod:
    """Follows ``self.desired``, which the kubelet keeps; None means that the object is gone."""

    def __init__(self, host: Host, item: Object) -> None:
        meta = item["metadata"]
        self.namespace, self.name, self.uid = meta["namespace"], meta["name"], meta["uid"]
        self.spec = item["spec"]
        self.desired: Object | None = item
        self.done = threading.Event()
        self.wake = threading.Event()
        self.host_network = bool(self.spec.get("hostNetwork"))
        #: All start-up probes have passed once; a node is not ready for pods before its agents have started.
        self.started = False
        self._item = item
        self._host = host
        self._id = secrets.token_hex(32)
        self._directory = f"/run/pods/{self.uid}"
        self._addresses: list[str] = [host.address] if self.host_network else []
        self._netns = "" if self.host_network else f"/run/netns/{enter.pod_netns(self.uid)}"
        self._result: dict[str, Any] | None = None
        self._attached = False
        self._states: dict[str, Course] = {
            one["name"]: Course(one)
            for one in [*(self.spec.get("initContainers") or []), *self.spec["containers"]]
        }
        self._reported: object = None
        self._start_time = now()
        self._prepared, self._networked = threading.Event(), threading.Event()
        if not self.host_network:
            host.take_turn(self)
        threading.Thread(target=self._run, name=f"pod-{self.name}", daemon=True).start()

    def desired_end(self) -> bool:
        return self.desired is None or bool(self.desired["metadata"].get("deletionTimestamp"))

    def _run(self) -> None:
        try:
            self._live()
        except (DatastoreError, OSError, subprocess.SubprocessError):
            _log.exception("pod %s/%s ends", self.namespace, self.name)
        self._prepared.set()
        while True:
            try:
                self._end()
                break
            except (DatastoreError, OSError) as error:
                _log.warning("ending pod %s/%s: %s; trying again", self.namespace, self.name, error)
                time.sleep(_TICK_S)
        self.done.set()

    def _live(self) -> None:
        self._report()
        while not self.desired_end() and not self._host.predecessors_gone(self):
            time.sleep(_TICK_S)
        if not self._prepare():
            return
        for spec in self.spec.get("initContainers") or []:
            if not self._init(self._states[spec["name"]]):
                return
        while not self.desired_end():
            for spec in self.spec["containers"]:
                self._tend(self._states[spec["name"]])
            self.started = all(self._states[one["name"]].started for one in self.spec["containers"])
            self._report()
            settled = all(self._states[one["name"]].settled() for one in self.spec["containers"])
            self.wake.wait(_SLOW_TICK_S if settled else _TICK_S)
            self.wake.clear()

    def _prepare(self) -> bool:
        """The network, the directory and the service account; False when the pod is to end first."""
        backoff = BACKOFF_S
        while not self.desired_end():
            try:
                self._write_account()
                break
            except DatastoreError as error:
                _log.warning("service account of %s/%s: %s", self.namespace, self.name, error)
                self.wake.wait(backoff)
                backoff = min(backoff * 2, BACKOFF_MAX_S)
        if not self.host_network and not self.desired_end():
            self._host.machine.run(["ip", "netns", "add", self._netns.rpartition("/")[2]])
            self._host.machine.run(["ip", "-n", self._netns.rpartition("/")[2], "link", "set", "lo", "up"])
        self._prepared.set()
        if not self.host_network:
            self._networked.wait()
        return not self.desired_end()

    def _attachment(self) -> plugins.Attachment:
        ports = [
            {
                "hostPort": p["hostPort"],
                "containerPort": p["containerPort"],
                "protocol": p.get("protocol", "TCP").lower(),
            }
            for one in self.spec["containers"]
            for p in one.get("ports") or []
            if p.get("hostPort")
        ]
        return plugins.Attachment(
            container_id=self._id,
            netns="/var" + self._netns,
            namespace=self.namespace,
            name=self.name,
            uid=self.uid,
            port_mappings=ports,
        )

    def attach(self) -> None:
        """Waits until the pod is prepared, then ADD until it succeeds or the pod ends."""
        self._prepared.wait()
        try:
            self._attach()
        finally:
            self._networked.set()

    def _attach(self) -> None:
        """After a refusal DEL, as a runtime takes the sandbox down again."""
        backoff = BACKOFF_S
        while not self.desired_end():
            try:
                self._add()
                return
            except plugins.PluginError as error:
                _log.warning("network of %s/%s: %s; again in %g s", self.namespace, self.name, error, backoff)
                self._states[self.spec["containers"][0]["name"]].wait("ContainerCreating", str(error))
                self._report()
                self._detach_once()
            self.wake.wait(backoff)
            self.wake.clear()
            backoff = min(backoff * 2, BACKOFF_MAX_S)

    def _add(self) -> None:
        network = self._host.network()
        if network is None:
            raise plugins.PluginError("the node has no network configuration yet")
        self._attached = True
        self._result = network.add(self._attachment())
        self._addresses = [one["address"].partition("/")[0] for one in self._result.get("ips") or []]

    def _detach_once(self) -> bool:
        if not self._attached:
            return True
        try:
            network = self._host.network()
            if network is not None:
                network.delete(self._attachment(), self._result)
        except plugins.PluginError as error:
            _log.warning("network of %s/%s: %s", self.namespace, self.name, error)
            return False
        self._attached = False
        return True

    def _write_account(self) -> None:
        """Token, CA and namespace as files, as the kubelet's projected volume has them."""
        place = self._host.machine.file(f"{self._directory}/secrets/kubernetes.io/serviceaccount")
        place.mkdir(parents=True, exist_ok=True)
        self._host.machine.file(f"{self._directory}/work").mkdir(exist_ok=True)
        self._host.machine.file(f"/var/log/pods/{self.namespace}_{self.name}").mkdir(
            parents=True, exist_ok=True
        )
        if self.spec.get("automountServiceAccountToken") is False:
            return
        account = self.spec.get("serviceAccountName") or "default"
        token = self._host.cluster.token(self.namespace, account)
        roots = self._host.cluster.get("ConfigMap", "kube-root-ca.crt", self.namespace) or {}
        for name, content in {
            "token": token,
            "ca.crt": roots.get("data", {}).get("ca.crt", ""),
            "namespace": self.namespace,
        }.items():
            (place / name).touch(mode=0o600)
            (place / name).write_text(content)

    def _start(self, state: Course) -> bool:
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        try:
            env = environment.of(state.spec, self._facts(), self._value, self._values)
            state.env = env
            argv = images.argv(state.spec, f"{enter.programs()}:{path}")
            state.container = Container(
                self._host.machine,
                argv,
                env,
                netns=self._netns,
                hostname="" if self.host_network else self.name,
                workdir=state.spec.get("workingDir") or f"{self._directory}/work",
                secrets=f"{self._directory}/secrets",
                log=f"/var/log/pods/{self.namespace}_{self.name}/{state.spec['name']}.log",
            )
        except images.UnknownImage as error:
            state.wait("ErrImageNeverPull", str(error))
            return False
        except (environment.NoSource, DatastoreError, OSError) as error:
            state.wait("CreateContainerConfigError", str(error))
            return False
        state.begin()
        return True

    def _init(self, state: Course) -> bool:
        """Runs an init container to its success."""
        backoff = BACKOFF_S
        while not self.desired_end():
            if self._start(state):
                self._report()
                while state.container is not None and (code := state.container.exit_code()) is None:
                    if self.desired_end():
                        return False
                    time.sleep(0.05)
                state.finish(code or 0)
                if code == 0:
                    return True
                state.restarts += 1
            self._report()
            self.wake.wait(backoff)
            self.wake.clear()
            backoff = min(backoff * 2, BACKOFF_MAX_S)
        return False

    def _tend(self, state: Course) -> None:
        """Starts, restarts and probes one container."""
        if state.container is None:
            if time.monotonic() >= state.not_before and not state.final and not self._start(state):
                state.delay()
            return
        code = state.container.exit_code()
        if code is None:
            if not state.probe():
                _log.warning(
                    "container %s of %s/%s is not alive", state.spec["name"], self.namespace, self.name
                )
                state.container.stop(_LEAST_GRACE_S)
            return
        state.finish(code)
        policy = self.spec.get("restartPolicy", "Always")
        if policy == "Never" or (policy == "OnFailure" and code == 0):
            state.final = True
            return
        state.restarts += 1
        state.delay()

    def _facts(self) -> dict[str, str]:
        """What the downward API tells a container of its pod."""
        return {
            "metadata.name": self.name,
            "metadata.namespace": self.namespace,
            "metadata.uid": self.uid,
            "spec.nodeName": self._host.machine.name,
            "spec.serviceAccountName": self.spec.get("serviceAccountName") or "default",
            "status.hostIP": self._host.address,
            "status.podIP": self._addresses[0] if self._addresses else "",
            "hostname": self._host.machine.name if self.host_network else self.name,
            "api.host": self._host.api_server[0],
            "api.port": str(self._host.api_server[1]),
        }

    def _value(self, kind: str, name: str, key: str) -> str | None:
        """A key of a ConfigMap or Secret of the pod's namespace."""
        return (self._values(kind, name) or {}).get(key)

    def _values(self, kind: str, name: str) -> dict[str, str] | None:
        """A ConfigMap or Secret of the pod's namespace."""
        found = self._host.cluster.get(kind, name, self.namespace)
        if found is None:
            return None
        data: dict[str, str] = found.get("data") or {}
        if kind == "Secret":
            return {key: base64.b64decode(value).decode() for key, value in data.items()}
        return data

    def _end(self) -> None:
        """Stops everything, gives the address back, and removes the object where it still is."""
        grace = 30.0
        if self.desired is not None:
            grace = float(self.desired["metadata"].get("deletionGracePeriodSeconds", 30) or 0)
        elif "terminationGracePeriodSeconds" in self.spec:
            grace = 0.0
        running = [state.container for state in self._states.values() if state.container is not None]
        stoppers = [threading.Thread(target=one.stop, args=(max(grace, _LEAST_GRACE_S),)) for one in running]
        for thread in stoppers:
            thread.start()
        for thread in stoppers:
            thread.join()
        for state in self._states.values():
            state.container = None
        if not self.host_network:
            backoff = BACKOFF_S
            while not self._detach_once():
                time.sleep(backoff)
                backoff = min(backoff * 2, BACKOFF_MAX_S)
            self._host.machine.run(["ip", "netns", "delete", self._netns.rpartition("/")[2]])
        self._host.machine.run(["rm", "-rf", self._directory])
        if self.desired is not None:
            self._host.cluster.delete(self.desired, grace_s=0)

    def _report(self) -> None:
        """Writes the status if it differs from the one written last."""
        status = self._status()
        if status == self._reported or self.desired_end():
            return
        try:
            self._host.cluster.patch_status(self._item, status)
            self._reported = status
        except DatastoreError as error:
            _log.warning("status of %s/%s: %s", self.namespace, self.name, error)

    def _status(self) -> Object:
        inits = [self._states[one["name"]] for one in self.spec.get("initContainers") or []]
        mains = [self._states[one["name"]] for one in self.spec["containers"]]
        initialized = all(state.succeeded for state in inits)
        ready = initialized and all(state.ready() for state in mains)
        phase = "Pending"
        if all(state.final for state in mains):
            phase = "Succeeded" if all(state.code == 0 for state in mains) else "Failed"
        elif any(state.ran for state in mains):
            phase = "Running"
        flags = {"Initialized": initialized, "Ready": ready, "ContainersReady": ready, "PodScheduled": True}
        status: Object = {
            "phase": phase,
            "hostIP": self._host.address,
            "startTime": self._start_time,
            "qosClass": "BestEffort",
            "conditions": [
                {
                    "type": kind,
                    "status": "True" if flag else "False",
                    "lastTransitionTime": self._since(kind, flag),
                }
                for kind, flag in flags.items()
            ],
            "containerStatuses": [state.wire() for state in mains],
        }
        if inits:
            status["initContainerStatuses"] = [state.wire() for state in inits]
        if self._addresses:
            status["podIP"] = self._addresses[0]
            status["podIPs"] = [{"ip": address} for address in self._addresses]
        return status

    def _since(self, kind: str, flag: bool) -> str:
        """When the condition last changed: from the status written before."""
        if isinstance(self._reported, dict):
            for one in self._reported["conditions"]:
                if one["type"] == kind and one["status"] == str(flag):
                    return str(one["lastTransitionTime"])
        return now()
