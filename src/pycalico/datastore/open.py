"""From a configuration to a client."""

from __future__ import annotations

import os
from collections.abc import Mapping

from pycalico.datastore.client import Client
from pycalico.datastore.config import KUBERNETES, DatastoreConfig, from_environment
from pycalico.datastore.errors import Invalid
from pycalico.datastore.kubernetes import access
from pycalico.datastore.kubernetes.access import Access


def open_client(config: DatastoreConfig | None = None, environ: Mapping[str, str] = os.environ) -> Client:
    """A client for ``config``, or for what the environment says. Connects on first use. Raises Invalid."""
    config = config or from_environment(environ)
    # Each driver is imported only where it is used: a process pays for one.
    if config.datastore_type == KUBERNETES:
        from pycalico.datastore.kubernetes.client import KubernetesClient  # noqa: PLC0415
        from pycalico.datastore.kubernetes.rest import Rest  # noqa: PLC0415

        prefix = environ.get("FELIX_INTERFACEPREFIX", "").split(",")[0] or "cali"
        return KubernetesClient(Rest(kubernetes_access(config, environ)), interface_prefix=prefix)
    from pycalico.datastore.etcd.client import EtcdClient  # noqa: PLC0415

    return EtcdClient(config)


def kubernetes_access(config: DatastoreConfig, environ: Mapping[str, str] = os.environ) -> Access:
    """Who and where: kubeconfig (given, or ``~/.kube/config``), else in-cluster; K8S_* values win over either."""
    context = config.k8s_current_context
    default = os.path.join(environ.get("HOME", "/root"), ".kube/config")  # noqa: PTH118
    if config.kubeconfig_inline:
        found = access.from_kubeconfig(config.kubeconfig_inline.encode(), "kubeconfigInline", context)
    elif config.kubeconfig:
        found = access.from_kubeconfig_files(config.kubeconfig, context)
    elif config.k8s_api_endpoint:
        found = Access(server=config.k8s_api_endpoint)
    elif os.path.exists(default):  # noqa: PTH110 (False for the home of somebody else too)
        found = access.from_kubeconfig_files(default, context)
    else:
        found = access.in_cluster(environ)
    if config.k8s_api_endpoint:
        found.server = config.k8s_api_endpoint.rstrip("/")
    found.ca = _material(config.k8s_ca_file) or found.ca
    found.certificate = _material(config.k8s_cert_file) or found.certificate
    found.key = _material(config.k8s_key_file) or found.key
    found.token = config.k8s_api_token or found.token
    found.insecure = config.k8s_insecure_skip_tls_verify or found.insecure
    return found


def _material(path: str) -> bytes | None:
    if not path:
        return None
    try:
        return access.read_file(path)
    except OSError as error:
        raise Invalid(f"open {path}: {(error.strerror or str(error)).lower()}") from error
