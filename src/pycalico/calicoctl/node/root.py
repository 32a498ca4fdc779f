"""Commands that only root can carry out."""

from __future__ import annotations

import os

from pycalico.calicoctl.failure import Failure


def require() -> None:
    """Raises Failure for other users."""
    if os.getuid() != 0:
        raise Failure("Need super user privileges: Operation not permitted", stdout=True)
