"""A real etcd of the test's own, which can be stopped, started again and compacted."""

import contextlib
import os
import socket
import subprocess
import time

from pycalico.datastore.config import DatastoreConfig
from pycalico.datastore.errors import RevisionExpired, Unavailable
from pycalico.datastore.etcd.client import EtcdClient


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class EtcdProcess:
    """``enter`` prefixes the command (``ip netns exec NAME``); ``address`` is where clients find it."""

    def __init__(self, folder, *, address="127.0.0.1", enter=(), port=0):
        self.folder = folder
        self.port = port or free_port()
        self.url = f"http://{address}:{self.port}"
        self._peer = f"http://127.0.0.1:{free_port()}"
        self._enter = list(enter)
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [*self._enter, "etcd", "--data-dir", self.folder, "--unsafe-no-fsync",
             "--listen-client-urls", self.url, "--advertise-client-urls", self.url,
             "--listen-peer-urls", self._peer, "--initial-advertise-peer-urls", self._peer,
             "--initial-cluster", f"default={self._peer}", "--log-level", "error"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def environ(self):
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("KUBE", "CALICO", "ETCD"))
        }
        return kept | {"DATASTORE_TYPE": "etcdv3", "ETCD_ENDPOINTS": self.url}

    def wait(self, enter=()):
        """Until it answers; ``enter`` prefixes the command that asks, where this process cannot."""
        deadline = time.monotonic() + 20
        if enter:
            while subprocess.run(
                [*enter, "etcdctl", "--endpoints", self.url, "get", "x"], capture_output=True
            ).returncode:
                assert time.monotonic() < deadline, "etcd did not start"
            return self
        client = self.client()
        while True:
            try:
                client.gateway.range("/x")
                client.close()
                return self
            except Unavailable:
                assert self.process.poll() is None, "etcd ended"
                assert time.monotonic() < deadline, "etcd did not start"
                time.sleep(0.05)

    def client(self):
        return EtcdClient(DatastoreConfig(datastore_type="etcdv3", etcd_endpoints=self.url))

    def compact(self):
        """Forgets all history; returns the revision."""
        client = self.client()
        revision = client.gateway.range("/x").header.revision
        # Nothing written since the last time is nothing to forget.
        with contextlib.suppress(RevisionExpired):
            client.gateway.call("/v3/kv/compaction", {"revision": revision, "physical": True}, dict)
        client.close()
        return revision

    def kill(self):
        """As a power cut would."""
        self.process.kill()
        self.process.wait(10)

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)
