"""What another reader of etcd finds: upstream's order of maps and form of numbers."""

import pytest

from pycalico.api.kinds import KINDS
from pycalico.api.manifests import ManifestError, resources_of
from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.networkpolicy import GlobalNetworkPolicy, GlobalNetworkPolicySpec
from pycalico.datastore.config import DatastoreConfig
from pycalico.datastore.errors import Invalid
from pycalico.datastore.etcd.gateway import Gateway
from pycalico.datastore.etcd.stores import Store


@pytest.mark.parametrize(("order", "written"), [(10.0, b"10"), (0.0, b"0"), (-3.0, b"-3"), (10.5, b"10.5")])
def test_a_whole_order_is_written_without_a_fraction(order, written):
    policy = GlobalNetworkPolicy(
        metadata=ObjectMeta(name="p", resource_version="7"), spec=GlobalNetworkPolicySpec(order=order)
    )
    store = Store(KINDS["GlobalNetworkPolicy"], GlobalNetworkPolicy)
    value = store.encode(policy)
    assert b'"order":' + written + b"," in value or b'"order":' + written + b"}" in value
    assert b"resourceVersion" not in value
    assert isinstance(policy.spec.order, float)
    assert policy.metadata.resource_version == "7"
    assert store.decode("k", value).spec.order == order


def test_labels_are_written_in_the_order_of_their_keys():
    meta = ObjectMeta(name="p", labels={"rack": "1", "a": "2"})
    value = Store(KINDS["GlobalNetworkPolicy"], GlobalNetworkPolicy).encode(
        GlobalNetworkPolicy(metadata=meta)
    )
    assert b'"labels":{"a":"2","rack":"1"}' in value
    assert value.startswith(b'{"kind":"GlobalNetworkPolicy","apiVersion":')


def test_a_list_takes_no_items_of_another_kind():
    api = "projectcalico.org/v3"
    item = {"apiVersion": api, "kind": "Node", "metadata": {"name": "l1"}}
    with pytest.raises(ManifestError, match="Node in a list of kind IPPoolList"):
        resources_of({"apiVersion": api, "kind": "IPPoolList", "items": [item]})


@pytest.mark.parametrize("given", [{"etcd_cert_file": "c"}, {"etcd_key_file": "k"}])
def test_a_certificate_needs_its_key(given):
    config = DatastoreConfig(datastore_type="etcdv3", etcd_endpoints="http://127.0.0.1:1", **given)
    with pytest.raises(Invalid, match="KeyFile and CertFile must both be present"):
        Gateway(config)
