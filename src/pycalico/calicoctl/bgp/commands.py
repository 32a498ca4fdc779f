"""The commands of ``calicoctl bgp`` and how each is called."""

from __future__ import annotations

from pycalico.calicoctl.commands import CONFIG, CONTEXT, MISMATCH, Command, group
from pycalico.calicoctl.syntax import Option, Syntax

_OPTIONS = (
    Option("--node", "Only this node (otherwise all).", value="<NODE>"),
    Option("--output", "table, json or yaml.", short="-o", value="<OUTPUT>", default="table"),
    Option("--timeout", "Seconds to wait for the nodes' answers.", value="<SECONDS>", default="10"),
    CONFIG,
    CONTEXT,
    MISMATCH,
)
_USAGE = """Usage:
  calicoctl bgp {0} [--node=<NODE>] [--output=<OUTPUT>] [--timeout=<SECONDS>]
                {1} [--config=<CONFIG>] [--context=<context>] [--allow-version-mismatch]"""

PEERS = Command(
    "bgp.show:peers",
    Syntax(
        usage=_USAGE.format("peers", "     "),
        summary="Show the BGP sessions of each node, as its BIRD has them.",
        options=_OPTIONS,
    ),
)
ROUTES = Command(
    "bgp.show:routes",
    Syntax(
        usage=_USAGE.format("routes", "      "),
        summary="Show the routes of each node, as its BIRD has them.",
        options=_OPTIONS,
    ),
)

GROUP = group("bgp", "Look at BGP on every node.", {"peers": PEERS, "routes": ROUTES})
