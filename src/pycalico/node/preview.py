"""What each method of IP_AUTODETECTION_METHOD would answer on this machine, before one is chosen. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pycalico.node import autodetect
from pycalico.node.autodetect import BadMethod, Surroundings, Undetected, Unreachable


class Answer(msgspec.Struct, frozen=True):
    """``address`` is what the method takes, with its prefix length; ``others`` it would take as well; or ``why`` not."""

    method: str
    family: int
    interface: str = ""
    address: str = ""
    others: tuple[str, ...] = ()
    why: str = ""


def methods_of(around: Surroundings, family: int) -> list[str]:
    """Those worth a look here: the general ones, and one for each interface and network that has an address."""
    found = ["first-found", "kubernetes-internal-ip"]
    for interface in around.interfaces:
        networks = [
            address.network
            for address in interface.addresses
            if address.version == family and autodetect.is_usable(address)
        ]
        if networks:
            found += [f"interface={interface.name}", *(f"cidr={network}" for network in networks)]
    return found


def preview(methods: Sequence[str], family: int, around: Surroundings) -> list[Answer]:
    answers = []
    for method in methods:
        try:
            first, *others = autodetect.candidates(method, family, around)
        except (Undetected, BadMethod, Unreachable) as error:
            answers.append(Answer(method, family, why=str(error)))
        else:
            rest = tuple(f"{other.address} on {other.interface}" for other in others)
            answers.append(Answer(method, family, first.interface, str(first.address), rest))
    return answers


def as_text(answers: Sequence[Answer]) -> str:
    lines = []
    for answer in answers:
        said = f"{answer.address} on {answer.interface}" if answer.address else f"nothing: {answer.why}"
        also = f" (also possible: {', '.join(answer.others)})" if answer.others else ""
        lines.append(f"IPv{answer.family} {answer.method}: {said}{also}")
    return "\n".join(lines) + "\n"
