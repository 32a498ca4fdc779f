"""What a run of calicoctl may load: starting is most of what a small command takes."""

import json
import os
import subprocess
import sys

#: Everything of ours that ``calicoctl get KIND`` needs of etcd; add to it with a figure beside it.
GET = {
    "pycalico",
    "pycalico.api",
    "pycalico.api.defaults",
    "pycalico.api.kinds",
    "pycalico.api.meta",
    "pycalico.api.names",
    "pycalico.api.v3",
    "pycalico.api.v3.clusterinformation",
    "pycalico.api.v3.ippool",
    "pycalico.api.wire",
    "pycalico.base",
    "pycalico.base.lean",  # 0.1 ms, and saves 4
    "pycalico.base.shapes",
    "pycalico.calicoctl",
    "pycalico.calicoctl.batch",
    "pycalico.calicoctl.commands",
    "pycalico.calicoctl.connection",
    "pycalico.calicoctl.failure",
    "pycalico.calicoctl.get",
    "pycalico.calicoctl.main",
    "pycalico.calicoctl.names",
    "pycalico.calicoctl.operations",
    "pycalico.calicoctl.paths",
    "pycalico.calicoctl.syntax",
    "pycalico.datastore",
    "pycalico.datastore.cleanup",
    "pycalico.datastore.client",
    "pycalico.datastore.config",
    "pycalico.datastore.endpointname",
    "pycalico.datastore.errors",
    "pycalico.datastore.etcd",
    "pycalico.datastore.etcd.answers",  # 0.2 ms, and lists are half again as fast
    "pycalico.datastore.etcd.client",
    "pycalico.datastore.etcd.endpoints",
    "pycalico.datastore.etcd.gateway",
    "pycalico.datastore.http1",
    "pycalico.datastore.etcd.grpc",  # 0.3 ms, as answers
    "pycalico.datastore.etcd.keys",
    "pycalico.datastore.etcd.refusals",
    "pycalico.datastore.etcd.stores",
    "pycalico.datastore.typed",
}
#: What others pull in when nobody looks.
HEAVY = {
    "yaml",
    "http",
    "email",
    "ssl",
    "logging",
    "hashlib",
    "ipaddress",
    "pathlib",
    "subprocess",
    "urllib3",
    "typer",
}
PROGRAM = """
import json, sys
from pycalico.calicoctl import main
sys.stdout = sys.stderr
main.main(sys.argv[1:])
json.dump(sorted(sys.modules), sys.__stdout__)
"""


def loaded_by(*argv):
    env = {**os.environ, "DATASTORE_TYPE": "etcdv3", "ETCD_ENDPOINTS": "http://127.0.0.1:1"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *argv], env=env, capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout))


def test_get_loads_what_it_needs():
    modules = loaded_by("get", "ippool")
    assert {name for name in modules if name.split(".")[0] == "pycalico"} <= GET
    assert not modules & HEAVY


def test_the_program_by_itself_loads_no_datastore():
    modules = loaded_by("--version")
    assert not {name for name in modules if name.startswith("pycalico.datastore")}
    assert not modules & HEAVY


def test_the_package_alone_loads_nothing_of_itself():
    """Every program of a node imports it; what scripts use comes when they ask."""
    program = "import sys; before = set(sys.modules); import pycalico; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["pycalico"]
