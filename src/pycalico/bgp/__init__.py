"""BGP: who peers with whom, filters, BIRD's configuration as text, BIRD's control socket, BGP messages."""
