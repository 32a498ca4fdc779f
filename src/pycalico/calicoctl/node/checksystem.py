"""``calicoctl node checksystem``: whether this host's kernel has what Calico needs."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pycalico.calicoctl.failure import Failure
from pycalico.calicoctl.node import root
from pycalico.calicoctl.syntax import Arguments

_OLDEST = (2, 6, 24)
#: Modules, and the option of the kernel's configuration (or the name of the match) that stands for each.
_MODULES = {
    "ip_set": "CONFIG_IP_SET",
    "ip6_tables": "CONFIG_IP6_NF_IPTABLES",
    "ip_tables": "CONFIG_IP_NF_IPTABLES",
    "ipt_ipvs": "CONFIG_NETFILTER_XT_MATCH_IPVS",
    "vfio-pci": "CONFIG_VFIO",
    "xt_bpf": "CONFIG_BPF",
    "ipt_REJECT": "CONFIG_NFT_REJECT",
    "ipt_rpfilter": "CONFIG_IP_NF_MATCH_RPFILTER",
    "xt_rpfilter": "CONFIG_IP_NF_MATCH_RPFILTER",
    "ipt_set": "CONFIG_NET_EMATCH_IPSET",
    "nf_conntrack_netlink": "CONFIG_NF_CT_NETLINK",
    "xt_addrtype": "CONFIG_NETFILTER_XT_MATCH_ADDRTYPE",
    "xt_conntrack": "CONFIG_NETFILTER_XT_MATCH_CONNTRACK",
    "xt_icmp": "icmp",
    "xt_icmp6": "icmp",
    "xt_mark": "CONFIG_IP_NF_TARGET_MARK",
    "xt_multiport": "CONFIG_IP_NF_MATCH_MULTIPORT",
    "xt_set": "CONFIG_NETFILTER_XT_SET",
    "xt_u32": "CONFIG_NETFILTER_XT_MATCH_U32",
}
#: Without this one only IPv6 is missing.
_IPV6 = "ip6_tables"


def run(arguments: Arguments) -> None:
    """Raises Failure when the host does not do."""
    root.require()
    release = os.uname().release
    print("Checking kernel version...")
    new_enough = _new_enough(release)
    _result(release, new_enough)
    if not new_enough:
        oldest = ".".join(map(str, _OLDEST))
        print(f"Minimum kernel version to run Calico is {oldest}. Detected kernel version: {release}")
    print("Checking kernel modules...")
    missing = _missing(release, arguments.text("--kernel-config"))
    if missing == [_IPV6]:
        print("WARNING: IPv6 will be unavailable as ip6_tables kernel module is not found")
        missing = []
    if missing or not new_enough:
        raise Failure("System doesn't meet one or more minimum systems requirements to run Calico")
    print("System meets minimum system requirements to run Calico!")


def _new_enough(release: str) -> bool:
    numbers = tuple(int(part) for part in re.findall(r"\d+", release)[:3])
    return numbers >= _OLDEST


def _missing(release: str, kernel_config: str) -> list[str]:
    modules = f"/lib/modules/{release}"
    known = _read(f"{modules}/modules.dep") + _read(f"{modules}/modules.builtin")
    loaded = _read("/proc/modules")
    config = _read(kernel_config or _config_file(release))
    matches = _read("/proc/net/ip_tables_matches")
    missing = []
    for module, option in _MODULES.items():
        found = (
            f"/{module}.ko" in known
            or module in loaded
            or re.search(rf"^{re.escape(option)}=.", config, re.MULTILINE) is not None
            or re.search(rf"^{re.escape(option)}$", matches, re.MULTILINE) is not None
        )
        if not found:
            print(f"WARNING: Unable to detect the {module} module as Loaded/Builtin module or lsmod")
            missing.append(module)
        _result(module, found)
    return missing


def _config_file(release: str) -> str:
    """The first that exists; empty when none does."""
    for path in (
        "/usr/src/linux/.config",
        f"/boot/config-{release}",
        f"/usr/src/linux-{release}/.config",
        f"/usr/src/linux-headers-{release}/.config",
        f"/lib/modules/{release}/build/.config",
    ):
        if Path(path).exists():
            return path
    return ""


def _read(path: str) -> str:
    """Empty when it is not there: each of the sources may be missing."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace") if path else ""
    except OSError:
        return ""


def _result(what: str, good: bool) -> None:
    print(f"\t\t{what:<20}\t\t\t\t\t{'OK' if good else 'FAIL'}")
