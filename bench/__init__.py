"""Timings of whole programs, side by side in one run: ``make bench``.

Machines are noisy: what counts is the ratio between columns of one table, never a figure alone. A column for
upstream appears where ``UPSTREAM_BIN`` names a folder with its programs.
"""
