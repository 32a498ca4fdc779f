"""Felix: reads the datastore, calculates, and keeps this node's kernel as policy and routing want it.

A thin application: ``parameters`` weighs the sources of configuration, ``agent`` wires syncer, calculation
and dataplane, ``main`` is the program.
"""
