import threading
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.ippool import IPPool, IPPoolSpec
from pycalico.api.v3.networkset import GlobalNetworkSet
from pycalico.datastore.errors import NotFound, RevisionExpired, Unavailable
from pycalico.datastore.memory import MemoryClient
from pycalico.syncer import feeds
from pycalico.syncer.cache import Cache
from pycalico.syncer.merge import Merger
from pycalico.syncer.syncer import Syncer, WatchSpec
from pycalico.syncer.update import SyncStatus


def pool(name, cidr="10.0.0.0/16"):
    return IPPool(metadata=ObjectMeta(name=name), spec=IPPoolSpec(cidr=cidr))


class Consumer:
    """Applies batches to a picture and checks that no update repeats what it knew."""

    def __init__(self, client, *kinds):
        self.picture = {}
        self.syncer = Syncer(client, [WatchSpec(kind) for kind in kinds])
        self.syncer.start()

    def take(self, timeout_s=0.5):
        batch = self.syncer.take(timeout_s)
        for update in batch.updates:
            revision = update.value.metadata.resource_version if update.value else None
            assert self.picture.get(update.key) != revision, "an update that changes nothing"
            if update.value is None:
                del self.picture[update.key]
            else:
                self.picture[update.key] = revision
        return batch

    def until(self, condition, seconds=10):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.picture
            self.take(0.05)


def revisions(client, *kinds):
    return {
        item.key: item.metadata.resource_version
        for kind in kinds
        for item in MemoryClient.list(client, kind).items
    }


def test_in_sync_comes_once_after_all_that_existed():
    client = MemoryClient()
    for number in range(5):
        client.create(pool(f"p{number}"))
    consumer = Consumer(client, IPPool, GlobalNetworkSet)
    consumer.until(lambda: consumer.syncer.in_sync)
    assert len(consumer.picture) == 5
    client.create(pool("later"))
    batch = consumer.take(5)
    assert [update.key.name for update in batch.updates] == ["later"]
    assert batch.status is SyncStatus.IN_SYNC
    consumer.syncer.stop()


def test_slow_consumer_sees_only_the_newest_state():
    client = MemoryClient()
    consumer = Consumer(client, IPPool)
    consumer.until(lambda: consumer.syncer.in_sync)
    made = client.create(pool("p"))
    for number in range(200):
        made.spec.cidr = f"10.{number}.0.0/16"
        made = client.update(made)
    consumer.until(lambda: consumer.picture == revisions(client, IPPool))
    consumer.syncer.stop()


def test_stop_wakes_a_waiting_take():
    syncer = Syncer(MemoryClient(), [WatchSpec(IPPool)])
    syncer.start()
    syncer.take(2)
    threading.Timer(0.1, syncer.stop).start()
    start = time.monotonic()
    syncer.take(None)
    assert time.monotonic() - start < 2


class Faulty(MemoryClient):
    """A real datastore whose server restarts, refuses and forgets."""

    fail_lists = 0
    away = False

    def watch(self, *args, **kwargs):
        if self.away:
            raise Unavailable("connection refused")
        return super().watch(*args, **kwargs)

    def list(self, *args, **kwargs):
        if self.fail_lists:
            self.fail_lists -= 1
            raise Unavailable("connection refused")
        return super().list(*args, **kwargs)

    def break_watches(self, compact):
        with self._lock:
            if compact:
                self.compact()
            for watch in list(self._watches):
                watch.close()


def test_deletes_missed_while_away_are_emitted(monkeypatch):
    monkeypatch.setattr(feeds, "_BETWEEN_LISTS_S", 0.01)
    monkeypatch.setattr(feeds, "_FIRST_DELAY_S", 0.01)
    client = Faulty()
    client.create(pool("a"))
    consumer = Consumer(client, IPPool)
    consumer.until(lambda: consumer.syncer.in_sync)
    with client._lock:
        client.delete(IPPool, "a")
        client.fail_lists = 2
        client.break_watches(compact=True)
    client.create(pool("b"))
    consumer.until(lambda: consumer.picture == revisions(client, IPPool))
    consumer.syncer.stop()


step = st.one_of(
    st.tuples(st.just("put"), st.integers(0, 4)),
    st.tuples(st.just("delete"), st.integers(0, 4)),
    st.tuples(st.just("break"), st.booleans()),
    st.tuples(st.just("fail"), st.integers(1, 2)),
    st.tuples(st.just("take"), st.just(0)),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(step, max_size=25))
def test_consumer_ends_with_a_fresh_lists_state(steps):
    saved = feeds._BETWEEN_LISTS_S, feeds._FIRST_DELAY_S, feeds._MOST_DELAY_S
    feeds._BETWEEN_LISTS_S, feeds._FIRST_DELAY_S, feeds._MOST_DELAY_S = 0.001, 0.001, 0.002
    client = Faulty()
    consumer = Consumer(client, IPPool)
    try:
        for action, argument in steps:
            if action == "put":
                try:
                    current = client.get(IPPool, f"p{argument}")
                    current.spec.nat_outgoing = not current.spec.nat_outgoing
                    client.update(current)
                except NotFound:
                    client.create(pool(f"p{argument}"))
            elif action == "delete" and f"p{argument}" in {key.name for key in revisions_of(client)}:
                client.delete(IPPool, f"p{argument}")
            elif action == "break":
                client.break_watches(compact=argument)
            elif action == "fail":
                client.fail_lists = argument
            elif action == "take":
                consumer.take(0.01)
        client.fail_lists = 0
        consumer.until(lambda: consumer.syncer.in_sync and consumer.picture == revisions(client, IPPool))
    finally:
        consumer.syncer.stop()
        feeds._BETWEEN_LISTS_S, feeds._FIRST_DELAY_S, feeds._MOST_DELAY_S = saved


def revisions_of(client):
    with client._lock:
        return dict(client._objects)


def test_expired_revision_is_relisted():
    client = MemoryClient()
    client.create(pool("a"))
    client.compact()
    try:
        client.watch(IPPool, revision="1")
    except RevisionExpired:
        return
    raise AssertionError("a compacted revision was accepted")


def test_being_cut_off_is_told(monkeypatch):
    monkeypatch.setattr(feeds, "_FIRST_DELAY_S", 0.01)
    monkeypatch.setattr(feeds, "_MOST_DELAY_S", 0.02)
    monkeypatch.setattr(feeds, "_BETWEEN_LISTS_S", 0.01)
    client = Faulty()
    consumer = Consumer(client, IPPool)
    consumer.until(lambda: consumer.syncer.in_sync)
    assert consumer.syncer.cut_off_s() == 0
    client.away = True
    client.break_watches(compact=False)
    consumer.until(lambda: consumer.syncer.cut_off_s() > 0.1)
    client.away = False
    consumer.until(lambda: consumer.syncer.cut_off_s() == 0)
    consumer.syncer.stop()


#: (put or delete, which key, which revision): a log of one kind's events, in order.
changes = st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=30)


def check_any_delivery(events, picks, cuts):
    """Events of a real history, duplicated and told again from an earlier point, and lists in between."""
    cache, merger = Cache(), Merger(1)
    picture, history, present = {}, [], {}
    for number, (is_put, name) in enumerate(events, 1):
        one = pool(f"p{name}")
        one.metadata.resource_version = str(number)
        present = (
            {**present, one.key: str(number)}
            if is_put
            else {k: v for k, v in present.items() if k != one.key}
        )
        history.append((is_put, one, present))
    told = 0
    for pick, is_list in zip(picks, cuts, strict=False):
        if not history:
            break
        upto = told + pick % 4
        if is_list:
            told = min(upto, len(history))
            state = history[told - 1][2] if told else {}
            items = [at(key, revision) for key, revision in state.items()]
            merger.put(list(cache.replace(items)))
        else:
            for is_put, one, _ in history[told : upto + 1]:
                for _ in range(1 + pick % 2):
                    merger.put(list(cache.put(one) if is_put else cache.remove(one.key)))
            told = min(max(told, upto + 1), len(history))
        if pick % 3 == 0:
            take(merger, picture)
    final = [at(key, revision) for key, revision in present.items()]
    merger.put(list(cache.replace(final)))
    take(merger, picture)
    assert picture == present


def at(key, revision):
    one = pool(key.name)
    one.metadata.resource_version = revision
    return one


def take(merger, picture):
    for update in merger.take(0)[0]:
        if update.value is None:
            del picture[update.key]
        else:
            assert picture.get(update.key) != update.value.metadata.resource_version
            picture[update.key] = update.value.metadata.resource_version


def any_delivery(examples):
    picks = st.lists(st.integers(0, 11), max_size=40)
    cuts = st.lists(st.booleans(), max_size=40)
    return settings(max_examples=examples, deadline=None)(given(changes, picks, cuts)(check_any_delivery))


def test_scenario_04_events_duplicated_and_coalesced_end_in_the_lists_state():
    any_delivery(300)()
