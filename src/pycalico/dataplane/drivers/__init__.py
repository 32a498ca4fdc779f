"""Targets of the reconciler: each knows how to read and write one kind of kernel state, and what of it is ours."""
