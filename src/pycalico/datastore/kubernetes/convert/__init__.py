"""Between Kubernetes objects and Calico's kinds, both directions. Pure."""
