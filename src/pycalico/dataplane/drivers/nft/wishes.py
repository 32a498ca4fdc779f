"""Takes the managers' wishes for iptables' tables and IP sets as wishes for one table of nf_tables."""

from __future__ import annotations

from typing import Any

from pycalico.dataplane.drivers.chains import Chains
from pycalico.dataplane.drivers.nft.compiler import PROTOCOLS, rule_id
from pycalico.dataplane.drivers.nft.objects import CHAIN, HOOKS, MAP, PORTS, Content, NativeChain, NativeMap
from pycalico.dataplane.rules.chain import Chain
from pycalico.reconcile.reconciler import Reconciler

_MAP_MARK = "@"


class NativeChains(Chains):
    """Chains of one of iptables' tables, which is the first word of their names here (as upstream's v3.29 has it)."""

    def __init__(self, reconciler: Reconciler[str, Content, Any], table: str) -> None:
        super().__init__(reconciler)  # type: ignore[arg-type]
        self._reconciler = reconciler
        self._table = table

    def _key(self, name: str) -> str:
        if name.startswith(_MAP_MARK):
            return f"{MAP} {self._table}-{name.removeprefix(_MAP_MARK)}"
        return f"{CHAIN} {self._table}-{name}"

    def _want(self, chain: Chain) -> None:
        if chain.name.startswith(_MAP_MARK):
            wish: Content = self._map([rule.split(" ") for rule in chain.rules])
        else:
            wish = NativeChain(chain.rules, _ids(chain.rules))
        self._reconciler.want(self._key(chain.name), wish)

    def _map(self, entries: list[list[str]]) -> NativeMap:
        """Entries are ``-p PROTOCOL ... PORT --goto CHAIN`` or ``--in-interface NAME --goto CHAIN``."""
        if entries and entries[0][0] == "-p":
            ports = {f"{PROTOCOLS[words[1]]}:{words[-3]}": f"{self._table}-{words[-1]}" for words in entries}
            return NativeMap(ports, PORTS)
        return NativeMap({words[1]: f"{self._table}-{words[-1]}" for words in entries})

    def _unwant(self, name: str) -> None:
        self._reconciler.unwant(self._key(name))

    def _want_hook(self, kernel_chain: str, inserted: tuple[str, ...], appended: tuple[str, ...]) -> None:
        rules = (*inserted, *appended)
        hook = HOOKS[f"{self._table}-{kernel_chain}"]
        self._reconciler.want(self._key(kernel_chain), NativeChain(rules, _ids(rules), hook))


def _ids(rules: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(rule_id(text) for text in rules)
