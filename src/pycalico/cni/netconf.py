"""The plugin's entry of the conflist, and the call's environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from pycalico.cni import cniargs, conftypes
from pycalico.cni.errors import (
    BAD_VARIABLES,
    DECODING_FAILURE,
    INCOMPATIBLE_VERSION,
    INVALID_CONFIG,
    CNIError,
)
from pycalico.datastore.config import KUBERNETES, DatastoreConfig, from_environment

#: What the plugins answer to VERSION, as upstream's do.
SUPPORTED_VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0")
#: Accepted too: it has STATUS and GC.
SPEC_VERSION = "1.1.0"
#: Of networks and of containers.
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")
_IFNAME_MOST = 15
_NODENAME_FILE = "/var/lib/calico/nodename"


class Policy(msgspec.Struct):
    type: str = ""
    k8s_api_root: str = ""
    k8s_auth_token: str = ""
    k8s_client_certificate: str = ""
    k8s_client_key: str = ""
    k8s_certificate_authority: str = ""


class Kubernetes(msgspec.Struct):
    k8s_api_root: str = ""
    kubeconfig: str = ""
    node_name: str = ""


class FeatureControl(msgspec.Struct):
    ip_addrs_no_ipam: bool = False
    floating_ips: bool = False


class ContainerSettings(msgspec.Struct):
    allow_ip_forwarding: bool = False


class NetConf(msgspec.Struct):
    """Field names are the conflist's. ``ipam`` stays open: it may be another plugin's."""

    name: str = ""
    type: str = ""
    cniVersion: str = ""  # noqa: N815 - the wire's name
    log_level: str = "info"
    log_file_path: str = ""
    log_file_max_size: int = 100
    log_file_max_age: int = 30
    log_file_max_count: int = 10
    datastore_type: str = ""
    etcd_endpoints: str = ""
    etcd_discovery_srv: str = ""
    etcd_key_file: str = ""
    etcd_cert_file: str = ""
    etcd_ca_cert_file: str = ""
    nodename: str = ""
    nodename_file: str = _NODENAME_FILE
    nodename_file_optional: bool = False
    hostname: str = ""
    mtu: int = 0
    num_queues: int = 1
    ipam: dict[str, Any] = {}
    policy: Policy = msgspec.field(default_factory=Policy)
    kubernetes: Kubernetes = msgspec.field(default_factory=Kubernetes)
    feature_control: FeatureControl = msgspec.field(default_factory=FeatureControl)
    container_settings: ContainerSettings = msgspec.field(default_factory=ContainerSettings)
    include_default_routes: bool = False
    dataplane_options: dict[str, Any] = {}
    readiness_gates: list[str] = []
    policy_setup_timeout_seconds: int = 0
    endpoint_status_dir: str = "/var/run/calico/endpoint-status"
    ipam_lock_file: str = "/var/run/calico/ipam.lock"
    args: dict[str, Any] = {}

    @property
    def ipam_type(self) -> str:
        return str(self.ipam.get("type", ""))

    @property
    def mesos_labels(self) -> dict[str, str]:
        """What Mesos says of the container, as label keys and values may be."""
        found = self.args.get("org.apache.mesos", {}).get("network_info", {}).get("labels", {})
        pairs = [(item.get("key", ""), item.get("value", "")) for item in found.get("labels", [])]
        return {_label(key): _label(value) for key, value in pairs}


def _label(text: str) -> str:
    """Mesos takes any text; a label takes less. Sanitized as upstream does."""
    text = re.sub(r"[^-_.a-zA-Z0-9]+", "-", text.replace("/", "."))
    return re.sub(r"[.-]*[.][.-]*", ".", text).strip(".-")


class Arguments(msgspec.Struct):
    """The call: CNI_* variables; ``pod`` and ``namespace`` are empty outside Kubernetes."""

    command: str
    container_id: str
    netns: str
    ifname: str
    path: str
    namespace: str = ""
    pod: str = ""
    ip: str = ""
    test_namespace: str = "default"

    @property
    def is_kubernetes(self) -> bool:
        return bool(self.pod and self.namespace)


def parse_config(data: bytes) -> NetConf:
    """Raises CNIError with the codes that runtimes expect."""
    raw = _frame(data)
    try:
        config = msgspec.convert(conftypes.folded(raw), NetConf)
    except (conftypes.Misfit, msgspec.ValidationError) as error:
        raise CNIError(f"failed to load netconf: {error}") from error
    blank = NetConf()
    for name in ("nodename_file", "ipam_lock_file", "endpoint_status_dir"):
        if not getattr(config, name):
            setattr(config, name, getattr(blank, name))
    config.num_queues = max(config.num_queues, 1)
    return config


def _frame(data: bytes) -> Any:
    """The JSON, after what the CNI library looks at: name, then version. Raises CNIError with its codes."""
    try:
        raw = conftypes.parsed(data)
        name = conftypes.string_of(raw, "name")
    except conftypes.Misfit as error:
        raise CNIError(f"error unmarshall network config: {error}", DECODING_FAILURE) from error
    if not name:
        raise CNIError("missing network name", INVALID_CONFIG)
    if not _NAME.fullmatch(name):
        raise CNIError("invalid characters found in network name", INVALID_CONFIG, name)
    try:
        version = conftypes.string_of(raw, "cniVersion")
    except conftypes.Misfit as error:
        raise CNIError(f"decoding version from network config: {error}", DECODING_FAILURE) from error
    if version and version not in (*SUPPORTED_VERSIONS, SPEC_VERSION):
        supported = " ".join(f'"{known}"' for known in SUPPORTED_VERSIONS)
        raise CNIError(
            "incompatible CNI versions",
            INCOMPATIBLE_VERSION,
            f'config is "{version}", plugin supports [{supported}]',
        )
    return raw


_NEEDED = {
    "ADD": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"),
    "DEL": ("CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"),
    "CHECK": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"),
    "GC": ("CNI_PATH",),
    "STATUS": ("CNI_PATH",),
}


def parse_arguments(environ: Mapping[str, str]) -> Arguments:
    """Raises CNIError when a variable is missing or malformed."""
    command = environ.get("CNI_COMMAND", "")
    if command not in _NEEDED:
        raise CNIError(f"unknown CNI_COMMAND: {command}", BAD_VARIABLES)
    missing = [name for name in _NEEDED[command] if not environ.get(name)]
    if missing:
        raise CNIError(f"required env variables [{','.join(missing)}] missing", BAD_VARIABLES)
    container_id, ifname = environ.get("CNI_CONTAINERID", ""), environ.get("CNI_IFNAME", "")
    if container_id and not _NAME.fullmatch(container_id):
        raise CNIError("invalid characters in containerID", BAD_VARIABLES, container_id)
    if ifname:
        _check_ifname(ifname)
    extra = cniargs.parse(environ.get("CNI_ARGS", ""))
    return Arguments(
        command=command,
        container_id=container_id,
        netns=environ.get("CNI_NETNS", ""),
        ifname=ifname,
        path=environ.get("CNI_PATH", ""),
        namespace=extra.get("K8S_POD_NAMESPACE", ""),
        pod=extra.get("K8S_POD_NAME", ""),
        ip=extra.get("IP", ""),
        test_namespace=extra.get("CNI_TEST_NAMESPACE") or "default",
    )


def _check_ifname(name: str) -> None:
    """With the CNI library's texts (observed)."""
    if len(name) > _IFNAME_MOST:
        details = f"interface name should be less than {_IFNAME_MOST + 1} characters"
        raise CNIError("interface name is too long", BAD_VARIABLES, details)
    if name in (".", ".."):
        raise CNIError("interface name is . or ..", BAD_VARIABLES)
    if re.search(r"[/:\s]", name):
        raise CNIError("interface name contains / or : or whitespace characters", BAD_VARIABLES)


def node_name(config: NetConf) -> str:
    """This node's name: from the conflist, the file that calico-node writes, or the machine."""
    if config.nodename:
        return config.nodename
    try:
        name = Path(config.nodename_file).read_text()
    except FileNotFoundError:
        name = ""
    if name:
        return name
    if config.hostname:
        return config.hostname
    import socket  # noqa: PLC0415 - the last resort only

    return socket.gethostname().lower()


def environment_of(config: NetConf, environ: Mapping[str, str]) -> dict[str, str]:
    """The datastore's variables: the conflist's values over those of the process.

    Where neither names the datastore's type, the endpoints of an etcd decide (`datastore.config`), as in calico-etcd.yaml.
    """
    values = {
        "DATASTORE_TYPE": config.datastore_type,
        "ETCD_ENDPOINTS": config.etcd_endpoints,
        "ETCD_DISCOVERY_SRV": config.etcd_discovery_srv,
        "ETCD_KEY_FILE": config.etcd_key_file,
        "ETCD_CERT_FILE": config.etcd_cert_file,
        "ETCD_CA_CERT_FILE": config.etcd_ca_cert_file,
        "KUBECONFIG": config.kubernetes.kubeconfig,
        "K8S_API_ENDPOINT": config.kubernetes.k8s_api_root,
    }
    return {**environ, **{name: value for name, value in values.items() if value}}


def kubernetes_of(config: NetConf, environ: Mapping[str, str]) -> DatastoreConfig:
    """The API server where the datastore is another: ``policy`` may say who the plugin is to it. Raises Invalid.

    ``environ`` is what `environment_of` made.
    """
    found = from_environment({**environ, "DATASTORE_TYPE": KUBERNETES})
    policy = config.policy
    # Old conflists name the root together with the version.
    found.k8s_api_endpoint = found.k8s_api_endpoint or policy.k8s_api_root.split("/api/", maxsplit=1)[0]
    found.k8s_api_token = policy.k8s_auth_token
    found.k8s_cert_file = policy.k8s_client_certificate or found.k8s_cert_file
    found.k8s_key_file = policy.k8s_client_key or found.k8s_key_file
    found.k8s_ca_file = policy.k8s_certificate_authority or found.k8s_ca_file
    return found
