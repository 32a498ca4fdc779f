"""A private etcd for the recorded calicoctl cases: seeded key by key, read back whole."""

import base64
import http.client
import json
import socket
import subprocess
import time


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Store:
    def __init__(self, folder):
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        peer = f"http://127.0.0.1:{_free_port()}"
        self._log = (folder / "etcd.log").open("wb")
        self._process = subprocess.Popen(
            [
                "etcd", "--data-dir", folder / "data", "--unsafe-no-fsync",
                "--listen-client-urls", self.url, "--advertise-client-urls", self.url,
                "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                "--initial-cluster", f"default={peer}",
            ],
            stdout=self._log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        self._wait()

    def _wait(self):
        deadline = time.monotonic() + 20
        while True:
            try:
                self.contents()
                return
            except OSError:
                self._connection.close()
                assert self._process.poll() is None, "etcd ended"
                assert time.monotonic() < deadline, "etcd did not start"
                time.sleep(0.05)

    def _call(self, path, **body):
        self._connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        text = answer.read()
        assert answer.status == 200, text
        return json.loads(text)

    def clear(self):
        """The revision afterwards."""
        answer = self._call("/v3/kv/deleterange", key="AA==", range_end="AA==")
        return int(answer["header"]["revision"])

    def put(self, key, value):
        self._call(
            "/v3/kv/put",
            key=base64.b64encode(key.encode()).decode(),
            value=base64.b64encode(value.encode()).decode(),
        )

    def contents(self):
        found = self._call("/v3/kv/range", key="AA==", range_end="AA==").get("kvs", [])
        return {
            base64.b64decode(kv["key"]).decode(): base64.b64decode(kv.get("value", "")).decode()
            for kv in found
        }

    def close(self):
        self._connection.close()
        self._process.terminate()
        self._process.wait(10)
        self._log.close()
