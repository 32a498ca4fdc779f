"""The commands of ``calicoctl datastore`` and how each is called."""

from __future__ import annotations

import msgspec

from pycalico.calicoctl.commands import CONFIG, FILENAME, MISMATCH, Command, group
from pycalico.calicoctl.syntax import Form, Syntax


def _usage(name: str, more: str = "") -> str:
    return (
        f"Usage:\n  calicoctl datastore migrate {name} {more}[--config=<CONFIG>] [--allow-version-mismatch]"
    )


_PLAIN = (CONFIG, MISMATCH)
EXPORT = Command(
    "migrate.export:run",
    Syntax(
        usage=_usage("export"), summary="Write what a locked etcd holds to standard output.", options=_PLAIN
    ),
)
IMPORT = Command(
    "migrate.load:run",
    Syntax(
        usage=_usage("import", "--filename=<FILENAME> "),
        summary="Load an export into an empty Kubernetes datastore.",
        options=(msgspec.structs.replace(FILENAME, help="The export, or - for standard input."), *_PLAIN),
        forms=(Form(needs=("--filename",)),),
    ),
)
LOCK = Command(
    "lock:lock",
    Syntax(
        usage=_usage("lock"),
        summary="Lock the datastore, so that no new pods are set up.",
        options=_PLAIN,
    ),
)
UNLOCK = Command(
    "lock:unlock", Syntax(usage=_usage("unlock"), summary="Unlock the datastore.", options=_PLAIN)
)

GROUP = group(
    "datastore",
    "Look after the datastore.",
    {
        "migrate": group(
            "datastore migrate",
            "Move from etcd to Kubernetes.",
            {"import": IMPORT, "export": EXPORT, "lock": LOCK, "unlock": UNLOCK},
        )
    },
)
