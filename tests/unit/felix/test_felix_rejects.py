"""What could not be read is counted where Prometheus looks."""

from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from pycalico.datastore import rejects
from pycalico.felix.metrics import rejected_objects


class Rejected(Collector):
    def collect(self):
        yield rejected_objects()


def test_objects_that_cannot_be_read_are_counted_by_kind():
    registry = CollectorRegistry()
    registry.register(Rejected())
    before = rejects.counts().get("RejectedInTest", 0)
    for name in ("a", "b"):
        rejects.report("RejectedInTest", f"{name}: unreadable")
    line = f'pycalico_datastore_rejected_objects{{kind="RejectedInTest"}} {before + 2}.0'
    assert line in generate_latest(registry).decode().splitlines()
