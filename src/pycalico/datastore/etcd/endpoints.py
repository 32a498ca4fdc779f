"""Where etcd is and how it is reached, from the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycalico.datastore.config import DatastoreConfig
from pycalico.datastore.errors import Invalid

if TYPE_CHECKING:
    from pycalico.datastore import tls as transport


def endpoints_of(config: DatastoreConfig) -> list[str]:
    """At least one. Raises Invalid."""
    if config.etcd_discovery_srv:
        if config.etcd_endpoints:
            raise Invalid(
                "multiple discovery or bootstrap options specified, use either "
                '"etcdEndpoints" or "etcdDiscoverySrv"'
            )
        raise Invalid("etcdDiscoverySrv is not served by this client: list the endpoints in etcdEndpoints")
    found = [text.strip().rstrip("/") for text in config.etcd_endpoints.split(",") if text.strip()]
    if not found:
        raise Invalid("no etcd endpoints specified")
    return found


def parts(endpoint: str) -> tuple[str, str, int]:
    """Scheme, host and port. A missing port is that of the scheme."""
    scheme, _, rest = endpoint.rpartition("://")
    place = rest.partition("/")[0]
    host, colon, port = place.rpartition(":")
    if not colon or place.endswith("]"):
        host, port = place, ""
    host = host.removeprefix("[").removesuffix("]")
    return scheme, host, int(port) if port.isdigit() else 443 if scheme == "https" else 80


def check_files(config: DatastoreConfig) -> None:
    """Names a file that is not there, as upstream does, even where the endpoints need none."""
    if bool(config.etcd_cert_file) != bool(config.etcd_key_file):
        raise Invalid(
            "could not initialize etcdv3 client: KeyFile and CertFile must both be present"
            f"[key: {config.etcd_key_file}, cert: {config.etcd_cert_file}]"
        )
    for path in (config.etcd_cert_file, config.etcd_key_file, config.etcd_ca_cert_file):
        if path:
            _readable(path)


def _readable(path: str) -> None:
    try:
        with open(path, "rb"):  # noqa: PTH123 (only whether it opens)
            return
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise Invalid(f"could not initialize etcdv3 client: open {path}: {reason}") from error


def tls_of(config: DatastoreConfig) -> transport.Context:
    """Raises Invalid when the certificates cannot be used."""
    from pycalico.datastore import tls  # noqa: PLC0415 (plain endpoints do without)

    inline = config.etcd_key or config.etcd_cert or config.etcd_ca_cert
    files = config.etcd_key_file or config.etcd_cert_file or config.etcd_ca_cert_file
    if inline and files:
        raise Invalid("Cannot mix inline certificate-key and certificate / key files")
    check_files(config)
    try:
        context = tls.Context(ca=config.etcd_ca_cert, ca_file=config.etcd_ca_cert_file)
        if config.etcd_cert_file:
            context.show(config.etcd_cert_file, config.etcd_key_file)
        elif config.etcd_cert:
            context.show_text(config.etcd_cert.encode(), config.etcd_key.encode())
    except OSError as error:
        raise Invalid(f"could not initialize etcdv3 client: {error}") from error
    return context
