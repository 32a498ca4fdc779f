"""A real API server of the tests' own, which can be killed and started again."""

import contextlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from pycalico.datastore.kubernetes.crds import crds
from pycalico.datastore.kubernetes.rest import path_of
from pycalico.datastore.open import open_client


class ApiProcess:
    """``enter`` prefixes the command (``ip netns exec NAME``)."""

    def __init__(self, folder, *options, host="127.0.0.1", enter=()):
        self.kubeconfig = folder / "kubeconfig"
        self._port = 0
        self._command = [
            *enter, Path(sys.executable).with_name("pycalico"), "apiserver", "--data", folder / "data",
            "--host", host, "--kubeconfig", self.kubeconfig, *options,
        ]  # fmt: skip
        self.start()

    def start(self):
        self.kubeconfig.unlink(missing_ok=True)
        self.process = subprocess.Popen([*map(str, self._command), "--port", str(self._port)])
        deadline = time.monotonic() + 15
        while not self.kubeconfig.exists():
            assert self.process.poll() is None, "the API server ended"
            assert time.monotonic() < deadline, "the API server did not start"
            time.sleep(0.02)
        self._port = int(re.search(r"server: \S+:(\d+)", self.kubeconfig.read_text())[1])

    def environ(self):
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("KUBE", "CALICO", "ETCD"))
        }
        return kept | {"DATASTORE_TYPE": "kubernetes", "KUBECONFIG": str(self.kubeconfig)}

    def client(self):
        return open_client(environ=self.environ())

    def define(self):
        """Applies the CRDs."""
        client = self.client()
        for crd in crds():
            client.rest.create(path_of("apiextensions.k8s.io/v1", "customresourcedefinitions"), crd, dict)
        client.close()

    def kill(self):
        """As a power cut would."""
        self.process.kill()
        self.process.wait(10)

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
            assert self.process.wait(10) == 0


@contextlib.contextmanager
def api_process(folder, *options, **more):
    """An API server for as long as the block."""
    process = ApiProcess(folder, *options, **more)
    try:
        yield process
    finally:
        process.close()
