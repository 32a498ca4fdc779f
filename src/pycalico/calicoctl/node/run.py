"""``calicoctl node run``: starts the node's container with docker."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

from pycalico.api import strict
from pycalico.calicoctl import connection
from pycalico.calicoctl.failure import Failure
from pycalico.calicoctl.ipam import address
from pycalico.calicoctl.node import launch, root
from pycalico.calicoctl.syntax import Arguments
from pycalico.datastore.config import ETCD
from pycalico.datastore.errors import DatastoreError

_FIRST_FOUND = "first-found"
_AUTODETECT = "autodetect"
_BACKENDS = ("bird", "none")
_STARTED = "Calico node started successfully"
#: How long the log is followed for that line.
_START_S = 10.0
_CONNTRACK_MAX = "1000000"


def run(arguments: Arguments) -> None:
    """Raises Failure."""
    command = _command(arguments)
    text = " ".join(command)
    foreground = "--init-system" in arguments.switches
    if "--dryrun" in arguments.switches:
        print(f"Use the following command to start the calico/node container:\n\n{text}\n")
        if foreground:
            print("Use the following command to stop the calico/node container:\n\ndocker stop calico-node\n")
        else:
            print("If you are running calico/node in an init system, use the --init-system flag")
            print("to display the appropriate start and stop commands.")
        return
    root.require()
    if not os.environ.get("CALICO_CTL_CONTAINER"):
        _prepare_kernel()
    print("Removing old calico-node container (if running).")
    _docker("rm", "-f", "calico-node")
    print(f"Running the following command to start calico-node:\n\n{text}\n")
    print("Image may take a short time to download if it is not available locally.", flush=True)
    started = _docker(*command[1:])
    if started.returncode:
        lines = "".join(f" | {line}\n" for line in started.stdout.splitlines())
        raise Failure(f"Error executing command: exit status {started.returncode}\n{lines}")
    print("Container started, checking progress logs.\n", flush=True)
    _follow()


def _command(arguments: Arguments) -> list[str]:
    ip, ip6 = arguments.text("--ip"), arguments.text("--ip6")
    for option, text, family in (("--ip", ip, 4), ("--ip6", ip6, 6)):
        if text and text != _AUTODETECT and (":" in address.parsed(text)) != (family == 6):
            raise Failure(f"Error executing command: {option} is wrong IP version")
    as_number = _as_number(arguments.text("--as"))
    backend = arguments.text("--backend")
    if backend not in _BACKENDS:
        raise Failure(f"Error executing command: unknown backend '{backend}'")
    methods = {
        "IP_AUTODETECTION_METHOD": (arguments.text("--ip-autodetection-method"), 4),
        "IP6_AUTODETECTION_METHOD": (arguments.text("--ip6-autodetection-method"), 6),
    }
    for method, family in methods.values():
        _check_method(method, family)
    try:
        config = connection.config(arguments.text("--config"))
    except DatastoreError as error:
        raise Failure("Error executing command: invalid config file") from error
    if config.datastore_type != ETCD:
        raise Failure("Error executing command: unsupported backend specified in config")
    environment = {
        "NODENAME": arguments.text("--name") or socket.gethostname().strip().lower(),
        "CALICO_NETWORKING_BACKEND": backend,
        # The container must not install or change the host's CNI configuration.
        "CALICO_MANAGE_CNI": "false",
    }
    if "--no-default-ippools" in arguments.switches:
        environment["NO_DEFAULT_POOLS"] = "true"
    environment |= {name: method for name, (method, _) in methods.items() if method != _FIRST_FOUND}
    environment |= {name: text for name, text in (("AS", as_number), ("IP", ip), ("IP6", ip6)) if text}
    return launch.command(
        arguments.text("--node-image"),
        environment | launch.datastore_environment(config),
        launch.mounts(config, arguments.text("--log-dir"), arguments.text("--felix-config")),
        foreground="--init-system" in arguments.switches,
    )


def _as_number(text: str) -> str:
    if not text:
        return ""
    try:
        return str(strict.as_number(text))
    except strict.StrictError as error:
        raise Failure(f"Error executing command: invalid AS Number specified: {text}", stdout=True) from error


def _check_method(method: str, family: int) -> None:
    name, equals, value = method.partition("=")
    if method == _FIRST_FOUND:
        return
    if equals and name == "can-reach":
        _check_reachable(value, family)
    elif equals and name in ("interface", "skip-interface"):
        for pattern in value.split(","):
            try:
                re.compile(pattern)
            except re.error as error:
                raise Failure(
                    f"Error executing command: invalid interface regex specified for IP autodetection: {pattern}"
                ) from error
    else:
        raise Failure(f"Error executing command: invalid IP autodetection method: {method}")


def _check_reachable(host: str, family: int) -> None:
    try:
        found = {info[0] for info in socket.getaddrinfo(host, None)}
    except OSError as error:
        raise Failure(
            f"Error executing command: cannot resolve address specified for IP autodetection: {host}"
        ) from error
    if (socket.AF_INET if family == 4 else socket.AF_INET6) not in found:
        raise Failure(
            f"Error executing command: address for IP autodetection does not resolve to an IPv{family} "
            f"address: {host}"
        )


def _prepare_kernel() -> None:
    print("Running command to load modules: modprobe -a xt_set ip6_tables")
    try:
        subprocess.run(["modprobe", "-a", "xt_set", "ip6_tables"], check=False, capture_output=True)
    except OSError as error:
        print(f"WARNING: cannot run modprobe: {error.strerror}")
    print("Enabling IPv4 forwarding")
    _set("/proc/sys/net/ipv4/ip_forward", "1", "ERROR: Could not enable ipv4 forwarding")
    if Path("/proc/sys/net/ipv6").exists():
        print("Enabling IPv6 forwarding")
        _set("/proc/sys/net/ipv6/conf/all/forwarding", "1", "ERROR: Could not enable ipv6 forwarding")
    print("Increasing conntrack limit")
    try:
        Path("/proc/sys/net/netfilter/nf_conntrack_max").write_text(_CONNTRACK_MAX, encoding="ascii")
    except OSError:
        print("WARNING: Could not set nf_conntrack_max. This may have an impact at scale.")


def _set(path: str, value: str, complaint: str) -> None:
    try:
        Path(path).write_text(value, encoding="ascii")
    except OSError as error:
        raise Failure(complaint) from error


def _docker(*words: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["docker", *words], check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    except OSError as error:
        raise Failure(
            f"Error executing command: cannot run docker: {error.strerror}; install it or put it on the PATH"
        ) from error


def _follow() -> None:
    """Shows the container's log until it says that the node is up."""
    with subprocess.Popen(
        ["docker", "logs", "--follow", "calico-node"], stdout=subprocess.PIPE, text=True
    ) as process:
        timer = threading.Timer(_START_S, process.kill)
        timer.start()
        started = False
        for line in process.stdout or ():
            sys.stdout.write(line)
            if line.rstrip("\n") == _STARTED:
                started = True
                break
        timer.cancel()
        process.kill()
    if not started:
        raise Failure("Error executing command: calico/node has terminated, check logs for details")
