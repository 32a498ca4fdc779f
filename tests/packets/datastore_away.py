"""A node whose datastore is away for a while, under traffic: what is programmed goes on as it was."""

import os
import signal
import threading
import time
from pathlib import Path

from random_policies import PODS
from reference import Packet

_EVERY_S = 0.01
#: Until readiness tells, and until the node is as before; scenario 1's figures.
_TOLD_S, _BACK_S, _CPU_SHARE = 30.0, 5.0, 0.02
_ADDRESS = {place.name: place.ipv4[0] for place in PODS}


class Stream:
    """A UDP and a TCP packet every 10 ms, each a connection of its own, from ``allowed`` and ``denied`` to ``target``."""

    def __init__(self, underlay, allowed, denied, target):
        self._underlay = underlay
        self._pairs = {source: [] for source in (allowed, denied)}
        self._target = target
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        self._underlay.collect(0.5)

    def _run(self):
        number = 0
        while not self._stop.is_set():
            due = time.monotonic() + _EVERY_S
            number += 1
            for source, sent in self._pairs.items():
                for protocol in ("udp", "tcp"):
                    port = 20000 + number % 40000
                    packet = Packet(_ADDRESS[source], _ADDRESS[self._target], protocol, port, 80)
                    sent.append((time.monotonic(), self._underlay.send(source, packet)))
            self._underlay.collect(max(0.0, due - time.monotonic()))

    def result(self):
        """How many were sent, which of the allowed did not arrive and which of the denied did (times since the first)."""
        arrived = set(self._underlay.arrived)
        allowed, denied = self._pairs.values()
        first = allowed[0][0]
        return (
            len(allowed),
            [round(when - first, 2) for when, number in allowed if number not in arrived],
            [round(when - first, 2) for when, number in denied if number in arrived],
        )


def cpu_s(pid):
    """Of the process and of all programs that it ran and waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def check(felix, stream, change, away_s, *, silent):
    """``silent``: etcd keeps its connections and says nothing; else it is killed. ``change`` makes one and awaits it."""
    with stream:
        time.sleep(1)
        began, before_s = time.monotonic(), cpu_s(felix.pid)
        felix.etcd.send_signal(signal.SIGSTOP if silent else signal.SIGKILL)
        while felix.ready():
            assert time.monotonic() - began < _TOLD_S, "still ready"
            time.sleep(0.2)
        told_s = time.monotonic() - began
        time.sleep(max(0.0, away_s - told_s))
        share = (cpu_s(felix.pid) - before_s) / (time.monotonic() - began)
        assert not felix.ready()
        if silent:
            felix.etcd.send_signal(signal.SIGCONT)
        else:
            felix.etcd.wait(10)
            felix.start_etcd()
        back = time.monotonic()
        change()
        while not felix.ready():
            assert time.monotonic() - back < _BACK_S, "not ready again"
            time.sleep(0.05)
        back_s = time.monotonic() - back
    sent, lost, opened = stream.result()
    print(
        f"away {away_s:g} s: told after {told_s:.1f} s, CPU {100 * share:.2f} %, back after {back_s:.1f} s, {sent} sent"
    )
    assert sent > 100 * away_s
    assert not lost, f"{len(lost)} of {sent} lost, the first after {lost[0]} s"
    assert not opened, f"{len(opened)} came through, the first after {opened[0]} s"
    assert share < _CPU_SHARE
    assert back_s < _BACK_S
