"""Doors to the kernel: netlink, network namespaces, sysctls, commands, feature detection. Knows nothing of Calico."""
