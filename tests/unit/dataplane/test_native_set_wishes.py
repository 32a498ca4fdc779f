"""What is wished of nf_tables' sets after any row of changes, and that a change costs the same in a set of any size."""

import time

from hypothesis import given
from hypothesis import strategies as st

from pycalico.dataplane.config import DataplaneConfig
from pycalico.dataplane.managers.native_sets import NativeSetWishes
from pycalico.dataplane.rules.context import RuleContext
from pycalico.dataplane.rules.marks import allocate

CONTEXT = RuleContext(DataplaneConfig(hostname="x"), allocate(0xFFFF0000, wireguard=False), 4, native=True)
MEMBERS = [f"10.0.0.{number}" for number in range(6)]


class Wished:
    """Stands for the reconciler: remembers the members of each set."""

    def __init__(self):
        self.sets = {}

    def want(self, key, value):
        self.sets[key] = value

    def unwant(self, key):
        del self.sets[key]

    def members(self, name):
        (held,) = [held for key, held in self.sets.items() if key.endswith(name)]
        return held.members


some = st.lists(st.sampled_from(MEMBERS), max_size=4)
changes = st.lists(st.tuples(st.sampled_from("ab"), some, some), max_size=12)


@given(changes)
def test_any_row_of_changes(given_changes):
    wished = Wished()
    wishes = NativeSetWishes(CONTEXT, wished)
    model = {"s:a": set(), "s:b": set()}
    for set_id in model:
        wishes.replace(set_id, "hash:net", ())
    wishes.unite("s:u", model)
    for letter, added, removed in given_changes:
        wishes.change(f"s:{letter}", added, removed)
        model[f"s:{letter}"] = model[f"s:{letter}"] - set(removed) | set(added)
    assert wished.members("s-a") == model["s:a"]
    assert wished.members("s-b") == model["s:b"]
    assert wished.members("s-u") == model["s:a"] | model["s:b"]


def test_a_change_costs_the_same_in_a_large_set():
    wishes = NativeSetWishes(CONTEXT, Wished())
    took = {}
    for size in (10, 300_000):
        wishes.replace("s:x", "hash:net", (f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(size)))
        times = []
        for number in range(200):
            began = time.perf_counter()
            wishes.change("s:x", [f"11.0.0.{number}"], [f"11.0.0.{number - 1}"])
            times.append(time.perf_counter() - began)
        took[size] = sorted(times)[100]
    # Copied once, the large set would take a hundred times as long as the small one.
    assert took[300_000] < 10 * took[10], took
