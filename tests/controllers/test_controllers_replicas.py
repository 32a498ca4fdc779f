"""Two replicas: one leads. What happens when it is killed, stopped, or asked to end."""

import signal
import time

from controllers_etcd import ROOT
from controllers_lab import until

from pycalico.datastore.kubernetes.rest import path_of

LEASE = path_of("coordination.k8s.io/v1", "leases", "kube-system", "calico-kube-controllers")


def leader(*replicas):
    return next(
        (each for each in replicas if "Leading, as" in each.text() and each.process.poll() is None), None
    )


def holder(kubernetes):
    return kubernetes.get(LEASE)["spec"]["holderIdentity"]


def profiles(etcd):
    return {key.rsplit("/")[-1] for key in etcd.revisions(ROOT + "profiles/")}


def test_a_killed_leader_is_followed_within_15_s_and_one_that_ends_at_once(etcd, kubernetes, run):
    pair = [run(LEADER_ELECTION="true"), run(LEADER_ELECTION="true")]
    first = until(lambda: leader(*pair))
    second = next(each for each in pair if each is not first)
    until(lambda: "kns.default" in profiles(etcd))
    second.says("leads")
    # The one that waits is healthy, and writes nothing.
    until(lambda: second.status().get("KubeAPIServer", {}).get("Ready"))
    assert "Created" not in second.text()
    written = etcd.revisions()
    began = time.monotonic()
    first.kill()
    kubernetes.create("Namespace", "after")
    until(lambda: "kns.after" in profiles(etcd), 15)
    assert time.monotonic() - began < 15
    # Nothing that was right was written again; the configuration's status alike.
    assert {key: etcd.revisions()[key] for key in written} == written
    # A leader that ends gives the lease back.
    third = run(LEADER_ELECTION="true")
    third.says("leads")
    began = time.monotonic()
    assert second.end() == 0
    kubernetes.create("Namespace", "later")
    until(lambda: "kns.later" in profiles(etcd), 5)
    assert {key: etcd.revisions()[key] for key in written} == written


def test_a_stopped_leader_that_wakes_up_writes_nothing_and_ends(etcd, kubernetes, run):
    first = run(LEADER_ELECTION="true")
    until(lambda: leader(first) and "kns.default" in profiles(etcd))
    second = run(LEADER_ELECTION="true")
    second.says("leads")
    first.signal(signal.SIGSTOP)
    began = time.monotonic()
    # While it is stopped the world goes on: what it would write is waiting for it.
    for number in range(20):
        kubernetes.create("Namespace", f"ns{number}")
    until(lambda: "kns.ns19" in profiles(etcd), 15)
    assert time.monotonic() - began < 15
    until(lambda: all(f"ksa.ns{number}.default" in profiles(etcd) for number in range(20)))
    kubernetes.patch("Namespace", "ns0", metadata={"labels": {"by": "second"}})
    until(lambda: etcd.dump()[ROOT + "profiles/kns.ns0"]["spec"]["labelsToApply"].get("pcns.by"))
    written = etcd.revisions()
    said = len(first.text())
    first.signal(signal.SIGCONT)
    assert first.process.wait(10) == 0
    assert "another replica leads now; ending" in first.text()[said:]
    assert not [line for line in first.text()[said:].splitlines() if "Created" in line or "Updated" in line]
    assert etcd.revisions() == written
    # Each object of the whole test was written as often as it changed, by whomever.
    assert written[ROOT + "profiles/kns.ns0"][0] == "2"
    assert {
        version for key, (version, _) in written.items() if "profiles/" in key and "kns.ns0" not in key
    } == {"1"}


def test_without_a_right_to_leases_it_runs_alone():
    """As under upstream's ClusterRole."""
    from pycalico.controllers.election import Election
    from pycalico.datastore.errors import Unauthorized

    class Refusing:
        def get(self, *_, **__):
            raise Unauthorized("leases is forbidden", forbidden=True)

    election = Election(Refusing(), "kube-system", lambda: None)
    election.start()
    assert election.wait(5)
    assert election.may_write()
    election.stop()


def test_a_leader_without_its_api_server_stops_writing_in_time_and_goes_on_afterwards(
    etcd, kubernetes, run, shared_server
):
    replica = run(LEADER_ELECTION="true", RECONCILER_PERIOD="1s")
    until(lambda: leader(replica) and "kns.default" in profiles(etcd))
    shared_server.stop()
    replica.says("election:")
    # By now its lease may be another's: drift is seen, but not repaired.
    time.sleep(8)
    etcd.client().gateway.delete_if(ROOT + "profiles/kns.default", "")
    replica.says("not known to lead any more, nothing is written")
    assert "kns.default" not in profiles(etcd)
    shared_server.start()
    until(lambda: "kns.default" in profiles(etcd), 40)
    assert replica.process.poll() is None
    assert holder(kubernetes)
