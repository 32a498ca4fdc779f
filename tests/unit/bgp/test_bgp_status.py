import pytest

from pycalico.bgp import confdstatus, diagnosis
from pycalico.bgp.confdstatus import ConfdStatus, FamilyStatus

STATUS = ConfdStatus(
    node="n1",
    in_sync=True,
    renders=3,
    render_ms=1.5,
    problems=["BGPPeer x: left out"],
    families={4: FamilyStatus("b", "a", "a", refused="syntax error", reloads=2), 6: FamilyStatus("c", "c", "", pending="no BIRD")},
)  # fmt: skip


def test_what_is_wrong_comes_first():
    assert confdstatus.lines(STATUS) == [
        "IPv4: BIRD refuses the new configuration, the old one stays: syntax error",
        "IPv6: BIRD does not run the written configuration yet: no BIRD",
        "BGPPeer x: left out",
    ]


def test_it_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "run" / "confd.json"
    confdstatus.write(STATUS, path)
    assert confdstatus.read(path) == STATUS
    path.write_text("{")
    with pytest.raises(ValueError, match="truncated"):
        confdstatus.read(path)


def test_metrics_in_the_text_format():
    text = confdstatus.metrics(STATUS)
    assert "# TYPE confd_reloads_total counter\n" in text
    for line in (
        "confd_in_sync 1", "confd_renders_total 3", "confd_render_milliseconds 1.5", "confd_problems 1", "confd_failing 0",
        'confd_reloads_total{family="IPv4"} 2', 'confd_config_refused{family="IPv4"} 1',
        'confd_config_refused{family="IPv6"} 0', 'confd_reload_pending{family="IPv6"} 1',
    ):  # fmt: skip
        assert line in text.splitlines()


@pytest.mark.parametrize(
    ("state", "error", "words"),
    [
        ("Active", "Socket: Connection refused", "nothing listens"),
        ("Idle", "Received: Bad peer AS", "AS number"),
        ("Active", "Socket: Cannot assign requested address", "10.0.0.1 is on no interface"),
        ("Connect", "", "passwords differ"),
        ("Passive", "", "up to 10.0.0.2 to connect"),
        ("Active", "Hold timer expired", "hold time"),
    ],
)
def test_likely_causes(state, error, words):
    assert words in diagnosis.likely_cause(state, error, "10.0.0.2", "10.0.0.1")


def test_what_is_not_known_is_not_guessed():
    assert diagnosis.likely_cause("Strange", "Something else", "a", "b") == ""
