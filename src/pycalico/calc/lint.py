"""What a policy does that its author may not have meant. Pure: nothing is known but the policy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from pycalico.api.rule import EntityRule, Rule
from pycalico.api.v3.networkpolicy import GlobalNetworkPolicy, NetworkPolicy

_ANYTHING = EntityRule()


def findings(policy: NetworkPolicy | GlobalNetworkPolicy) -> Iterator[str]:
    """One line for each."""
    spec = policy.spec
    types = set(spec.types) or _types_by_rules(bool(spec.ingress), bool(spec.egress))
    for direction, rules in (("Ingress", spec.ingress), ("Egress", spec.egress)):
        word = direction.lower()
        if direction not in types:
            if rules:
                yield f"its {word} rules do nothing: types does not list {direction}"
            continue
        actions = {rule.action for rule in rules}
        if rules and not actions & {"Allow", "Pass"}:
            only = "only logs" if actions == {"Log"} else "allows nothing"
            yield f"it selects endpoints and {only}: their {word} traffic is denied"
        elif not rules:
            yield f"it selects endpoints and allows nothing: all of their {word} traffic is denied"
        yield from _out_of_reach(word, rules)


def _types_by_rules(ingress: bool, egress: bool) -> set[str]:
    """What is governed where nothing is said about it."""
    if egress:
        return {"Ingress", "Egress"} if ingress else {"Egress"}
    return {"Ingress"}


def _out_of_reach(word: str, rules: Sequence[Rule]) -> Iterator[str]:
    for number, rule in enumerate(rules, 1):
        if rule.action != "Log" and _takes_everything(rule):
            if number < len(rules):
                yield f"{word} rules after the {number}. are never reached: it takes everything"
            return


def _takes_everything(rule: Rule) -> bool:
    """Nothing but the action (and remarks) is given."""
    bare = type(rule)(action=rule.action)
    remarks = {"metadata"} & {field.name for field in msgspec.structs.fields(rule)}
    return all(
        getattr(rule, field.name) in (getattr(bare, field.name), _ANYTHING)
        for field in msgspec.structs.fields(rule)
        if field.name not in remarks
    )
