"""``calicoctl get``: resources as tables, YAML, JSON or through a template."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable

from pycalico.api.kinds import KINDS
from pycalico.api.meta import Resource
from pycalico.calicoctl import batch, connection, operations
from pycalico.calicoctl.batch import Outcome
from pycalico.calicoctl.failure import Failure
from pycalico.calicoctl.operations import Answer
from pycalico.calicoctl.syntax import Arguments
from pycalico.datastore.errors import DatastoreError, NotFound
from pycalico.datastore.typed import TypedClient

#: What a template or table is answered for AS numbers when the cluster sets none.
_DEFAULT_ASN = "64512"
Printer = Callable[[Outcome], str]


def run(arguments: Arguments) -> None:
    """Prints what was found, then the failures."""
    printer = _printer(arguments)
    if "--watch" in arguments.switches:
        _watch(arguments)
        return
    outcome = batch.run(arguments, operations.get_or_list, prefix="Failed to get resources: ", ahead=True)
    if "--export" in arguments.switches and batch.named(arguments):
        for answer, _ in outcome.answers:
            _strip(answer)
    sys.stdout.write(printer(outcome))
    if outcome.errors:
        raise Failure("\n".join(map(str, outcome.errors)))


def _watch(arguments: Arguments) -> None:
    from pycalico.calicoctl import columns, watch  # noqa: PLC0415 (few runs stay)

    form, _, value = arguments.text("--output").partition("=")
    if form.startswith("go-template"):
        raise Failure("--watch shows tables, YAML or JSON")
    with_namespace = "--all-namespaces" in arguments.switches or bool(arguments.text("--namespace"))

    def headings(kind: str) -> list[str]:
        if form in ("yaml", "yml", "json"):
            return []
        if value:
            return value.split(",")
        chosen = list(columns.COLUMNS[kind].wide if form == "wide" else columns.COLUMNS[kind].narrow)
        return ["NAMESPACE", *chosen] if with_namespace and KINDS[kind].namespaced else chosen

    try:
        watch.run(arguments, headings, lambda: _cluster_asn(connection.required(arguments)))
    except columns.UnknownHeading as error:
        raise Failure(error) from error


def _strip(answer: Answer) -> None:
    if isinstance(answer, Resource):
        meta = answer.metadata
        meta.namespace = meta.uid = meta.resource_version = ""
        meta.creation_timestamp = meta.deletion_timestamp = meta.deletion_grace_period_seconds = None


def _printer(arguments: Arguments) -> Printer:
    """Raises Failure for an unknown format or one that lacks its value."""
    text = arguments.text("--output")
    with_namespace = "--all-namespaces" in arguments.switches or bool(arguments.text("--namespace"))
    if text in ("yaml", "yml"):
        return _yaml
    if text == "json":
        return _json
    if text in ("ps", "wide"):
        return functools.partial(_tables, with_namespace=with_namespace, wide=text == "wide")
    name, _, value = text.partition("=")
    if name == "custom-columns":
        if not value:
            raise Failure("need to specify at least one column")
        return functools.partial(_tables, headings=value.split(","))
    if name == "go-template":
        if not value:
            raise Failure("need to specify a template")
        return functools.partial(_template, read=lambda: value)
    if name == "go-template-file":
        if not value:
            raise Failure("need to specify a template file")
        return functools.partial(_template, read=lambda: _file(value))
    raise Failure(f"unrecognized output format '{text}'")


def _yaml(outcome: Outcome) -> str:
    from pycalico.calicoctl import output  # noqa: PLC0415 (tables do without)

    return output.yaml_text(output.whole(outcome.answers))


def _json(outcome: Outcome) -> str:
    from pycalico.calicoctl import output  # noqa: PLC0415

    return output.json_text(output.whole(outcome.answers)) + "\n"


def _tables(
    outcome: Outcome, *, with_namespace: bool = False, wide: bool = False, headings: list[str] | None = None
) -> str:
    from pycalico.calicoctl import columns  # noqa: PLC0415 (templates do without)

    text: list[str] = []
    for answer, kind in outcome.answers:
        chosen = headings or list(columns.COLUMNS[kind].wide if wide else columns.COLUMNS[kind].narrow)
        if with_namespace and headings is None and KINDS[kind].namespaced:
            chosen = ["NAMESPACE", *chosen]
        items = [answer] if isinstance(answer, Resource) else answer.items
        try:
            table = columns.rows(kind, chosen, items, functools.partial(_cluster_asn, outcome.client))
        except columns.UnknownHeading as error:
            sys.stdout.write("".join(text))
            raise Failure(error) from error
        text += [_highlighted(columns.padded(table)), "\n"]
    return "".join(text)


def _highlighted(table: str) -> str:
    """With its headings in bold, where a terminal shows it and nobody objects (no-color.org)."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb":
        return table
    headings, newline, rest = table.partition("\n")
    return f"\x1b[1m{headings}\x1b[0m{newline}{rest}"


def _template(outcome: Outcome, *, read: Callable[[], str]) -> str:
    from pycalico.calicoctl.template import TemplateError, render  # noqa: PLC0415 (few runs have one)

    try:
        return render(read(), outcome.answers, functools.partial(_cluster_asn, outcome.client))
    except TemplateError as error:
        sys.stdout.write(error.written)
        raise Failure(error) from error


def _file(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123
            return file.read()
    except OSError as error:
        what = "read" if isinstance(error, IsADirectoryError) else "open"
        raise Failure(f"{what} {path}: {(error.strerror or str(error)).lower()}") from error


@functools.cache
def _cluster_asn(client: TypedClient | None) -> str:
    """The AS number that nodes without one of their own have."""
    if client is None:
        return _DEFAULT_ASN
    try:
        found = client.get(KINDS["BGPConfiguration"].type, "default")
    except NotFound:
        return _DEFAULT_ASN
    except DatastoreError:
        return "unknown"
    number = found.spec.as_number  # type: ignore[attr-defined]
    return _DEFAULT_ASN if number is None else str(number)
