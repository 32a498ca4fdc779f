"""Kubeconfigs that name a program for credentials, against a real API server."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

PROGRAM = str(Path(sys.executable).with_name("calicoctl"))


@pytest.fixture
def login(api_server, definitions, tmp_path):
    """Writes a plugin with ``body`` and a kubeconfig that names it; returns what runs calicoctl with it."""
    given = yaml.safe_load(Path(api_server).read_text())
    token = given["users"][0]["user"]["token"]

    def write(body, **more):
        plugin = tmp_path / "plugin"
        plugin.write_text(f"#!{sys.executable}\nimport json, os, sys, time\nTOKEN = {token!r}\n{body}\n")
        plugin.chmod(0o755)
        named = {"apiVersion": "client.authentication.k8s.io/v1", "command": "./plugin", "args": None, **more}
        config = tmp_path / "kubeconfig"
        config.write_text(yaml.safe_dump({**given, "users": [{"name": "admin", "user": {"exec": named}}]}))

        def run(*arguments):
            environ = {"PATH": os.environ["PATH"], "DATASTORE_TYPE": "kubernetes", "KUBECONFIG": str(config)}
            done = subprocess.run(
                [PROGRAM, *arguments], env=environ, capture_output=True, text=True, timeout=30
            )
            assert token not in done.stdout + done.stderr
            return done

        return run

    return write


TELL = 'json.dump({"kind": "ExecCredential", "status": {"token": TOKEN}}, sys.stdout)'


def test_its_token_opens_the_door(login, tmp_path):
    body = f'open({str(tmp_path / "told")!r}, "w").write(os.environ["KUBERNETES_EXEC_INFO"] + os.environ["WHO"])\n{TELL}'
    run = login(body, env=[{"name": "WHO", "value": "me"}], provideClusterInfo=True)
    assert run("get", "ippool").returncode == 0
    told, end = json.JSONDecoder().raw_decode((tmp_path / "told").read_text())
    assert (tmp_path / "told").read_text()[end:] == "me"
    assert told["spec"]["cluster"]["server"].startswith("https://")
    assert told["spec"]["cluster"]["certificate-authority-data"]
    assert told["spec"]["interactive"] is False


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("sys.exit('you are not logged in\\nlog in first')", "exit code 1: log in first"),
        ("sys.exit(3)", "exit code 3: no word why"),
        ("print('{')", "its answer is no ExecCredential"),
        ("print('{\"status\": {}}')", "its answer holds neither token nor certificate"),
        ('print(\'{"status": {"token": "wrong"}}\')', "nauthorized"),
    ],
)
def test_a_failure_is_one_line(login, body, said):
    done = login(body)("get", "ippool")
    assert done.returncode == 1
    told = done.stdout + done.stderr
    assert said in told
    assert told.count("\n") == 1


def test_a_program_that_is_not_there_is_told_with_its_hint(login):
    done = login(TELL, command="no-such-program", installHint="get it from example.org\n")("get", "ippool")
    assert done.returncode == 1
    assert "no-such-program: no such file or directory; get it from example.org" in done.stdout


def test_an_expired_credential_is_asked_for_again(login, tmp_path):
    count = tmp_path / "count"
    count.write_text("")
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 60))
    body = f'open({str(count)!r}, "a").write("x")\n' + TELL.replace(
        '"token": TOKEN', f'"token": TOKEN, "expirationTimestamp": "{until}"'
    )
    assert login(body)("get", "ippool").returncode == 0
    assert len(count.read_text()) > 1
