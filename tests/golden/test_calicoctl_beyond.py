"""What calicoctl does beyond upstream's: rehearsals, following changes, completion."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = str(Path(sys.executable).with_name("calicoctl"))
POOL = """apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {{name: {name}}}
spec: {{cidr: {cidr}, natOutgoing: {nat}}}
"""


@pytest.fixture
def env(store):
    store.clear()
    return {**os.environ, "DATASTORE_TYPE": "etcdv3", "ETCD_ENDPOINTS": store.url}


def ctl(env, *argv, stdin=""):
    return subprocess.run([PROGRAM, *argv], input=stdin, env=env, capture_output=True, text=True, timeout=30)


def test_a_rehearsal_shows_the_difference_and_writes_nothing(env, store):
    ctl(env, "create", "-f", "-", stdin=POOL.format(name="p1", cidr="10.1.0.0/16", nat="false"))
    before = store.contents()
    policy = "---\napiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: web}\n"
    text = POOL.format(name="p1", cidr="10.1.0.0/16", nat="true") + policy
    done = ctl(env, "apply", "--dry-run", "-f", "-", stdin=text)
    assert done.returncode == 0, done.stderr
    assert "--- IPPool(p1) stored\n+++ IPPool(p1) applied\n" in done.stdout
    assert "\n+  natOutgoing: true\n" in done.stdout
    assert "+++ GlobalNetworkPolicy(web) applied\n" in done.stdout
    assert done.stdout.endswith("Successfully applied (dry run) 2 resource(s)\n")
    assert store.contents() == before


def test_a_rehearsal_finds_what_would_be_refused(env, store):
    text = POOL.format(name="p1", cidr="10.1.0.0/16", nat="false")
    text += "---\n" + POOL.format(name="p2", cidr="10.1.2.0/24", nat="false")
    done = ctl(env, "create", "--dry-run", "-f", "-", stdin=text)
    assert done.returncode == 1
    assert "IPPool(p2) CIDR overlaps with IPPool(p1) CIDR 10.1.0.0/16" in done.stderr
    assert store.contents() == {}


def test_changes_are_followed_until_it_is_ended(env):
    ctl(env, "create", "-f", "-", stdin=POOL.format(name="p1", cidr="10.1.0.0/16", nat="false"))
    with subprocess.Popen(
        [PROGRAM, "get", "ippool", "-w", "-o", "custom-columns=NAME,DISABLED"],
        env=env, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert [process.stdout.readline().split() for _ in range(2)] == [
            ["NAME", "DISABLED"],
            ["p1", "false"],
        ]
        time.sleep(0.3)  # the watch begins at the list's revision: nothing in between is lost
        assert ctl(env, "patch", "ippool", "p1", "-p", '{"spec": {"disabled": true}}').returncode == 0
        assert process.stdout.readline().split() == ["p1", "true"]
        assert ctl(env, "delete", "ippool", "p1").returncode == 0
        assert process.stdout.readline().split() == ["p1", "true", "(deleted)"]
        process.terminate()


def test_streams_may_be_closed_or_of_another_encoding(env, store):
    manifest = """apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: p1, annotations: {note: "caf\u00e9 \u65e5\u672c"}}
spec: {cidr: 10.1.0.0/16}
"""
    assert ctl(env, "apply", "-f", "-", stdin=manifest).returncode == 0
    latin = {**env, "LC_ALL": "en_US.ISO-8859-1", "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [PROGRAM, "get", "ippool", "p1", "-o", "yaml"], env=latin, capture_output=True, timeout=30
    )
    assert "note: caf\u00e9 \u65e5\u672c\n".encode() in done.stdout
    for redirection, code in (("<&-", 1), (">&-", 0), ("2>&-", 0), (">/dev/full", 1)):
        words = "apply -f -" if redirection == "<&-" else "get ippool"
        done = subprocess.run(
            ["bash", "-c", f"{PROGRAM} {words} {redirection}"],
            env=env,
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert done.returncode == code, redirection
        assert "Traceback" not in done.stderr


def test_following_needs_one_kind(env):
    done = ctl(env, "get", "-w", "-f", "-")
    assert (done.returncode, done.stderr) == (1, "--watch follows one kind, and at most one name\n")
    done = ctl(env, "get", "ippool", "nope", "-w")
    assert done.stderr == "resource does not exist: IPPool(nope) with error: <nil>\n"


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("calicoctl ", {"get", "apply", "ipam", "--context="}),
        ("calicoctl get ippo", {"ippool"}),
        ("calicoctl get ippool -o ", {"yaml", "wide"}),
        ("calicoctl ipam ", {"show", "check"}),
        ("calicoctl ipam show --show-b", {"--show-blocks", "--show-borrowed"}),
        ("calicoctl datastore migrate ", {"export", "import", "lock", "unlock"}),
    ],
)
def test_bash_completes(env, line, offered):
    script = """
    source /dev/stdin
    COMP_WORDS=($1); [[ $1 == *" " ]] && COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _calicoctl; printf '%s\\n' "${COMPREPLY[@]}"
    """
    completion = ctl(env, "completion", "bash").stdout
    done = subprocess.run(
        ["bash", "-c", script, "bash", line], input=completion, capture_output=True, text=True, timeout=10
    )
    assert done.stderr == ""
    assert offered <= set(done.stdout.split())


def test_other_shells_are_served_or_refused_by_name(env):
    assert "bashcompinit" in ctl(env, "completion", "zsh").stdout
    assert "complete -c calicoctl" in ctl(env, "completion", "fish").stdout
    assert ctl(env, "completion", "tcsh").stderr == "no completion for 'tcsh': use bash, zsh or fish\n"
