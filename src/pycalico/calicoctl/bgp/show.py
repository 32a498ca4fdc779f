"""``calicoctl bgp peers`` and ``calicoctl bgp routes``."""

from __future__ import annotations

import sys
from collections.abc import Callable

import msgspec

from pycalico.api.v3.caliconodestatus import CalicoNodeStatusStatus
from pycalico.calicoctl import connection, grid
from pycalico.calicoctl.bgp.survey import survey
from pycalico.calicoctl.failure import Failure
from pycalico.calicoctl.syntax import Arguments
from pycalico.datastore.errors import DatastoreError

Row = dict[str, object]


def peers(arguments: Arguments) -> None:
    """Raises Failure when a node does not answer; the others are shown before."""
    _show(arguments, ["BGP"], peer_rows, ("node", "peerIP", "type", "state", "since"))


def routes(arguments: Arguments) -> None:
    """Raises Failure as ``peers``."""
    _show(
        arguments,
        ["Routes"],
        route_rows,
        ("node", "destination", "gateway", "interface", "source", "peerIP", "used"),
    )


def peer_rows(node: str, status: CalicoNodeStatusStatus) -> list[Row]:
    return [
        {
            "node": node,
            "family": family,
            "peerIP": peer.peer_ip,
            "type": peer.type,
            "state": peer.state,
            "since": peer.since,
        }
        for family, found in ((4, status.bgp.peers_v4), (6, status.bgp.peers_v6))
        for peer in found
    ]


def route_rows(node: str, status: CalicoNodeStatusStatus) -> list[Row]:
    """``used`` is BIRD's primary path."""
    return [
        {
            "node": node,
            "family": family,
            "destination": route.destination,
            "gateway": route.gateway,
            "interface": route.interface,
            "source": route.learned_from.source_type,
            "peerIP": route.learned_from.peer_ip,
            "used": route.type == "FIB",
        }
        for family, found in ((4, status.routes.routes_v4), (6, status.routes.routes_v6))
        for route in found
    ]


def _show(
    arguments: Arguments,
    classes: list[str],
    rows_of: Callable[[str, CalicoNodeStatusStatus], list[Row]],
    columns: tuple[str, ...],
) -> None:
    output = arguments.text("--output")
    if output not in ("table", "json", "yaml"):
        raise Failure(f'unrecognized output format "{output}": use table, json or yaml')
    client = connection.required(arguments)
    try:
        found = survey(client, classes, arguments.text("--node"), _seconds(arguments.text("--timeout")))
    except DatastoreError as error:
        raise Failure(f"Failed to ask the nodes: {error}") from error
    rows = [row for node in sorted(found.answers) for row in rows_of(node, found.answers[node])]
    sys.stdout.write(_text(rows, columns, output))
    if found.silent:
        raise Failure("\n".join(f"node {node}: {why}" for node, why in sorted(found.silent.items())))


def _text(rows: list[Row], columns: tuple[str, ...], output: str) -> str:
    if output == "json":
        return msgspec.json.format(msgspec.json.encode(rows), indent=2).decode() + "\n"
    if output == "yaml":
        import yaml  # noqa: PLC0415 (most runs print a table)

        return str(yaml.safe_dump(rows, sort_keys=False))
    headings = {"peerIP": "peer address"}
    cells = [[_cell(row[column]) for column in columns] for row in rows]
    return grid.render([headings.get(column, column) for column in columns], cells)


def _cell(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 600:
        raise Failure(f"--timeout takes seconds between 0 and 600, not {text!r}")
    return value
