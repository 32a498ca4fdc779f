"""One reconciler for everything that is kept equal to a wish: rules, sets, routes, links, files.

The engine owns diffing, retry with backoff, resync, order and status; a target says how to read what is ours
and how to apply a batch. It knows neither Calico nor the kernel.
"""
