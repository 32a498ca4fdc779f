"""Who asked for what: one line of JSON for each request, in the form of a kube-apiserver's audit events.

Level Metadata: no bodies, so no secrets. A request that cannot be logged is answered all the same.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import IO, Any

import msgspec

from pycalico.apiserver.connection import Handler, Response
from pycalico.apiserver.http1 import Request

log = logging.getLogger(__name__)

_NAMED = {
    "GET": "get",
    "HEAD": "get",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
    "POST": "create",
}
_ALL = {"GET": "list", "HEAD": "list", "DELETE": "deletecollection", "POST": "create"}


class Audit:
    """Appends to ``path``. Raises OSError when it cannot be opened."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] | None = path.open("ab", buffering=0)

    def around(self, handler: Handler) -> Handler:
        """``handler`` with a line written after each answer."""

        def handle(request: Request) -> Response:
            response = handler(request)
            self._write(request, response)
            return response

        return handle

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, request: Request, response: Response) -> None:
        if self._file is None:
            return
        event = {
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": "Metadata",
            "stage": "ResponseStarted" if response.stream is not None else "ResponseComplete",
            "requestURI": request.path,
            **asked(request.method, request.path, watch=request.query.get("watch", "") in ("1", "true")),
            "user": {"username": request.user or "system:anonymous"},
            "userAgent": request.headers.get("user-agent", ""),
            "responseStatus": {"code": response.status},
            "requestReceivedTimestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        try:
            self._file.write(msgspec.json.encode(event) + b"\n")
        except OSError as error:
            log.error("the audit log ends here: %s", error)
            self.close()


def asked(method: str, path: str, *, watch: bool) -> dict[str, Any]:
    """The verb and, for a resource, ``objectRef``, as RBAC and audit policies name them."""
    parts = [part for part in path.split("/") if part]
    if parts[:1] == ["api"] and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[:1] == ["apis"] and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return {"verb": method.lower()}
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    name = rest[1] if len(rest) > 1 else ""
    verb = "watch" if watch else (_NAMED if name else _ALL).get(method, method.lower())
    reference = {
        "resource": rest[0],
        "subresource": rest[2] if len(rest) > 2 else "",
        "namespace": namespace,
        "name": name,
        "apiGroup": group,
        "apiVersion": version,
    }
    return {"verb": verb, "objectRef": {key: value for key, value in reference.items() if value}}
