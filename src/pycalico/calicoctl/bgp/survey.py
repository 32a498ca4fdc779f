"""Asks the nodes: this one's BIRD by its socket, the others by a CalicoNodeStatus each, which is removed again."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.caliconodestatus import CalicoNodeStatus, CalicoNodeStatusSpec, CalicoNodeStatusStatus
from pycalico.api.v3.node import Node
from pycalico.bgp import birdctl, nodestatus
from pycalico.bgp.birdctl import BirdError
from pycalico.datastore.client import Client
from pycalico.datastore.errors import DatastoreError, NotFound

#: Written by start-up on a node, and what tells that this machine is one.
_NODENAME = Path("/var/lib/calico/nodename")
_LOOK_S = 0.25


class Survey(msgspec.Struct):
    """``answers`` by node; ``silent`` says of each other node why there is none."""

    answers: dict[str, CalicoNodeStatusStatus]
    silent: dict[str, str]


def survey(client: Client, classes: list[str], only: str, timeout_s: float) -> Survey:
    """``only`` is one node's name, or empty for all. Raises DatastoreError, also for a node that does not exist."""
    names = [only] if only else [node.metadata.name for node in client.list(Node).items]
    if only:
        client.get(Node, only)
    found = Survey({}, {})
    own = own_name()
    if own in names:
        try:
            found.answers[own] = nodestatus.gather(classes)
        except BirdError as error:
            found.silent[own] = str(error)
    others = [name for name in names if name != own]
    with _requests(client, classes, others) as asked:
        _await(client, asked, found, timeout_s)
    for name in asked:
        found.silent[name] = f"no answer within {timeout_s:g} s: does calico-node -status-reporter run there?"
    return found


def own_name(path: Path = _NODENAME) -> str:
    """This node's name; empty on a machine that is none, or whose BIRD does not listen."""
    if not any(Path(socket).exists() for socket in (*birdctl.SOCKETS[4], *birdctl.SOCKETS[6])):
        return ""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


@contextmanager
def _requests(client: Client, classes: list[str], nodes: Iterable[str]) -> Iterator[dict[str, str]]:
    """One object for each node, node → the object's name; gone at the end. A period of 0 asks for one answer."""
    made: dict[str, str] = {}
    tag = secrets.token_hex(4)
    try:
        for number, node in enumerate(nodes):
            name = f"calicoctl-bgp-{tag}-{number}"
            spec = CalicoNodeStatusSpec(node=node, classes=classes, update_period_seconds=0)
            client.create(CalicoNodeStatus(metadata=ObjectMeta(name=name), spec=spec))
            made[node] = name
        yield dict(made)
    finally:
        for name in made.values():
            try:
                client.delete(CalicoNodeStatus, name)
            except NotFound:
                continue
            except DatastoreError:
                # Nothing more can be done here; the object harms nobody, since its period is 0.
                continue


def _await(client: Client, waiting: dict[str, str], found: Survey, timeout_s: float) -> None:
    """Moves each node that has answered from ``waiting`` to the answers."""
    deadline = time.monotonic() + timeout_s
    while waiting and time.monotonic() < deadline:
        answered = {item.metadata.name: item.status for item in client.list(CalicoNodeStatus).items}
        for node, name in list(waiting.items()):
            status = answered.get(name)
            if status is not None and status.last_updated:
                found.answers[node] = status
                del waiting[node]
        if waiting:
            time.sleep(_LOOK_S)
