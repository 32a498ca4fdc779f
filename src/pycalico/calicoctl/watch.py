"""``get --watch``: the list, then every change as it happens. Beyond upstream."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from pycalico.api.kinds import KINDS
from pycalico.api.meta import Resource
from pycalico.calicoctl import batch, columns, connection, operations, output
from pycalico.calicoctl.failure import Failure
from pycalico.calicoctl.syntax import Arguments
from pycalico.datastore.client import EventType
from pycalico.datastore.errors import DatastoreError, NotFound, RevisionExpired
from pycalico.datastore.typed import TypedClient


def run(arguments: Arguments, headings: Callable[[str], Sequence[str]], asn: Callable[[], str]) -> None:
    """Runs until it is interrupted or the datastore refuses. ``headings`` of a kind; empty ones mean YAML or JSON.

    Raises Failure.
    """
    if "--filename" in arguments.texts or len(arguments.names) > 1:
        raise Failure("--watch follows one kind, and at most one name")
    connection.check_version(arguments)
    resource = batch.requested(arguments)[0]
    client = connection.required(arguments)
    try:
        operations.settle_namespace(resource, arguments)
        _Follower(client, resource, arguments.text("--output"), headings(resource.kind), asn).run()
    except DatastoreError as error:
        raise Failure(error) from error


class _Follower:
    def __init__(
        self,
        client: TypedClient,
        wanted: Resource,
        form: str,
        headings: Sequence[str],
        asn: Callable[[], str],
    ) -> None:
        self._client = client
        self._kind = KINDS[wanted.kind].type
        self._name, self._namespace = wanted.metadata.name, wanted.metadata.namespace
        self._form = form
        self._headings = headings
        self._asn = asn
        self._widths: list[int] = []
        #: Shown revisions by key: after a new list only what changed is shown again.
        self._shown: dict[object, str] = {}

    def run(self) -> None:
        while True:
            revision = self._list()
            try:
                self._follow(revision)
            except RevisionExpired:
                continue

    def _list(self) -> str:
        found = self._client.list(self._kind, self._namespace)
        items = [item for item in found.items if self._name in ("", item.metadata.name)]
        if self._name and not items and not self._shown:
            raise NotFound(operations.key_of(self._kind.__name__, self._namespace, self._name))
        changed = [item for item in items if self._shown.get(item.key) != item.metadata.resource_version]
        self._show(changed, first=not self._widths)
        self._shown = {item.key: item.metadata.resource_version for item in items}
        return found.revision

    def _follow(self, revision: str) -> None:
        watch = self._client.watch(self._kind, self._namespace, revision=revision)
        for event in watch:
            item = event.object
            if item is None or event.type is EventType.BOOKMARK or self._name not in ("", item.metadata.name):
                continue
            self._shown[item.key] = item.metadata.resource_version
            self._show([item], first=False, deleted=event.type is EventType.DELETED)

    def _show(self, items: Sequence[Resource], *, first: bool, deleted: bool = False) -> None:
        if self._headings:
            rows = columns.rows(self._kind.__name__, self._headings, items, self._asn)
            if deleted:
                rows[1:] = [[*row[:-1], f"{row[-1]}   (deleted)"] for row in rows[1:]]
            found = [max(5, 3 + max(map(len, column))) for column in zip(*rows, strict=True)]
            self._widths = list(map(max, found, self._widths)) if self._widths else found
            text = columns.padded(rows, self._widths)
            sys.stdout.write(text if first else text.partition("\n")[2])
        elif not deleted:
            for item in items:
                plain = output.plain(item, item.kind)
                json = self._form == "json"
                sys.stdout.write(
                    output.json_text(plain) + "\n" if json else f"---\n{output.yaml_text(plain)}"
                )
        sys.stdout.flush()
