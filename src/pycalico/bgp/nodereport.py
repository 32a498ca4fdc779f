"""This node's BGP in one page: confd's own words, each BIRD, each session and why it is down."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

import msgspec

from pycalico.bgp import birdctl, confdstatus, diagnosis
from pycalico.bgp.birdctl import BirdError
from pycalico.bgp.confdstatus import ConfdStatus


class SessionReport(msgspec.Struct):
    """``cause`` is "" for a session that is up."""

    family: int
    peer: str
    type: str
    state: str
    since: str
    last_error: str = ""
    cause: str = ""


class NodeReport(msgspec.Struct):
    """``birds``: by family, BIRD's version, or why it does not answer. ``confd`` is None where there is no file."""

    confd: ConfdStatus | None
    birds: dict[int, str]
    sessions: list[SessionReport]
    problems: list[str]

    @property
    def healthy(self) -> bool:
        """All sessions up, and BIRD runs what the datastore asks for."""
        return not self.problems and not any(session.cause for session in self.sessions)


def gather(path: Path = confdstatus.PATH, sockets: dict[int, str] | None = None) -> NodeReport:
    report = NodeReport(None, {}, [], [])
    try:
        report.confd = confdstatus.read(path)
        report.problems += confdstatus.lines(report.confd)
        for number, known in report.confd.families.items():
            if known.address and not _is_here(known.address):
                # BIRD calls it "Connection closed", and says why in its log alone.
                report.problems.append(
                    f"IPv{number}: the node's BGP address {known.address} is on no interface here, so no session can"
                    " start from it: correct the Node, or IP_AUTODETECTION_METHOD (pycalico node addresses)"
                )
    except OSError as error:
        report.problems.append(f"confd has not said anything yet: {path}: {error.strerror}")
    except ValueError as error:
        report.problems.append(f"{path} is not confd's: {error}")
    for family in (4, 6):
        try:
            _ask(family, (sockets or {}).get(family, ""), report)
        except BirdError as error:
            report.birds[family] = f"does not answer: {error}"
            report.problems.append(f"BIRDv{family}: {error}")
    return report


def _is_here(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL
    return True


def _ask(family: int, path: str, report: NodeReport) -> None:
    with birdctl.Control(family, path) as control:
        found = birdctl.parse_status(control.ask("show status"))
        report.birds[family] = found.version + (" (graceful restart in progress)" if found.recovering else "")
        for peer in birdctl.parse_peers(control.ask("show protocols"), family):
            details = birdctl.parse_protocol(control.ask(f"show protocols all {peer.name}"))
            address = details.get("Neighbor address", peer.address)
            session = SessionReport(family, address, peer.type, peer.info.split(" ")[0], peer.since)
            if not peer.established:
                session.last_error = details.get("Last error", "")
                own = details.get("Source address", "")
                session.cause = (
                    diagnosis.likely_cause(session.state, session.last_error, address, own)
                    or "BIRD does not say why"
                )
            report.sessions.append(session)


def as_json(report: NodeReport) -> str:
    return msgspec.json.format(msgspec.json.encode(report), indent=2).decode() + "\n"


def as_text(report: NodeReport) -> str:
    lines = []
    for family, said in report.birds.items():
        known = report.confd.families.get(family) if report.confd else None
        generation = (
            f", configuration wanted {known.wanted or '-'}, running {known.running or '-'}" if known else ""
        )
        lines.append(f"IPv{family}: BIRD {said}{generation}")
    for session in report.sessions:
        lines.append(f"  {session.peer} ({session.type}) {session.state} since {session.since}")
        if session.cause:
            why = f"{session.last_error}: " if session.last_error else ""
            lines.append(f"    {why}{session.cause}")
    lines += [f"problem: {text}" for text in report.problems]
    return "\n".join(lines) + "\n"
