"""A lab that the tests bring up, and what it must leave behind: nothing."""

import os
import subprocess
import sys

import pytest

from pycalico.lab import uml
from pycalico.lab.lab import Lab
from pycalico.lab.walkthrough import PATIENCE, Walk

#: Another directory of manifests, to run the same tests against another implementation.
MANIFESTS = os.environ.get("LAB_MANIFESTS", "")


def pycalico(*arguments, timeout_s=900):
    """Runs the command line; returns the finished process."""
    return subprocess.run(
        [sys.executable, "-m", "pycalico", *arguments], capture_output=True, text=True, timeout=timeout_s
    )


def machine(name):
    """What a lab must leave as it was."""

    def said(*argv):
        return subprocess.run(argv, capture_output=True, text=True).stdout.splitlines()

    processes = [
        line for line in said("ps", "-eo", "args") if f"/run/pycalico/{name}" in line or f" {name}" in line
    ]
    return {
        "namespaces": [line for line in said("ip", "netns") if line.startswith(name)],
        "links": sorted(line.split(":")[1].strip() for line in said("ip", "-o", "link")),
        "mounts": sorted(line for line in said("cat", "/proc/self/mounts") if "/run/netns" not in line),
        "rules": [line for line in said("iptables-save") if not line.startswith(("#", ":"))],
        "processes": [line for line in processes if "ps -eo" not in line and "pytest" not in line],
        "files": os.path.exists(f"/run/pycalico/{name}"),
    }


class Running:
    """A lab that is up. ``patience`` stretches limits that are about the machine, not about a promise."""

    def __init__(self, kernel):
        self.kernel = kernel
        self.name = f"t{os.getpid()}-{kernel}"
        self.before = machine(self.name)
        self.patience = PATIENCE[kernel]
        more = ["--manifests", MANIFESTS] if MANIFESTS else []
        done = pycalico("lab", "up", "--name", self.name, "--kernel", kernel, *more)
        if kernel == "uml" and uml.UNFIT in done.stderr:
            # Tried, and told in one line; there is no such kernel to be had on this machine.
            assert done.returncode == 1
            pytest.skip(uml.UNFIT)
        assert done.returncode == 0, done.stdout + done.stderr
        self.summary = done.stdout
        self.lab = Lab(self.name)
        self.walk = Walk(self.lab, patience=self.patience)

    def sh(self, node, command, *, stdin="", timeout_s=60.0):
        """A command's output; it must succeed."""
        done = self.lab.collect(
            node, ["sh", "-c", command], stdin=stdin.encode(), timeout_s=timeout_s * self.patience
        )
        assert done.code == 0, f"{node}: {command}: {done.code}: {done.output}{done.errors}"
        return done.output.strip()

    def tries(self, node, command, *, timeout_s=30.0):
        """Whether a command succeeds."""
        return self.lab.collect(node, ["sh", "-c", command], timeout_s=timeout_s * self.patience).code == 0
