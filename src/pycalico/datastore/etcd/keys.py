"""Where each object lives in etcd. Paths are upstream's (observed with v3.28.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pycalico.api import names
from pycalico.api.kinds import Kind

ROOT = "/calico/"
RESOURCES = "/calico/resources/v3/projectcalico.org/"
IPAM = "/calico/ipam/v2/"
BLOCKS = IPAM + "assignment/"
HOSTS = IPAM + "host/"
HANDLES = IPAM + "handle/"
CONFIG = IPAM + "config"

_BLOCK = re.compile(re.escape(BLOCKS) + r"ipv[46]/block/(.+)-(\d+)")
_AFFINITY = re.compile(re.escape(HOSTS) + r"([^/]+)/ipv[46]/block/(.+)-(\d+)")


def resource(kind: Kind, namespace: str, name: str) -> str:
    middle = f"{namespace}/" if kind.namespaced else ""
    return f"{RESOURCES}{kind.plural}/{middle}{name}"


def prefix(kind: Kind, namespace: str = "") -> str:
    """Ends in a slash, so that it never takes in a kind or namespace whose name begins alike."""
    middle = f"{namespace}/" if kind.namespaced and namespace else ""
    return f"{RESOURCES}{kind.plural}/{middle}"


def block(cidr: str) -> str:
    return f"{BLOCKS}ipv{_version(cidr)}/block/{cidr.replace('/', '-')}"


def block_cidr(key: str) -> str | None:
    """The inverse of ``block``; None for another key."""
    match = _BLOCK.fullmatch(key)
    return f"{match[1]}/{match[2]}" if match else None


def affinity(host: str, cidr: str) -> str:
    return f"{HOSTS}{host}/ipv{_version(cidr)}/block/{cidr.replace('/', '-')}"


def affinities(host: str) -> str:
    """What the keys of a host's affinities begin with."""
    return f"{HOSTS}{host}/"


def affinity_parts(key: str) -> tuple[str, str] | None:
    """Host and CIDR; None for another key."""
    match = _AFFINITY.fullmatch(key)
    return (match[1], f"{match[2]}/{match[3]}") if match else None


def affinity_candidates(name: str) -> Iterator[tuple[str, str]]:
    """Hosts and CIDRs that the name of a BlockAffinity may stand for, likeliest first.

    Hosts hold dashes as well, and the name of a very long one ends in a hash: then none of these exists.
    """
    parts = name.split("-")
    for count in range(5, min(len(parts), 11)):
        try:
            cidr = names.block_cidr("-".join(parts[-count:]))
        except ValueError:
            continue
        yield "-".join(parts[:-count]), cidr


def handle(name: str) -> str:
    return HANDLES + name


def _version(cidr: str) -> int:
    return 6 if ":" in cidr else 4
