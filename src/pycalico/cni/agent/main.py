"""The program ``calico-cni-agent``: serves CNI calls until it is ended."""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pycalico import __version__
from pycalico.base import log as logs
from pycalico.base import title
from pycalico.cni import delete, deletions, entry, ipam_plugin, plugin
from pycalico.cni.agent import protocol
from pycalico.cni.agent.kept import KeptStores

log = logging.getLogger(__name__)

_PLUGINS = {found.name: found for found in (plugin.PLUGIN, ipam_plugin.PLUGIN)}
#: Calls that work at once; more wait their turn. The more of them, the more share a write.
_AT_ONCE = 32
#: How long a caller may take to begin, and then to say it all.
_BEGIN_S = 5.0
_READ_S = 3.0
_ANSWER_S = 10.0
_PAUSE_S = 0.2
_BACKLOG = 512
#: How often deletions that were left are looked for, and tried again.
_DELETIONS_EVERY_S = 5.0
_DELETIONS_AGAIN_S = 2.0


class Agent:
    """One listening socket at ``path``, for root alone."""

    def __init__(self, path: str = protocol.SOCKET) -> None:
        self._path = Path(path)
        self._stores = KeptStores()
        self._workers = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="call")
        self._stopping = threading.Event()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def listen(self) -> None:
        """Takes the place of an agent that is gone. Raises OSError."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        staged = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        staged.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            self._socket.bind(str(staged))
        finally:
            os.umask(before)
        self._socket.listen(_BACKLOG)
        staged.replace(self._path)

    def serve(self) -> None:
        """Until `stop`; calls that are under way are finished. Callers that say nothing hold no worker."""
        threading.Thread(target=self._finish_deletions, name="deletions", daemon=True).start()
        silent: dict[socket.socket, float] = {}
        with selectors.DefaultSelector() as selector, self._socket:
            selector.register(self._socket, selectors.EVENT_READ)
            while not self._stopping.is_set():
                for key, _ in selector.select(1.0 if silent else None):
                    if key.fileobj is self._socket:
                        taken = self._take()
                        if taken is not None:
                            silent[taken] = time.monotonic() + _BEGIN_S
                            selector.register(taken, selectors.EVENT_READ)
                    elif isinstance(key.fileobj, socket.socket):
                        del silent[key.fileobj]
                        selector.unregister(key.fileobj)
                        self._workers.submit(self._handle, key.fileobj)
                now = time.monotonic()
                for connection in [one for one, until_s in silent.items() if until_s < now]:
                    del silent[connection]
                    selector.unregister(connection)
                    connection.close()
        for connection in silent:
            connection.close()
        self._workers.shutdown()

    def _take(self) -> socket.socket | None:
        """The next caller. Without descriptors or memory for it, it waits, or its plugin works alone."""
        try:
            return self._socket.accept()[0]
        except OSError as error:
            if not self._stopping.is_set():
                log.warning("cannot take a call: %s", error.strerror)
                self._stopping.wait(_PAUSE_S)
            return None

    def _finish_deletions(self) -> None:
        """What plugins left while the datastore was away."""
        while not self._stopping.is_set():
            remain = deletions.finish(self._stores, delete.finish_deletion)
            self._stopping.wait(_DELETIONS_AGAIN_S if remain else _DELETIONS_EVERY_S)

    def stop(self) -> None:
        """Callers from now on do their work themselves."""
        self._stopping.set()
        self._path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _handle(self, connection: socket.socket) -> None:
        try:
            self._serve_one(connection)
        except Exception:
            # The caller does it itself then; what a worker raises would be seen by nobody.
            log.exception("a call was not answered")

    def _serve_one(self, connection: socket.socket) -> None:
        with connection:
            try:
                request = protocol.receive(connection, _READ_S)
            except (protocol.Malformed, OSError, UnicodeDecodeError) as error:
                log.warning("ignoring a caller: %s", error)
                return
            connection.settimeout(_ANSWER_S)
            try:
                answer = self._answered(request)
                if answer is None:
                    protocol.answer(connection, protocol.DECLINED)
                else:
                    protocol.answer(connection, answer.code, answer.output, answer.remark.encode())
            except OSError as error:
                log.warning("the caller did not take its answer: %s", error)
            finally:
                if request.netns is not None:
                    os.close(request.netns)

    def _answered(self, request: protocol.Request) -> entry.Answer | None:
        """None when the caller has to do it itself."""
        found = _PLUGINS.get(request.plugin)
        if found is None or request.version != __version__:
            return None
        netns = f"/proc/self/fd/{request.netns}" if request.netns is not None else ""
        return entry.answered(found, request.environ, request.given, self._stores, netns=netns)


def main() -> None:
    title.become("calico-cni-agent", [])
    logs.configure("cni-agent", os.environ.get("CNI_AGENT_LOG_LEVEL", "info"))
    agent = Agent()
    try:
        agent.listen()
    except OSError as error:
        log.critical("cannot listen on %s: %s", protocol.SOCKET, error.strerror)
        sys.exit(1)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: agent.stop())
    log.info("serving CNI calls on %s", protocol.SOCKET)
    agent.serve()
