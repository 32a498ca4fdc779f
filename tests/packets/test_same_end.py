"""However a state came about, the kernel ends as if it had been there from the start."""

import os
import random
import re
import secrets
import signal
import subprocess
import time

import pytest
from felix_world import ETCD, state
from packet_lab import PacketLab, World
from random_policies import PODS
from test_felix import differences

from pycalico.kernel import netns

pytestmark = [pytest.mark.netns, pytest.mark.timeout(200)]

_ROUNDS = 4
_INTERFACES = [place.interface for place in PODS] + ["eth0"]


def _end(lab, wanted=None, timeout_s=15):
    """The kernel's state once it is ``wanted``, or once it stays as it is."""
    end, before, since = time.monotonic() + timeout_s, None, time.monotonic()
    while True:
        lab.felix.supervise()
        now = state(_INTERFACES) | {"nftables": _nftables()}
        if now != before:
            before, since = now, time.monotonic()
        if (now == wanted) if wanted else time.monotonic() - since > 1.5:
            return now
        if time.monotonic() > end:
            return now
        time.sleep(0.1)


def _nftables():
    """Our tables, without counters and in a stable order: each chain's, map's or set's lines joined."""
    found = {}
    for family in ("ip", "ip6"):
        done = subprocess.run(
            ["nft", "-s", "list", "table", family, "calico"], capture_output=True, text=True
        )
        for block in re.split(r"\n\t}\n", done.stdout):
            lines = [line.strip() for line in block.splitlines() if line.strip() not in {"", "}"}]
            title = next((line for line in lines if re.match(r"(chain|set|map) ", line)), "")
            rules = [line for line in lines if line != title and not line.startswith(f"table {family}")]
            if not title.startswith("chain"):
                # A set that once held a net stays one of intervals.
                words = set(re.findall(r"[^\s,={}]+", " ".join(rules))) - {"flags", "interval"}
                rules = sorted(word for word in words if not word.startswith("fe80:"))
            if title:
                found[f"{family} {title}"] = rules
    return dict(sorted(found.items()))


def _lose_events(lab, changes):
    """Felix sleeps, its connections die, the datastore forgets what happened meanwhile."""
    lab.felix.signal(signal.SIGSTOP)
    for change in changes:
        change()
    subprocess.run(["ss", "-K", "dst", "127.0.0.1", "dport", "=", "2379"], capture_output=True)
    revision = subprocess.run(
        ["sh", "-c", "etcdctl endpoint status -w fields | sed -n 's/^\"Revision\" : //p'"],
        env={**os.environ, "ETCDCTL_API": "3", "ETCDCTL_ENDPOINTS": ETCD},
        capture_output=True,
        text=True,
    ).stdout.strip()
    if revision:
        subprocess.run(
            ["etcdctl", "compact", revision],
            env={**os.environ, "ETCDCTL_API": "3", "ETCDCTL_ENDPOINTS": ETCD},
            capture_output=True,
        )
    lab.felix.signal(signal.SIGCONT)


@pytest.mark.parametrize("seed", [7, None], ids=["7", "fresh"])
def test_one_by_one_or_at_once(seed, dataplane, tmp_path):
    seed = secrets.randbelow(1 << 32) if seed is None else seed
    print(f"seed {seed}")
    dice, world = random.Random(seed), World(seed)
    for folder in ("slow", "fast"):
        (tmp_path / folder).mkdir()
    with netns.private():
        lab = PacketLab(tmp_path / "slow", dataplane)
        try:
            lab.start(world.standing())
            for _ in range(_ROUNDS):
                changes = lab.changes(world.resources())
                dice.shuffle(changes)
                while changes:
                    taken, changes = changes[:9], changes[9:]
                    how = dice.choice(("told", "told", "told", "killed", "lost"))
                    if how == "lost":
                        _lose_events(lab, taken)
                        continue
                    for change in taken:
                        change()
                    if how == "killed":
                        lab.felix.signal(signal.SIGKILL)
                        lab.felix.exit_code(5)
                        lab.felix.supervise()
            slow = _end(lab)
            final = list(lab.applied.values())
        finally:
            lab.close()
    with netns.private():
        lab = PacketLab(tmp_path / "fast", dataplane)
        try:
            lab.start([*World(seed).standing(), *final])
            fast = _end(lab, slow)
        finally:
            lab.close()
    assert slow["iptables"]["filter"].get("FORWARD", {}).get("rules") or slow["nftables"]
    assert len(slow["routes"]) >= len(PODS)
    assert not differences(fast, slow), f"seed {seed}\n" + "\n".join(differences(fast, slow)[:100])
