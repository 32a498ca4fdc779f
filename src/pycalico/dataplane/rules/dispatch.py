"""From an interface's name to its endpoint's chains: a root chain and one level of children."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from pycalico.dataplane.rules import action, match, name
from pycalico.dataplane.rules.chain import Chain
from pycalico.dataplane.rules.context import RuleContext

_Interface = Callable[[str], str]


def _common_prefix(first: str, last: str) -> str:
    """Of all names in order it is that of the first and the last."""
    differing = (index for index, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    return first[: next(differing, min(len(first), len(last)))]


def _bins(names: Iterable[str]) -> tuple[str, dict[str, list[str]]]:
    """The common prefix and the names by prefix and next character; a name that is the prefix bins under it."""
    ordered = sorted(set(names))
    common = _common_prefix(ordered[0], ordered[-1]) if ordered else ""
    bins: dict[str, list[str]] = {}
    for item in ordered:
        bins.setdefault(item[: len(common) + 1], []).append(item)
    return common, bins


def _tree(
    root: str, names: Iterable[str], chain_prefix: str, interface: _Interface, end_rules: Sequence[str]
) -> tuple[list[str], list[Chain]]:
    """The root's rules without its end rules, and the child chains."""
    common, bins = _bins(names)
    rules: list[str] = []
    children: list[Chain] = []

    def direct(item: str) -> str:
        return match.rule(interface(item), action.goto(name.limited(chain_prefix, item)))

    for prefix in sorted(bins):
        if len(bins[prefix]) == 1:
            rules.append(direct(bins[prefix][0]))
            continue
        child = f"{root}-{prefix[len(common) :]}"
        rules.append(match.rule(interface(f"{prefix}+"), action.goto(child)))
        children.append(Chain(child, (*(direct(item) for item in bins[prefix]), *end_rules)))
    return rules, children


def _dispatch(
    context: RuleContext,
    root: str,
    names: Iterable[str],
    chain_prefix: str,
    interface: _Interface,
    end_rules: Sequence[str] = (),
) -> list[Chain]:
    if context.native:
        return _mapped(root, names, chain_prefix, interface, end_rules)
    rules, children = _tree(root, names, chain_prefix, interface, end_rules)
    return [*children, Chain(root, (*rules, *end_rules))]


def _mapped(
    root: str, names: Iterable[str], chain_prefix: str, interface: _Interface, end_rules: Sequence[str]
) -> list[Chain]:
    """One map for all interfaces, named like the chain that looks into it."""
    entries = tuple(
        match.rule(interface(item), action.goto(name.limited(chain_prefix, item)))
        for item in sorted(set(names))
    )
    side = "in" if interface is match.in_interface else "out"
    return [Chain(f"@{root}", entries), Chain(root, (match.in_map(side, f"@{root}"), *end_rules))]


def workload_dispatch(context: RuleContext, interfaces: Iterable[str]) -> list[Chain]:
    names = list(interfaces)
    end = (match.rule(match.comment("Unknown interface"), context.deny),)
    return [
        *_dispatch(context, name.FROM_WORKLOAD_DISPATCH, names, name.FROM_WORKLOAD, match.in_interface, end),
        *_dispatch(context, name.TO_WORKLOAD_DISPATCH, names, name.TO_WORKLOAD, match.out_interface, end),
    ]


def _wildcard(chain_prefix: str) -> str:
    return action.goto(name.limited(chain_prefix, name.ANY_INTERFACE))


def host_filter_dispatch(context: RuleContext, interfaces: Iterable[str], wildcard: bool) -> list[Chain]:
    """``wildcard``: a host endpoint for all interfaces takes what no other one does."""
    names = list(interfaces)
    table = (
        (name.FROM_HOST_ENDPOINT, name.FROM_HOST, match.in_interface),
        (name.TO_HOST_ENDPOINT, name.TO_HOST, match.out_interface),
        (name.FROM_HOST_FORWARD, name.FROM_HOST_FWD, match.in_interface),
        (name.TO_HOST_FORWARD, name.TO_HOST_FWD, match.out_interface),
    )
    return [
        chain
        for root, prefix, interface in table
        for chain in _dispatch(
            context, root, names, prefix, interface, (_wildcard(prefix),) if wildcard else ()
        )
    ]


def host_mangle_egress_dispatch(
    context: RuleContext, interfaces: Iterable[str], wildcard: bool
) -> list[Chain]:
    text = match.comment("Skip egress WHEP policy for traffic to local workload")
    end: list[str] = []
    if wildcard:
        end = [match.rule(text, match.out_interface(p), action.RETURN) for p in context.workload_patterns]
        end.append(_wildcard(name.TO_HOST))
    return _dispatch(context, name.TO_HOST_ENDPOINT, interfaces, name.TO_HOST, match.out_interface, end)


def host_mangle_ingress_dispatch(
    context: RuleContext, interfaces: Iterable[str], wildcard: bool
) -> list[Chain]:
    """Interfaces with pre-DNAT policy only."""
    end = (_wildcard(name.FROM_HOST),) if wildcard else ()
    return _dispatch(context, name.FROM_HOST_ENDPOINT, interfaces, name.FROM_HOST, match.in_interface, end)


def host_raw_dispatch(context: RuleContext, interfaces: Iterable[str]) -> list[Chain]:
    """Interfaces with untracked policy only; it never applies to the wildcard."""
    names = list(interfaces)
    return [
        *_dispatch(context, name.FROM_HOST_ENDPOINT, names, name.FROM_HOST, match.in_interface),
        *_dispatch(context, name.TO_HOST_ENDPOINT, names, name.TO_HOST, match.out_interface),
    ]


def endpoint_mark_dispatch(
    context: RuleContext, workloads: Mapping[str, int], hosts: Mapping[str, int]
) -> list[Chain]:
    """IPVS: interface to mark and back. The mappings give each interface's mark (0: none was free)."""
    root_rules: list[str] = []
    chains: list[Chain] = []
    for names in (workloads, hosts):
        rules, children = _tree(name.SET_ENDPOINT_MARK, names, name.SET_MARK, match.in_interface, ())
        root_rules += rules
        chains += children
    unknown = match.comment("Unknown endpoint")
    root_rules += [
        match.rule(unknown, match.in_interface(p), context.deny) for p in context.workload_patterns
    ]
    block = context.marks.endpoint
    root_rules.append(
        match.rule(
            match.comment("Non-Cali endpoint mark"), action.set_masked_mark(context.marks.non_calico, block)
        )
    )
    back = [
        match.rule(match.mark_equals(marks[item], block), action.goto(name.limited(prefix, item)))
        for prefix, marks in ((name.FROM_WORKLOAD, workloads), (name.FROM_HOST_FWD, hosts))
        for item in sorted(marks)
        if marks[item]
    ]
    back.append(match.rule(match.comment("Unknown interface"), context.deny))
    return [
        *chains,
        Chain(name.SET_ENDPOINT_MARK, tuple(root_rules)),
        Chain(name.FROM_ENDPOINT_MARK, tuple(back)),
    ]
