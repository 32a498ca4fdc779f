"""A real etcd of this benchmark's own, in its namespaces."""

import subprocess
import sys
import tempfile
import time
import urllib.request

URL = "http://127.0.0.1:2379"
ENVIRON = {"DATASTORE_TYPE": "etcdv3", "ETCD_ENDPOINTS": URL}


class Etcd:
    """A context manager."""

    def __enter__(self):
        self._scratch = tempfile.TemporaryDirectory(prefix="pycalico-etcd-")
        with open(f"{self._scratch.name}/log", "wb") as log:
            self._process = subprocess.Popen(
                ["etcd", "--data-dir", f"{self._scratch.name}/data"], stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + 20
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                sys.exit("bench: etcd did not start: is the package etcd-server there?")
            time.sleep(0.05)
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait(10)
        self._scratch.cleanup()

    @staticmethod
    def _answers():
        try:
            with urllib.request.urlopen(f"{URL}/health", timeout=1) as answer:
                return answer.status == 200
        except OSError:
            return False
