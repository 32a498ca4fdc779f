"""Twenty thousand packets through random policies, and not one that fares otherwise than documented."""

import secrets

import pytest
from dataplanes import CHOSEN, DATAPLANES
from packet_lab import run

_SEEDS = 16
_ROUNDS = 9
_PROBES = 150


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", CHOSEN)
def test_twenty_thousand_probes(name, tmp_path):
    first = secrets.randbelow(1 << 32)
    print(f"first seed {first}")
    sent = expected = 0
    for seed in range(first, first + _SEEDS):
        folder = tmp_path / str(seed)
        folder.mkdir()
        action = ("DROP", "ACCEPT", "RETURN")[seed % 3]
        found = run(folder, DATAPLANES[name], seed, _ROUNDS, _PROBES, action)
        sent, expected = sent + found[0], expected + found[1]
    print(f"{sent} probes, {expected} of them to arrive, none disagrees")
    assert sent >= 20_000
    assert 0.2 * sent < expected < 0.8 * sent
