"""What IPAM refuses. Texts are upstream's, since runtimes and operators match them."""

from __future__ import annotations

from pycalico.api.meta import Key
from pycalico.datastore.errors import Conflict


class IPAMError(Exception):
    """Base of all; the message is one line for a person."""


class AlreadyAssigned(IPAMError):
    """The address is in use."""

    def __init__(self, address: str) -> None:
        super().__init__(f"resource already exists: {address}")


class AffinityMismatch(IPAMError):
    """The block belongs to another host, or to none."""


class AffinityConflict(IPAMError):
    """Another host won the block."""

    def __init__(self, cidr: str, owner: str) -> None:
        super().__init__(f"{cidr} already claimed by {owner}")


class StaleAffinity(IPAMError):
    """This host's affinity names a block that is not its own; the affinity is gone now."""


class BlockNotEmpty(IPAMError):
    def __init__(self, cidr: str) -> None:
        super().__init__(f"block '{cidr}' is not empty")


class NoFreeBlocks(IPAMError):
    def __init__(self) -> None:
        super().__init__("No Free Blocks")


class BlockLimit(IPAMError):
    """The host has as many blocks as it may have."""

    def __init__(self) -> None:
        super().__init__("cannot allocate new block due to per host block limit")


class NotAllocated(IPAMError):
    """Lookup of an address that nobody holds."""


class TooManyConflicts(IPAMError):
    def __init__(self) -> None:
        super().__init__("Max retries hit - excessive concurrent IPAM requests")


class BlockInTheWay(IPAMError):
    """Blocks never overlap, even after a pool was made anew with another block size."""

    def __init__(self, cidr: str, other: str) -> None:
        super().__init__(
            f"block {cidr} would overlap block {other}, which is of another size than the pool's now"
        )


class ReleaseConflict(Conflict):
    """The address changed hands since the caller looked: its sequence number or handle is another."""

    def __init__(self, key: Key, address: str) -> None:
        super().__init__(key)
        self.args = (f"update conflict: {address}",)
