"""Names of chains, IP sets and policy groups; equal on every node, as they are made of content only."""

from __future__ import annotations

import base64
import hashlib

CHAIN_MOST = 28
SET_MOST = 31

#: Kernel's chains that ours hang from.
FILTER_INPUT, FILTER_FORWARD, FILTER_OUTPUT = "cali-INPUT", "cali-FORWARD", "cali-OUTPUT"
PREROUTING, POSTROUTING, OUTPUT = "cali-PREROUTING", "cali-POSTROUTING", "cali-OUTPUT"

WORKLOAD_TO_HOST = "cali-wl-to-host"
FROM_WORKLOAD_DISPATCH = "cali-from-wl-dispatch"
TO_WORKLOAD_DISPATCH = "cali-to-wl-dispatch"
FROM_HOST_ENDPOINT = "cali-from-host-endpoint"
TO_HOST_ENDPOINT = "cali-to-host-endpoint"
FROM_HOST_FORWARD = "cali-from-hep-forward"
TO_HOST_FORWARD = "cali-to-hep-forward"
SET_ENDPOINT_MARK = "cali-set-endpoint-mark"
FROM_ENDPOINT_MARK = "cali-from-endpoint-mark"
FORWARD_CHECK = "cali-forward-check"
FORWARD_ENDPOINT_MARK = "cali-forward-endpoint-mark"
CIDR_BLOCK = "cali-cidr-block"
FAILSAFE_IN = "cali-failsafe-in"
FAILSAFE_OUT = "cali-failsafe-out"
RPF_SKIP = "cali-rpf-skip"
WIREGUARD_INCOMING_MARK = "cali-wireguard-incoming-mark"
NAT_OUTGOING = "cali-nat-outgoing"
FLOATING_DNAT = "cali-fip-dnat"
FLOATING_SNAT = "cali-fip-snat"

TO_WORKLOAD, FROM_WORKLOAD = "cali-tw-", "cali-fw-"
TO_HOST, FROM_HOST = "cali-th-", "cali-fh-"
TO_HOST_FWD, FROM_HOST_FWD = "cali-thfw-", "cali-fhfw-"
SET_MARK = "cali-sm-"
POLICY_IN, POLICY_OUT = "cali-pi-", "cali-po-"
PROFILE_IN, PROFILE_OUT = "cali-pri-", "cali-pro-"
GROUP_IN, GROUP_OUT = "cali-gi-", "cali-go-"

#: What upstream calls the interface of a host endpoint for all interfaces, in chain names.
ANY_INTERFACE = "any-interface-at-all"

ALL_POOLS = "all-ipam-pools"
MASQ_POOLS = "masq-ipam-pools"
ALL_HOSTS = "all-hosts-net"
ALL_VXLAN = "all-vxlan-net"
THIS_HOST = "this-host"


def _base64(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def limited(prefix: str, suffix: str, most: int = CHAIN_MOST) -> str:
    """``prefix + suffix``, or with the suffix replaced by ``_`` and as much of its hash as fits.

    A full-length name whose suffix begins with ``_`` is hashed too, so that no plain name looks like a hash.
    """
    length = len(prefix) + len(suffix)
    if length > most or (length == most and suffix.startswith("_")):
        return prefix + "_" + _base64(hashlib.sha256(suffix.encode()).digest())[: most - 1 - len(prefix)]
    return prefix + suffix


def set_name(family: int, set_id: str) -> str:
    """The kernel's name of an IP set: cut, not hashed, at 31 characters."""
    return f"cali{family}0{set_id}"[:SET_MOST]


def group_uid(tier: str, selector: str, inbound: bool, policies: tuple[str, ...]) -> str:
    """Twenty characters that stand for consecutive policies with one selector."""
    lines = [tier, selector, "inbound" if inbound else "outbound", str(len(policies)), *policies]
    return _base64(hashlib.sha3_224("".join(f"{line}\n" for line in lines).encode()).digest())[:20]
