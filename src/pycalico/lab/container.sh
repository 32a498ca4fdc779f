#!/bin/sh
# First process of a container, in mount and pid namespaces of its own on the node's root.
# container.sh WORKDIR SECRETS HOSTNAME COMMAND...: SECRETS is what the container sees as /run/secrets; the host name is
# empty for a container in the node's own namespaces.
set -e
mount -t proc proc /proc
[ ! -f /usr/lib/uml/cpuinfo ] || mount --bind /usr/lib/uml/cpuinfo /proc/cpuinfo
mkdir -p /run/secrets
mount --bind "$2" /run/secrets
if [ -n "$3" ]; then hostname "$3"; fi
cd "$1"
shift 3
exec "$@"
