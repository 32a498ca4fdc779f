"""A process that follows kinds as a node's services do, and says what it sees; and how a test talks to it.

A line of JSON for each batch (the whole picture, key to revision), and one for each line of its log, with the time of
the machine's monotonic clock.
"""

import json
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path


class Follower:
    """``where`` are fields of DatastoreConfig. ``tcp`` replaces how soon the kernel gives a connection up (seconds)."""

    def __init__(self, where, *kinds, enter=(), tcp=None):
        wanted = {"where": where, "kinds": kinds or ["GlobalNetworkSet"], "tcp": tcp}
        self.picture, self.in_sync, self.log, self.batches = {}, False, [], []
        self._changed = threading.Condition()
        self.process = subprocess.Popen(
            [*enter, sys.executable, __file__, json.dumps(wanted)], stdout=subprocess.PIPE, text=True
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        for line in self.process.stdout:
            found = json.loads(line)
            with self._changed:
                if "log" in found:
                    self.log.append((found["t"], found["log"]))
                else:
                    self.picture, self.in_sync = found["picture"], found["in_sync"]
                    self.batches.append(found["t"])
                self._changed.notify_all()

    def until(self, condition, seconds, what=""):
        """Waits for ``condition(self)``; returns how long that took."""
        began = time.monotonic()
        with self._changed:
            done = self._changed.wait_for(lambda: condition(self), seconds)
        assert done, (what, self.in_sync, len(self.picture), self.log[-5:])
        return time.monotonic() - began

    def synced(self, seconds=20):
        self.until(lambda it: it.in_sync, seconds, "in sync")
        return self

    def cpu_s(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_kib(self):
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * 4

    def sockets(self):
        folder = Path(f"/proc/{self.process.pid}/fd")
        return sum(1 for each in os.listdir(folder) if _is_socket(folder / each))

    def send(self, number):
        self.process.send_signal(number)

    def close(self):
        self.process.kill()
        self.process.wait(10)
        self._thread.join(10)
        self.process.stdout.close()


def _is_socket(path):
    try:
        return os.readlink(path).startswith("socket:")
    except OSError:
        return False


class _Lines(logging.Handler):
    def emit(self, record):
        say({"t": time.monotonic(), "log": record.getMessage()})


_lock = threading.Lock()


def say(found):
    with _lock:
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


def main():
    import socket

    from pycalico.api.kinds import KINDS
    from pycalico.datastore import http1
    from pycalico.datastore.config import DatastoreConfig
    from pycalico.datastore.open import open_client
    from pycalico.syncer.syncer import Syncer, WatchSpec

    wanted = json.loads(sys.argv[1])
    if wanted["tcp"]:
        idle, interval, count, most = wanted["tcp"]
        http1._OPTIONS = (
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
            (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle),
            (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, interval),
            (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, count),
            (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(most * 1000)),
        )
    logging.basicConfig(level=logging.INFO, handlers=[_Lines()])
    client = open_client(DatastoreConfig(**wanted["where"]))
    syncer = Syncer(client, [WatchSpec(KINDS[kind].type) for kind in wanted["kinds"]])
    syncer.start()
    picture = {}
    while True:
        batch = syncer.take(None)
        for update in batch.updates:
            if update.value is None:
                del picture[str(update.key)]
            else:
                picture[str(update.key)] = update.value.metadata.resource_version
        say({"t": time.monotonic(), "picture": picture, "in_sync": syncer.in_sync})


if __name__ == "__main__":
    main()
