"""Many resources, one operation: what the commands on resources have in common."""

from __future__ import annotations

import msgspec

from pycalico.api.kinds import KINDS
from pycalico.api.meta import ObjectMeta, Resource
from pycalico.calicoctl import connection, names
from pycalico.calicoctl.failure import Failure
from pycalico.calicoctl.operations import Answer, Operation, Refused, execute
from pycalico.calicoctl.syntax import Arguments
from pycalico.datastore.errors import DatastoreError
from pycalico.datastore.typed import TypedClient


class UnreadableFile(Failure):
    """A manifest that cannot be read: nothing was done."""


class Outcome(msgspec.Struct):
    """``kind`` is set when all resources are of one; ``count`` of them were asked for, none when a file was empty."""

    kind: str = ""
    count: int = 0
    client: TypedClient | None = None
    #: Each with the kind asked for, since an empty list does not tell.
    answers: list[tuple[Answer, str]] = []
    errors: list[Exception] = []


def run(arguments: Arguments, operation: Operation, *, prefix: str = "", ahead: bool = False) -> Outcome:
    """Does it for all; failures of single resources are collected. ``ahead``: a whole kind is asked for early.

    Raises UnreadableFile, and Failure (its text after ``prefix``) when the command as a whole cannot run.
    """
    try:
        if ahead:
            _ask_ahead(arguments)
        connection.check_version(arguments)
        resources = requested(arguments)
    except UnreadableFile:
        raise
    except Failure as failure:
        if failure.stdout:
            raise
        raise Failure(prefix + str(failure)) from failure
    if not resources:
        return Outcome()
    client = _client(arguments)
    if any(not name for name in named(arguments)):
        raise Failure(f"{prefix}resource name may not be empty")
    kinds = {each.kind for each in resources}
    outcome = Outcome(kind=kinds.pop() if len(kinds) == 1 else "", count=len(resources), client=client)
    for resource in resources:
        try:
            answer = execute(client, resource, arguments, operation)
        except DatastoreError as error:
            outcome.errors.append(error)
        else:
            outcome.answers.append((answer, resource.kind))
    return outcome


def _ask_ahead(arguments: Arguments) -> None:
    kind = names.kind_named(arguments.words.get("KIND", ""))
    if kind is None or arguments.names or "--filename" in arguments.texts:
        return
    namespace = ""
    if KINDS[kind].namespaced and "--all-namespaces" not in arguments.switches:
        namespace = arguments.text("--namespace") or "default"
    connection.ask_ahead(arguments, kind, namespace)


def _client(arguments: Arguments) -> TypedClient:
    """With ``--dry-run`` one that writes nothing."""
    client = connection.required(arguments)
    if "--dry-run" not in arguments.switches:
        return client
    from pycalico.calicoctl.rehearsal import Rehearsal  # noqa: PLC0415 (few runs are rehearsals)

    return TypedClient(Rehearsal(client.driver))


def named(arguments: Arguments) -> list[str]:
    """The names on the command line."""
    return [arguments.words["NAME"]] if "NAME" in arguments.words else arguments.names


def requested(arguments: Arguments) -> list[Resource]:
    """The resources of the file, or skeletons of those named. Raises UnreadableFile, Failure."""
    path = arguments.texts.get("--filename")
    if path is None:
        return _skeletons(arguments)
    from pycalico.api.manifests import ManifestError  # noqa: PLC0415
    from pycalico.calicoctl import manifestfiles  # noqa: PLC0415 (the parsers are loaded for files only)

    found: list[Resource] = []
    empty_fails = "--skip-empty" not in arguments.switches
    for each in manifestfiles.files(path, recursive="--recursive" in arguments.switches):
        try:
            loaded = manifestfiles.load(each)
        except ManifestError as error:
            raise UnreadableFile(f"Failed to execute command: {error}") from error
        if not loaded and empty_fails:
            raise Failure(f"No resources specified in file {each}")
        found += loaded
    if not found and empty_fails:
        raise Failure(f"No resources specified in directory {path}")
    return found


def _skeletons(arguments: Arguments) -> list[Resource]:
    text = arguments.words["KIND"]
    kind = names.kind_named(text)
    if kind is None:
        raise Failure(f"resource type '{text}' is not supported")
    row = KINDS[kind]
    namespace = arguments.text("--namespace") if row.namespaced else ""
    return [
        row.type(metadata=ObjectMeta(name=name, namespace=namespace)) for name in named(arguments) or [""]
    ]


__all__ = ["Outcome", "Refused", "UnreadableFile", "named", "requested", "run"]
