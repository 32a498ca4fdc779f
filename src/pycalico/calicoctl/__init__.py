"""``calicoctl``: the command line on the datastore and on a node's BIRD.

One module per noun. ``commands`` is the table of what can be called, ``main`` looks a command up in it and imports
only that command's module: a run is short, and loading is most of it. Names, tables, messages and exit codes are
those of calicoctl v3.28.1, as recorded; help texts are our own.
"""
