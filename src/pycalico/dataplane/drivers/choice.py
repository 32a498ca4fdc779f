"""Which dataplane: iptables or nftables."""

from __future__ import annotations

import logging

import msgspec

from pycalico.dataplane.drivers.nft import features

log = logging.getLogger(__name__)


class NftablesUnfit(ValueError):
    """nftables is asked for and this kernel cannot do it; the message names what is missing."""


class Choice(msgspec.Struct, frozen=True):
    """``note``: what an operator should know who looks at readiness; empty when all is as asked."""

    native: bool
    note: str = ""


def choose(mode: str, families: tuple[int, ...]) -> Choice:
    """``mode`` is NFTablesMode. Auto does as kube-proxy does, with iptables where nftables does not work.

    Raises NftablesUnfit for Enabled on a kernel that lacks something.
    """
    if mode == "Disabled" or (mode == "Auto" and not features.kube_proxy_uses_nftables(families)):
        return Choice(native=False)
    missing = features.missing(families)
    if not missing:
        log.info("using nftables: %s", "NFTablesMode is Enabled" if mode == "Enabled" else "kube-proxy does")
        return Choice(native=True)
    lacks = "; ".join(missing[:3]) + (f"; and {len(missing) - 3} more" if len(missing) > 3 else "")
    if mode == "Enabled":
        raise NftablesUnfit(f"this kernel lacks what nftables needs ({lacks}): set NFTablesMode to Disabled")
    note = f"kube-proxy uses nftables, but this kernel lacks what Felix needs ({lacks}): using iptables"
    log.warning("%s", note)
    return Choice(native=False, note=note)
