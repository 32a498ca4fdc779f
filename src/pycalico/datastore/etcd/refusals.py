"""What etcd's JSON gateway says when it refuses, as errors."""

from __future__ import annotations

import re

import msgspec

from pycalico.base import shapes
from pycalico.datastore.errors import DatastoreError, RevisionExpired, Unauthorized, Unavailable

#: In the words of an etcd that asks for no credentials, when it is offered some.
NO_AUTHENTICATION = "authentication is not enabled"
_UNAUTHENTICATED = 16
_PERMISSION_DENIED = 7
#: Refusals of credentials that come with other codes.
_CREDENTIALS = re.compile("permission denied|user name is empty|authentication failed|invalid auth token")


class _Refusal(msgspec.Struct):
    error: str = ""
    message: str = ""
    code: int = 0


def refusal(status: int, answer: bytes) -> DatastoreError:
    """Of an answer with an HTTP status of 300 or more."""
    text, code = told(status, answer)
    if "compacted" in text:
        return RevisionExpired(text)
    if code in (_UNAUTHENTICATED, _PERMISSION_DENIED) or status in (401, 403) or _CREDENTIALS.search(text):
        return Unauthorized(text)
    if status >= 500:
        return Unavailable(text)
    return DatastoreError(text)


def told(status: int, answer: bytes) -> tuple[str, int]:
    """Its words, and the code of gRPC (0: none)."""
    try:
        found = shapes.decode(answer, _Refusal)
    except msgspec.DecodeError:
        return f"etcd answered {status}: {answer[:200].decode(errors='replace').strip()}", 0
    return found.message or found.error or f"etcd answered {status}", found.code
