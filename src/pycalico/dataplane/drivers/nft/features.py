"""What this kernel's nf_tables can do, found out by trying it in a transaction that is never committed."""

from __future__ import annotations

import logging
from collections.abc import Callable

from pycalico.dataplane.drivers.nft import members
from pycalico.dataplane.drivers.nft.changes import Changes
from pycalico.dataplane.drivers.nft.compiler import rule_id
from pycalico.dataplane.drivers.nft.objects import HOOKS, PORTS
from pycalico.kernel import nftables
from pycalico.kernel.nfnetlink import Channel, NftablesError

log = logging.getLogger(__name__)

_KUBE_PROXY = "kube-proxy"
_PROBE = "calico-probe"
_SET = "cali-probe"
_MEMBERS = {4: ("10.0.0.0/8", "10.0.0.1,tcp:80"), 6: ("fd00::/8", "fd00::1,tcp:80")}

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
    ("dispatch by verdict maps", "filter", f"--in-interface-map @{_SET}"),
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
    """All at once first, as taking back a trial costs the kernel 15 ms; one by one to learn which."""
    trials = _trials(family)
    every = _joined(family, list(trials.values()))
    if not channel.commit(every.messages(), rehearse=True).refusals:
        return []
    found = []
    for name, fill in trials.items():
        refusals = channel.commit(_joined(family, [fill]).messages(), rehearse=True).refusals
        if refusals:
            found.append(f"IPv{family} {name}: {refusals[0].reason}")
    return found or [f"IPv{family}: the kernel takes each feature, but not all of them together"]


def _joined(family: int, fills: list[Callable[[Changes], None]]) -> Changes:
    changes = Changes(family, exists=False, rebuild=False, table=_PROBE)
    for fill in fills:
        fill(changes)
    return changes


def _trials(family: int) -> dict[str, Callable[[Changes], None]]:
    net, pair = _MEMBERS[family]
    trials: dict[str, Callable[[Changes], None]] = {
        "sets with intervals": lambda c: c.put_set(f"{_SET}-net", members.NET, [net], (), make=True),
        "sets with concatenations": lambda c: c.put_set(f"{_SET}-port", members.PORT, [pair], (), make=True),
    }
    trials["verdict maps of ports"] = lambda c: c.put_map(f"filter-{_SET}-ports", {}, None, PORTS)
    for chain in HOOKS:
        trials[f"hook {chain}"] = _hooked(chain)
    for number, (name, table, text) in enumerate(_RULES):
        trials[name] = _ruled(number, table, text)
    return trials


def _hooked(chain: str) -> Callable[[Changes], None]:
    return lambda changes: changes.put_chain(chain, (), None, hook=HOOKS[chain])


def _ruled(number: int, table: str, text: str) -> Callable[[Changes], None]:
    """The rule in a base chain of its own, as some expressions look at the hook; and what it looks into."""

    def fill(changes: Changes) -> None:
        own = text.replace(_SET, f"{_SET}{number}")
        changes.put_set(f"{_SET}{number}", members.ADDRESS, (), (), make=True)
        changes.put_map(f"{table}-{_SET}{number}", {}, None)
        changes.put_chain(f"{table}-probe{number}", (own,), None, (rule_id(own),), HOOKS[_HOOK_OF[table]])

    return fill
