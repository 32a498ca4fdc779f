import hashlib
import ipaddress
import itertools
import json
from importlib import resources
from pathlib import Path

import pytest

from pycalico.api import names
from pycalico.ipam import sequence

VECTORS = json.loads((Path(__file__).parents[2] / "golden/data/ipam-vectors.json").read_text())


def test_initial_cells_are_the_recorded_ones():
    data = resources.files("pycalico.ipam").joinpath("lagged_fibonacci.bin").read_bytes()
    assert hashlib.sha256(data).hexdigest() == VECTORS["prng"]["cooked_table_sha256_le64"]


def test_generator_repeats_gos():
    generator = sequence.GoRandom(1)
    want = VECTORS["prng"]["go_math_rand_seed_1_uint64"]
    assert [generator.uint64() for _ in want] == [int(number) for number in want]
    generator = sequence.GoRandom(2273881733)
    want = VECTORS["prng"]["go_math_rand_seed_2273881733_uint32"]
    assert [generator.uint32() for _ in want] == [int(number) for number in want]


@pytest.mark.parametrize(("text", "value"), VECTORS["fnv1_32"].items())
def test_seed(text, value):
    assert sequence.fnv1(text) == value


@pytest.mark.parametrize(
    "row", VECTORS["block_choice"], ids=lambda row: f"{row['host'][:20]}-{row['pool']}-{row['blockSize']}"
)
def test_block_choice(row):
    pool = ipaddress.ip_network(row["pool"])
    first = itertools.islice(sequence.blocks(pool, row["blockSize"], row["host"]), len(row["firstBlocks"]))
    assert [str(block) for block in first] == row["firstBlocks"]


def test_every_block_once():
    pool = ipaddress.ip_network("10.0.0.0/20")
    found = list(sequence.blocks(pool, 26, "some-host"))
    assert sorted(found) == list(pool.subnets(new_prefix=26))


@pytest.mark.parametrize(("cidr", "name"), VECTORS["cidr_names"].items())
def test_block_names(cidr, name):
    assert names.block(cidr) == name
    assert names.block_cidr(name) == cidr


def test_long_affinity_name():
    assert names.affinity("k8s-w0", "172.16.34.0/24") == "k8s-w0-172-16-34-0-24"
    long = names.affinity("h" * 250, "172.16.34.0/24")
    assert long == VECTORS["affinity_names"]["250*h 172.16.34.0/24"]
