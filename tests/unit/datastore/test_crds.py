"""The definitions accept what the programs write, all of it, and refuse what has the wrong shape."""

import types
import typing

import msgspec
import pytest
import yaml
from typer.testing import CliRunner

from pycalico.api.kinds import KINDS
from pycalico.api.meta import ObjectMeta
from pycalico.apiserver import schema
from pycalico.datastore import commands
from pycalico.datastore.kubernetes.crds import crds

DEFINITIONS = {definition["spec"]["names"]["kind"]: definition for definition in crds()}


def schema_of(kind):
    return DEFINITIONS[kind]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def full(hint, pick):
    """A value with every field set; ``pick`` chooses among the types of a union."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        inner = [argument for argument in arguments if argument is not type(None)]
        return full(inner[pick % len(inner)], pick)
    if origin is list:
        return [full(arguments[0], pick)]
    if origin is dict:
        return {"key": full(arguments[1], pick)}
    if hint is ObjectMeta:
        return ObjectMeta(name="example")
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return hint(
            **{
                field.name: full(field.type, pick)
                for field in msgspec.structs.fields(hint)
                if field.name not in ("kind", "api_version")
            }
        )
    return {str: "text", bool: True, int: 2**53 + 1, float: 1.5}[hint]


def test_there_are_18_kinds_under_the_names_of_upstream():
    assert len(DEFINITIONS) == 18
    names = DEFINITIONS["BGPConfiguration"]["spec"]["names"]
    assert names == {
        "kind": "BGPConfiguration",
        "listKind": "BGPConfigurationList",
        "plural": "bgpconfigurations",
        "singular": "bgpconfiguration",
    }


@pytest.mark.parametrize("pick", [0, 1])
@pytest.mark.parametrize("kind", DEFINITIONS)
def test_an_object_with_every_field_is_accepted_whole(kind, pick):
    value = msgspec.to_builtins(full(KINDS[kind].type, pick))
    assert list(schema.validate(value, schema_of(kind))) == []
    before = msgspec.json.encode(value, order="sorted")
    assert schema.prune(value, schema_of(kind)) == []
    assert msgspec.json.encode(value, order="sorted") == before


@pytest.mark.parametrize("kind", DEFINITIONS)
def test_an_empty_object_is_accepted(kind):
    value = msgspec.to_builtins(KINDS[kind].type(metadata=ObjectMeta(name="example")))
    assert list(schema.validate(value, schema_of(kind))) == []


def test_a_wrong_type_is_refused_and_an_unknown_field_dropped():
    value = {"spec": {"cidr": 7, "surprise": True}}
    (cause,) = schema.validate(value, schema_of("IPPool"))
    assert cause[0] == "spec.cidr"
    assert schema.prune(value, schema_of("IPPool")) == ["spec.surprise"]


def test_a_block_from_before_sequence_numbers_gets_one_and_keeps_its_free_addresses():
    value = {"spec": {"cidr": "10.0.0.0/31", "allocations": [None, 0]}}
    schema.set_defaults(value, schema_of("IPAMBlock"))
    assert value["spec"]["sequenceNumber"] == 0
    assert list(schema.validate(value, schema_of("IPAMBlock"))) == []


def test_the_command_prints_what_kubectl_applies():
    printed = CliRunner().invoke(commands.app, ["crds"])
    assert printed.exit_code == 0
    assert list(yaml.safe_load_all(printed.stdout)) == crds()
