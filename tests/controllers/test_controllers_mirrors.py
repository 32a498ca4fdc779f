"""The mirrors against a real etcd and a real API server: drift, bad input, outages, compaction."""

import json

from controllers_etcd import ROOT
from controllers_lab import until

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.kubecontrollersconfiguration import ControllerConfig, KubeControllersConfiguration
from pycalico.api.v3.profile import Profile
from pycalico.controllers.compaction import KEY
from pycalico.controllers.runconfig import default_configuration
from pycalico.datastore.errors import NotFound, RevisionExpired
from pycalico.datastore.etcd.bulk import Bulk, Found, Swap
from pycalico.datastore.kubernetes.rest import path_of

POLICY = ROOT + "networkpolicies/web/knp.default."
PROFILE = ROOT + "profiles/"


def put(etcd, key, value):
    etcd.client().gateway.put_if(key, value if isinstance(value, bytes) else json.dumps(value).encode(), "")


def configure(etcd, **change):
    """Writes the configuration object as an operator would; every field beside ``change`` as it is created."""
    client = etcd.client()
    try:
        found = client.get(KubeControllersConfiguration, "default")
    except NotFound:
        found = client.create(default_configuration())
    found.spec.prometheus_metrics_port = 0
    for name, value in change.items():
        setattr(found.spec, name, value)
    client.update(found)


def test_drift_of_every_kind_is_repaired_within_a_period_and_what_is_not_ours_stays(etcd, kubernetes, run):
    configure(etcd)
    kubernetes.create("Namespace", "web", metadata={"labels": {"a": "b"}})
    kubernetes.create("NetworkPolicy", "one", "web", spec={"podSelector": {}})
    kubernetes.create("NetworkPolicy", "two", "web", spec={"podSelector": {}})
    replica = run(
        RECONCILER_PERIOD="1s", ENABLED_CONTROLLERS="policy,namespace,serviceaccount,workloadendpoint"
    )
    until(lambda: {POLICY + "one", POLICY + "two", PROFILE + "ksa.web.default"} <= set(etcd.dump()))
    replica.says("namespace controller: compared")
    good = etcd.dump(ROOT + "networkpolicies/") | etcd.dump(ROOT + "profiles/")
    gateway = etcd.client().gateway
    changed = dict(good[POLICY + "one"], spec={"selector": "all()"})
    changed["metadata"]["annotations"] = {"kept": "yes"}
    put(etcd, POLICY + "one", changed)
    put(etcd, POLICY + "two", b"not even JSON")
    put(
        etcd,
        POLICY + "nobody-s",
        dict(changed, metadata={"name": "knp.default.nobody-s", "namespace": "web"}),
    )
    gateway.delete_if(PROFILE + "kns.web", "")
    put(etcd, PROFILE + "kns.ghost", {"kind": "Profile", "metadata": {"name": "kns.ghost"}, "spec": {}})
    foreign = {"kind": "Profile", "metadata": {"name": "theirs"}, "spec": {"labelsToApply": {"a": "b"}}}
    put(etcd, PROFILE + "theirs", foreign)
    want = {**good, PROFILE + "theirs": foreign}
    # What somebody noted on a copy is no concern of the mirror.
    want[POLICY + "one"] = {**good[POLICY + "one"], "metadata": changed["metadata"]}

    def state():
        # A value that was broken may be left unread by dump only until it is repaired.
        try:
            return etcd.dump(ROOT + "networkpolicies/") | etcd.dump(ROOT + "profiles/")
        except ValueError:
            return None

    # A period of a second, and the repair itself.
    until(lambda: state() == want, 2.5)


def test_a_policy_that_cannot_be_converted_is_named_has_an_event_and_stops_no_other(etcd, kubernetes, run):
    configure(etcd)
    kubernetes.create("Namespace", "web")
    bad = {"podSelector": {}, "ingress": [{"ports": [{"port": 90, "endPort": 80}]}, {"ports": [{"port": 1}]}]}
    kubernetes.create("NetworkPolicy", "bad", "web", spec=bad)
    kubernetes.create("NetworkPolicy", "good", "web", spec={"podSelector": {}})
    replica = run(ENABLED_CONTROLLERS="policy")
    until(lambda: {POLICY + "good", POLICY + "bad"} <= set(etcd.dump()))
    replica.says("dropping a rule of NetworkPolicy web/bad that cannot be converted: port range 90:80")
    # The rule that makes sense is there.
    assert [r["destination"]["ports"] for r in etcd.dump()[POLICY + "bad"]["spec"]["ingress"]] == [[1]]
    events = until(lambda: kubernetes.get(path_of("v1", "events", "web"))["items"])
    assert [(e["involvedObject"]["name"], e["type"], e["reason"]) for e in events] == [
        ("bad", "Warning", "NotConverted")
    ]
    assert "port range 90:80" in events[0]["message"]
    kubernetes.patch("NetworkPolicy", "good", "web", spec={"podSelector": {"matchLabels": {"a": "b"}}})
    until(lambda: "a == 'b'" in etcd.dump()[POLICY + "good"]["spec"]["selector"], 2)


def test_outages_of_both_servers_are_waited_out_and_told(etcd, kubernetes, run, shared_server):
    configure(etcd)
    kubernetes.create("Namespace", "web")
    replica = run(ENABLED_CONTROLLERS="policy,namespace")
    until(lambda: PROFILE + "kns.web" in etcd.dump())
    until(lambda: replica.status().get("KubeAPIServer", {}).get("Ready"))
    etcd.stop()
    kubernetes.create("NetworkPolicy", "meanwhile", "web", spec={"podSelector": {}})
    until(lambda: not replica.status()["CalicoDatastore"]["Ready"], 30)
    assert "cannot reach etcd" in replica.status()["CalicoDatastore"]["Reason"]
    assert replica.status()["KubeAPIServer"]["Ready"]
    etcd.start()
    until(lambda: POLICY + "meanwhile" in etcd.dump(), 40)
    shared_server.stop()
    shared_server.start()
    kubernetes.create("NetworkPolicy", "again", "web", spec={"podSelector": {}})
    until(lambda: POLICY + "again" in etcd.dump(), 20)
    assert replica.process.poll() is None
    assert replica.end() == 0


def test_a_changed_period_ends_the_process_and_the_status_shows_the_new_one(etcd, kubernetes, run):
    configure(etcd)
    replica = run()
    replica.says("Started")
    shown = etcd.dump(ROOT + "kubecontrollersconfigurations/")
    running = shown.popitem()[1]["status"]["runningConfig"]["controllers"]
    assert set(running) == {"node", "policy", "workloadEndpoint", "serviceAccount", "namespace"}
    found = etcd.client().get(KubeControllersConfiguration, "default")
    found.spec.controllers.policy = ControllerConfig(reconciler_period="90s")
    found.spec.controllers.namespace = None
    etcd.client().update(found)
    assert replica.process.wait(10) == 0
    replica.says("configuration changed; restarting")
    run().says("Started")

    def now():
        status = etcd.dump(ROOT + "kubecontrollersconfigurations/").popitem()[1]["status"]
        return status["runningConfig"]["controllers"]

    until(lambda: now().get("policy") == {"reconcilerPeriod": "1m30s"} and "namespace" not in now())


def test_etcd_is_compacted_together_with_others(etcd, kubernetes, run):
    configure(etcd)
    gateway = etcd.client().gateway
    first = gateway.range("/x").header.revision
    environ = {"COMPACTION_PERIOD": "300ms", "ENABLED_CONTROLLERS": "namespace"}
    replicas = [run(**environ), run(**environ)]
    until(lambda: any("Compacted etcd up to revision" in replica.text() for replica in replicas))
    put(etcd, "/moves", {})
    kv = gateway.range(KEY).kvs[0]
    assert int(kv.version) >= 2

    def expired():
        try:
            gateway.range("/x", revision=first)
        except RevisionExpired:
            return True
        return False

    until(expired)


def test_bulk_writes_all_or_nothing_and_pages_through_everything(etcd):
    bulk = Bulk(etcd.client(), Profile)
    names = [f"p{number:04}" for number in range(1234)]
    for start in range(0, len(names), 100):
        part = names[start : start + 100]
        assert bulk.swap([Swap(found, Profile(metadata=ObjectMeta(name=found.name))) for found in
                           bulk.read([("", name) for name in part])])  # fmt: skip
    assert [found.name for found in bulk.scan()] == names
    stale = bulk.read([("", "p0000"), ("", "p0001"), ("", "new")])
    assert bulk.swap([Swap(stale[0], None)])
    # One of the three has changed since: none is written.
    assert not bulk.swap([Swap(each, Profile(metadata=ObjectMeta(name=each.name))) for each in stale])
    assert bulk.read([("", "new")]) == [Found("", "new")]
