import pytest

from pycalico.node import flags, main


def test_forms_of_flags():
    found = flags.parse(
        ["-confd", "--confd-run-once=true", "-confd-confdir=/x", "-threshold-time", "1m30s", "-felix=false"]
    )
    assert found.switches == {"confd", "confd-run-once"}
    assert found.texts["confd-confdir"] == "/x"
    assert found.threshold_s == 90


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


def test_every_action_is_a_flag():
    assert set(main.ACTIONS) <= {flag.name for flag in flags.FLAGS}
