"""BGP: from resources to the configuration of BIRD, and BIRD's control socket.

Everything but ``birdctl`` and ``daemon`` is pure: it takes what the datastore holds and returns text. The
programs that watch, write files and signal BIRD are one storey up (``confd``, ``node``).
"""
