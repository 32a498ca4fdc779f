"""Whatever happens between datastore and calculation, the dataplane ends where a fresh start would.

Updates and deletes come one by one, or are lost and made up for by a fresh list; Felix starts over in between
while the dataplane's state stays as it was.
"""

import msgspec
import test_graph as twin
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pycalico.calc.graph import CalcGraph
from pycalico.calc.settings import CalcSettings
from pycalico.syncer.cache import Cache
from pycalico.syncer.update import Update

_LEFT_OUT = ("ConfigUpdate", "InSync", "ServiceCIDRsUpdate", "ReadyFlag")


class Calculation(RuleBasedStateMachine):
    @initialize()
    def begin(self):
        self.store = {}
        self.revision = 0
        self.start_over()

    @rule()
    def start_over(self):
        """A new process knows nothing and lists everything."""
        self.graph = CalcGraph(CalcSettings(hostname="here"))
        self.caches = {}
        self.dataplane = twin.Dataplane()
        self.list_again()
        self.graph.set_in_sync()

    @rule(update=twin.an_update())
    def told(self, update):
        self._store(update)
        cache = self.caches.setdefault(update.key.kind, Cache())
        value = self.store.get(update.key)
        for found in cache.put(value) if value is not None else cache.remove(update.key):
            self.graph.update(found)

    @rule(updates=st.lists(twin.an_update(), min_size=1, max_size=4))
    def lost(self, updates):
        """The datastore changes and the watch does not tell; a list makes up for it before anything else."""
        for update in updates:
            self._store(update)
        self.list_again()

    @rule()
    def list_again(self):
        kinds = {key.kind for key in self.store} | set(self.caches)
        for kind in sorted(kinds):
            cache = self.caches.setdefault(kind, Cache())
            for found in cache.replace([value for key, value in self.store.items() if key.kind == kind]):
                self.graph.update(found)

    @rule()
    def flush(self):
        self.dataplane.apply(self.graph.flush())

    def _store(self, update):
        if update.value is None:
            self.store.pop(update.key, None)
            return
        self.revision += 1
        self.store[update.key] = msgspec.convert(
            msgspec.to_builtins(update.value), type(update.value), strict=False
        )
        self.store[update.key].metadata.resource_version = str(self.revision)

    @invariant()
    def as_if_at_once(self):
        if not hasattr(self, "dataplane"):
            return
        self.flush()
        at_once = twin.run([Update(key, value) for key, value in self.store.items()], set())
        assert _told(self.dataplane.state) == _told(at_once)


def _told(state):
    return {key: value for key, value in state.items() if key not in _LEFT_OUT}


TestCalculation = Calculation.TestCase
TestCalculation.settings = settings(max_examples=60, stateful_step_count=15, deadline=None)
