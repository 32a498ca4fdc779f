"""What this kernel's nf_tables can do, found out by trying it in a transaction that is never committed."""

from __future__ import annotations

import logging

from pycalico.dataplane.drivers.nft import members
from pycalico.dataplane.drivers.nft.changes import Changes
from pycalico.dataplane.drivers.nft.compiler import rule_id
from pycalico.dataplane.drivers.nft.objects import HOOKS
from pycalico.kernel import nftables
from pycalico.kernel.nfnetlink import Channel, Message, NftablesError

log = logging.getLogger(__name__)

_KUBE_PROXY = "kube-proxy"
_SET = "cali-probe"

#: Rules that need an expression each, by the table that they would stand in.
_RULES = (
    ("matching of marks", "filter", "-m mark --mark 0x10000/0x10000 --jump ACCEPT"),
    ("setting of marks", "filter", "--jump MARK --set-mark 0x10000/0x30000"),
    ("connection tracking", "filter", "-m conntrack --ctstate RELATED,ESTABLISHED --jump ACCEPT"),
    ("matching of interfaces", "filter", "--in-interface cali+ --jump DROP"),
    ("matching of ports", "filter", "-p tcp -m multiport --destination-ports 80,8000:8010 --jump DROP"),
    ("reverse path lookup (fib)", "raw", "-m rpfilter --invert --validmark --jump DROP"),
    ("address types (fib)", "filter", "-m addrtype --src-type LOCAL --jump ACCEPT"),
    ("logging", "filter", '--jump LOG --log-prefix "calico-packet: " --log-level 5'),
    ("reject", "filter", "--jump REJECT"),
    ("notrack", "raw", "--jump NOTRACK"),
    ("masquerade", "nat", "--jump MASQUERADE --random-fully"),
    ("lookup in sets", "filter", f"-m set --match-set {_SET} src --jump ACCEPT"),
    ("dispatch by verdict maps", "filter", f"--in-interface-map @{_SET}-map"),
)
_HOOK_OF = {"filter": "filter-FORWARD", "raw": "raw-PREROUTING", "nat": "nat-POSTROUTING"}


def kube_proxy_uses_nftables(families: tuple[int, ...]) -> bool:
    """Its table has chains; what upstream's Auto looks at."""
    try:
        with Channel() as channel:
            return any(
                _KUBE_PROXY in nftables.tables(channel, family)
                and bool(nftables.chains(channel, family, _KUBE_PROXY))
                for family in families
            )
    except NftablesError as error:
        log.info("cannot see whether kube-proxy uses nftables: %s", error.args[-1])
        return False


def missing(families: tuple[int, ...]) -> list[str]:
    """Names of what is needed and does not work, with the kernel's reason; empty when all does."""
    try:
        with Channel() as channel:
            return [text for family in families for text in _missing(channel, family)]
    except NftablesError as error:
        return [f"nf_tables: {error.args[-1]}"]


def _missing(channel: Channel, family: int) -> list[str]:
    table = [nftables.new_table(family, "calico-probe")]
    refusals = channel.commit(table, rehearse=True).refusals
    if refusals:
        return [f"IPv{family} tables: {refusals[0].reason}"]
    found = []
    for name, given in _trials(family):
        refusals = channel.commit(given, rehearse=True).refusals
        if refusals:
            found.append(f"IPv{family} {name}: {refusals[0].reason}")
    return found


def _trials(family: int) -> list[tuple[str, list[Message]]]:
    trials = []
    for set_type, name, member in (
        ("hash:net", "sets with intervals", "10.0.0.0/8" if family == 4 else "fd00::/8"),
        ("hash:ip,port", "sets with concatenations", "10.0.0.1,tcp:80" if family == 4 else "fd00::1,tcp:80"),
    ):
        changes = Changes(family, exists=False, rebuild=False)
        changes.put_set(_SET, set_type, [member], (), make=True)
        trials.append((name, changes.messages()))
    for table, chain in sorted({(name.partition("-")[0], name) for name in HOOKS}):
        changes = Changes(family, exists=False, rebuild=False)
        changes.put_chain(chain, (), None, hook=HOOKS[chain])
        trials.append((f"{table} hook {chain.partition('-')[2]}", changes.messages()))
    for name, table, text in _RULES:
        chain = _HOOK_OF[table]
        changes = Changes(family, exists=False, rebuild=False)
        changes.put_set(_SET, members.NET, (), (), make=True)
        changes.put_map(f"filter-{_SET}-map", {}, None)
        changes.put_chain(chain, (text,), None, (rule_id(text),), HOOKS[chain])
        trials.append((name, changes.messages()))
    return trials
