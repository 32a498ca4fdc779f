import pytest

from pycalico.bgp import birdctl

PROTOCOLS = """\
2002-name     proto    table    state  since       info
1002-static1  Static   master   up     06:01:13    
 kernel1  Kernel   master   up     06:01:13    
 Mesh_192_168_10_10 BGP      master   up     08:13:47    Established   
 Mesh_192_168_20_100 BGP      master   start  06:01:15    Active        Socket: Connection refused
 Global_10_0_0_4_port_166 BGP master start 06:01:15 Connect
 Node_10_0_0_5 BGP master up 2024-09-21 Established
 other BGP master up 06:59:50 Established
0000 
""".split("\n")  # noqa: W291, SIM905


def test_peers():
    found = birdctl.parse_peers(PROTOCOLS, 4)
    assert [(p.address, p.type, p.state, p.since, p.info) for p in found] == [
        ("192.168.10.10", "node-to-node mesh", "up", "08:13:47", "Established"),
        ("192.168.20.100", "node-to-node mesh", "start", "06:01:15", "Active Socket: Connection refused"),
        ("10.0.0.4.port.166", "global", "start", "06:01:15", "Connect"),
        ("10.0.0.5", "node specific", "up", "2024-09-21", "Established"),
    ]
    assert [p.established for p in found] == [True, False, False, True]


BIRD_2 = """\
2002-Name       Proto      Table      State  Since         Info
1002-static1    Static     master4    up     13:42:56.848  
 Global_10_0_0_2_port_150 BGP        ---        start  13:42:56.848  Passive       
 Node_10_0_0_3 BGP        ---        up     13:42:56.848  Established   
0000 
""".split("\n")  # noqa: W291, SIM905

ROUTES_2 = """\
1007-Table master4:
 172.16.1.0/24        blackhole [static1 13:42:56.848] * (200)
 172.16.2.0/24        unicast [Mesh_10_0_0_2 13:42:56.848 from 10.0.0.3] * (100/0) [i]
 	via 10.0.0.2 on eth0 weight 1
 	via 10.0.0.9 on eth1 weight 1
 10.0.0.0/24          unicast [direct1 13:42:56.857] * (240)
 	dev lo
0000 
""".split("\n")  # noqa: W291, SIM905, E101


def test_bird_2():
    found = birdctl.parse_peers(BIRD_2, 4)
    assert [(p.name, p.state, p.info) for p in found] == [
        ("Global_10_0_0_2_port_150", "start", "Passive"),
        ("Node_10_0_0_3", "up", "Established"),
    ]
    routes = birdctl.parse_routes(ROUTES_2)
    assert [(r.destination, r.target, r.gateway, r.interface, r.peer) for r in routes] == [
        ("172.16.1.0/24", "blackhole", "", "", ""),
        ("172.16.2.0/24", "via", "10.0.0.2", "eth0", "10.0.0.3"),
        ("10.0.0.0/24", "dev", "", "lo", ""),
    ]


def test_ipv6_names():
    rows = ["1002-Mesh_fd00__1 BGP master up 01:02:03 Established", "0000 "]
    assert birdctl.parse_peers(rows, 6)[0].address == "fd00::1"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["2002-Name Kind Table State Since Info"], "unknown BIRD table output format"),
        (["9001 syntax error"], "unexpected output line from BIRD"),
        (["garbage"], "unexpected output line from BIRD"),
    ],
)
def test_foreign_answers(lines, message):
    with pytest.raises(birdctl.BirdError, match=message):
        birdctl.parse_peers(lines, 4)


def test_status():
    lines = [
        "1000-BIRD v0.3.3+birdv1.6.8",
        "1011-Router ID is 192.168.10.101",
        " Current server time is 2024-09-21 12:57:08",
        " Last reboot on 2024-09-21 06:01:13",
        " Last reconfiguration on 2024-09-21 06:01:13",
        "0024-Graceful restart recovery in progress",
        "  Waiting for 1 protocols to recover",
        "0013 Daemon is up and running",
    ]
    assert birdctl.parse_status(lines) == birdctl.Status(
        version="v0.3.3+birdv1.6.8",
        router_id="192.168.10.101",
        server_time="2024-09-21 12:57:08",
        last_boot="2024-09-21 06:01:13",
        last_reconfiguration="2024-09-21 06:01:13",
        ready=True,
        recovering=True,
    )


def test_routes():
    lines = [
        "1007-0.0.0.0/0          via 192.168.10.1 on eth0 [kernel1 06:01:14] * (10)",
        " 172.16.184.0/24    via 192.168.10.102 on eth0 [Mesh_192_168_10_102 06:01:15] * (100/0) [i]",
        "                    via 192.168.10.103 on eth0 [Mesh_192_168_10_103 06:01:15] (100/0) [i]",
        " 172.16.158.5/32    dev cali1f7bbbd982a [kernel1 08:10:55] * (10)",
        " 172.16.158.0/24    blackhole [static1 06:01:13] * (200)",
        " 172.16.34.0/24     via 192.168.10.1 on eth0 [Mesh_192_168_20_100 06:01:15 from 192.168.20.100] * (100/?) [i]",
        "0000 ",
    ]
    found = birdctl.parse_routes(lines)
    assert [
        (r.destination, r.target, r.gateway, r.interface, r.protocol, r.peer, r.primary) for r in found
    ] == [
        ("0.0.0.0/0", "via", "192.168.10.1", "eth0", "kernel1", "", True),
        ("172.16.184.0/24", "via", "192.168.10.102", "eth0", "Mesh_192_168_10_102", "", True),
        ("172.16.184.0/24", "via", "192.168.10.103", "eth0", "Mesh_192_168_10_103", "", False),
        ("172.16.158.5/32", "dev", "", "cali1f7bbbd982a", "kernel1", "", True),
        ("172.16.158.0/24", "blackhole", "", "", "static1", "", True),
        ("172.16.34.0/24", "via", "192.168.10.1", "eth0", "Mesh_192_168_20_100", "192.168.20.100", True),
    ]


def test_no_socket():
    with pytest.raises(
        birdctl.Unreachable,
        match=r"unable to connect to BIRDv4 socket: dial unix /nonexistent/b.ctl: connect: no such file or directory",
    ):
        birdctl.Control(4, "/nonexistent/b.ctl")
