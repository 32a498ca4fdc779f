"""Kubernetes events: Warnings on an object, which ``kubectl describe`` shows to its owner."""

from __future__ import annotations

import hashlib
import time

import msgspec

from pycalico.datastore.kubernetes.rest import Rest, StatusError, path_of

_MESSAGE_MOST = 1000
_NAME_MOST = 253
_DIGEST_LENGTH = 16
#: Where events on objects without a namespace are.
_DEFAULT_NAMESPACE = "default"


class Subject(msgspec.Struct, frozen=True):
    """The object that an event is about. On a node the uid is its name, as the kubelet has it."""

    api_version: str
    kind: str
    name: str
    namespace: str = ""
    uid: str = ""


def warn(rest: Rest, subject: Subject, reason: str, message: str, *, component: str, about: str = "") -> bool:
    """Puts a Warning, unless there is one of this reason ``about`` the same (the message, unless given) already.

    The API server forgets events after an hour; what is still so then may be told again. False: there was one.
    Raises DatastoreError.
    """
    message = message[:_MESSAGE_MOST]
    told = "\n".join((subject.kind, subject.uid, reason, about or message))
    digest = hashlib.sha256(told.encode()).hexdigest()[:_DIGEST_LENGTH]
    namespace = subject.namespace or _DEFAULT_NAMESPACE
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{subject.name[: _NAME_MOST - _DIGEST_LENGTH - 1]}.{digest}",
            "namespace": namespace,
        },
        "involvedObject": {
            "apiVersion": subject.api_version,
            "kind": subject.kind,
            "namespace": subject.namespace,
            "name": subject.name,
            "uid": subject.uid,
        },
        "type": "Warning",
        "reason": reason,
        "message": message,
        "source": {"component": component},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
    try:
        rest.create(path_of("v1", "events", namespace), event, dict)
    except StatusError as error:
        if error.reason == "AlreadyExists":
            return False
        raise
    return True
