import pytest

from pycalico.base import goflags
from pycalico.node import flags, main


def test_forms_of_flags():
    found = goflags.parse(
        flags.FLAGS,
        ["-confd", "--confd-run-once=true", "-confd-confdir=/x", "-threshold-time", "1m30s", "-felix=false"],
    )
    assert found.switches == {"confd", "confd-run-once"}
    assert found.texts["confd-confdir"] == "/x"
    assert main._threshold_s(found) == 90


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-nosuch"], "flag provided but not defined: -nosuch"),
        (["-confd-confdir"], "flag needs an argument: -confd-confdir"),
        (["-confd=maybe"], 'invalid boolean value "maybe" for -confd: parse error'),
        (["-threshold-time=soon"], 'invalid value "soon" for flag -threshold-time: parse error'),
    ],
)
def test_bad_flags(words, message, capsys):
    assert main.run(words) == 1
    assert message in capsys.readouterr().err


def test_outcomes_without_an_action(capsys):
    assert main.run(["-v"]) == 0
    assert capsys.readouterr().out == "v3.28.1\n"
    assert main.run(["-startup", "-confd"]) == 1
    assert capsys.readouterr().out == "More than one incompatible argument provided\n"
    assert main.run([]) == 1
    assert capsys.readouterr().out.startswith("No valid options provided. Usage:\n  -allocate-tunnel-addrs\n")


def test_help_is_asked_for_in_vain(capsys):
    """Upstream's exit code, though nothing is wrong."""
    assert main.run(["-h"]) == 1
    said = capsys.readouterr()
    assert said.out == "flag: help requested\n"
    assert said.err.startswith("Usage of Calico:\n  -allocate-tunnel-addrs\n")


def test_every_action_is_a_flag():
    assert set(main.ACTIONS) <= {flag.name for flag in flags.FLAGS}
