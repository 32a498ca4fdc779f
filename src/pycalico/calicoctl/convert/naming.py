"""Names of v1 as v3 allows them. Source: Calico v3.28.1 (observed)."""

from __future__ import annotations

import hashlib
import ipaddress
import re

_OTHER = re.compile(r"[^-.a-z0-9]+")
_AROUND_DOT = re.compile(r"[.-]*[.][.-]*")
_K8S_PROFILE = "k8s_ns."


def normalised(name: str) -> str:
    """Lower case, ``/`` as a dot, all else as dashes, none of either at the ends."""
    found = _OTHER.sub("-", name.lower().replace("/", "."))
    return _AROUND_DOT.sub(".", found).strip(".-")


def unique(name: str) -> str:
    """Normalised; what had to be changed gets a piece of its hash appended."""
    return _qualified(name, normalised(name))


def without_dots(name: str) -> str:
    return _qualified(name, normalised(name).replace(".", "-"))


def profile(name: str) -> str:
    """``k8s_ns.x`` → ``kns.x``."""
    if name.startswith(_K8S_PROFILE):
        name = f"kns.{name.removeprefix(_K8S_PROFILE)}"
    return unique(name)


def address(text: str) -> str:
    """``192.20.30.40`` → ``192-20-30-40``; IPv6 in full."""
    ip = ipaddress.ip_address(text)
    return ip.exploded.replace(".", "-").replace(":", "-")


def _qualified(name: str, changed: str) -> str:
    if changed == name:
        return name
    digest = hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()
    return f"{changed}-{digest[:8]}"
