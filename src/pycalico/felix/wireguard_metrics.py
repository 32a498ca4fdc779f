"""Metrics of WireGuard's devices and their peers under upstream's names."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from pycalico.kernel import command, wireguard
from pycalico.kernel.wireguard import Device, SeenPeer

log = logging.getLogger(__name__)

_ROWS: tuple[tuple[str, str, str, Callable[[SeenPeer], float]], ...] = (
    ("wireguard_bytes_rcvd", "counter", "Bytes received from a peer.", lambda peer: peer.received),
    ("wireguard_bytes_sent", "counter", "Bytes sent to a peer.", lambda peer: peer.sent),
    (
        "wireguard_latest_handshake_seconds",
        "gauge",
        "Time of the last handshake with a peer, in seconds since 1970; 0 before the first.",
        lambda peer: peer.handshake,
    ),
)


class WireguardCollector(Collector):
    """Of the devices among ``names`` that are there at a scrape."""

    def __init__(self, hostname: str, names: Iterable[str]) -> None:
        self._hostname = hostname
        self._names = tuple(names)

    def collect(self) -> Iterator[Metric]:
        devices = dict(_seen(self._names))
        if devices:
            yield from _told(self._hostname, devices)


def _told(hostname: str, devices: dict[str, Device]) -> Iterator[Metric]:
    meta = Metric("wireguard_meta", "A device of WireGuard's.", "gauge")
    for name, device in devices.items():
        labels = {
            "hostname": hostname,
            "iface": name,
            "listen_port": str(device.port),
            "public_key": device.public_key,
        }
        meta.add_sample("wireguard_meta", labels, 1)
    yield meta
    for title, kind, text, value in _ROWS:
        family = Metric(title, text, kind)
        for device in devices.values():
            for key, seen in device.peers.items():
                family.add_sample(title, _labels(hostname, device, key, seen), value(seen))
        yield family


def _seen(names: Iterable[str]) -> Iterator[tuple[str, Device]]:
    for name in names:
        try:
            yield name, wireguard.show(name)
        except command.CommandError as error:
            log.debug("no metrics of %s: %s", name, error)


def _labels(hostname: str, device: Device, key: str, seen: SeenPeer) -> dict[str, str]:
    return {
        "hostname": hostname,
        "peer_endpoint": seen.peer.endpoint,
        "peer_key": key,
        "public_key": device.public_key,
    }
