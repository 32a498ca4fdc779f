"""The ``docker run`` command line that starts a node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pycalico.datastore.config import DatastoreConfig

_CERTS = "/etc/calico/certs"
_FELIX_CONFIG = "/etc/calico/felix.cfg"
_MOUNTS = ("/var/run/calico", "/var/lib/calico", "/lib/modules", "/run")


def command(
    image: str,
    environment: Mapping[str, str],
    mounts: Mapping[str, str],
    *,
    foreground: bool,
) -> list[str]:
    """``mounts``: path on the host → path in the container."""
    found = ["docker", "run", "--net=host", "--privileged", "--name=calico-node"]
    found += ["--rm"] if foreground else ["-d", "--restart=always"]
    for name, value in environment.items():
        found += ["-e", f"{name}={value}"]
    for outside, inside in mounts.items():
        found += ["-v", f"{outside}:{inside}"]
    return [*found, image]


def datastore_environment(config: DatastoreConfig) -> dict[str, str]:
    """How the node reaches etcd; certificates at their place in the container."""
    found = {"ETCD_ENDPOINTS": config.etcd_endpoints, "ETCD_DISCOVERY_SRV": config.etcd_discovery_srv}
    return found | {name: inside for name, _, inside in _certificates(config)}


def mounts(config: DatastoreConfig, log_dir: str, felix_config: str) -> dict[str, str]:
    found = {log_dir: "/var/log/calico", **{path: path for path in _MOUNTS}}
    if felix_config:
        found[felix_config] = _FELIX_CONFIG
    return found | {outside: inside for _, outside, inside in _certificates(config)}


def _certificates(config: DatastoreConfig) -> Iterator[tuple[str, str, str]]:
    """Variable, path on the host, path in the container."""
    if config.etcd_ca_cert_file:
        yield "ETCD_CA_CERT_FILE", config.etcd_ca_cert_file, f"{_CERTS}/ca_cert.crt"
    if config.etcd_key_file and config.etcd_cert_file:
        yield "ETCD_KEY_FILE", config.etcd_key_file, f"{_CERTS}/key.pem"
        yield "ETCD_CERT_FILE", config.etcd_cert_file, f"{_CERTS}/cert.crt"
