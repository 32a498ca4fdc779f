"""Runs the steps of the walkthrough against a lab, and writes the transcript."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from pycalico.lab.chapters import facts, walkthrough
from pycalico.lab.lab import Lab
from pycalico.lab.step import Outcome, Step

_COMMAND_S = 90.0
_PAUSE_S = 0.5
#: How much longer things may take, by kernel.
PATIENCE = {"host": 1.0, "uml": 3.0}
_INTRODUCTION = """\
# Walkthrough

The cluster of `make lab`{kernel}, looked at command by command. This page is the transcript of a run, written by
`make walkthrough`; the tests run the same commands and check what they print.
"""


class Walk:
    """One run. ``facts`` gathers what steps find; ``patience`` stretches the waiting on a slow kernel."""

    def __init__(self, lab: Lab, *, patience: float = 1.0) -> None:
        self._lab = lab
        self._patience = patience
        self._background: list[subprocess.Popen[bytes]] = []
        shown = lab.collect("k8s-m", ["sh", "-c", "ip -o link show type ipip | wc -l"])
        self.ipip = shown.output.strip() not in ("", "0")
        self.facts = facts(ipip=self.ipip)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._background:
            process.terminate()
            process.wait()

    def run(self, step: Step) -> Outcome:
        """Repeats the command until its output is right or the time is up."""
        command = step.command
        for key, value in self.facts.items():
            command = command.replace("{" + key + "}", value)
        if step.background:
            self._start(step.node, command)
            return Outcome(step, command, "")
        deadline = time.monotonic() + step.within_s * self._patience
        while True:
            done = self._lab.collect(step.node, ["sh", "-c", command], timeout_s=_COMMAND_S * self._patience)
            # A program's remarks on stderr are not what the step is about, unless it says nothing else.
            text = done.output or done.errors
            problems = _problems(step, text, self.facts)
            if not problems or time.monotonic() > deadline:
                break
            time.sleep(_PAUSE_S)
        if step.find is not None and not problems:
            self.facts.update(step.find(done.output))
        return Outcome(step, command, text, problems)

    def _start(self, node: str, command: str) -> None:
        argv = [sys.executable, "-m", "pycalico", "lab", "exec", "--name", self._lab.name, node, "--"]
        started = subprocess.Popen(
            [*argv, "sh", "-c", f"exec {command}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self._background.append(started)
        # tcpdump says when it listens; what happens before that is lost.
        if started.stderr is not None:
            started.stderr.readline()


def run(lab: Lab, *, patience: float = 1.0) -> Iterator[Outcome]:
    with Walk(lab, patience=patience) as walk:
        for step in walkthrough():
            yield walk.run(step)


def render(outcomes: list[Outcome], *, kernel: str) -> str:
    """The transcript as Markdown. Where the project happens to lie is not part of it."""
    parts = [_INTRODUCTION.format(kernel=f" (`KERNEL={kernel}`)" if kernel != "host" else "")]
    for outcome in outcomes:
        if outcome.step.say:
            parts.append(outcome.step.say + "\n")
        shown = outcome.output.rstrip().expandtabs().splitlines()
        if len(shown) > outcome.step.shown_lines:
            shown = [*shown[: outcome.step.shown_lines], "..."]
        body = "\n".join(line.rstrip() for line in shown)
        prompt = f"root@{outcome.step.node}:~# {outcome.command}"
        parts.append(f"```console\n{prompt}\n{body}\n```\n" if body else f"```console\n{prompt}\n```\n")
    return "\n".join(parts).replace(str(Path(__file__).parents[3]), "/root/pycalico")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _problems(step: Step, output: str, known: dict[str, str]) -> list[str]:
    found = []
    for check in step.checks:
        try:
            problem = check(output, known)
        except (ValueError, KeyError, IndexError) as error:
            problem = f"cannot be read: {error}"
        if problem:
            found.append(problem)
    return found
