"""The program ``calicoctl``: finds the command, runs it, and says in one text what went wrong."""

from __future__ import annotations

import gc
import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Any

from pycalico.base import lean

# Before anything loads msgspec: 4 ms of a run's 30. A run that asks for nothing special needs no log and no paths.
lean.load("copy", "socket")

from pycalico.calicoctl import commands, syntax  # noqa: E402
from pycalico.calicoctl.commands import Command, Group  # noqa: E402
from pycalico.calicoctl.failure import Failure  # noqa: E402
from pycalico.calicoctl.syntax import HelpWanted, Syntax, UsageError  # noqa: E402

_ROOM = "pycalico.calicoctl"
#: Level names, and what of our own log they show.
_LEVELS = {
    "panic": "", "fatal": "", "error": "error", "warn": "warning", "warning": "warning", "info": "info",
    "debug": "debug", "trace": "debug",
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0, or 1 for every failure. Without ``argv`` it is the program itself, and does not return."""
    if argv is not None:
        return _outcome(list(argv))
    # A run is short: what it leaves behind is the kernel's to clear up.
    gc.disable()
    _settle_streams()
    code = _outcome(sys.argv[1:])
    sys.stderr.flush()
    os._exit(code)


def _settle_streams() -> None:
    """UTF-8 whatever the locale, as resources are; a stream that the caller closed takes what it is given."""
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")


def _outcome(arguments: list[str]) -> int:
    try:
        try:
            code = _run(arguments)
        except Failure as failure:
            stream = sys.stdout if failure.stdout else sys.stderr
            stream.write(str(failure) + ("" if failure.bare else "\n"))
            code = 1
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has gone (a pager, head): what is left to write has no use.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        # The output cannot be written (a full disk); what else the system refuses is a Failure of its command.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.stderr.write(f"calicoctl: {(error.strerror or str(error)).lower()}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def _run(argv: list[str]) -> int:
    try:
        given = syntax.parse(commands.TOP, argv)
    except UsageError as error:
        sys.stderr.write(_usage(error))
        words = " ".join(argv)
        raise Failure(
            f"Invalid option: '{words}'. Use flag '--help' to read about a specific subcommand.", stdout=True
        ) from error
    except HelpWanted:
        from pycalico.calicoctl import manual  # noqa: PLC0415 (most runs need no help)

        sys.stdout.write(manual.program())
        return 0
    if "--version" in given.switches:
        sys.stdout.write("Run 'calicoctl version' to see version information.\n")
        return 0
    _set_level(given.text("--log-level"))
    if "--context" in given.texts:
        os.environ["K8S_CURRENT_CONTEXT"] = given.texts["--context"]
    rest = given.names
    if "--allow-version-mismatch" in given.switches:
        rest = [*rest, "--allow-version-mismatch"]
    return _dispatch(given.words["COMMAND"], rest)


def _set_level(name: str) -> None:
    level = _LEVELS.get(name.lower())
    if level == "":
        return
    if level is None:
        raise Failure(
            f"Unknown log level: {name}, expected one of: \npanic, fatal, error, warn, info, debug.",
            stdout=True,
        )
    from pycalico.base import log  # noqa: PLC0415 (loaded for those who want to read it)

    log.configure("calicoctl", level, sys.stderr)


def _dispatch(name: str, argv: list[str]) -> int:
    row: Any = commands.COMMANDS.get(name)
    if row is None:
        from pycalico.calicoctl import manual  # noqa: PLC0415

        raise Failure(f'Unknown command: "{name}"\n{manual.program()}')
    if isinstance(row, str):
        return group(importlib.import_module(f"{_ROOM}.{row}").GROUP, argv)
    return call(row, argv)


def group(table: Group, argv: list[str]) -> int:
    """A command with commands of its own. An unknown one, or an option, is answered with the group's help."""
    if not argv:
        raise _wrong(UsageError(table.syntax))
    row = table.commands.get(argv[0])
    if row is None:
        from pycalico.calicoctl import manual  # noqa: PLC0415 (most runs need no help)

        sys.stdout.write(manual.group(table))
        return 0
    return call(row, argv[1:]) if isinstance(row, Command) else group(row, argv[1:])


def call(command: Command, argv: list[str]) -> int:
    """Parses a command's own arguments and carries it out."""
    if command is commands.GET:
        argv = ["-A" if each == "-a" else each for each in argv]
    try:
        given = syntax.parse(command.syntax, argv)
    except HelpWanted:
        from pycalico.calicoctl import manual  # noqa: PLC0415

        sys.stdout.write(manual.command(command.syntax))
        return 0
    except UsageError as error:
        raise _wrong(error) from error
    if "--context" in given.texts:
        os.environ["K8S_CURRENT_CONTEXT"] = given.texts["--context"]
    module, function = command.target.split(":")
    getattr(importlib.import_module(f"{_ROOM}.{module}"), function)(given)
    return 0


def _usage(error: UsageError) -> str:
    complaint = f"{error.complaint}\n" if error.complaint else ""
    return f"{complaint}{syntax.usage_of(error.syntax)}\n"


def _wrong(error: UsageError) -> Failure:
    return Failure(_usage(error), bare=True)


__all__ = ["Syntax", "main"]


if __name__ == "__main__":
    sys.exit(main())
