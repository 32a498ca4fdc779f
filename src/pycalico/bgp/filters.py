"""BGPFilters as functions of BIRD.

A rule that cannot be written safely never opens a filter: an accepting one is left out, a rejecting one then
rejects everything that reaches it.
"""

from __future__ import annotations

from pycalico.api.v3.bgpfilter import BGPFilterRule, BGPFilterSpec
from pycalico.bgp import values

_OPERATORS = {"Equal": "=", "NotEqual": "!=", "In": "~", "NotIn": "!~"}
#: A function's name is at most 64 characters, of which the resource's name gets what prefix and suffix leave.
_MOST = 64 - len("bgp__importFilterV4")
_HASH_DIGITS = 16


def function_name(name: str, direction: str, family: int) -> str:
    """``'bgp_<name>_importFilterV4'``; a name of more than 45 characters is cut and ends in a hash."""
    if len(name) > _MOST:
        import hashlib  # noqa: PLC0415 - loads OpenSSL, for names this long alone

        digest = hashlib.sha256(name.encode()).hexdigest()[:_HASH_DIGITS].upper()
        name = f"{name[: _MOST - _HASH_DIGITS - 1]}_{digest}"
    return f"'bgp_{name}_{direction}FilterV{family}'"


def rules_of(spec: BGPFilterSpec, direction: str, family: int) -> list[BGPFilterRule]:
    rules: list[BGPFilterRule] = getattr(spec, f"{direction}_v{family}")
    return rules


def calls(
    names: tuple[str, ...], filters: dict[str, BGPFilterSpec], direction: str, family: int
) -> list[str]:
    """The functions that a session runs, in its order; filters that are gone or say nothing are passed over."""
    return [
        function_name(name, direction, family) + "();"
        for name in names
        if name in filters and values.symbol(name) and rules_of(filters[name], direction, family)
    ]


def functions(filters: dict[str, BGPFilterSpec], family: int, problems: list[str]) -> list[str]:
    """Lines defining every filter of the cluster that has rules of the family."""
    lines: list[str] = []
    for name, spec in sorted(filters.items()):
        directions = [way for way in ("import", "export") if rules_of(spec, way, family)]
        if not directions:
            continue
        if not values.symbol(name):
            problems.append(f"BGPFilter {name!r}: the name cannot be written; the filter is left out")
            continue
        lines.append(f"# v{family} BGPFilter {name}")
        for direction in directions:
            lines.append(f"function {function_name(name, direction, family)}() {{")
            for number, rule in enumerate(rules_of(spec, direction, family), 1):
                try:
                    lines.append("  " + statement(rule, family))
                except ValueError as error:
                    closed = rule.action != "Accept"
                    fate = "it rejects everything" if closed else "it is left out"
                    problems.append(f"BGPFilter {name}: {direction}V{family} rule {number}: {error}; {fate}")
                    if closed:
                        lines.append("  reject;")
            lines.append("}")
    return lines


def statement(rule: BGPFilterRule, family: int) -> str:
    """``if ((net ~ 10.0.0.0/8)&&(...)) then { accept; }``, or the bare action. Raises ValueError."""
    if rule.action not in ("Accept", "Reject"):
        raise ValueError(f"action {rule.action!r} is neither Accept nor Reject")
    action = f"{rule.action.lower()};"
    conditions = []
    if rule.cidr:
        network = values.network(rule.cidr)
        if network is None or network.version != family:
            raise ValueError(f"{rule.cidr!r} is no IPv{family} CIDR")
        if rule.match_operator not in _OPERATORS:
            raise ValueError(f"matchOperator {rule.match_operator!r} is unknown")
        conditions.append(f"(net {_OPERATORS[rule.match_operator]} {network})")
    if rule.source:
        if rule.source != "RemotePeers":
            raise ValueError(f"source {rule.source!r} is unknown")
        conditions.append("((defined(source))&&(source ~ [ RTS_BGP ]))")
    if rule.interface:
        if not values.interface_pattern(rule.interface):
            raise ValueError(f"interface {rule.interface!r} is no interface pattern")
        conditions.append(f'((defined(ifname))&&(ifname ~ "{rule.interface}"))')
    return f"if ({'&&'.join(conditions)}) then {{ {action} }}" if conditions else action
