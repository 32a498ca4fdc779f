"""What a service does not need it does not load: memory counts six times on every node."""

import subprocess
import sys

import pytest

HEAVY = (
    "pyroute2",
    "jinja2",
    "typer",
    "rich",
    "starlette",
    "uvicorn",
    "cryptography",
    "prometheus_client",
    "asyncio",
)


@pytest.mark.parametrize(
    ("module", "also"),
    [
        ("pycalico.node.main", ("urllib3", "ssl")),
        ("pycalico.node.waiting", ("urllib3", "ssl", "msgspec", "logging", "json", "pathlib")),
        ("pycalico.node.health", ("urllib3",)),
        ("pycalico.confd.main", ()),
        ("pycalico.node.monitor", ()),
        ("pycalico.node.tunnels", ()),
        ("pycalico.node.reporter", ()),
        ("pycalico.node.token", ()),
    ],
)
def test_imports(module, also):
    code = f"import {module}, sys; print(*sorted(m for m in {(*HEAVY, *also)!r} if m in sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
