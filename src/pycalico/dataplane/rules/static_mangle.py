"""The mangle table's fixed chains."""

from __future__ import annotations

from pycalico.dataplane.rules import action, match, name
from pycalico.dataplane.rules.chain import Chain
from pycalico.dataplane.rules.context import RuleContext
from pycalico.dataplane.rules.failsafe import failsafe_chains

HOST_POLICY_ACCEPTED = match.comment("Host endpoint policy accepted packet.")


def mangle_chains(context: RuleContext) -> list[Chain]:
    marks, allow = context.marks, context.mangle_allow
    accepted = match.mark_set(marks.accept)
    prerouting = (
        match.rule(match.ESTABLISHED, allow),
        match.rule(accepted, allow),
        action.jump(name.FROM_HOST_ENDPOINT),
        match.rule(HOST_POLICY_ACCEPTED, accepted, allow),
    )
    postrouting = [match.rule(accepted, action.RETURN)]
    if context.config.kube_ipvs:
        postrouting.append(match.rule(match.mark_not_clear(marks.endpoint), action.RETURN))
    postrouting += [
        action.clear_mark(marks.all_ours),
        match.rule(match.conntrack("DNAT"), action.jump(name.TO_HOST_ENDPOINT)),
        match.rule(HOST_POLICY_ACCEPTED, accepted, action.RETURN),
    ]
    return [
        *failsafe_chains(context, "mangle"),
        Chain(name.PREROUTING, prerouting),
        Chain(name.POSTROUTING, tuple(postrouting)),
    ]
