"""A plugin's refusal, as the CNI specification has it: a code, a message, details; printed as JSON on stdout."""

from __future__ import annotations

from pycalico.datastore.errors import DatastoreError, Unavailable

INCOMPATIBLE_VERSION = 1
BAD_VARIABLES = 4
DECODING_FAILURE = 6
INVALID_CONFIG = 7
TRY_AGAIN = 11
NOT_AVAILABLE = 50
INTERNAL = 999


class CNIError(Exception):
    """``code`` is one of this module's; the message is one line (upstream's texts may end in a newline)."""

    def __init__(self, message: str, code: int = INTERNAL, details: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.details = details

    @classmethod
    def of(cls, error: DatastoreError, before: str = "") -> CNIError:
        """A datastore that is away asks the runtime to try again; ``before`` goes before its message."""
        code = TRY_AGAIN if isinstance(error, Unavailable) else INTERNAL
        return cls(f"{before}{error}", code)

    def to_wire(self) -> dict[str, object]:
        wire: dict[str, object] = {"code": self.code, "msg": str(self)}
        if self.details:
            wire["details"] = self.details
        return wire
