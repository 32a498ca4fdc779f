"""The CNI plugin's kubeconfig: a service account's token, asked of the API server and written beside its configuration.

The plugin runs outside any pod and has no token of its own. The installer writes the first one, calico-node renews it.
"""

from __future__ import annotations

import base64
import binascii
import os
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import msgspec

from pycalico.datastore.errors import DatastoreError
from pycalico.datastore.kubernetes.access import Access
from pycalico.datastore.kubernetes.rest import Rest, StatusError, path_of

DEFAULT_ACCOUNT = "calico-cni-plugin"
_MOUNTED = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_LIFETIME_S = 24 * 3600


class UnusableToken(DatastoreError):
    """The API server, or the mounted file, gave something that cannot be read as a token."""


def in_pod() -> bool:
    """Whether a service account is mounted: this process runs as a Kubernetes pod."""
    return (_MOUNTED / "token").exists()


def mounted_text() -> str:
    """The mounted token; empty outside a pod."""
    try:
        return (_MOUNTED / "token").read_text()
    except OSError:
        return ""


def account_of(environ: Mapping[str, str]) -> str:
    return environ.get("CALICO_CNI_SERVICE_ACCOUNT", "") or DEFAULT_ACCOUNT


class Token(msgspec.Struct, frozen=True):
    """``expires`` is a Unix time in seconds."""

    text: str
    expires: float


class _Status(msgspec.Struct, rename="camel"):
    token: str = ""
    expiration_timestamp: str = ""


class _TokenRequest(msgspec.Struct):
    status: _Status = msgspec.field(default_factory=_Status)


def namespace_of(environ: Mapping[str, str]) -> str:
    """The namespace this pod runs in."""
    try:
        return (_MOUNTED / "namespace").read_text().strip()
    except OSError:
        return environ.get("NAMESPACE", "") or "kube-system"


def request(rest: Rest, namespace: str, account: str) -> Token:
    """A token of 24 hours. An API that gives none has the mounted one used. Raises DatastoreError."""
    body = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": _LIFETIME_S},
    }
    try:
        answer = rest.create(
            path_of("v1", "serviceaccounts", namespace, account, "token"), body, _TokenRequest
        )
    except StatusError as error:
        if error.code == 404 and (_MOUNTED / "token").exists():
            return _mounted()
        raise
    status = answer.status
    try:
        expires = datetime.fromisoformat(status.expiration_timestamp).timestamp()
    except ValueError as error:
        raise UnusableToken(f"the API server's token has no end that can be read: {error}") from error
    return Token(status.token, expires)


def _mounted() -> Token:
    text = (_MOUNTED / "token").read_text().strip()
    try:
        claims = text.split(".")[1]
        decoded = base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4))
        expires = msgspec.json.decode(decoded, type=dict[str, object]).get("exp")
    except (IndexError, binascii.Error, msgspec.DecodeError) as error:
        raise UnusableToken(f"the mounted token in {_MOUNTED} cannot be read: {error}") from error
    return Token(text, float(expires) if isinstance(expires, int | float) else time.time() + _LIFETIME_S)


def kubeconfig(access: Access, token: str) -> str:
    """The text of a kubeconfig with one cluster ``local``, one user ``calico``, one context ``calico-context``."""
    authority = (
        f"certificate-authority-data: {base64.b64encode(access.ca).decode()}"
        if access.ca and not access.insecure
        else f"insecure-skip-tls-verify: {'true' if access.insecure else 'false'}"
    )
    return f"""# Kubeconfig of the Calico CNI plugin: kept current by calico-node, changes are overwritten.
apiVersion: v1
kind: Config
clusters:
- name: local
  cluster:
    server: {_quoted(access.server)}
    {authority}
users:
- name: calico
  user:
    token: {_quoted(token)}
contexts:
- name: calico-context
  context:
    cluster: local
    user: calico
current-context: calico-context
"""


def write(path: Path, access: Access, token: str) -> None:
    """Readable by root alone, and whole at every moment. Raises OSError."""
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            os.fchmod(descriptor, 0o600)
            file.write(kubeconfig(access, token))
        staged.replace(path)
    except OSError:
        staged.unlink(missing_ok=True)
        raise


def _quoted(text: str) -> str:
    """A YAML string; JSON's form is one."""
    return msgspec.json.encode(text).decode()
