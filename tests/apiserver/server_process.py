"""A server process of the tests' own, and how to talk to it."""

import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import time
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path

KUBECTL = os.environ.get("KUBECTL") or shutil.which("kubectl")  # another version may be tried by name


class Server:
    """A real server process on a free port, with clients at hand."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        self.kubeconfig = directory / "kubeconfig"
        self.options = options
        self.process = None
        self.port = 0

    def start(self) -> None:
        self.kubeconfig.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pycalico", "apiserver", "--data", str(self.directory / "data"),
             "--kubeconfig", str(self.kubeconfig), "--port", str(self.port), *self.options],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        deadline = time.monotonic() + 20
        while not self.kubeconfig.exists():
            assert self.process.poll() is None, self.process.communicate()[0]
            assert time.monotonic() < deadline, "the server did not write its kubeconfig"
            time.sleep(0.01)
        text = self.kubeconfig.read_text()
        self.port = int(re.search(r"server: https?://[\d.]+:(\d+)", text)[1])
        self.token = re.search(r"token: (\S+)", text)[1]
        self.tls = "https://" in text

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process is None or self.process.poll() is not None:
            return 0
        self.process.send_signal(number)
        code = self.process.wait(10)
        self.output = self.process.stdout.read()
        return code

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.directory / "data/pki/ca.crt")

    def connect(self, timeout=10.0):
        if not self.tls:
            return HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        return HTTPSConnection("127.0.0.1", self.port, timeout=timeout, context=self.context())

    def call(
        self, method, path, body=None, *, content_type="application/json", headers=None, connection=None
    ):
        """(status, object) of one request."""
        connection = connection or self.connect()
        head = {"Authorization": f"Bearer {self.token}", "Accept": "application/json", **(headers or {})}
        data = None
        if body is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            head["Content-Type"] = content_type
        connection.request(method, path, data, head)
        response = connection.getresponse()
        text = response.read()
        return response.status, json.loads(text) if text[:1] in (b"{", b"[") else text.decode()

    def watch(self, path, timeout=10.0):
        """An iterator over the events of a watch."""
        connection = self.connect(timeout)
        connection.request("GET", path, headers={"Authorization": f"Bearer {self.token}"})
        response = connection.getresponse()
        assert response.status == 200, response.read()
        while line := response.readline():
            yield json.loads(line)

    def kubectl(self, *args, stdin=None, check=True, timeout=60):
        assert KUBECTL, "kubectl is missing: install kubernetes-client"
        env = {**os.environ, "KUBECONFIG": str(self.kubeconfig), "HOME": str(self.directory)}
        done = subprocess.run(
            [KUBECTL, *args], input=stdin, capture_output=True, text=True, env=env, timeout=timeout
        )
        if check:
            assert done.returncode == 0, f"kubectl {' '.join(args)}: {done.stdout}{done.stderr}"
        return done
