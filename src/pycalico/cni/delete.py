"""The DEL of the plugin ``calico``."""

from __future__ import annotations

import logging

from pycalico.cni import addresses, deadline, deletions, endpoint, links, readiness
from pycalico.cni.call import Call, check_dataplane
from pycalico.cni.errors import TRY_AGAIN, CNIError
from pycalico.cni.invocation import Invocation

log = logging.getLogger(__name__)

#: A DEL that takes longer is finished later: runtimes give up on slow ones and keep the pod.
_DELETE_S = 6.0


def delete(invocation: Invocation) -> None:
    """Takes everything back; whatever is gone already is success. Raises CNIError.

    While the datastore is away, the interface goes at once, and what the datastore has is left to the node's agent.
    """
    check_dataplane(invocation.config)
    call = Call(invocation)
    try:
        deadline.within(_DELETE_S, lambda: _finish(call, readiness.DEL_PATIENCE_S), "the deletion")
    except CNIError as error:
        if error.code != TRY_AGAIN:
            raise
        links.disconnect(invocation.netns, invocation.arguments.ifname)
        try:
            deletions.leave(invocation)
        except OSError:
            raise error from None
        log.warning("%s; the node's agent will give back what %s has", error, call.workload)


def finish_deletion(invocation: Invocation) -> None:
    """What a DEL left: everything but the interface. Raises CNIError."""
    _finish(Call(invocation), 0.0)


def _finish(call: Call, patience_s: float) -> None:
    readiness.await_datastore(call.invocation, patience_s)
    _delete(call)


def _delete(call: Call) -> None:
    invocation, arguments = call.invocation, call.arguments
    if not arguments.is_kubernetes:
        failure = _released(call)
        endpoint.delete(call)
        links.disconnect(invocation.netns, arguments.ifname)
        if failure is not None:
            raise failure
        return
    endpoint.delete(call)
    links.disconnect(invocation.netns, arguments.ifname)
    failure = _released(call)
    if failure is not None:
        raise failure


def _released(call: Call) -> CNIError | None:
    try:
        if call.uses_calico_ipam:
            addresses.release(call.invocation)
        elif call.config.ipam_type:
            call.delegate("DEL")
    except CNIError as error:
        return error
    return None
