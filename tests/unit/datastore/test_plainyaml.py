"""Whatever it reads, PyYAML reads the same; what it must read, it reads."""

import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pycalico.datastore.kubernetes import plainyaml

KUBECONFIG = """\
# Kubeconfig file for Calico CNI plugin. Installed by calico/node.
apiVersion: v1
kind: Config
clusters:
- name: local
  cluster:
    server: https://[fd00::1]:443
    certificate-authority-data: "LS0tLS1CRUdJTi+/=="
users:
- name: calico
  user:
    token: eyJhbGciOiJSUzI1NiIsImtpZCI6Ij.abc_-x
contexts:
- name: calico-context
  context:
    cluster: local
    user: calico
current-context: calico-context
"""

words = st.one_of(
    st.sampled_from(
        ["a", "b-c", "yes", "No", "null", "~", "true", "True", "false", "1", "1.5", "0x1", "a: b", "a:", "-", "- a", "'x'",
         '"x y"', '"x\\n"', "{}", "[a]", "&a x", "*a", "!t x", "|", ">", "# c", "x # c", "x#c", "https://h:1", "%x", "@x",
         "2024-01-01", "1:30", "a=b", "e3", "é", "", "=", "<<", ".inf", "y", "on", "a,b", "a?b", "a[b]", "a]", "[a"]
    ),
    st.text("abc:-# '\"\n{}[]&*!|>%@,?", max_size=6),
)  # fmt: skip
lines = st.builds(
    lambda indent, dash, key, space, value: " " * indent + dash + key + ":" + space + value,
    st.integers(0, 6), st.sampled_from(["", "", "- "]), words.filter(bool), st.sampled_from([" ", "", "  "]), words,
)  # fmt: skip


def reference(text):
    """What PyYAML says; keys given twice are a fault to kubectl, and PyYAML takes the last."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return "not YAML"


def test_a_kubeconfig_as_calico_writes_it():
    assert plainyaml.read(KUBECONFIG.encode()) == yaml.safe_load(KUBECONFIG)


def test_what_is_not_plain_is_left_to_others():
    for text in (
        "a: b\na: c",
        "a: 'b'",
        "a: {b: c}",
        "a: yes",
        "a: 1",
        "a: |\n  b",
        "a: b\n  c",
        "- a",
        "a:\n- b",
        "é: a",
    ):
        assert plainyaml.read(text.encode()) is None, text


@given(st.lists(lines, max_size=8).map("\n".join))
def test_never_a_second_opinion(text):
    found = plainyaml.read(text.encode())
    if found is not None and found != {}:
        assert found == reference(text)


#: A number for YAML 1.2, which Go programs follow, and PyYAML's 1.1 does not know.
FLOAT = re.compile(r"[0-9]+[eE][0-9]+")


@given(st.from_regex(r"[0-9]{1,4}[0-9a-fxoA-FXO_]{0,6}", fullmatch=True))
def test_a_token_is_read_as_text_or_left_to_others(token):
    found = plainyaml.read(f"token: {token}".encode())
    if found is not None:
        assert found == {"token": token} == yaml.safe_load(f"token: {token}")
        assert not FLOAT.fullmatch(token)


@pytest.mark.parametrize("token", ["61edb5", "6b1f", "0a1", "007c", "6e1b", "9c", "12d", "3ee4"])
def test_tokens_that_begin_with_digits_are_plain(token):
    assert plainyaml.read(f"token: {token}".encode()) == {"token": token}
