"""The program ``calico-felix``."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from typing import NoReturn

from pycalico import CALICO_VERSION, __version__
from pycalico.base import heap
from pycalico.base.log import configure
from pycalico.datastore.errors import DatastoreError
from pycalico.felix.agent import Agent
from pycalico.felix.parameters import DEFAULT_FILE, ParameterError

log = logging.getLogger(__name__)

_RETRY_S = 1.0
_USAGE = "Usage:\n  calico-felix [options]"


class _Parser(argparse.ArgumentParser):
    """Refuses as upstream does: what is wrong, the usage, exit code 1."""

    def error(self, message: str) -> NoReturn:
        sys.exit(f"calico-felix: {message}\n{_USAGE}")

    def format_help(self) -> str:
        return (
            f"The policy and routing agent of a node.\n\n{_USAGE}\n\nOptions:\n"
            f"  -c --config-file=<filename>  Config file to load [default: {DEFAULT_FILE}].\n"
            "  --version                    Print the version and exit.\n"
        )


def main() -> None:
    parser = _Parser(prog="calico-felix")
    parser.add_argument("-c", "--config-file", default=DEFAULT_FILE)
    parser.add_argument("--version", action="store_true")
    options = parser.parse_args()
    if options.version:
        # Upstream's lines, which scripts cut at the colon; what is not Calico's own is pycalico's.
        print(
            f"Version:            {CALICO_VERSION}\nFull git commit ID: pycalico {__version__}\nBuild date:         \n"
        )
        sys.exit(0)
    sys.exit(run(options.config_file))


def run(config_file: str = DEFAULT_FILE) -> int:
    """Works until a signal or a reason to start over; returns the exit code."""
    configure("felix", os.environ.get("FELIX_LOGSEVERITYSCREEN", "info"))
    heap.keep_small()
    stop = threading.Event()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
    try:
        agent = _agent(config_file, stop)
        if agent is None:
            return 0
        configure("felix", agent.parameters["LogSeverityScreen"])
        return agent.run()
    except (ParameterError, DatastoreError) as error:
        log.error("%s", error)
        return 1


def _agent(config_file: str, stop: threading.Event) -> Agent | None:
    """Once the local configuration can be used; the file is read again every second until then."""
    while True:
        try:
            return Agent(config_file, os.environ, stop)
        except ParameterError as error:
            log.error("%s", error)
        if stop.wait(_RETRY_S):
            return None
