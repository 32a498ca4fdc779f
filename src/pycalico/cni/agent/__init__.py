"""The resident half of the CNI plugins: a process of the node that answers the runtime's calls over a socket.

The programs that the runtime starts are a few lines (``launcher``): they hand the call over and print the answer. What a
process per pod would pay for anew each time is here once: interpreter, imports, connections, and a memory of what
the datastore holds (``memory``). Without an agent the plugin does the whole work itself.
"""

from pycalico.base import lean

# Before any module of the agent loads msgspec: it is resident on every node.
lean.load()
