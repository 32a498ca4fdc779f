"""Threads that meet types for the first time at once; a crash ends the process, so it is one of its own."""

import subprocess
import sys

_PROGRAM = """
import sys, threading
import msgspec
from pycalico.base import shapes

sys.setswitchinterval(1e-6)
for number in range(100):
    inner = msgspec.defstruct(f"Inner{number}", [("a", "list[str]", []), ("b", "dict[str, int]", {})])
    outer = msgspec.defstruct(f"Outer{number}", [("x", inner | None, None), ("y", list[inner], [])])
    barrier = threading.Barrier(6)

    def work(turn):
        barrier.wait()
        text = b'{"x":{"a":["q"]},"y":[{"b":{"z":1}}]}'
        found = shapes.decoder(outer).decode(text) if turn % 2 else shapes.decode(text, outer)
        assert found.y[0].b == {"z": 1}

    threads = [threading.Thread(target=work, args=(turn,)) for turn in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


def test_types_are_learned_one_after_the_other():
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
