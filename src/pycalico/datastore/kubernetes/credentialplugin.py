"""Credentials that a program prints, as kubeconfigs of clouds name one (``exec``; client.authentication.k8s.io)."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
from typing import Any

import msgspec

from pycalico.base import shapes
from pycalico.datastore.errors import Unauthorized

_PLUGIN_S = 60


class Cluster(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a plugin is told of the cluster where it asks (``provideClusterInfo``); data as base64."""

    server: str
    certificate_authority_data: str = msgspec.field(default="", name="certificate-authority-data")
    tls_server_name: str = msgspec.field(default="", name="tls-server-name")
    insecure: bool = msgspec.field(default=False, name="insecure-skip-tls-verify")


class CredentialPlugin(msgspec.Struct, kw_only=True):
    """As it stands in a kubeconfig; a command with a slash is relative to ``folder``, the kubeconfig's."""

    command: str
    args: list[str] | None = None
    env: list[dict[str, str]] | None = None
    api_version: str = msgspec.field(default="client.authentication.k8s.io/v1", name="apiVersion")
    provides_cluster: bool = msgspec.field(default=False, name="provideClusterInfo")
    install_hint: str = msgspec.field(default="", name="installHint")
    folder: str = ""


class Credential(msgspec.Struct, kw_only=True, rename="camel"):
    """``expiration_timestamp`` None: until it is refused."""

    token: str = ""
    client_certificate_data: str = ""
    client_key_data: str = ""
    expiration_timestamp: dt.datetime | None = None

    @property
    def is_expired(self) -> bool:
        until = self.expiration_timestamp
        return until is not None and until <= dt.datetime.now(dt.UTC)


class _ExecCredential(msgspec.Struct):
    status: Credential | None = None


def run(plugin: CredentialPlugin, cluster: Cluster) -> Credential:
    """Raises Unauthorized with the plugin's own last words."""
    spec: dict[str, Any] = {"interactive": False}
    if plugin.provides_cluster:
        spec["cluster"] = cluster
    told = {"kind": "ExecCredential", "apiVersion": plugin.api_version, "spec": spec}
    environ = os.environ | {item.get("name", ""): item.get("value", "") for item in plugin.env or []}
    environ.pop("", None)
    environ["KUBERNETES_EXEC_INFO"] = msgspec.json.encode(told).decode()
    command = os.path.join(plugin.folder, plugin.command) if "/" in plugin.command else plugin.command  # noqa: PTH118
    try:
        done = subprocess.run(
            [command, *(plugin.args or [])],
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PLUGIN_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Unauthorized(f"credential plugin {command}: no answer within {_PLUGIN_S} s") from None
    except OSError as error:
        hint = f"; {plugin.install_hint.strip().splitlines()[0]}" if plugin.install_hint.strip() else ""
        reason = (error.strerror or str(error)).lower()
        raise Unauthorized(f"credential plugin {command}: {reason}{hint}") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise Unauthorized(
            f"credential plugin {command}: exit code {done.returncode}: {said or 'no word why'}"
        )
    try:
        status = shapes.decode(done.stdout, _ExecCredential).status
    except msgspec.DecodeError as error:
        # What it printed is secret.
        raise Unauthorized(f"credential plugin {command}: its answer is no ExecCredential: {error}") from None
    if status is None or not (status.token or (status.client_certificate_data and status.client_key_data)):
        raise Unauthorized(f"credential plugin {command}: its answer holds neither token nor certificate")
    return status
