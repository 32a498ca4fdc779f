"""The runtime's side of the CNI protocol (specification 1.0.0): a list of plugins, called for one pod.

Source of fact: the CNI specification, sections 2 to 4. The first file by name in the configuration directory counts.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

_TIMEOUT_S = 90.0
#: The node's own directory, then where Debian's containernetworking-plugins has its programs.
BIN_DIRS = "/opt/cni/bin:/usr/lib/cni"


class PluginError(Exception):
    """A plugin's refusal, as one line."""


class Attachment(msgspec.Struct):
    """One pod's network: what every call of its plugins is told."""

    container_id: str
    netns: str
    namespace: str
    name: str
    uid: str
    ifname: str = "eth0"
    port_mappings: list[dict[str, Any]] = []

    def environment(self, command: str) -> dict[str, str]:
        arguments = {
            "IgnoreUnknown": "1",
            "K8S_POD_NAMESPACE": self.namespace,
            "K8S_POD_NAME": self.name,
            "K8S_POD_INFRA_CONTAINER_ID": self.container_id,
            "K8S_POD_UID": self.uid,
        }
        return {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": self.container_id,
            "CNI_NETNS": self.netns,
            "CNI_IFNAME": self.ifname,
            "CNI_ARGS": ";".join(f"{key}={value}" for key, value in arguments.items()),
            "CNI_PATH": BIN_DIRS,
        }


#: Runs a program in the node: (argv, environment, input) → finished process.
Run = Callable[[list[str], dict[str, str], bytes], "subprocess.CompletedProcess[bytes]"]


class PluginList:
    """A configuration list; ``run`` executes a plugin in the node's namespaces."""

    def __init__(self, document: dict[str, Any], run: Run) -> None:
        self.name = str(document["name"])
        self._version = str(document.get("cniVersion", "0.2.0"))
        self._plugins: list[dict[str, Any]] = document["plugins"]
        self._run = run

    def add(self, attachment: Attachment) -> dict[str, Any]:
        """Calls the plugins in order; returns the last result. Raises PluginError, after which DEL is due."""
        result: dict[str, Any] | None = None
        for plugin in self._plugins:
            result = self._call("ADD", plugin, attachment, result)
        return result or {}

    def delete(self, attachment: Attachment, result: dict[str, Any] | None) -> None:
        """Calls the plugins in reverse; ``result`` is what ADD returned, if it did.

        Raises the first PluginError, after each of them had its turn: one that fails keeps nobody's address.
        """
        failures = []
        for plugin in reversed(self._plugins):
            try:
                self._call("DEL", plugin, attachment, result)
            except PluginError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def _call(
        self, command: str, plugin: dict[str, Any], attachment: Attachment, previous: dict[str, Any] | None
    ) -> dict[str, Any] | None:
        conf = {**plugin, "name": self.name, "cniVersion": self._version}
        wanted = conf.pop("capabilities", None) or {}
        if wanted.get("portMappings") and attachment.port_mappings:
            conf["runtimeConfig"] = {"portMappings": attachment.port_mappings}
        if previous is not None:
            conf["prevResult"] = previous
        kind = str(plugin.get("type", ""))
        if not kind or "/" in kind:
            raise PluginError(f'network {self.name}: "{kind}" is no plugin type')
        try:
            done = self._run([kind], attachment.environment(command), msgspec.json.encode(conf))
        except subprocess.TimeoutExpired:
            raise PluginError(f"{kind} {command}: no answer within {_TIMEOUT_S:.0f} s") from None
        if done.returncode != 0:
            raise PluginError(f"{kind} {command}: {_reason(done)}")
        if command != "ADD":
            return None
        try:
            answer: dict[str, Any] = msgspec.json.decode(done.stdout)
        except msgspec.DecodeError:
            raise PluginError(f"{kind} ADD: its result is not JSON: {done.stdout[:100]!r}") from None
        return answer


def load(directory: Path, run: Run) -> PluginList | None:
    """The configuration in force, or None when there is none yet. Raises PluginError when it is not usable."""
    try:
        files = sorted(path for path in directory.iterdir() if path.suffix in (".conf", ".conflist", ".json"))
    except OSError:
        return None
    for path in files:
        try:
            document = msgspec.json.decode(path.read_bytes())
            if "plugins" not in document:
                document = {
                    "name": document["name"],
                    "cniVersion": document.get("cniVersion", "0.2.0"),
                    "plugins": [document],
                }
            return PluginList(document, run)
        except (msgspec.DecodeError, KeyError, TypeError, OSError) as error:
            raise PluginError(f"{path.name}: not a usable network configuration: {error}") from None
    return None


def _reason(done: subprocess.CompletedProcess[bytes]) -> str:
    """The error object on stdout, or the last line of stderr."""
    try:
        problem = msgspec.json.decode(done.stdout)
        return " ".join(filter(None, (str(problem.get("msg", "")), str(problem.get("details", ""))))).strip()
    except (msgspec.DecodeError, AttributeError):
        said = done.stderr.decode(errors="replace").strip().splitlines()
        return said[-1] if said else f"exit code {done.returncode}"
