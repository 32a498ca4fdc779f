"""Who may talk to the server: its certificates, its own tokens and the tokens of service accounts.

There is no authorization: every authenticated client may do everything (as the docstring of the package
says). Service-account tokens are JSON web tokens signed HS256 with a key that never leaves the data
directory: only this server has to check them, and no signature library need be loaded for that.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import os
import secrets
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from pycalico.apiserver import errors, kinds
from pycalico.apiserver.http1 import Request
from pycalico.apiserver.store import Store

ISSUER: Final = "https://kubernetes.default.svc.cluster.local"
ADMIN: Final = "kubernetes-admin"
_YEAR_S: Final = 365 * 24 * 3600


def write_private(path: Path, data: bytes) -> None:
    """Write a file of mode 0600 in one step: a reader sees the old or the new content, never a part."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def secret_in(directory: Path, name: str) -> str:
    """A random secret kept in a file of the data directory, made at first use."""
    path = directory / name
    try:
        text = path.read_text().strip()
    except FileNotFoundError:
        text = ""
    if not text:
        text = secrets.token_hex(32)
        write_private(path, text.encode())
    return text


def make_certificates(directory: Path, hosts: list[str]) -> None:
    """Make ca, server and admin certificates (ECDSA P-256), or renew those of a server with new names.

    The authority is made once; the others again when ``hosts`` grew or a month before they expire.
    """
    stamp = directory / "hosts"
    fresh = time.time() + 30 * 24 * 3600
    with contextlib.suppress(OSError, ValueError):
        names, expires = stamp.read_text().split("\n")[:2]
        if set(hosts) <= set(names.split(" ")) and float(expires) > fresh:
            return
    from pycalico.apiserver import certificates  # noqa: PLC0415 (100 ms, only needed once)

    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name, data in certificates.make(directory, hosts, ADMIN, 10 * _YEAR_S).items():
        write_private(directory / name, data)
    write_private(stamp, f"{' '.join(hosts)}\n{time.time() + 10 * _YEAR_S}\n".encode())


def names_of(host: str) -> list[str]:
    """The names and addresses a server bound to ``host`` is reached by."""
    found = ["127.0.0.1", "::1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
             "kubernetes.default.svc.cluster.local", "10.96.0.1"]  # fmt: skip
    if host not in found and host not in ("0.0.0.0", "::"):
        found.append(host)
    return found


class Authenticator:
    """Tells the user of a request."""

    def __init__(self, objects: Store, admin_token: str, key: str) -> None:
        self._store = objects
        self._admin = admin_token
        self._key = key.encode()

    def user_of(self, request: Request) -> str:
        """Raises: errors.StatusError: 401, no valid client certificate nor bearer token."""
        header = request.headers.get("authorization", "")
        scheme, _, token = header.partition(" ")
        if token and scheme.lower() == "bearer":
            user = self.review(token.strip())
            if user is not None:
                return user
        elif request.peer is not None:
            for field in request.peer.get("subject", ()):  # type: ignore[attr-defined]
                for name, value in field:
                    if name == "commonName":
                        return str(value)
        raise errors.unauthorized()

    def review(self, token: str) -> str | None:
        """The user a token stands for, None if it is not valid (any more)."""
        if hmac.compare_digest(token.encode(), self._admin.encode()):
            return ADMIN
        claims = self._claims(token)
        if claims is None or claims.get("exp", 0) < time.time():
            return None
        about = claims.get("kubernetes.io", {})
        account = about.get("serviceaccount", {})
        key = (str(about.get("namespace")), str(account.get("name")))
        entry = self._store.get("serviceaccounts", key)
        if entry is None or entry.obj["metadata"]["uid"] != account.get("uid"):
            return None
        return f"system:serviceaccount:{key[0]}:{key[1]}"

    def _claims(self, token: str) -> dict[str, Any] | None:
        head, _, signature = token.rpartition(".")
        expected = _b64(hmac.new(self._key, head.encode(), hashlib.sha256).digest())
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            return None
        try:
            text = head.split(".")[1]
            claims = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        except (IndexError, binascii.Error, msgspec.DecodeError):
            return None
        return claims if isinstance(claims, dict) else None

    def issue(self, account: dict[str, Any], spec: dict[str, Any]) -> tuple[str, float]:
        """Make a token for a service account.

        Args:
            account: the ServiceAccount.
            spec: of a TokenRequest; ``expirationSeconds`` at least 600 (default 3600), ``audiences``.

        Returns:
            The token and the Unix time of its end.

        Raises:
            errors.StatusError: 422, the lifetime is too short or no number.
        """
        lifetime = 3600 if spec.get("expirationSeconds") is None else spec["expirationSeconds"]
        metadata = account["metadata"]
        if not isinstance(lifetime, int) or lifetime < 600:
            text = f"Invalid value: {lifetime}: may not specify a duration less than 10 minutes"
            raise errors.invalid(
                kinds.SERVICE_ACCOUNT,
                metadata["name"],
                [("spec.expirationSeconds", "FieldValueInvalid", text)],
            )
        start = int(time.time())
        end = start + min(lifetime, _YEAR_S)
        about: dict[str, Any] = {
            "namespace": metadata["namespace"],
            "serviceaccount": {"name": metadata["name"], "uid": metadata["uid"]},
        }
        if bound := spec.get("boundObjectRef"):
            about[str(bound.get("kind", "")).lower()] = {"name": bound.get("name"), "uid": bound.get("uid")}
        claims = {
            "aud": spec.get("audiences") or [ISSUER],
            "exp": end,
            "iat": start,
            "iss": ISSUER,
            "jti": secrets.token_hex(16),
            "kubernetes.io": about,
            "nbf": start,
            "sub": f"system:serviceaccount:{metadata['namespace']}:{metadata['name']}",
        }
        head = _b64(b'{"alg":"HS256","typ":"JWT"}') + "." + _b64(msgspec.json.encode(claims))
        return f"{head}.{_b64(hmac.new(self._key, head.encode(), hashlib.sha256).digest())}", end


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
