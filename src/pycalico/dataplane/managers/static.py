"""Chains that hold for as long as the configuration does."""

from __future__ import annotations

from pycalico.dataplane.managers.plane import Plane
from pycalico.dataplane.rules import action, name, static_filter, static_mangle, static_nat, static_raw

#: Kernel chains of each table and our chain that hangs there.
_HOOKS = {
    "raw": (("PREROUTING", name.PREROUTING), ("OUTPUT", name.OUTPUT)),
    "mangle": (("PREROUTING", name.PREROUTING), ("POSTROUTING", name.POSTROUTING)),
    "nat": (("PREROUTING", name.PREROUTING), ("OUTPUT", name.OUTPUT), ("POSTROUTING", name.POSTROUTING)),
    "filter": (
        ("INPUT", name.FILTER_INPUT),
        ("FORWARD", name.FILTER_FORWARD),
        ("OUTPUT", name.FILTER_OUTPUT),
    ),
}


def hang_static_chains(plane: Plane) -> None:
    """Once, at start."""
    context = plane.context
    rendered = {
        "raw": static_raw.raw_chains(context),
        "mangle": static_mangle.mangle_chains(context),
        "nat": static_nat.nat_chains(context),
        "filter": static_filter.filter_chains(context),
    }
    for table, chains in rendered.items():
        plane.tables[table].update(chains)
        for kernel_chain, ours in _HOOKS[table]:
            last = kernel_chain == "FORWARD"
            appended = static_filter.appended_forward_rules(context) if last else ()
            plane.tables[table].hang(kernel_chain, (action.jump(ours),), appended)
