"""``calico install``: puts the plugins, their kubeconfig and the network's configuration on the host.

The init container ``install-cni`` runs this with the host's directories under ``/host``. Source of the variables,
placeholders and paths: upstream's installer.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from pycalico import CALICO_VERSION
from pycalico.base import log as logs
from pycalico.cni import hostfiles, hosttree
from pycalico.cni.errors import CNIError
from pycalico.cni.secretcopy import SecretCopy
from pycalico.datastore.config import KUBERNETES, from_environment
from pycalico.datastore.errors import DatastoreError
from pycalico.datastore.kubernetes import plugintoken
from pycalico.datastore.kubernetes.rest import Rest
from pycalico.datastore.open import kubernetes_access

log = logging.getLogger(__name__)

PLUGINS = ("calico", "calico-ipam")
#: The image keeps further plugins beside the installer; elsewhere only our own are looked for.
_IMAGE_BIN = Path("/opt/cni/bin")
_MOUNTED = Path("/host")
_INSTALLERS = ("install", "install.exe")
_PLACEHOLDER = re.compile(r"__[A-Z_]+__")

DEFAULT_TEMPLATE = """\
{
  "name": "k8s-pod-network",
  "cniVersion": "0.3.1",
  "plugins": [
    {
      "type": "calico",
      "log_level": "__LOG_LEVEL__",
      "log_file_path": "__LOG_FILE_PATH__",
      "log_file_max_size": __LOG_FILE_MAX_SIZE__,
      "log_file_max_age": __LOG_FILE_MAX_AGE__,
      "log_file_max_count": __LOG_FILE_MAX_COUNT__,
      "datastore_type": "__DATASTORE_TYPE__",
      "nodename": "__KUBERNETES_NODE_NAME__",
      "mtu": __CNI_MTU__,
      "ipam": {"type": "calico-ipam"},
      "policy": {"type": "k8s"},
      "kubernetes": {"kubeconfig": "__KUBECONFIG_FILEPATH__"}
    },
    {
      "type": "portmap",
      "snat": true,
      "capabilities": {"portMappings": true}
    }
  ]
}"""


class Host:
    """The host's directories, as the container sees them; outside an image there is no /host, and / is the host."""

    def __init__(self, root: Path | None = None) -> None:
        root = root or (_MOUNTED if _MOUNTED.exists() else Path("/"))
        self.bin_directories = (root / "opt/cni/bin", root / "secondary-bin-dir")
        self.net_directory = root / "etc/cni/net.d"


def run(environ: Mapping[str, str] = os.environ, host: Host | None = None) -> int:
    """The exit code. With SLEEP (the default) it stays and keeps the etcd secrets current."""
    logs.configure("cni-installer")
    host = host or Host()
    secrets = SecretCopy(
        Path(environ.get("TLS_ASSETS_DIR", "") or "/calico-secrets"), host.net_directory / "calico-tls"
    )
    try:
        sleep = _truth(environ, "SLEEP", default=True)
        secrets.replace()
        install_plugins(environ, host, Path(sys.argv[0]).absolute().parent)
        if plugintoken.in_pod():
            write_kubeconfig(environ, host)
        write_configuration(environ, host, secrets)
    except (CNIError, DatastoreError) as error:
        log.critical("%s", error)
        return 1
    except OSError as error:
        log.critical("cannot write %s: %s", error.filename, error.strerror)
        return 1
    log.info("Done configuring CNI.  Sleep= %s", str(sleep).lower())
    if sleep:
        secrets.follow(threading.Event())
    return 0


# ---- plugins


def install_plugins(environ: Mapping[str, str], host: Host, source: Path) -> None:
    """Copies the plugins into each of the host's directories that can be written. Raises CNIError, OSError.

    An image's plugins come with all that they need (see ``hosttree``); others need this Python on the host.
    """
    skipped = set(filter(None, environ.get("SKIP_CNI_BINARIES", "").split(",")))
    update = _truth(environ, "UPDATE_CNI_BINARIES", default=True)
    written = False
    for directory in host.bin_directories:
        if not (directory.is_dir() and os.access(directory, os.W_OK)):
            log.info("%s is not writeable, skipping", directory)
            continue
        _install_tree(source, directory)
        for plugin in _plugins(source):
            target = directory / plugin.name
            if plugin.name in skipped or target.resolve() == plugin.resolve():
                continue
            if target.exists() and not update:
                log.info("Skipping installation of %s", target)
            elif not hostfiles.copy(plugin, target):
                log.info("%s is already up to date, skipping", target)
            elif hostfiles.same(plugin, target):
                log.info("Installed %s", target)
            else:
                raise CNIError(f"Failed to verify installed binary {target}")
        if update:
            _prune_trees(source, directory)
        log.info("Wrote Calico CNI binaries to %s", directory)
        log.info("CNI plugin version: %s", CALICO_VERSION)
        written = True
    if not written:
        raise CNIError("found no writeable directory, exiting")


def _install_tree(source: Path, directory: Path) -> None:
    """Before the scripts that use it."""
    if (source / hosttree.DIRECTORY).is_dir() and source.resolve() != directory.resolve():
        new = hosttree.install(source, directory)
        log.info(
            "Installed %s" if new else "%s is already up to date, skipping", directory / hosttree.DIRECTORY
        )


def _prune_trees(source: Path, directory: Path) -> None:
    """After the scripts that used others."""
    tree = hosttree.newest(source)
    if tree is not None and source.resolve() != directory.resolve():
        hosttree.prune(directory, keep=tree.name)


def _plugins(source: Path) -> Iterator[Path]:
    if source == _IMAGE_BIN:
        yield from (
            path for path in sorted(source.iterdir()) if path.is_file() and path.name not in _INSTALLERS
        )
        return
    for name in PLUGINS:
        path = source / name
        if not path.is_file():
            raise CNIError(f"{path} is missing: install pycalico again")
        yield path


# ---- configuration


def write_kubeconfig(environ: Mapping[str, str], host: Host) -> None:
    """Raises DatastoreError, OSError."""
    config = from_environment({**environ, "DATASTORE_TYPE": KUBERNETES, "CALICO_DATASTORE_TYPE": ""})
    access = kubernetes_access(config, environ)
    access.insecure = access.insecure or _truth(environ, "SKIP_TLS_VERIFY", default=False)
    token = plugintoken.request(
        Rest(access), plugintoken.namespace_of(environ), plugintoken.account_of(environ)
    )
    path = host.net_directory / "calico-kubeconfig"
    plugintoken.write(path, access, token.text)
    log.info("Wrote Calico CNI kubeconfig file", extra={"fields": {"path": str(path)}})


def write_configuration(environ: Mapping[str, str], host: Host, secrets: SecretCopy) -> None:
    """Fills the template, checks it, writes and prints it. Raises CNIError, OSError."""
    file = environ.get("CNI_NETWORK_CONFIG_FILE", "")
    if file:
        template = Path(file).read_text()
        log.info("Using CNI config template from CNI_NETWORK_CONFIG_FILE")
    else:
        template = environ.get("CNI_NETWORK_CONFIG", "") or DEFAULT_TEMPLATE
    text = fill(template, _values(environ, secrets))
    try:
        msgspec.json.decode(text, type=dict)
    except msgspec.DecodeError as error:
        raise CNIError(
            f"the network configuration is not a valid json object ({error}): set CNI_NETWORK_CONFIG right"
        ) from None
    name = environ.get("CNI_CONF_NAME", "") or "10-calico.conflist"
    target = host.net_directory / name
    hostfiles.place(target, text.encode(), 0o644)
    log.info("Created %s", target)
    print(text, flush=True)
    old = environ.get("CNI_OLD_CONF_NAME", "") or name
    if old != name:
        log.info("Removing %s", host.net_directory / old)
        (host.net_directory / old).unlink(missing_ok=True)


def fill(template: str, values: Mapping[str, str]) -> str:
    """Known placeholders get their values; others stay."""
    return _PLACEHOLDER.sub(lambda found: values.get(found[0].strip("_"), found[0]), template)


def _values(environ: Mapping[str, str], secrets: SecretCopy) -> dict[str, str]:
    net = environ.get("CNI_NET_DIR", "") or "/etc/cni/net.d"
    defaults = {
        "LOG_LEVEL": "info",
        "LOG_FILE_PATH": "/var/log/calico/cni/cni.log",
        "LOG_FILE_MAX_SIZE": "100",
        "LOG_FILE_MAX_AGE": "30",
        "LOG_FILE_MAX_COUNT": "10",
        "DATASTORE_TYPE": "kubernetes",
        "KUBERNETES_NODE_NAME": os.uname().nodename.lower().strip(),
        "CNI_MTU": "1500",
        "KUBERNETES_SERVICE_HOST": "",
        "KUBERNETES_SERVICE_PORT": "",
        "ETCD_ENDPOINTS": "",
        "ETCD_DISCOVERY_SRV": "",
    }
    values = {name: environ.get(name, "") or default for name, default in defaults.items()}
    values["KUBECONFIG_FILEPATH"] = f"{net}/calico-kubeconfig"
    values["SERVICEACCOUNT_TOKEN"] = plugintoken.mounted_text()
    for placeholder, name in (
        ("ETCD_CERT_FILE", "etcd-cert"),
        ("ETCD_CA_CERT_FILE", "etcd-ca"),
        ("ETCD_KEY_FILE", "etcd-key"),
    ):
        values[placeholder] = f"{net}/calico-tls/{name}" if secrets.has(name) else ""
    return values


def _truth(environ: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = environ.get(name, "").lower()
    if not text:
        return default
    if text in ("1", "t", "true"):
        return True
    if text in ("0", "f", "false"):
        return False
    raise CNIError(f"{name} must be true or false, not {environ[name]!r}")
