"""Names that are made from other names. Every part of Calico must make them alike.

Sources: Calico v3.28.1 as recorded (endpoint, interface, profile, block, affinity and handle names).
"""

from __future__ import annotations

NAMESPACE_PROFILE_PREFIX = "kns."
SERVICE_ACCOUNT_PROFILE_PREFIX = "ksa."
_AFFINITY_MOST = 253
_HASH_LENGTH = 11


def workload_endpoint(node: str, orchestrator: str, workload: str, endpoint: str) -> str:
    """``k8s--w0-k8s-coredns--55cb58b774--5ttdh-eth0``: parts joined by ``-``, a ``-`` inside a part doubled."""
    return "-".join(part.replace("-", "--") for part in (node, orchestrator, workload, endpoint))


def split_workload_endpoint(name: str) -> list[str]:
    """The parts of a (possibly partial) endpoint name; the inverse of ``workload_endpoint``."""
    return [part.replace("\0", "-") for part in name.replace("--", "\0").split("-")]


def interface(namespace: str, pod: str, prefix: str = "cali") -> str:
    """The host's end of a pod's pair: ``calice0906292e2`` for ``default``, ``pod1``."""
    import hashlib  # noqa: PLC0415 (loads OpenSSL, which readers of names do without)

    digest = hashlib.sha1(f"{namespace}.{pod}".encode(), usedforsecurity=False).hexdigest()
    return prefix + digest[:_HASH_LENGTH]


def namespace_profile(namespace: str) -> str:
    return NAMESPACE_PROFILE_PREFIX + namespace


def service_account_profile(namespace: str, account: str) -> str:
    return f"{SERVICE_ACCOUNT_PROFILE_PREFIX}{namespace}.{account}"


def block(cidr: str) -> str:
    """``172.16.116.0/24`` → ``172-16-116-0-24``; colons of IPv6 become dashes too."""
    return cidr.replace(".", "-").replace(":", "-").replace("/", "-")


def block_cidr(name: str) -> str:
    """The inverse of ``block``. Raises ValueError when the name is not a block's."""
    import ipaddress  # noqa: PLC0415 (likewise)

    *address, length = name.split("-")
    joined = (
        ".".join(address)
        if len(address) == 4 and all(part.isdigit() for part in address)
        else ":".join(address)
    )
    return str(ipaddress.ip_network(f"{joined}/{length}"))


def affinity(node: str, cidr: str) -> str:
    """``k8s-w0-172-16-34-0-24``; a name of 253 characters or more is cut and ends in a hash."""
    suffix = block(cidr)
    name = f"{node}-{suffix}"
    if len(name) < _AFFINITY_MOST:
        return name
    import hashlib  # noqa: PLC0415 (likewise)

    digest = hashlib.sha256(f"{node}+{suffix}".encode()).hexdigest()[:_HASH_LENGTH]
    return f"{node[: _AFFINITY_MOST - 1 - len(suffix) - _HASH_LENGTH - 2]}-{suffix}-{digest}"
