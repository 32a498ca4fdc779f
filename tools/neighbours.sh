#!/bin/sh
# Fetches other BGP programs for tests to talk to, into .neighbours: BIRD 2 (Debian installs one BIRD at a time) and FRR,
# with the libraries that they need and this machine has not.
# Nothing is installed; `rm -rf .neighbours` is the way back.
set -eu
cd "$(dirname "$0")/.."
die() { echo "neighbours: $*" >&2; exit 1; }
[ -x .neighbours/usr/sbin/bird ] && [ -x .neighbours/usr/lib/frr/bgpd ] && exit 0
command -v apt-get >/dev/null 2>&1 || die "there is no apt-get to fetch the packages with"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
chmod 755 "$scratch"
apt-cache show bird2 frr >/dev/null 2>&1 || apt-get update -qq || die "apt-get update failed: check the package sources"
wanted="bird2 frr"
for library in $(apt-cache depends bird2 frr | sed -n 's/^ *Depends: \(lib[^<]*\)$/\1/p' | sort -u); do
    dpkg-query -s "$library" >/dev/null 2>&1 || wanted="$wanted $library"
done
(cd "$scratch" && apt-get download -qq $wanted 2>&1 | grep -v unsandboxed >&2) || true
mkdir "$scratch/root"
for package in $wanted; do
    set -- "$scratch/${package}"_*.deb
    [ -e "$1" ] || die "apt-get could not fetch $package: run 'apt-get update' and try again"
    dpkg -x "$1" "$scratch/root"
done
rm -rf .neighbours
mv "$scratch/root" .neighbours
echo "neighbours: BIRD 2 and FRR are in .neighbours"
