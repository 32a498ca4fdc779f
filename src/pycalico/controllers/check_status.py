"""check-status: whether kube-controllers is ready, or at least alive, for the kubelet's probes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import msgspec

from pycalico import CALICO_VERSION
from pycalico.controllers import leakreport, statusfile


def run(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="check-status", description="Check the status of kube-controllers.")
    parser.add_argument("-v", "--version", action="store_true", help="Display version")
    parser.add_argument(
        "-f", "--file", default=statusfile.DEFAULT_FILE, help="File to read with status information"
    )
    parser.add_argument("-r", "--ready", action="store_true", help="Check readiness")
    parser.add_argument("-l", "--live", action="store_true", help="Check liveness")
    parser.add_argument(
        "--leaks", action="store_true", help="Show which addresses are thought leaked, why, and when they go"
    )
    options = parser.parse_args(arguments)
    if options.version:
        print(CALICO_VERSION)
        return 0
    if options.leaks:
        return _show_leaks(options.file)
    if not (options.ready or options.live):
        print("No command specified to check-status")
        return 1
    try:
        status = statusfile.read(options.file)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        print(f"Failed to read status file {options.file}: open {options.file}: {reason}")
        return 1
    except msgspec.DecodeError as error:
        print(f"Failed to read status file {options.file}: {error}")
        return 1
    if status.ready:
        print("Ready")
        return 0
    if options.live and not options.ready and statusfile.age_s(options.file) < statusfile.LIVE_S:
        # It says itself what it waits for: a new process would have to wait for the same.
        print(f"Live; not ready: {status.reasons()}")
        return 0
    print(status.reasons())
    return 1


def _show_leaks(status_file: str) -> int:
    path = leakreport.file_beside(status_file)
    try:
        report = leakreport.read(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        print(f"There is no report of leaks (this replica may not lead): open {path}: {reason}")
        return 1
    except msgspec.DecodeError as error:
        print(f"Failed to read the report of leaks {path}: {error}")
        return 1
    sys.stdout.write(leakreport.table(report))
    return 0


def main() -> None:
    sys.exit(run(sys.argv[1:]))
