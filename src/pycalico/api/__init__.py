"""The resource model: every projectcalico.org/v3 kind of Calico v3.28.1, typed.

Here live the kinds (``v3``), what they have in common (``meta``, ``rule``), the table of kinds (``kinds``),
names derived from other names (``names``), defaults, validation and the selector language. This room knows
no I/O: no socket, file, clock, thread or environment variable. Every room above may enter.
"""
