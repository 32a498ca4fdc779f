"""A plugin's refusal, as the CNI specification has it: a code, a message, details; printed as JSON on stdout."""

from __future__ import annotations

INCOMPATIBLE_VERSION = 1
BAD_VARIABLES = 4
DECODING_FAILURE = 6
INVALID_CONFIG = 7
TRY_AGAIN = 11
STARTUP = 100
INTERNAL = 999


class CNIError(Exception):
    """``code`` is one of this module's; the message is one line (upstream's texts may end in a newline)."""

    def __init__(self, message: str, code: int = INTERNAL, details: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.details = details

    def to_wire(self) -> dict[str, object]:
        wire: dict[str, object] = {"code": self.code, "msg": str(self)}
        if self.details:
            wire["details"] = self.details
        return wire
