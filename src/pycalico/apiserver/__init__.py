"""Embedded Kubernetes API server."""
