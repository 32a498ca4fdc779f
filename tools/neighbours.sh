#!/bin/sh
# Fetches other BGP programs for tests to talk to, into .neighbours: BIRD 2 (Debian installs one BIRD at a time) and FRR.
# Nothing is installed; `rm -rf .neighbours` is the way back.
set -eu
cd "$(dirname "$0")/.."
die() { echo "neighbours: $*" >&2; exit 1; }
command -v apt-get >/dev/null 2>&1 || die "there is no apt-get to fetch the packages with"
[ -x .neighbours/usr/sbin/bird ] && [ -x .neighbours/usr/lib/frr/bgpd ] && exit 0
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
chmod 755 "$scratch"
(cd "$scratch" && apt-get download -qq bird2 frr libyang2 2>&1 | grep -v unsandboxed >&2) || true
for package in bird2 frr libyang2; do
    set -- "$scratch/${package}"_*.deb
    [ -e "$1" ] || die "apt-get could not fetch $package: run 'apt-get update' and try again"
    dpkg -x "$1" .neighbours
done
echo "neighbours: BIRD 2 and FRR are in .neighbours"
