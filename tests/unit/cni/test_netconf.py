"""The conflist's entry and the call's variables, with the texts of v3.28.1 (observed)."""

import json

import pytest

from pycalico.cni import cniargs, hostlocal, netconf, podwishes, result
from pycalico.cni.errors import CNIError

MISFIT = "failed to load netconf: json: cannot unmarshal "


def config(**options):
    return netconf.parse_config(json.dumps({"name": "net", **options}).encode())


def refusal(**options):
    with pytest.raises(CNIError) as caught:
        config(**options)
    return caught.value.code, str(caught.value)


def test_names_of_options_are_taken_in_any_case_and_null_is_absent():
    found = config(MTU=1300, Policy={"Type": "k8s"}, nodename=None, ipam={"TYPE": "calico-ipam", "x": 1})
    assert (found.mtu, found.policy.type, found.nodename) == (1300, "k8s", "")
    assert found.ipam == {"type": "calico-ipam", "x": 1}


def test_values_that_mean_the_default():
    found = config(cniVersion="", nodename_file="", ipam_lock_file="", endpoint_status_dir="", num_queues=-1)
    assert found == config()
    assert (found.cniVersion, found.num_queues) == ("", 1)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"mtu": "1400"}, "string into Go struct field NetConf.mtu of type int"),
        ({"mtu": 1400.5}, "number 1400.5 into Go struct field NetConf.mtu of type int"),
        ({"mtu": True}, "bool into Go struct field NetConf.mtu of type int"),
        ({"policy": "k8s"}, "string into Go struct field NetConf.policy of type types.Policy"),
        ({"policy": {"type": 1}}, "number into Go struct field Policy.policy.type of type string"),
        (
            {"feature_control": {"floating_ips": "true"}},
            "string into Go struct field FeatureControl.feature_control.floating_ips of type bool",
        ),
        ({"ipam": {"assign_ipv4": True}}, "bool into Go struct field .ipam.assign_ipv4 of type string"),
        ({"ipam": {"ipv4_pools": "p"}}, "string into Go struct field .ipam.ipv4_pools of type []string"),
        ({"ipam": {"ipv4_pools": [1]}}, "number into Go struct field .ipam.ipv4_pools of type string"),
    ],
)
def test_a_value_of_another_type(options, text):
    assert refusal(**options) == (999, MISFIT + text)


@pytest.mark.parametrize(
    ("given", "code", "text"),
    [
        ("null", 7, "missing network name"),
        ('{"name": "-x"}', 7, "invalid characters found in network name"),
        ('{"name": "x\\n"}', 7, "invalid characters found in network name"),
        (
            '{"name": 3}',
            6,
            "error unmarshall network config: json: cannot unmarshal number into Go struct field .name of type string",
        ),
        (
            "[]",
            6,
            (
                "error unmarshall network config: json: cannot unmarshal array into Go value of type "
                'struct { Name string "json:\\"name\\"" }'
            ),
        ),
        (
            '{"name": "x", "cniVersion": 1}',
            6,
            (
                "decoding version from network config: json: cannot unmarshal number into Go struct field "
                ".cniVersion of type string"
            ),
        ),
        (
            "\ufeff{}",
            6,
            "error unmarshall network config: invalid character 'ï' looking for beginning of value",
        ),
    ],
)
def test_what_the_library_looks_at_first(given, code, text):
    with pytest.raises(CNIError) as caught:
        netconf.parse_config(given.encode())
    assert (caught.value.code, str(caught.value)) == (code, text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x", 'ARGS: invalid pair "x"'),
        ("a=b=c", 'ARGS: invalid pair "a=b=c"'),
        ("A=1;", 'ARGS: invalid pair ""'),
        ("IP=x", 'ARGS: error parsing value of pair "IP=x": invalid IP address: x'),
        (
            "IgnoreUnknown=x",
            'ARGS: error parsing value of pair "IgnoreUnknown=x": boolean unmarshal error: invalid input x',
        ),
    ],
)
def test_arguments_that_make_no_sense(text, why):
    with pytest.raises(CNIError) as caught:
        cniargs.parse(text)
    assert (caught.value.code, str(caught.value)) == (999, why)


def test_calico_ipam_ignores_what_it_does_not_know_when_told_to():
    told = {"CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAME=a;FOO=1"}
    cniargs.check_known(told, assigns=True)
    cniargs.check_known({"CNI_ARGS": "K8S_POD_NAME=a"}, assigns=False)
    with pytest.raises(CNIError, match=r'^ARGS: unknown args \["K8S_POD_NAME=a"\]$'):
        cniargs.check_known({"CNI_ARGS": "K8S_POD_NAME=a;IP=10.0.0.1"}, assigns=True)


def test_sanitized_labels_of_mesos():
    labels = [{"key": "a", "value": "b/c"}, {"key": "bad key", "value": "-ü-"}]
    args = {"org.apache.mesos": {"network_info": {"labels": {"labels": labels}}}}
    assert config(args=args).mesos_labels == {"a": "b.c", "bad-key": ""}


@pytest.mark.parametrize(
    ("ipam", "why"),
    [
        (
            {"ranges": "x"},
            "failed to parse host-local IPAM ranges section; was expecting a list, not: x",
        ),
        (
            {"ranges": [{}]},
            "failed to parse host-local IPAM range set; was expecting a list, not: []",
        ),
        (
            {"subnet": "usePodCidrIPv6"},
            "usePodCidrIPv6 found but there is no IPv6 CIDR configured",
        ),
    ],
)
def test_host_local_ranges_that_make_no_sense(ipam, why):
    with pytest.raises(CNIError) as caught:
        hostlocal.filled(ipam, ["10.0.0.0/24"], "n")
    assert str(caught.value) == why


def test_host_local_routes():
    assert hostlocal.routes({"routes": [{"dst": "10.1.2.3/8"}, {"gw": "10.0.0.1"}]}) == ["10.0.0.0/8"]
    with pytest.raises(CNIError, match=r"^invalid CIDR address: 10\.0\.0\.1$"):
        hostlocal.routes({"routes": [{"dst": "10.0.0.1"}]})


def wishes(annotations, namespace=None, **options):
    full = {f"cni.projectcalico.org/{name}": value for name, value in annotations.items()}
    return podwishes.parse(full, namespace or {}, config(ipam={"type": "calico-ipam"}, **options))


def test_an_empty_wish_is_none():
    found = wishes({"ipAddrs": "", "ipAddrsNoIpam": "", "ipv4pools": "", "floatingIPs": ""})
    assert found == podwishes.PodWishes()


def test_addresses_are_taken_as_go_takes_them():
    assert wishes({"ipAddrs": '["::ffff:10.0.0.1", "FD00::0A"]'}).addresses == ["10.0.0.1", "fd00::a"]
    for text in ("fe80::1%eth0", "10.0.0.1/32", "10.0.0.01"):
        with pytest.raises(CNIError, match=r"^invalid IP format: "):
            wishes({"ipAddrs": json.dumps([text])})


def test_pools_are_a_wish_to_calico_ipam_alone():
    found = podwishes.parse(
        {"cni.projectcalico.org/ipv4pools": "nonsense"}, {}, config(ipam={"type": "host-local"})
    )
    assert found.ipv4_pools is None
    with pytest.raises(CNIError, match=r"^json: cannot unmarshal object into Go value of type \[\]string$"):
        wishes({"ipv4pools": "{}"})


def test_name_servers_of_another_ipam_plugin_are_passed_on():
    given = {"dns": {"nameservers": ["10.0.0.53"]}, "routes": [{"dst": "10.0.0.0/8"}]}
    assert result.render("1.0.0", ["10.0.0.1/32"], "cali1", given)["dns"] == given["dns"]
    assert "dns" not in result.render("1.0.0", ["10.0.0.1/32"], "cali1")
