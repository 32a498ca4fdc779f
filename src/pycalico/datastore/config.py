"""How to reach the datastore: from the environment, or from a calicoctl.cfg that replaces it.

Names, precedence and messages are upstream's (observed): each variable is looked up with the prefix
``CALICO_`` first; without a type, etcdv3 is used when etcd endpoints are given and Kubernetes otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from pycalico.api.meta import API_VERSION, ObjectMeta
from pycalico.api.wire import Struct
from pycalico.datastore.errors import Invalid

KUBERNETES = "kubernetes"
ETCD = "etcdv3"


class DatastoreConfig(Struct):
    """``spec`` of a CalicoAPIConfig. File fields are paths, ``etcd_key`` and the like inline PEM."""

    datastore_type: str = msgspec.field(default="", name="datastoreType")
    etcd_endpoints: str = msgspec.field(default="", name="etcdEndpoints")
    etcd_discovery_srv: str = msgspec.field(default="", name="etcdDiscoverySrv")
    etcd_username: str = msgspec.field(default="", name="etcdUsername")
    etcd_password: str = msgspec.field(default="", name="etcdPassword")
    etcd_key_file: str = msgspec.field(default="", name="etcdKeyFile")
    etcd_cert_file: str = msgspec.field(default="", name="etcdCertFile")
    etcd_ca_cert_file: str = msgspec.field(default="", name="etcdCACertFile")
    etcd_key: str = msgspec.field(default="", name="etcdKey")
    etcd_cert: str = msgspec.field(default="", name="etcdCert")
    etcd_ca_cert: str = msgspec.field(default="", name="etcdCACert")
    kubeconfig: str = ""
    kubeconfig_inline: str = ""
    k8s_api_endpoint: str = msgspec.field(default="", name="k8sAPIEndpoint")
    k8s_key_file: str = msgspec.field(default="", name="k8sKeyFile")
    k8s_cert_file: str = msgspec.field(default="", name="k8sCertFile")
    k8s_ca_file: str = msgspec.field(default="", name="k8sCAFile")
    k8s_api_token: str = msgspec.field(default="", name="k8sAPIToken")
    k8s_insecure_skip_tls_verify: bool = msgspec.field(default=False, name="k8sInsecureSkipTLSVerify")
    k8s_disable_node_poll: bool = msgspec.field(default=False, name="k8sDisableNodePoll")
    k8s_use_pod_cidr: bool = msgspec.field(default=False, name="k8sUsePodCIDR")
    k8s_current_context: str = msgspec.field(default="", name="k8sCurrentContext")
    k8s_client_qps: float = msgspec.field(default=0.0, name="k8sClientQPS")


_FILE_KIND = "CalicoAPIConfig"


class _File(Struct):
    kind: str = ""
    api_version: str = ""
    metadata: ObjectMeta = msgspec.field(default_factory=ObjectMeta)
    spec: DatastoreConfig = msgspec.field(default_factory=DatastoreConfig)


#: Our structs as messages call them.
_RENAMED = {"_File": "CalicoAPIConfig", "DatastoreConfig": "CalicoAPIConfigSpec"}

_VARIABLES = {
    "datastore_type": "DATASTORE_TYPE",
    "etcd_endpoints": "ETCD_ENDPOINTS",
    "etcd_discovery_srv": "ETCD_DISCOVERY_SRV",
    "etcd_username": "ETCD_USERNAME",
    "etcd_password": "ETCD_PASSWORD",
    "etcd_key_file": "ETCD_KEY_FILE",
    "etcd_cert_file": "ETCD_CERT_FILE",
    "etcd_ca_cert_file": "ETCD_CA_CERT_FILE",
    "kubeconfig": "KUBECONFIG",
    "k8s_api_endpoint": "K8S_API_ENDPOINT",
    "k8s_key_file": "K8S_KEY_FILE",
    "k8s_cert_file": "K8S_CERT_FILE",
    "k8s_ca_file": "K8S_CA_FILE",
    "k8s_current_context": "K8S_CURRENT_CONTEXT",
}
_SWITCHES = {
    "k8s_insecure_skip_tls_verify": "K8S_INSECURE_SKIP_TLS_VERIFY",
    "k8s_disable_node_poll": "K8S_DISABLE_NODE_POLL",
    "k8s_use_pod_cidr": "USE_POD_CIDR",
}
_TRUE = ("1", "t", "true")
_FALSE = ("", "0", "f", "false")


def from_environment(environ: Mapping[str, str]) -> DatastoreConfig:
    """Raises Invalid for a switch that is no boolean and for an unknown datastore type."""

    def look_up(name: str) -> str:
        return environ.get(f"CALICO_{name}") or environ.get(name, "")

    config = DatastoreConfig()
    for field, name in _VARIABLES.items():
        setattr(config, field, look_up(name))
    for field, name in _SWITCHES.items():
        text = look_up(name).lower()
        if text not in _TRUE + _FALSE:
            raise Invalid(f"invalid value {look_up(name)!r} of {name}: use true or false")
        setattr(config, field, text in _TRUE)
    return checked(config)


def from_file(path: str) -> DatastoreConfig:
    """A CalicoAPIConfig file (YAML or JSON, read strictly). Raises Invalid with upstream's text, OSError."""
    # Few programs are given a file; the parsers are loaded for those.
    from pycalico.api import goyaml, strict  # noqa: PLC0415

    with open(path, encoding="utf-8") as file:  # noqa: PTH123 (pathlib takes longer to load than to do without)
        text = file.read()
    try:
        found = strict.decode(goyaml.parse(text), _File, renamed=_RENAMED)
    except ValueError as error:
        raise Invalid(
            f"syntax error in {path}: failed to parse config as YAML/JSON: error parsing document: {error}"
        ) from error
    if found.api_version != API_VERSION:
        raise Invalid(
            f"syntax error in {path}: invalid config file: unknown APIVersion '{found.api_version}'"
        )
    if found.kind != _FILE_KIND:
        raise Invalid(
            f"syntax error in {path}: invalid config file: expected kind '{_FILE_KIND}', got '{found.kind}'"
        )
    return checked(found.spec)


def checked(config: DatastoreConfig) -> DatastoreConfig:
    """Fills in the type. Raises Invalid when it is unknown."""
    if not config.datastore_type:
        config.datastore_type = ETCD if config.etcd_endpoints else KUBERNETES
    if config.datastore_type not in (KUBERNETES, ETCD):
        raise Invalid(f"unknown datastore type: {config.datastore_type}")
    return config
