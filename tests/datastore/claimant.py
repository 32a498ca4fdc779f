"""One of several processes that take addresses for one node at once: prints them and how often it was refused."""

import json
import sys

from pycalico.datastore import errors
from pycalico.datastore.config import DatastoreConfig
from pycalico.datastore.open import open_client
from pycalico.ipam.allocator import Allocator

where, name, count = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3])
conflicts, of_one, most = 0, 0, 0
_made = errors.Conflict.__init__


def _counted(self, *arguments):
    global conflicts, of_one
    conflicts += 1
    of_one += 1
    _made(self, *arguments)


errors.Conflict.__init__ = _counted
allocator = Allocator(open_client(DatastoreConfig(**where)))
sys.stdin.readline()
taken = []
for number in range(count):
    of_one = 0
    found, _ = allocator.auto_assign(1, 0, f"{name}-{number}", {"node": "n1"}, "n1")
    most = max(most, of_one)
    taken += [str(each) for each in found.addresses]
print(json.dumps({"taken": taken, "most": most, "conflicts": conflicts}))
