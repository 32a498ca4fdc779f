"""Where the API server is and how to prove who we are: kubeconfig, in-cluster, or given parts.

An own module because the available clients cost 113-369 ms of import and 18-59 MB in each of six processes
a node (lightkube 113 ms / 18 MB, kr8s 316 / 36, kubernetes 214 / 30, kubernetes_asyncio 369 / 59).
Format: client-go's kubeconfig v1.
"""

from __future__ import annotations

import binascii
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from pycalico.datastore.errors import Invalid, Unauthorized
from pycalico.datastore.kubernetes import plainyaml

if TYPE_CHECKING:
    from pycalico.datastore.kubernetes.credentialplugin import Credential, CredentialPlugin

_IN_CLUSTER = "/var/run/secrets/kubernetes.io/serviceaccount"
#: A token file is read again after this long, since the kubelet rotates it in place.
_TOKEN_FILE_LIFE_S = 60.0


class Access(msgspec.Struct, kw_only=True):
    """Everything needed to connect. Certificates and keys are PEM bytes."""

    server: str
    ca: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = None
    token: str = ""
    token_file: str = ""
    username: str = ""
    password: str = ""
    plugin: CredentialPlugin | None = None
    insecure: bool = False
    server_name: str = ""
    _token_read_at: float = 0.0
    _credential: Credential | None = None

    def bearer_token(self) -> str:
        """The token to send now; empty when another method is used."""
        now = time.monotonic()
        if self.token_file and (not self.token or now - self._token_read_at > _TOKEN_FILE_LIFE_S):
            try:
                self.token = read_file(self.token_file).decode().strip()
            except OSError as error:
                raise Unauthorized(f"cannot read token file {self.token_file}: {error.strerror}") from error
            self._token_read_at = now
        if self.plugin and (self._credential is None or self._credential.is_expired):
            self._ask_plugin(self.plugin)
        return self.token

    def forget_token(self) -> bool:
        """Drops a refused token if a fresh one can be had; tells whether trying again makes sense."""
        if self.token_file or self.plugin:
            self.token, self._credential = "", None
            return True
        return False

    def _ask_plugin(self, plugin: CredentialPlugin) -> None:
        from pycalico.datastore.kubernetes import credentialplugin  # noqa: PLC0415 (few kubeconfigs name one)

        ca = binascii.b2a_base64(self.ca, newline=False).decode() if self.ca else ""
        cluster = credentialplugin.Cluster(
            server=self.server,
            certificate_authority_data=ca,
            tls_server_name=self.server_name,
            insecure=self.insecure,
        )
        self._credential = found = credentialplugin.run(plugin, cluster)
        self.token = found.token
        if found.client_certificate_data:
            self.certificate = found.client_certificate_data.encode()
            self.key = found.client_key_data.encode()


def read_file(path: str) -> bytes:
    """Raises OSError."""
    # pathlib takes 3 ms to load, a tenth of a small command.
    with open(path, "rb") as file:  # noqa: PTH123
        return file.read()


def in_cluster(environ: Mapping[str, str], folder: str | os.PathLike[str] = _IN_CLUSTER) -> Access:
    """Access of a pod, from its service account. Raises Invalid outside a cluster."""
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT")
    if not host or not port:
        raise Invalid(
            "invalid configuration: no configuration has been provided, try setting KUBERNETES_MASTER environment variable"
        )
    if ":" in host:
        host = f"[{host}]"
    ca: bytes | None = None
    ca_file = os.path.join(folder, "ca.crt")  # noqa: PTH118 (see read_file)
    try:
        ca = read_file(ca_file)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise Invalid(f"open {ca_file}: {(error.strerror or str(error)).lower()}") from error
    return Access(
        server=f"https://{host}:{port}",
        ca=ca,
        token_file=os.path.join(folder, "token"),  # noqa: PTH118
    )


def from_kubeconfig(text: bytes, origin: str, context: str = "") -> Access:
    """Access from a kubeconfig's text; ``origin`` is its path, for messages and for relative file names."""
    return _from_document(_parse(text, origin), origin, context)


def from_kubeconfig_files(paths: str, context: str = "") -> Access:
    """Access from one path, or several joined by ``:`` and merged, first writer winning."""
    merged: dict[str, Any] = {}
    origin = ""
    for path in filter(None, paths.split(":")):
        try:
            text = read_file(path)
        except OSError as error:
            raise Invalid(f"stat {path}: {(error.strerror or str(error)).lower()}") from error
        origin = origin or path
        for name, value in _parse(text, path).items():
            if isinstance(value, list):
                merged.setdefault(name, []).extend(value)
            elif value:
                merged.setdefault(name, value)
    return _from_document(merged, origin or paths, context)


def _parse(text: bytes, origin: str) -> dict[str, Any]:
    plain = plainyaml.read(text)
    if plain is not None:
        document: Any = plain
    elif text.lstrip()[:1] == b"{":
        try:
            document = msgspec.json.decode(text)
        except msgspec.DecodeError as error:
            raise Invalid(f'error loading config file "{origin}": {error}') from error
    else:
        import yaml  # noqa: PLC0415 - a start-up cost that a JSON kubeconfig does not pay

        try:
            document = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe loaders
        except yaml.YAMLError as error:
            raise Invalid(f'error loading config file "{origin}": {str(error).splitlines()[0]}') from error
    if not isinstance(document, dict):
        raise Invalid(f'error loading config file "{origin}": not a kubeconfig')
    return document


def _named(document: dict[str, Any], plural: str, kind: str, name: str) -> dict[str, Any]:
    for item in document.get(plural) or []:
        if item.get("name") == name:
            return item.get(kind) or {}
    raise Invalid(f"invalid configuration: {kind} {name!r} does not exist")


def _from_document(document: dict[str, Any], origin: str, context: str) -> Access:
    name = context or document.get("current-context") or ""
    if not name:
        raise Invalid(
            f"invalid configuration: no configuration has been provided: {origin} has no current-context"
        )
    if all(each.get("name") != name for each in document.get("contexts") or []):
        raise Invalid(f'context "{name}" does not exist')
    chosen = _named(document, "contexts", "context", name)
    cluster = _named(document, "clusters", "cluster", chosen.get("cluster", ""))
    user = _named(document, "users", "user", chosen["user"]) if chosen.get("user") else {}
    folder = os.path.dirname(origin)  # noqa: PTH120

    def material(part: dict[str, Any], field: str) -> bytes | None:
        """The bytes of ``field-data`` (base64) or of the file named by ``field``."""
        if part.get(f"{field}-data"):
            try:
                return binascii.a2b_base64(str(part[f"{field}-data"]))
            except ValueError as error:
                raise Invalid(f'error loading config file "{origin}": {field}-data: {error}') from error
        if part.get(field):
            path = os.path.join(folder, str(part[field]))  # noqa: PTH118
            try:
                return read_file(path)
            except OSError as error:
                raise Invalid(f"unable to read {field} {path}: {error.strerror}") from error
        return None

    plugin = user.get("exec")
    return Access(
        server=cluster.get("server", "").rstrip("/"),
        ca=material(cluster, "certificate-authority"),
        certificate=material(user, "client-certificate"),
        key=material(user, "client-key"),
        token=user.get("token", ""),
        token_file=user.get("tokenFile", ""),
        username=user.get("username", ""),
        password=user.get("password", ""),
        plugin=_plugin(plugin, folder, origin) if plugin else None,
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        server_name=cluster.get("tls-server-name", ""),
    )


def _plugin(given: dict[str, Any], folder: str, origin: str) -> CredentialPlugin:
    from pycalico.datastore.kubernetes.credentialplugin import CredentialPlugin  # noqa: PLC0415 (as above)

    try:
        return msgspec.structs.replace(msgspec.convert(given, CredentialPlugin), folder=folder or ".")
    except msgspec.ValidationError as error:
        raise Invalid(f'error loading config file "{origin}": exec: {error}') from error
