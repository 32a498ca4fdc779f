"""The kernel's doors: commands, netlink, sysctls, namespaces, features, interface events. Knows nothing of Calico."""
