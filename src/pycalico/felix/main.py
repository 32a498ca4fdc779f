"""The program ``calico-felix``."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading

from pycalico import CALICO_VERSION
from pycalico.base import heap
from pycalico.base.log import configure
from pycalico.datastore.errors import DatastoreError
from pycalico.felix.agent import Agent
from pycalico.felix.parameters import DEFAULT_FILE, ParameterError

log = logging.getLogger(__name__)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="calico-felix", description="The policy and routing agent of a node."
    )
    parser.add_argument(
        "-c", "--config-file", default=DEFAULT_FILE, metavar="FILE", help="default: %(default)s"
    )
    parser.add_argument("--version", action="version", version=CALICO_VERSION)
    sys.exit(run(parser.parse_args().config_file))


def run(config_file: str = DEFAULT_FILE) -> int:
    """Works until a signal or a reason to start over; returns the exit code."""
    configure("felix", os.environ.get("FELIX_LOGSEVERITYSCREEN", "info"))
    heap.keep_small()
    try:
        agent = Agent(config_file, os.environ)
        configure("felix", agent.parameters["LogSeverityScreen"])
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: agent.stop.set())
        return agent.run()
    except (ParameterError, DatastoreError) as error:
        log.error("%s", error)
        return 1
