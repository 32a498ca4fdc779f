"""IP addresses given on the command line."""

from __future__ import annotations

import ipaddress

from pycalico.calicoctl.failure import Failure


def parsed(text: str) -> str:
    """The address in its canonical form. Raises Failure."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError as error:
        raise Failure(
            f"Error executing command: invalid IP address specified: {text}", stdout=True
        ) from error
    mapped = getattr(found, "ipv4_mapped", None)
    return str(mapped or found)
