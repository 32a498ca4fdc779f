"""``calicoctl ipam configure``."""

from __future__ import annotations

from pycalico.calicoctl import connection
from pycalico.calicoctl.failure import Failure
from pycalico.calicoctl.syntax import Arguments
from pycalico.datastore.errors import DatastoreError
from pycalico.ipam.allocator import Allocator
from pycalico.ipam.errors import IPAMError

_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")


def run(arguments: Arguments) -> None:
    """Raises Failure."""
    client = connection.checked(arguments)
    text = arguments.text("--strictaffinity")
    if text not in _TRUE + _FALSE:
        raise Failure("Invalid value. Use true or false to set strictaffinity")
    strict = text in _TRUE
    allocator = Allocator(client.driver)
    try:
        config = allocator.config()
        config.spec.strict_affinity = strict
        allocator.set_config(config)
    except (DatastoreError, IPAMError) as error:
        raise Failure(f"Error: {error}") from error
    print(f"Successfully set StrictAffinity to: {str(strict).lower()}")
