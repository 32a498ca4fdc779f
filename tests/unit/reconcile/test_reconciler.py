"""The reconciler against a target in memory that can refuse keys, fail as a whole and be tampered with."""

from hypothesis import given
from hypothesis import strategies as st

from pycalico.reconcile.delta import Delta
from pycalico.reconcile.desired import Desired
from pycalico.reconcile.pipeline import Pipeline, Stage
from pycalico.reconcile.reconciler import Reconciler
from pycalico.reconcile.target import Outcome, TargetError


class Memory:
    def __init__(self, **state):
        self.state = dict(state)
        self.refused = {}
        self.broken = ""
        self.reads = 0
        self.applied = []

    def read(self):
        self.reads += 1
        if self.broken:
            raise TargetError(self.broken)
        return dict(self.state)

    def same(self, want, have):
        return want == have

    def apply(self, puts, deletes):
        if self.broken:
            raise TargetError(self.broken)
        self.applied.append((dict(puts), set(deletes)))
        failures = {key: self.refused[key] for key in (*puts, *deletes) if key in self.refused}
        now = {key: value for key, value in puts.items() if key not in failures}
        self.state.update(now)
        for key in deletes - failures.keys():
            self.state.pop(key, None)
        return Outcome(now, failures)


def test_only_differences_are_written_and_only_once():
    target = Memory(a=1, b=2, stale=3)
    reconciler = Reconciler("t", target)
    reconciler.want("a", 1)
    reconciler.want("b", 5)
    reconciler.want("c", 6)
    assert reconciler.due_s() == 0
    assert reconciler.run(0.0)
    assert target.applied == [({"b": 5, "c": 6}, {"stale"})]
    assert reconciler.in_sync
    assert reconciler.due_s() is None
    assert not reconciler.run(1.0)
    reconciler.want("a", 1)
    assert not reconciler.run(2.0)
    assert target.reads == 1


def test_resync_repairs_what_somebody_changed():
    target = Memory()
    reconciler = Reconciler("t", target)
    reconciler.want("a", 1)
    reconciler.run(0.0)
    target.state.update(a=9, junk=1)
    assert not reconciler.run(1.0)
    reconciler.resync()
    assert reconciler.run(2.0)
    assert target.state == {"a": 1}


def test_deletes_can_wait_for_another_stage():
    target = Memory(old=1)
    reconciler = Reconciler("t", target)
    reconciler.want("a", 1)
    reconciler.run(0.0, deletes=False)
    assert target.state == {"a": 1, "old": 1}
    assert not reconciler.in_sync
    reconciler.run(0.0, puts=False)
    assert target.state == {"a": 1}


def test_a_refused_key_waits_longer_each_time_and_holds_up_no_other():
    target = Memory()
    target.refused["bad"] = "no such device"
    reconciler = Reconciler("t", target, lambda tries: 2.0**tries)
    reconciler.want("bad", 1)
    reconciler.want("good", 1)
    reconciler.run(0.0)
    assert target.state == {"good": 1}
    failure = reconciler.failures["bad"]
    assert (failure.reason, failure.since_s, failure.tries, failure.due_s) == ("no such device", 0.0, 1, 2.0)
    assert reconciler.in_sync
    assert not reconciler.run(1.9)
    reconciler.run(2.0)
    assert (failure := reconciler.failures["bad"]).tries == 2
    assert failure.due_s == 6.0
    assert failure.since_s == 0.0
    reconciler.want("late", 1)
    assert reconciler.due_s() == 0
    reconciler.run(3.0)
    assert target.state == {"good": 1, "late": 1}
    target.refused.clear()
    reconciler.want("bad", 2)
    reconciler.run(3.1)
    assert target.state["bad"] == 2
    assert not reconciler.failures


def test_a_failed_key_that_is_not_wished_any_more_is_forgotten():
    target = Memory()
    target.refused["bad"] = "no"
    reconciler = Reconciler("t", target)
    reconciler.want("bad", 1)
    reconciler.run(0.0)
    reconciler.unwant("bad")
    reconciler.run(0.01)
    assert not reconciler.failures
    assert reconciler.due_s() is None


def test_a_broken_target_is_read_again_after_a_pause():
    target = Memory()
    reconciler = Reconciler("t", target, lambda _: 5.0)
    reconciler.want("a", 1)
    target.broken = "cannot read"
    assert not reconciler.run(0.0)
    assert reconciler.error.reason == "cannot read"
    assert reconciler.due_s() == 5.0
    target.broken = ""
    assert not reconciler.run(4.9)
    assert reconciler.run(5.0)
    assert reconciler.error is None
    assert target.state == {"a": 1}


def test_reads_first_sees_what_others_did_since():
    target = Memory()
    reconciler = Reconciler("t", target, reads_first=True)
    reconciler.want("a", 1)
    reconciler.run(0.0)
    target.state["a"] = 7
    reconciler.want("b", 1)
    reconciler.run(1.0)
    assert target.state == {"a": 1, "b": 1}
    assert target.reads == 2


def test_confirm_makes_work_only_when_it_differs():
    target = Memory()
    reconciler = Reconciler("t", target)
    reconciler.want("a", 1)
    reconciler.run(0.0)
    reconciler.confirm("a", 1)
    assert reconciler.due_s() is None
    target.state.clear()
    reconciler.confirm("a", None)
    assert reconciler.run(1.0)
    assert target.state == {"a": 1}


def test_stages_run_in_order():
    log = []

    class Noted(Memory):
        def __init__(self, label, **state):
            super().__init__(**state)
            self.label = label

        def apply(self, puts, deletes):
            log.append((self.label, sorted(puts), sorted(deletes)))
            return super().apply(puts, deletes)

    sets = Reconciler("sets", Noted("sets", gone=1))
    rules = Reconciler("rules", Noted("rules", gone=1))
    sets.want("s", 1)
    rules.want("r", 1)
    pipeline = Pipeline(
        [Stage("put", [sets], deletes=False), Stage("rules", [rules]), Stage("drop", [sets], puts=False)]
    )
    assert pipeline.run(0.0, may_delete=True)
    assert log == [("sets", ["s"], []), ("rules", ["r"], ["gone"]), ("sets", [], ["gone"])]
    assert pipeline.reconcilers == [sets, rules]


def test_nothing_is_deleted_before_it_may_be():
    target = Memory(old=1)
    pipeline = Pipeline([Stage("all", [Reconciler("t", target)])])
    pipeline.run(0.0, may_delete=False)
    assert target.state == {"old": 1}
    pipeline.run(0.0, may_delete=True)
    assert target.state == {}


def test_claims_are_settled_by_rank_and_heal():
    seen = {}
    desired = Desired(seen.__setitem__, seen.pop)
    desired.put("2 remote", "10.0.0.1", "via tunnel")
    desired.put("1 local", "10.0.0.1", "dev cali1")
    assert seen == {"10.0.0.1": "dev cali1"}
    desired.put("2 remote", "10.0.0.1", "via eth0")
    assert seen == {"10.0.0.1": "dev cali1"}
    desired.remove("1 local", "10.0.0.1")
    assert seen == {"10.0.0.1": "via eth0"}
    desired.replace("2 remote", {"10.0.0.2": "via eth0"})
    assert seen == {"10.0.0.2": "via eth0"}
    desired.replace("2 remote", {})
    desired.remove("2 remote", "10.0.0.2")
    assert seen == {}


STATES = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 3))


@given(start=STATES, wishes=st.lists(STATES, min_size=1, max_size=4), tampered=STATES)
def test_any_state_to_any_state(start, wishes, tampered):
    target = Memory(**start)
    reconciler = Reconciler("t", target)
    for wish in wishes:
        for key in reconciler.delta.wanted.keys() - wish.keys():
            reconciler.unwant(key)
        for key, value in wish.items():
            reconciler.want(key, value)
        reconciler.run(0.0)
        assert target.state == wish
    target.state = dict(tampered)
    reconciler.resync()
    reconciler.run(1.0)
    assert target.state == wishes[-1]
    reconciler.resync()
    assert not reconciler.run(2.0)


@given(actual=STATES, wish=STATES)
def test_pending_is_the_difference(actual, wish):
    delta = Delta(lambda want, have: want == have)
    for key, value in wish.items():
        delta.want(key, value)
    delta.replace_actual(actual)
    puts, deletes = delta.pending()
    assert puts == {key: value for key, value in wish.items() if actual.get(key) != value}
    assert deletes == actual.keys() - wish.keys()
