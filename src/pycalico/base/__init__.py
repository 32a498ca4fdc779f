"""What knows nothing of Calico: addresses, logging, backoff, clocks, health and HTTP serving.

Every room may enter; this room enters none.
"""
