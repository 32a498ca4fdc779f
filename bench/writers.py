"""``python -m bench.writers``: many writers assign and release at random, then everything is counted.

Prints one line of figures; exits with 1 and a line for each fault where an address was given twice or lost, or where
allocations, handles and blocks disagree at the end.
"""

import argparse
import ipaddress
import multiprocessing
import os
import random
import sys
import threading
import time
from collections import Counter

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.ipam import IPAMBlock, IPAMHandle
from pycalico.api.v3.ippool import IPPool, IPPoolSpec
from pycalico.api.v3.node import Node
from pycalico.datastore.errors import NotFound
from pycalico.datastore.open import open_client
from pycalico.ipam.allocator import Allocator
from pycalico.ipam.errors import TooManyConflicts

PROCESSES = 8


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--writers", type=int, default=200)
    parser.add_argument("--nodes", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options = parser.parse_args()
    client = open_client(environ=dict(os.environ))
    nodes = [f"node-{number}" for number in range(options.nodes)]
    for node in nodes:
        client.create(Node(metadata=ObjectMeta(name=node)))
    spec = IPPoolSpec(cidr="10.64.0.0/16", block_size=26, node_selector="all()")
    client.create(IPPool(metadata=ObjectMeta(name="writers"), spec=spec))
    queue: multiprocessing.Queue = multiprocessing.Queue()
    processes = [
        multiprocessing.Process(target=_process, args=(queue, nodes, options, share))
        for share in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    reports = [queue.get() for _ in processes]
    for process in processes:
        process.join()
    held, counts, faults = {}, Counter(), []
    for some, count, errors in reports:
        faults += errors + [f"{address} given twice" for address in some if address in held]
        held |= some
        counts += count
    faults += _disagreements(client, held)
    print(
        f"seed {options.seed}: {options.writers} writers on {options.nodes} nodes, {options.seconds:g} s: "
        f"{counts['assigned']} assigned, {counts['released']} released, {len(held)} held, "
        f"{counts['contended']} gave up on contention, {len(faults)} faults"
    )
    for fault in faults[:20]:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


def _process(queue, nodes, options, share):
    held, counts, errors, lock = _Held(), Counter(), [], threading.Lock()
    numbers = range(share, options.writers, PROCESSES)
    threads = [
        threading.Thread(target=_writer, args=(number, nodes, options, held, counts, errors, lock))
        for number in numbers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    queue.put((held.by_address, counts, errors))


class _Held:
    """What this process's writers hold. Not thread-safe.

    A release is done in etcd before its writer hears of it, and another may have the address by then: so an address is
    taken out before its release.
    """

    def __init__(self):
        self.by_address = {}

    def add(self, handle, addresses):
        """Returns those that somebody holds."""
        twice = [address for address in addresses if address in self.by_address]
        self.by_address.update(dict.fromkeys(addresses, handle))
        return twice

    def take_out(self, addresses):
        for address in addresses:
            del self.by_address[address]


def _writer(number, nodes, options, held, counts, errors, lock):
    """Each writer has its own client; handles are its own, addresses anybody's."""
    dice = random.Random(f"{options.seed}/{number}")
    client = open_client(environ=dict(os.environ))
    ipam = Allocator(client)
    mine: dict[str, list[str]] = {}
    made = 0
    end = time.monotonic() + options.seconds
    while time.monotonic() < end:
        try:
            if mine and dice.random() < 0.45:
                handle = dice.choice(sorted(mine))
                addresses = mine[handle]
                with lock:
                    held.take_out(addresses)
                try:
                    if dice.random() < 0.5:
                        ipam.release_by_handle(handle)
                    elif missing := ipam.release_ips(addresses):
                        errors.append(f"{missing} of {handle} were lost")
                except TooManyConflicts:
                    with lock:
                        errors += [f"{address} given twice" for address in held.add(handle, addresses)]
                    raise
                del mine[handle]
                counts["released"] += len(addresses)
                continue
            made += 1
            handle = f"writers.{number}-{made}"
            node = dice.choice(nodes)
            outcome, _ = ipam.auto_assign(dice.choice((1, 1, 1, 3)), 0, handle, {"node": node}, node)
            addresses = [address.split("/")[0] for address in outcome.addresses]
            with lock:
                errors += [f"{address} given twice" for address in held.add(handle, addresses)]
            if addresses:
                mine[handle] = addresses
            counts["assigned"] += len(addresses)
        except TooManyConflicts:
            counts["contended"] += 1
        except NotFound as error:
            errors.append(f"writer {number}: {error}")
    client.close()


def _disagreements(client, held):
    """Faults of the final state: allocations = handles = what the writers hold."""
    real, by_handle = {}, Counter()
    for block in client.list(IPAMBlock).items:
        network = ipaddress.ip_network(block.spec.cidr)
        free = [ordinal for ordinal, index in enumerate(block.spec.allocations) if index is None]
        if sorted(block.spec.unallocated) != free:
            yield f"block {network}: its queue is not what is free"
        for ordinal, index in enumerate(block.spec.allocations):
            if index is not None:
                handle = block.spec.attributes[index].handle_id
                real[str(network[ordinal])] = handle
                by_handle[handle, str(network)] += 1
    claims = {
        (found.spec.handle_id, cidr): count
        for found in client.list(IPAMHandle).items
        for cidr, count in found.spec.block.items()
    }
    if real != held:
        different = sorted(real.items() ^ held.items())
        yield f"blocks and writers disagree about {len(different)} allocations: {different[:4]}"
    if claims != dict(by_handle):
        different = sorted(claims.items() ^ by_handle.items())
        yield f"blocks and handles disagree about {len(different)} counts: {different[:4]}"


if __name__ == "__main__":
    sys.exit(main())
