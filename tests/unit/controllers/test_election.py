"""The election's rules, on a lease in memory and clocks of the test's."""

import copy

import pytest

from pycalico.controllers.election import DURATION_S, Election
from pycalico.datastore.errors import Unauthorized, Unavailable
from pycalico.datastore.kubernetes.rest import StatusError


class Leases:
    """One lease with compare-and-swap, as the API server keeps it."""

    def __init__(self):
        self.lease, self.revision, self.down = None, 0, False

    def _check(self):
        if self.down:
            raise Unavailable("down")

    def get(self, path, kind):
        self._check()
        if self.lease is None:
            raise StatusError(404, "NotFound", "not found")
        return copy.deepcopy(self.lease)

    def create(self, path, body, kind):
        self._check()
        if self.lease is not None:
            raise StatusError(409, "AlreadyExists", "there")
        self._store(body)

    def replace(self, path, body, kind):
        self._check()
        if body.metadata.resource_version != str(self.revision):
            raise StatusError(409, "Conflict", "changed")
        self._store(body)

    def _store(self, body):
        self.revision += 1
        self.lease = copy.deepcopy(body)
        self.lease.metadata.resource_version = str(self.revision)


class Replica:
    def __init__(self, leases):
        self.now = 1000.0
        self.election = Election(leases, "kube-system", lambda: None, clock=lambda: self.now)

    def turn(self):
        """One look, as the thread does it; whether it leads."""
        held = self.election._try(self.now)
        if held:
            self.election._renewed_s = self.now
            self.election._leading.set()
        return held


def test_one_leads_and_the_other_takes_over_when_it_is_silent():
    leases = Leases()
    one, two = Replica(leases), Replica(leases)
    assert one.turn()
    assert not two.turn()
    for _ in range(5):
        one.now += 2
        two.now += 2
        assert one.turn()
        assert not two.turn()
    # Silence: not before the duration is over by its own clock, whatever the lease's times say.
    for _ in range(DURATION_S - 1):
        two.now += 1
        assert not two.turn()
    two.now += 1
    assert two.turn()
    assert leases.lease.spec.lease_transitions == 1
    # The old one, woken up, knows it before it asks.
    one.now += DURATION_S
    assert not one.election.may_write()
    assert not one.turn()


def test_who_may_write_is_never_two_whatever_is_paused():
    """Steps of a second in every interleaving of pauses of up to a minute."""
    for pause_at in range(12):
        for pause_s in (3, 7, 8, 9, 15, 60):
            leases = Leases()
            replicas = [Replica(leases), Replica(leases)]
            paused_until = pause_at + pause_s
            for second in range(90):
                for number, replica in enumerate(replicas):
                    replica.now = 1000.0 * (number + 1) + second
                    if number == 0 and pause_at <= second < paused_until:
                        continue
                    replica.turn()
                writers = [each for each in replicas if each.election.may_write()]
                assert len(writers) <= 1, (pause_at, pause_s, second)
            assert writers


def test_a_lost_race_is_no_lead():
    leases = Leases()
    one, two = Replica(leases), Replica(leases)
    assert one.turn()
    two.turn()
    two.now += DURATION_S
    old = leases.get("", None)
    assert two.turn()
    with pytest.raises(StatusError, match="changed"):
        leases.replace("", old, None)
    assert leases.lease.spec.holder_identity == two.election.identity


def test_an_api_server_that_is_away_ends_the_right_to_write_but_not_the_lead():
    leases = Leases()
    one = Replica(leases)
    assert one.turn()
    leases.down = True
    one.now += DURATION_S
    assert not one.election.may_write()
    leases.down = False
    assert one.turn()
    assert one.election.may_write()


def test_a_token_that_has_run_out_makes_nobody_lead():
    leases = Leases()
    one, two = Replica(leases), Replica(leases)
    assert one.turn()
    assert not two.turn()
    for error in (Unauthorized("expired"), Unauthorized("no", forbidden=True)):
        # It has seen that there is an election.
        assert not two.election._lacks_right(error)
        assert not one.election._lacks_right(error)
    new = Replica(leases)
    assert not new.election._lacks_right(Unauthorized("expired"))
    assert new.election._lacks_right(Unauthorized("no", forbidden=True))
