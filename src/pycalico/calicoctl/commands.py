"""The table of commands: how each is called and which function carries it out.

Usage blocks, option names and defaults are calicoctl v3.28.1's, since people and scripts know them.
"""

from __future__ import annotations

import msgspec

from pycalico.calicoctl.paths import DEFAULT_PATH
from pycalico.calicoctl.syntax import Form, Option, Syntax


class Command(msgspec.Struct, frozen=True):
    """``target`` is ``module:function`` below this room; the function takes Arguments."""

    target: str
    syntax: Syntax


class Group(msgspec.Struct, frozen=True):
    """Commands below a command."""

    syntax: Syntax
    commands: dict[str, Command | Group]


def group(words: str, summary: str, members: dict[str, Command | Group]) -> Group:
    """``words`` is how the group is called, ``ipam`` or ``datastore migrate``."""
    usage = f"Usage:\n  calicoctl {words} <command> [<args>...]"
    return Group(Syntax(usage=usage, summary=summary), members)


CONFIG = Option(
    "--config",
    "File that says how to reach the datastore.",
    short="-c",
    value="<CONFIG>",
    default=DEFAULT_PATH,
)
MISMATCH = Option("--allow-version-mismatch", "Go on when client and cluster are of different releases.")
CONTEXT = Option("--context", "Context of the kubeconfig to use.", value="<context>")
NAMESPACE = Option(
    "--namespace",
    "Namespace of policies, network sets and workload endpoints (otherwise: default).",
    short="-n",
    value="<NS>",
)
FILENAME = Option(
    "--filename",
    "Manifest (YAML or JSON), directory of manifests, or - for standard input.",
    short="-f",
    value="<FILENAME>",
)
RECURSIVE = Option("--recursive", "Take in the directories below as well.", short="-R")
SKIP_EMPTY = Option("--skip-empty", "Files without resources are no error.")
DRY_RUN = Option("--dry-run", "Write nothing: show what would change (not in upstream's).")
_FILES = (FILENAME, RECURSIVE, SKIP_EMPTY)
_RESOURCE = (CONFIG, NAMESPACE, CONTEXT, MISMATCH)
_NAMED_OR_FILE = (
    Form(words=("KIND", "NAME...")),
    Form(needs=("--filename",), takes=("--recursive", "--skip-empty")),
)

_WRITE = """Usage:
  calicoctl {0} --filename=<FILENAME> [--recursive] [--skip-empty]
            {1}{2}[--config=<CONFIG>] [--namespace=<NS>] [--context=<context>] [--allow-version-mismatch]"""


def _write_usage(verb: str, more: str = "") -> str:
    return _WRITE.format(verb, " " * (len(verb) + 1), more)


CREATE = Command(
    "write:create",
    Syntax(
        usage=_write_usage("create", "[--skip-exists] "),
        summary="Create resources from a manifest. A resource that is there already is an error.",
        options=(
            *_FILES,
            Option("--skip-exists", "Count resources that exist as created."),
            DRY_RUN,
            *_RESOURCE,
        ),
        forms=(Form(needs=("--filename",)),),
    ),
)
APPLY = Command(
    "write:apply",
    Syntax(
        usage=_write_usage("apply"),
        summary="Create resources from a manifest, or replace those that exist.",
        options=(*_FILES, DRY_RUN, *_RESOURCE),
        forms=(Form(needs=("--filename",)),),
    ),
)
REPLACE = Command(
    "write:replace",
    Syntax(
        usage=_write_usage("replace"),
        summary="Replace existing resources by those of a manifest.",
        options=(*_FILES, *_RESOURCE),
        forms=(Form(needs=("--filename",)),),
    ),
)
DELETE = Command(
    "write:delete",
    Syntax(
        usage="""Usage:
  calicoctl delete ( (<KIND> [<NAME>...]) |
                   --filename=<FILE> [--recursive] [--skip-empty] )
                   [--skip-not-exists] [--config=<CONFIG>] [--namespace=<NS>] [--context=<context>] [--allow-version-mismatch]""",
        summary="Delete resources by kind and name, or those of a manifest.",
        options=(
            *_FILES,
            Option("--skip-not-exists", "Count resources that do not exist as deleted.", short="-s"),
            *_RESOURCE,
        ),
        forms=_NAMED_OR_FILE,
    ),
)
GET = Command(
    "get:run",
    Syntax(
        usage="""Usage:
  calicoctl get ( (<KIND> [<NAME>...]) |
                --filename=<FILENAME> [--recursive] [--skip-empty] )
                [--output=<OUTPUT>] [--config=<CONFIG>] [--namespace=<NS>] [--all-namespaces] [--export] [--context=<context>] [--allow-version-mismatch]""",
        summary="Show resources: all of a kind, those named, or those of a manifest.",
        options=(
            *_FILES,
            Option(
                "--output",
                "ps, wide, yaml, json, custom-columns=A,B, go-template=T or go-template-file=F.",
                short="-o",
                value="<OUTPUT FORMAT>",
                default="ps",
            ),
            Option("--all-namespaces", "List those of every namespace.", short="-A"),
            Option("--watch", "Go on showing changes until interrupted (not in upstream's).", short="-w"),
            Option("--export", "Leave out what belongs to this cluster (only with a name)."),
            *_RESOURCE,
        ),
        forms=_NAMED_OR_FILE,
    ),
)
PATCH = Command(
    "patch:run",
    Syntax(
        usage="""Usage:
  calicoctl patch <KIND> <NAME> --patch=<PATCH> [--type=<TYPE>] [--config=<CONFIG>] [--namespace=<NS>] [--context=<context>] [--allow-version-mismatch]""",
        summary="Change some fields of a resource.",
        options=(
            Option(
                "--patch", "The fields to change, as JSON; null removes one.", short="-p", value="<PATCH>"
            ),
            Option("--type", "Accepted and ignored: the patch is always merged.", short="-t", value="<TYPE>"),
            *_RESOURCE,
        ),
        forms=(Form(words=("KIND", "NAME"), needs=("--patch",)),),
    ),
)
LABEL = Command(
    "label:run",
    Syntax(
        usage="""Usage:
  calicoctl label (<KIND> <NAME>
  \t              ( <key>=<value> [--overwrite] |
  \t                <key> --remove )
                  [--config=<CONFIG>] [--namespace=<NS>] [--context=<context>]) [--allow-version-mismatch]""",
        summary="Set or remove a label of a resource.",
        options=(
            Option("--overwrite", "Change a label that is set already."),
            Option("--remove", "Remove the label."),
            *_RESOURCE,
        ),
        forms=(
            Form(words=("KIND", "NAME", "LABEL"), takes=("--overwrite",)),
            Form(words=("KIND", "NAME", "LABEL"), needs=("--remove",)),
        ),
    ),
)
CONVERT = Command(
    "convert.command:run",
    Syntax(
        usage="""Usage:
  calicoctl convert --filename=<FILENAME>
                [--output=<OUTPUT>] [--ignore-validation] [--allow-version-mismatch]""",
        summary="Convert manifests of Calico v1 and Kubernetes network policies to projectcalico.org/v3.",
        options=(
            msgspec.structs.replace(FILENAME, help="Manifest, or - for standard input."),
            Option("--output", "yaml or json.", short="-o", value="<OUTPUT FORMAT>", default="yaml"),
            Option("--ignore-validation", "Do not check what was converted."),
            MISMATCH,
        ),
        forms=(Form(needs=("--filename",)),),
    ),
)
VERSION = Command(
    "version:run",
    Syntax(
        usage="""Usage:
  calicoctl version [--config=<CONFIG>] [--poll=<POLL>] [--allow-version-mismatch]""",
        summary="Show the versions of this program and of the cluster.",
        options=(
            CONFIG,
            Option("--poll", "Ask again after this time (1s, 10m, 2h) and show changes.", value="<POLL>"),
            MISMATCH,
        ),
    ),
)

COMPLETION = Command(
    "completion:run",
    Syntax(
        usage="Usage:\n  calicoctl completion (bash|zsh|fish)",
        summary="Print what a shell needs to complete calls (not in upstream's).",
        forms=(Form(words=("SHELL",)),),
    ),
)

#: Commands, and groups by the table that lists theirs.
COMMANDS: dict[str, Command | str] = {
    "create": CREATE,
    "replace": REPLACE,
    "apply": APPLY,
    "patch": PATCH,
    "delete": DELETE,
    "get": GET,
    "label": LABEL,
    "convert": CONVERT,
    "ipam": "ipam.commands",
    "node": "node.commands",
    "bgp": "bgp.commands",
    "version": VERSION,
    "datastore": "migrate.commands",
    "completion": COMPLETION,
}
SUMMARIES = {
    "ipam": "Look after IP address management.",
    "node": "Run and examine this node.",
    "bgp": "Look at BGP on every node.",
    "datastore": "Look after the datastore.",
}
TOP = Syntax(
    usage="Usage:\n  calicoctl [options] <command> [<args>...]",
    summary="Manage Calico's network and security policy, endpoints and nodes.",
    options=(
        Option("--version", "Say how to see the version."),
        Option(
            "--log-level",
            "panic, fatal, error, warn, info or debug.",
            short="-l",
            value="<level>",
            default="panic",
        ),
        CONTEXT,
        MISMATCH,
    ),
    forms=(
        Form(words=("COMMAND", "ARGS...")),
        Form(words=("ARGS...",), needs=("--version",)),
    ),
    options_first=True,
)
